"""Fault points for tests: named places in an export's path where a process can be made to die, freeze, fail or wait.

Nothing happens unless the environment variable EXPORTS_FAULTS arms a point. Its value is a list such as
"mid_rows=sleep:0.05,first_row=kill", or "@/a/path" of a file with such a list, which may change while the process runs.

    kill        SIGKILL          raise       FaultRaised
    stop        SIGSTOP          sleep:S     S seconds

In a file, "once:" before the action makes it happen one time. The process that it happens to first creates a marker
(see `marker_path`), so that a restarted process does not die at the same point again.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

VARIABLE: Final = "EXPORTS_FAULTS"
ONCE: Final = "once:"
# In the order in which an export and its mail pass them. docs/storm.md describes each.
POINTS: Final = (
    *("after_insert", "before_wake", "after_claim", "first_row", "mid_rows", "before_close", "after_close"),
    *("part_1", "before_complete", "after_complete", "before_publish", "after_publish", "before_event"),
    *("before_smtp", "after_250", "mid_clean"),
)


class FaultRaised(Exception):
    """Raised at a point that is armed with "raise"."""


def are_armed() -> bool:
    """Return True if any point is armed in this process. A loop asks once instead of passing a point for each row."""
    return bool(os.environ.get(VARIABLE))


def point(name: str) -> None:
    """Carry out the actions that are armed for this point. Raise ValueError if the list of faults is not valid."""
    armed = os.environ.get(VARIABLE)
    if not armed:
        return
    path, text = None, armed
    if armed.startswith("@"):
        path = Path(armed[1:])
        text = path.read_text().strip() if path.exists() else ""
    for entry in map(str.strip, filter(None, text.split(","))):
        where, _, what = entry.partition("=")
        is_once = what.startswith(ONCE)
        action, _, argument = what.removeprefix(ONCE).partition(":")
        if where not in POINTS or action not in ACTIONS or (is_once and path is None):
            raise ValueError(f"{VARIABLE}: {entry!r} is not a fault. Points: {', '.join(POINTS)}.")
        if where == name and (not is_once or path is None or _is_first(marker_path(path, name))):
            ACTIONS[action](argument)


def marker_path(path: Path, name: str) -> Path:
    """Return the file that exists once the point `name`, armed with "once:" in the file at `path`, was passed."""
    return path.with_name(f"{path.name}.{name}")


def _is_first(marker: Path) -> bool:
    """Create the marker. Return False if another process has already done so."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _signal_this_thread(signum: int) -> None:
    # A signal to the process may be delivered to another thread, and this one would pass the next points meanwhile.
    signal.pthread_kill(threading.get_ident(), signum)


def _raise(_: str) -> None:
    raise FaultRaised


ACTIONS: Final[dict[str, Callable[[str], None]]] = {
    "kill": lambda _: _signal_this_thread(signal.SIGKILL),
    "stop": lambda _: _signal_this_thread(signal.SIGSTOP),
    "raise": _raise,
    "sleep": lambda seconds: time.sleep(float(seconds)),
}
