"""Fault points: named places on an export's strategy where a test lets this process die, freeze, fail or wait.

Nothing happens unless the environment variable EXPORTS_FAULTS arms them: "mid_rows=sleep:0.05,first_row=kill", or
"@/a/path" of a file that holds the same and may change while the process runs. No Django here.

    kill        SIGKILL          raise       FaultRaised
    stop        SIGSTOP          sleep:S     S seconds

With "once:" before the action, in a file, it strikes one time: whoever strikes leaves a marker beside the file (see
`marker`), so that a process that is started again does not die at the same point for ever.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "EXPORTS_FAULTS"
ONCE: Final = "once:"
# In the order in which an export and its mail pass them; docs/storm.md says where each one is.
POINTS: Final = (
    *("after_insert", "before_ring", "after_claim", "first_row", "mid_rows", "before_close", "after_close"),
    *("part_1", "before_complete", "after_complete", "before_publish", "after_publish", "before_event"),
    *("before_smtp", "after_250", "mid_clean"),
)


class FaultRaised(Exception):
    """The fault that was asked for."""


@dataclass(frozen=True)
class Fault:
    """What was armed for one point."""

    point: str
    action: str
    argument: str
    is_once: bool


def are_armed() -> bool:
    """Whether any fault may strike in this process. Who passes a point thousands of times asks once."""
    return bool(os.environ.get(VARIABLE))


def point(name: str) -> None:
    """Suffer what is armed for this point."""
    armed = os.environ.get(VARIABLE)
    if armed:
        _strike(name, armed)


def marker(path: Path, name: str) -> Path:
    """The file that is there once the point `name`, armed with "once:" by the file at `path`, has struck."""
    return path.with_name(f"{path.name}.{name}")


def _strike(name: str, armed: str) -> None:
    for fault in _faults(armed):
        if fault.point == name and not (fault.is_once and _has_struck(fault, armed)):
            ACTIONS[fault.action](fault.argument)


def _faults(armed: str) -> Iterator[Fault]:
    """Raises ValueError for what is no fault, so that a test never passes because of a word misspelt."""
    for entry in map(str.strip, filter(None, _text(armed).split(","))):
        where, _, what = entry.partition("=")
        action, _, argument = what.removeprefix(ONCE).partition(":")
        is_once = what.startswith(ONCE)
        if where not in POINTS or action not in ACTIONS or (is_once and not armed.startswith("@")):
            raise ValueError(f"{VARIABLE}: {entry!r} is no fault. Points: {', '.join(POINTS)}.")
        yield Fault(where, action, argument, is_once)


def _has_struck(fault: Fault, armed: str) -> bool:
    """Whether somebody was here before. Of processes that come at the same moment only one is the first."""
    try:
        os.close(os.open(marker(Path(armed[1:]), fault.point), os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return True
    return False


def _text(armed: str) -> str:
    if not armed.startswith("@"):
        return armed
    path = Path(armed[1:])
    return path.read_text().strip() if path.exists() else ""


def _signal_self(signum: int) -> None:
    # To this very thread: a signal to the process may wait for another one, while this one passes the next points.
    signal.pthread_kill(threading.get_ident(), signum)


def _raise(_: str) -> None:
    raise FaultRaised


ACTIONS: Final[dict[str, Callable[[str], None]]] = {
    "kill": lambda _: _signal_self(signal.SIGKILL),
    "stop": lambda _: _signal_self(signal.SIGSTOP),
    "raise": _raise,
    "sleep": lambda seconds: time.sleep(float(seconds)),
}
