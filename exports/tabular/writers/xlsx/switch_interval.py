"""A shorter switch interval of Python's threads, so that a thread that compresses keeps pace with the main thread.

zlib releases the interpreter's lock and needs it back after each piece of its output. While another thread computes, it
waits for a switch interval each time: 5 ms by default, as long as the compression of the piece itself takes.
"""

import sys
from threading import Lock
from typing import Final

SHORT_SECONDS: Final = 0.0005

_lock = Lock()
_users = 0
_before = SHORT_SECONDS


def shorten() -> None:
    """Shorten the interval of this process until `restore` was called as often as this function."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, SHORT_SECONDS))


def restore() -> None:
    """Set the former interval again, unless other code has changed the interval meanwhile."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and abs(sys.getswitchinterval() - SHORT_SECONDS) < SHORT_SECONDS / 100:
            sys.setswitchinterval(_before)
