"""Compare files with the database: ours at full size, and those of other tools."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import measure
from bench.cases import OURS, Case
from bench.databases import ROOT

PEER_ROWS = 10_000
READ_LIMIT_SECONDS = 1_800


def ours_to_check(cases: Iterable[Case], rows: int) -> list[Case]:
    """Return our cases of CSV and XLSX at the size of the run, from each database, with one and with more processes."""
    plain = [case for case in cases if case.tool == OURS and not case.variant]
    return [case for case in plain if case.format in ("csv", "xlsx") and case.rows == rows]


def peers_to_check(cases: Iterable[Case]) -> list[Case]:
    """Return every plain case of CSV and XLSX, ours included, with few rows."""
    plain = [case for case in cases if case.format in ("csv", "xlsx") and not case.variant]
    return list(dict.fromkeys(case.with_rows(PEER_ROWS) for case in plain))


@dataclass(frozen=True)
class Reading:
    """The comparison of a file with the database."""

    sentence: str
    is_equal: bool


def read_back(case: Case, folder: Path, environment: Mapping[str, str]) -> Reading:
    """Write the file, read it back, and compare it."""
    path = folder / f"readback.{case.format}"
    try:
        measure.run(case, path, environment)
        compared = _compared(case, path, environment)
        return Reading(f"{case.name}: {describe(compared)}", is_equal(compared))
    except measure.Failed as error:
        return Reading(f"{case.name}: FAILED: {error}", is_equal=False)
    finally:
        path.unlink(missing_ok=True)


def _compared(case: Case, path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.check", case.format, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(environment), cwd=ROOT, timeout=READ_LIMIT_SECONDS
    )
    if done.returncode:
        raise measure.Failed(f"cannot be read: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def is_equal(compared: Mapping[str, Any]) -> bool:
    return compared["rows"] == compared["expected_rows"] and not compared["wrong"]


def describe(compared: Mapping[str, Any]) -> str:
    """Return the output of `bench.check` as a sentence."""
    rows, expected = compared["rows"], compared["expected_rows"]
    if is_equal(compared):
        return f"all {rows:,} rows equal, cell by cell"
    counts = ", ".join(f"{name} {cells:,}" for name, cells in compared["wrong"].items()) or "none"
    examples = "; ".join(f"{name}: {what}" for name, what in compared["first"].items())
    return f"DIFFERS: {rows:,} rows of {expected:,}, wrong cells: {counts}. {examples}"
