"""The open sockets of this process: their number for the metrics, and how many wait for a token."""

from weakref import WeakSet

# Weak, because a socket whose task was cancelled is never reported as closed.
_open: WeakSet[object] = WeakSet()
_waiting: WeakSet[object] = WeakSet()


def opened(socket: object) -> None:
    """Count a socket from now on."""
    _open.add(socket)
    _waiting.discard(socket)


def closed(socket: object) -> None:
    """Stop counting a socket; does nothing for one that is not counted."""
    _open.discard(socket)
    _waiting.discard(socket)


def waits(socket: object) -> None:
    """Count a socket that waits for a token until it is `opened` or `closed`."""
    _waiting.add(socket)


def waiting_now() -> int:
    """Return how many sockets wait for a token in this process."""
    return len(_waiting)


def open_now() -> int:
    """Return how many sockets are open in this process."""
    return len(_open)
