"""Start daphne so that no request body costs it much: `python -m exports.asgi.daphne OPTIONS APPLICATION`.

The options are daphne's. daphne itself stores a body of any length before it calls the application, and Twisted parses
forms in the event loop: a megabyte of line breaks stops every other request for two seconds. Checked against daphne
4.2.3 and Twisted 26.10.0.
"""

import asyncio
from typing import Any

from daphne import server
from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory, WebRequest

from exports.conf import config
from exports.signing import SIGNED

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LINGER_SECONDS = 2.0
HANDSHAKE_SECONDS = 30.0


class LimitedRequest(WebRequest):  # type: ignore[misc]  # daphne has no annotations
    """A request whose body is neither parsed nor longer than EXPORTS["MAX_BODY_BYTES"]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._is_refused = False
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        self._refuse_above_limit(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        self._refuse_above_limit(self.content.tell() + len(data))
        if not self._is_refused:
            super().handleContentChunk(data)

    def requestReceived(self, *args: bytes) -> None:
        if not self._is_refused:
            super().requestReceived(*args)

    def _refuse_above_limit(self, length: int) -> None:
        if length <= config.MAX_BODY_BYTES or self._is_refused:
            return
        self._is_refused = True
        # Or Twisted would ask the client to continue.
        self.requestHeaders.removeHeader(b"Expect")
        transport = self.channel.transport
        transport.write(REFUSAL)
        # Until the client has read the answer, what it still sends is thrown away: closing now would reset the
        # connection, and with it the answer.
        asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abortConnection)


class LimitedFactory(HTTPFactory):  # type: ignore[misc]  # daphne has no annotations
    """Makes connections whose requests are limited."""

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = LimitedRequest
        return protocol


class LimitedServer(server.Server):  # type: ignore[misc]  # daphne has no annotations
    """A server whose access log has no links to files, and whose sockets may wait until they are admitted."""

    # Any: the arguments of daphne's own server.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in ("websocket_connect_timeout", "websocket_handshake_timeout"):
            # The default of its option is 5 s.
            kwargs[name] = max(kwargs[name], HANDSHAKE_SECONDS)
        super().__init__(*args, **kwargs)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        super().log_action(protocol, action, details | {"path": SIGNED.sub("(signed)", details["path"])})


if __name__ == "__main__":
    # Server.run looks the factory up here; it has no other place for it.
    server.HTTPFactory = LimitedFactory
    CommandLineInterface.server_class = LimitedServer
    CommandLineInterface.entrypoint()
