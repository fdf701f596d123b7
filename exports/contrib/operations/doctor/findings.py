"""The findings of the doctor, and the probes that make them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.core import checks
from django.core.checks import CheckMessage


class Level(StrEnum):
    """How bad a finding is, the least first."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` says what to do about a warning or an error."""

    name: str
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<8} {self.name:<13} {self.text}"
        return f"{line}\n{'':<22} {self.advice}" if self.advice else line


@dataclass(frozen=True)
class Probe:
    """One question of the doctor. `run` takes the probe's name.

    If `run` raises an exception, the doctor reports an error with `advice`. A probe with `needs_rows` is left out if
    the database does not answer.
    """

    name: str
    run: Callable[[str], Iterable[Finding]]
    advice: str
    needs_rows: bool = False


def ok(name: str, text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(name, Level.OK, text)


def warning(name: str, text: str, advice: str) -> Finding:
    """Return a finding that works, but not as it should."""
    return Finding(name, Level.WARNING, text, advice)


def error(name: str, text: str, advice: str) -> Finding:
    """Return a finding that does not work or is unsafe."""
    return Finding(name, Level.ERROR, text, advice)


def from_checks(name: str, messages: Iterable[CheckMessage]) -> list[Finding]:
    """Return the warnings and errors of Django's system checks as findings, without those silenced in the settings."""
    return [
        (error if message.is_serious() else warning)(
            name, f"{message.msg} ({message.id})", message.hint or "See docs/settings.md."
        )
        for message in messages
        if message.is_serious(checks.WARNING) and not message.is_silenced()
    ]


def duration(seconds: float) -> str:
    """Return seconds as people write them: 0.4 s, 12 s, 5 min, 3 h, 2 days."""
    for limit, size, unit in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds:.1f} s" if limit == 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
