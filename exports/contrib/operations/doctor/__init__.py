"""`manage.py exports doctor`: is everything here that an export needs, and what to do where it is not.

The database is asked first, then all the rest side by side. Whatever does not answer in time, or breaks, is a finding.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from django.db import connections

from exports.contrib.operations.doctor import choices, files, services, work
from exports.contrib.operations.doctor.findings import Finding, Level, Probe, error, warning
from exports.exceptions import ExportError

__all__ = ["Finding", "Level", "as_json", "examine", "worst"]

PROBE_SECONDS = 3.0
LONGEST_REASON = 200

PROBES = (*services.PROBES, *work.PROBES, *files.PROBES, *choices.PROBES)


def examine(*, seconds: float = PROBE_SECONDS) -> Iterator[Finding]:
    """Every finding as soon as it is known, in the order of the report. Takes twice `seconds` at the most."""
    first = _Asking(services.DATABASE).findings(seconds)
    yield from first
    has_rows = worst(first) is not Level.ERROR
    asked = [_Asking(probe) for probe in PROBES if has_rows or not probe.needs_rows]
    ends = time.monotonic() + seconds
    for asking in asked:
        yield from asking.findings(ends - time.monotonic())
    for probe in PROBES:
        if probe.needs_rows and not has_rows:
            yield warning(probe.name, "Not known without the database.", "See to the database first.")


def as_json(findings: list[Finding]) -> str:
    """{"level": the worst, "findings": [{"name", "level", "text", "advice"}]}"""
    return json.dumps({"level": worst(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def worst(findings: Iterable[Finding]) -> Level:
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


class _Asking(threading.Thread):
    """A probe in a thread of its own. One that hangs holds up neither the report nor the end of the process."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(name=f"exports-doctor-{probe.name}", daemon=True)
        self._probe = probe
        self._found: list[Finding] = []
        self.start()

    def run(self) -> None:
        try:
            found = list(self._probe.ask(self._probe.name))
        except Exception as broken:
            found = [error(self._probe.name, _reason(broken), self._probe.advice)]
        finally:
            connections.close_all()
        self._found = found

    def findings(self, seconds: float) -> list[Finding]:
        self.join(max(seconds, 0.0))
        return self._found or [error(self._probe.name, "No answer in time.", self._probe.advice)]


def _reason(broken: Exception) -> str:
    """One line for whoever sits at this host. An address that cannot be parsed may hold a password."""
    name = type(broken).__name__
    if isinstance(broken, ExportError):
        return str(broken)
    lines = [] if isinstance(broken, ValueError) else str(broken).splitlines()
    return f"{name}: {lines[0][:LONGEST_REASON]}" if lines else f"{name}."
