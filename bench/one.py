"""Runs one case in this process: python -m bench.one CASE PATH, in the environment of `bench.databases`.

CASE is the JSON of a Case. The module that it names sets everything up, imports and the connection included, and
gives a function; only that function is timed, from before its first query until its file is closed. The last line of
the output is {"seconds", "bytes", ...what the function says}.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.db import connection

from bench.cases import Case


def main(case: Case, path: Path) -> dict[str, Any]:
    django.setup()
    module, function = case.make.split(".")
    write = getattr(import_module(f"bench.{module}"), function)(case, path)
    connection.ensure_connection()
    start = time.perf_counter()
    said = write() or {}
    seconds = time.perf_counter() - start
    size = path.stat().st_size if path.exists() else 0
    return {"seconds": seconds, "bytes": size, **said}


if __name__ == "__main__":
    print(json.dumps(main(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))))
