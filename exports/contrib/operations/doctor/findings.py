"""What the doctor says of one thing: how bad it is, what was seen, and what to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` says what to do where it is not ok."""

    name: str
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<8} {self.name:<13} {self.text}"
        return f"{line}\n{'':<22} {self.advice}" if self.advice else line


@dataclass(frozen=True)
class Probe:
    """A question about one thing. One that raises has found an error, for which it has one advice.

    `needs_rows` ones are not asked while the database does not answer.
    """

    name: str
    ask: Callable[[str], Iterable[Finding]]
    advice: str
    needs_rows: bool = False


def ok(name: str, text: str) -> Finding:
    return Finding(name, Level.OK, text)


def warning(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Level.WARNING, text, advice)


def error(name: str, text: str, advice: str) -> Finding:
    return Finding(name, Level.ERROR, text, advice)


def duration(seconds: float) -> str:
    """As a person says it: 0.4 s, 12 s, 5 min, 3 h, 2 days."""
    for limit, size, unit in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds:.1f} s" if limit == 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
