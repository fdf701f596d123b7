"""An ASGI middleware that limits what one HTTP request costs the process, under any server."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from exports.asgi.daphne_transport import drop, unread_bytes
from exports.conf import config

log = logging.getLogger("exports.asgi.limits")

# Any: the values of ASGI's scopes and messages.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

WINDOW_BYTES = 512 * 1024
STALL_SECONDS = 120.0
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.001, 0.25
TOO_LONG = b"The body of this request is too long.\n"

PLAIN_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]
"""Headers of a refusal in plain text before Django and its middleware are reached."""


class BodyTooLong(Exception):
    """The request has more than EXPORTS["MAX_BODY_BYTES"]."""


class RequestLimits:
    """Wrap the HTTP application of a site: `RequestLimits(get_asgi_application())`.

    - A body of more than EXPORTS["MAX_BODY_BYTES"] is answered with 413, as soon as its length is known.
    - At most WINDOW_BYTES and one block of a response wait for a client that reads slowly, and one that reads nothing
      for STALL_SECONDS is disconnected.
    - A response that ends before its Content-Length ends the connection: no client takes a part for the whole file, or
      the next response for the rest of it.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        response = _Response(send, has_body=scope["method"] != "HEAD")
        try:
            await self.application(scope, _limited(scope, receive), response.send)
        except BodyTooLong:
            headers = [*PLAIN_HEADERS, (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": TOO_LONG})
        except BaseException:
            # daphne would append its error page to what was sent already.
            response.drop_if_begun()
            raise


def _limited(scope: Message, receive: Receive) -> Receive:
    """Return a `receive` that raises BodyTooLong, at the first call if Content-Length already says so."""
    limit, received = config.MAX_BODY_BYTES, 0
    declared = max((int(value) for name, value in scope["headers"] if name == b"content-length"), default=0)

    async def limited() -> Message:
        nonlocal received
        if declared > limit:
            raise BodyTooLong
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise BodyTooLong
        return message

    return limited


class _Response:
    """Passes a response on, no faster than the client reads it."""

    def __init__(self, send: Send, *, has_body: bool) -> None:
        self._send = send
        self._has_body = has_body
        self._left: int | None = None
        self._is_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_begun = True
            lengths = [int(value) for name, value in message.get("headers", ()) if name.lower() == b"content-length"]
            if lengths and self._has_body and message["status"] != 304:
                self._left = lengths[0]
        elif message["type"] == "http.response.body" and self._left is not None:
            self._left -= len(message.get("body", b""))
            if self._left > 0 and not message.get("more_body", False):
                drop(self._send)
                return
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._send(message)
        except TimeoutError:
            self._give_up()
        await self._wait_until_read()

    def drop_if_begun(self) -> None:
        if self._is_begun:
            drop(self._send)

    async def _wait_until_read(self) -> None:
        pause, least, changed_at = FIRST_PAUSE_SECONDS, math.inf, time.monotonic()
        while (unread := unread_bytes(self._send)) > WINDOW_BYTES:
            if unread < least:
                least, changed_at = unread, time.monotonic()
            elif time.monotonic() - changed_at > STALL_SECONDS:
                self._give_up()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    def _give_up(self) -> None:
        log.info("a client is disconnected: it has read nothing for %d s", STALL_SECONDS)
        drop(self._send)
        raise asyncio.CancelledError
