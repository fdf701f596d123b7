"""Run one case in this process: python -m bench.one CASE PATH, in the environment of `bench.databases`.

CASE is the JSON of a Case. The function that it names imports and prepares all that the case needs, and returns a
function; only this one is timed, from before its first query until its file is closed. The last line of the output is
{"seconds", "bytes", "cpu_seconds" of this process, ...}, with the dictionaries that the timed function and the module's
`about(case)` return, which is called after the time was taken.
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
    name, function = case.make.split(".")
    module = import_module(f"bench.{name}")
    write = getattr(module, function)(case, path)
    connection.ensure_connection()
    start, cpu_start = time.perf_counter(), time.process_time()
    said = write() or {}
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    size = path.stat().st_size if path.exists() else 0
    about = module.about(case) if hasattr(module, "about") else {}
    return {"seconds": seconds, "bytes": size, "cpu_seconds": cpu_seconds, **about, **said}


if __name__ == "__main__":
    print(json.dumps(main(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))))
