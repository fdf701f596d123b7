"""The command bench/queue: claims a second at several backlogs, with several workers, beside other queues."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TypedDict

from bench.claimer import Counted
from bench.databases import ROOT
from tests.servers import Postgres

TOOLS = ("ours", "procrastinate", "django-tasks-db")
WAITING = (200, 2_000, 20_000, 1_000_000)
WORKERS = (1, 8, 32)
QUICK_WAITING = (200, 20_000, 1_000_000)
QUICK_WORKERS = (1, 8)


class Measured(TypedDict):
    tool: str
    database: str
    waiting: int
    workers: int
    claims_per_second: float
    tries_lost: float


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    found: list[Measured] = []
    with Postgres() as postgres:
        for waiting in options.waiting or (QUICK_WAITING if options.quick else WAITING):
            for tool in options.tools:
                fill(postgres, tool, waiting)
            for workers in options.workers or (QUICK_WORKERS if options.quick else WORKERS):
                for tool in options.tools:
                    found.append(measure(postgres, tool, waiting, workers, quick=options.quick))
                    print(line(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def measure(postgres: Postgres, tool: str, waiting: int, workers: int, *, quick: bool) -> Measured:
    """Return the medians of several runs, each with a fresh copy of the same waiting rows."""
    template = template_of(tool, waiting)
    environment = environment_of(postgres, tool, f"{template}_run")
    # Workers must never be without a row that waits.
    most_claims = max(1, waiting // 2 // workers)
    runs = []
    for _ in range(1 if quick else 3):
        postgres.create_database(f"{template}_run", template=template)
        counted = run(tool, workers, (2.0 if quick else 10.0), most_claims, environment)
        claims, tries = sum(each["claims"] for each in counted), sum(each["tries"] for each in counted)
        runs.append((sum(each["claims"] / each["seconds"] for each in counted), 1 - claims / tries))
    rate, lost_share = median(rate for rate, _ in runs), median(share for _, share in runs)
    return Measured(
        tool=tool,
        database="postgresql",
        waiting=waiting,
        workers=workers,
        claims_per_second=round(rate, 1),
        tries_lost=round(lost_share, 4),
    )


def fill(postgres: Postgres, tool: str, waiting: int) -> None:
    """Create the database whose copies the runs use."""
    template = template_of(tool, waiting)
    postgres.create_database(template)
    command = [sys.executable, "-m", "bench.claimer", "fill", str(waiting)]
    subprocess.run(command, check=True, env=environment_of(postgres, tool, template), cwd=ROOT)


def template_of(tool: str, waiting: int) -> str:
    return f"{tool.replace('-', '_')}_{waiting}"


def environment_of(postgres: Postgres, tool: str, database: str) -> dict[str, str]:
    return {
        **os.environ,
        "BENCH_TOOL": tool,
        "BENCH_SOCKET": str(postgres.folder),
        "BENCH_DATABASE": database,
        "DJANGO_SETTINGS_MODULE": "bench.claims_settings",
        "PYTHONPATH": str(ROOT),
    }


def run(tool: str, workers: int, seconds: float, most_claims: int, environment: dict[str, str]) -> list[Counted]:
    """Let workers begin together and return what each of them counted."""
    command = [sys.executable, "-m", "bench.claimer", tool, str(seconds), str(most_claims)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        for _ in range(workers)
    ]
    for worker in started:
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            raise RuntimeError(f"A worker of {tool} did not start.")
    for worker in started:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    counted: list[Counted] = []
    for worker in started:
        output, _ = worker.communicate()
        if worker.returncode:
            raise RuntimeError(f"A worker of {tool} ended with {worker.returncode}: {output}")
        counted.append(json.loads(output))
    return counted


def line(measured: Measured) -> str:
    return (
        f"{measured['tool']:<16} {measured['waiting']:>9,} waiting · {measured['workers']:>2} workers: "
        f"{measured['claims_per_second']:>7,.1f} claims a second, {measured['tries_lost']:.1%} of the tries lost"
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="bench/queue", description=__doc__)
    options.add_argument("--quick", action="store_true", help="one repeat of 2 seconds at 200, 20,000 and 1,000,000")
    options.add_argument("--json", type=Path, metavar="PATH", help="write the measurements as a JSON list")
    options.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    options.add_argument("--waiting", nargs="+", type=int, metavar="N")
    options.add_argument("--workers", nargs="+", type=int, metavar="N")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
