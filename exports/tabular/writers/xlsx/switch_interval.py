"""Turns of threads, shorter than Python's 5 ms: what lets a deflate beside go on while the rows are made.

A thread that deflates gives the interpreter's lock away and needs it back after each piece of its output. While another
one computes, it waits for a switch interval each time, which is as long as the deflate itself takes.
"""

import sys
from threading import Lock
from typing import Final

# Seconds, see sys.setswitchinterval.
SHORT: Final = 0.0005

_lock = Lock()
_users = 0
_before = SHORT


def shorten() -> None:
    """Let the threads of this process take short turns until `restore` was called as often as this."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, SHORT))


def restore() -> None:
    """What was before. An interval that somebody else has set meanwhile stays."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and abs(sys.getswitchinterval() - SHORT) < SHORT / 100:
            sys.setswitchinterval(_before)
