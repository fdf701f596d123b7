"""`manage.py exports doctor`: check that everything an export needs works, and say what to do where it does not.

The database is asked first, then everything else in parallel. A probe that breaks or does not answer in time is
reported as an error.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from django.db import connections

from exports.contrib.operations.doctor import configuration, files, services, work
from exports.contrib.operations.doctor.findings import Finding, Level, Probe, error, warning
from exports.exceptions import ExportError

__all__ = ["Finding", "Level", "as_json", "examine", "worst"]

TIMEOUT_SECONDS = 3.0
MAX_REASON_LENGTH = 200

PROBES = (*services.PROBES, *work.PROBES, *files.PROBES, *configuration.PROBES)


def examine(*, seconds: float = TIMEOUT_SECONDS) -> Iterator[Finding]:
    """Yield each finding as soon as it is known, in the order of the report. Takes at most twice `seconds`."""
    of_database = _ProbeThread(services.DATABASE).findings(seconds)
    yield from of_database
    has_rows = worst(of_database) is not Level.ERROR
    threads = [_ProbeThread(probe) for probe in PROBES if has_rows or not probe.needs_rows]
    deadline = time.monotonic() + seconds
    for thread in threads:
        yield from thread.findings(deadline - time.monotonic())
    if not has_rows:
        for probe in PROBES:
            if probe.needs_rows:
                yield warning(probe.name, "Unknown while the database does not answer.", "Fix the database first.")


def as_json(findings: list[Finding]) -> str:
    """Return {"level": the worst, "findings": [{"name", "level", "text", "advice"}]}."""
    return json.dumps({"level": worst(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level of these findings."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


class _ProbeThread(threading.Thread):
    """Run a probe in a daemon thread: one that hangs delays neither the report nor the end of the process."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(name=f"exports-doctor-{probe.name}", daemon=True)
        self._probe = probe
        self._findings: list[Finding] = []
        self.start()

    def run(self) -> None:
        try:
            findings = list(self._probe.run(self._probe.name))
        except ExportError as exception:
            findings = [error(self._probe.name, str(exception), self._probe.advice)]
        except Exception as exception:
            # One line, without a password: a ValueError of urllib.parse quotes the URL that it cannot parse.
            lines = [] if isinstance(exception, ValueError) else str(exception).splitlines()
            name = type(exception).__name__
            reason = f"{name}: {lines[0][:MAX_REASON_LENGTH]}" if lines else f"{name}."
            findings = [error(self._probe.name, reason, self._probe.advice)]
        finally:
            connections.close_all()
        self._findings = findings

    def findings(self, seconds: float) -> list[Finding]:
        """Wait up to `seconds` and return the findings."""
        self.join(max(seconds, 0.0))
        return self._findings or [error(self._probe.name, "No answer in time.", self._probe.advice)]
