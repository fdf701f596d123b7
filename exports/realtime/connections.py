"""The number of open sockets of this process, for the metrics."""

from weakref import WeakSet

# Weak, because a socket whose task was cancelled is never reported as closed.
_open: WeakSet[object] = WeakSet()


def opened(socket: object) -> None:
    """Count a socket from now on."""
    _open.add(socket)


def closed(socket: object) -> None:
    """Stop counting a socket; does nothing for one that is not counted."""
    _open.discard(socket)


def open_now() -> int:
    """Return how many sockets are open in this process."""
    return len(_open)
