"""The connection behind daphne's `send`. Checked against daphne 4.2.3 and Twisted 26.10.0.

daphne accepts everything that an application sends and never waits, so this looks into Twisted's transport. Under
another server, or where a later version has other attributes, it finds no transport: correct, but the server then has
to limit the memory itself, as uvicorn does by letting `send` wait.
"""

from collections.abc import Callable
from typing import Any


def unread_bytes(send: Callable[..., Any]) -> int:
    """Return the bytes that wait in this process for the client behind an ASGI `send`."""
    # Twisted keeps what is not sent yet in two buffers.
    transport = _transport(send)
    return len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)


def drop(send: Callable[..., Any]) -> None:
    """Close the connection at once, without what the client has not read. Does nothing under another server."""
    transport = _transport(send)
    if transport is not None:
        transport.abortConnection()


# Any: a transport of Twisted, which is not imported here.
def _transport(send: Callable[..., Any]) -> Any:
    # `send` is functools.partial(server.handle_reply, protocol).
    protocol = next(iter(getattr(send, "args", ())), None)
    return getattr(protocol, "transport", None)
