"""How much daphne holds in memory for a client that does not read. Checked against daphne 4.2.3 and Twisted 26.10.0.

daphne accepts everything that an application sends and never waits, so this looks into Twisted's transport. Under
another server, or where a later version has other attributes, it finds nothing and returns 0: correct, but the server
then has to limit the memory itself, as uvicorn does by letting `send` wait.
"""

from collections.abc import Callable
from typing import Any


def unread_bytes(send: Callable[..., Any]) -> int:
    """Return the bytes that wait in this process for the client behind an ASGI `send`."""
    # `send` is functools.partial(server.handle_reply, protocol); Twisted keeps what is not sent yet in two buffers.
    protocol = next(iter(getattr(send, "args", ())), None)
    transport = getattr(protocol, "transport", None)
    return len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)
