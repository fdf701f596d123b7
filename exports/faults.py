"""Fault points: named places on an export's road where a test lets this process die, freeze, fail or wait.

Nothing happens unless the environment variable EXPORTS_FAULTS arms them: "mid_rows=sleep:0.05,first_row=kill", or
"@/a/path" of a file that holds the same and may change while the process runs. No Django here.

    kill        SIGKILL          raise       FaultRaised
    stop        SIGSTOP          sleep:S     S seconds
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

VARIABLE: Final = "EXPORTS_FAULTS"
POINTS: Final = ("first_row", "mid_rows")


class FaultRaised(Exception):
    """The fault that was asked for."""


def point(name: str) -> None:
    """Suffer what is armed for this point."""
    armed = os.environ.get(VARIABLE)
    if armed:
        _strike(name, armed)


def _strike(name: str, armed: str) -> None:
    for where, action, argument in _faults(armed):
        if where == name:
            ACTIONS[action](argument)


def _faults(armed: str) -> Iterator[tuple[str, str, str]]:
    """Raises ValueError for what is no fault, so that a test never passes because of a word misspelt."""
    for entry in filter(None, _text(armed).split(",")):
        where, _, what = entry.strip().partition("=")
        action, _, argument = what.partition(":")
        if where not in POINTS or action not in ACTIONS:
            raise ValueError(f"{VARIABLE}: {entry.strip()!r} is no fault. Points: {', '.join(POINTS)}.")
        yield where, action, argument


def _text(armed: str) -> str:
    if not armed.startswith("@"):
        return armed
    path = Path(armed[1:])
    return path.read_text().strip() if path.exists() else ""


def _signal_self(signum: int) -> None:
    os.kill(os.getpid(), signum)


def _raise(_: str) -> None:
    raise FaultRaised


ACTIONS: Final[dict[str, Callable[[str], None]]] = {
    "kill": lambda _: _signal_self(signal.SIGKILL),
    "stop": lambda _: _signal_self(signal.SIGSTOP),
    "raise": _raise,
    "sleep": lambda seconds: time.sleep(float(seconds)),
}
