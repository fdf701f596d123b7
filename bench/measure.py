"""Run a case in its own process and measure its time and memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import Case
from bench.databases import ROOT

LOOK_SECONDS = 0.05
MIB = 1 << 20


class Failed(Exception):
    """A run ended without a file. The message is the last line of the process's errors."""


@dataclass(frozen=True)
class Run:
    """One run: its seconds, the peak memory of all its processes and the size of its file in bytes, and its output."""

    seconds: float
    peak: int
    bytes: int
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """The runs of a case, or the reason why it failed."""

    case: Case
    runs: list[Run] = field(default_factory=list)
    failure: str = ""

    @property
    def is_measured(self) -> bool:
        return bool(self.runs) and not self.failure

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.runs)

    @property
    def peak_mib(self) -> float:
        return median(run.peak for run in self.runs) / MIB

    @property
    def bytes(self) -> int:
        return self.runs[-1].bytes

    @property
    def strategy(self) -> str:
        return str(self.runs[-1].said.get("strategy", ""))

    @property
    def rows_per_second(self) -> float:
        return self.case.rows / self.seconds

    def said(self, name: str) -> float | None:
        """Return the median of a number in the output of the runs, or None."""
        numbers = [run.said[name] for run in self.runs if name in run.said]
        return median(numbers) if numbers else None

    def as_dict(self) -> dict[str, Any]:
        return {"case": self.case.as_dict(), "runs": [asdict(run) for run in self.runs], "failure": self.failure}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Result":
        return cls(Case(**stored["case"]), [Run(**run) for run in stored["runs"]], stored["failure"])


def run(case: Case, path: Path, environment: Mapping[str, str]) -> Run:
    """Run the case in a new process. Raises Failed."""
    command = [sys.executable, "-m", "bench.one", json.dumps(case.as_dict()), str(path)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env=dict(environment), cwd=ROOT, start_new_session=True
        )
        try:
            code, peak = watch(process, time.monotonic() + case.limit)
        finally:
            _end(process)
        if code:
            raise Failed(_reason(code, _text(errors), case))
        said = json.loads(_text(output).splitlines()[-1])
    return Run(said.pop("seconds"), peak, said.pop("bytes"), said)


def watch(process: subprocess.Popen, deadline: float) -> tuple[int, int]:
    """Wait for the process. Return its exit code and its peak memory in bytes.

    That is the sum of the peaks of the process and its descendants. Memory that they share counts for each of them, so
    the sum is never too low.
    """
    peaks: dict[int, int] = {}
    while True:
        if process.poll() is not None:
            return process.returncode, sum(peaks.values())
        if time.monotonic() > deadline:
            _end(process)
        for each in family(process.pid):
            # The peak only grows, except that a new process first shows the memory of its parent.
            peaks[each] = high_water(each) or peaks.get(each, 0)
        time.sleep(LOOK_SECONDS)


def _end(process: subprocess.Popen) -> None:
    """End the process and all others in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def family(pid: int) -> set[int]:
    """Return the ids of a process and its descendants, as /proc lists them now."""
    parents = {int(path.name): parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found, grown = {pid}, True
    while grown:
        children = {child for child, its_parent in parents.items() if its_parent in found}
        grown = not children <= found
        found |= children
    return found


def parent(process: Path) -> int:
    """Return the parent of a process by its folder in /proc, 0 if it has just ended."""
    try:
        stat = (process / "stat").read_text()
    except OSError:
        return 0
    # The name of the process, in parentheses, may contain blanks and parentheses.
    return int(stat.rpartition(")")[2].split()[1])


def high_water(pid: int) -> int:
    """Return the peak memory of a process so far, in bytes, 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _text(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _reason(code: int, errors: str, case: Case) -> str:
    if code == -signal.SIGKILL:
        return f"Ended: it took longer than {case.limit:.0f} s, or more memory than the machine has."
    lines = [line for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else f"Exit code {code}."
