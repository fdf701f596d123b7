"""The open sockets of this process: how many there are, and what waits for one that does not read."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

# One that ends without a word, because its task was cancelled, does not stay open for ever.
_open: WeakSet[object] = WeakSet()


def opened(socket: object) -> None:
    _open.add(socket)


def closed(socket: object) -> None:
    _open.discard(socket)


def open_now() -> int:
    return len(_open)


def unread_bytes(send: Callable[..., Any]) -> int:
    """What the server still holds for the client behind this ASGI `send`.

    daphne takes all it is given and never waits, so this looks into its transport. A server that lets `send` wait until
    its client has read, as uvicorn does, needs no look: 0.
    """
    protocol = next(iter(getattr(send, "args", ())), None)
    transport = getattr(protocol, "transport", None)
    return len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)
