"""The open sockets of this process, for the metrics."""

from weakref import WeakSet

# One that ends without a word, because its task was cancelled, does not stay open for ever.
_open: WeakSet[object] = WeakSet()


def opened(socket: object) -> None:
    _open.add(socket)


def closed(socket: object) -> None:
    _open.discard(socket)


def open_now() -> int:
    return len(_open)
