"""Follow one export until it ends: by a WebSocket while there is one, else by polling."""

import asyncio
import time
from typing import Any, Final

import websockets

from exports.client.errors import ClientError, Denied
from exports.client.progress import OnProgress, Progress
from exports.client.site import Site, backoff, retry_after, state_in
from exports.client.sockets import PING_SECONDS, Inbox

ACTIVE: Final = ("queued", "running")

# As docs/protocol.md asks of clients.
POLL_SECONDS: Final = 1.0
POLL_BESIDE_SOCKET_SECONDS: Final = 15.0
SILENCE_SECONDS: Final = 5.0
STABLE_SECONDS: Final = 10.0
TOO_MANY_SOCKETS_SECONDS: Final = 60.0
LOGGED_OUT, TOO_MANY_SOCKETS = 4401, 4430


class Follower:
    """Keeps the newest STATE of one export. Any: values of JSON."""

    def __init__(self, site: Site, state: dict[str, Any], on_progress: OnProgress) -> None:
        self.state = state
        self._site, self._on_progress = site, on_progress
        self._etag = ""
        self._polled_at = time.monotonic()
        self._poll_pause = POLL_SECONDS

    async def follow(self) -> dict[str, Any]:
        """Return the STATE in which the export has ended. Raises what `Site.request` does."""
        self._on_progress(Progress.of_state(self.state))
        attempt = 0
        while self._is_active:
            opened_at, pause = time.monotonic(), backoff(attempt)
            try:
                await self._listen()
            except (OSError, TimeoutError, websockets.WebSocketException) as error:
                closed = error.rcvd.code if isinstance(error, websockets.ConnectionClosed) and error.rcvd else None
                if closed == LOGGED_OUT:
                    raise Denied("The token is not valid any more.", code="not_signed_in") from error
                if closed == TOO_MANY_SOCKETS:
                    pause = TOO_MANY_SOCKETS_SECONDS
            attempt = 0 if time.monotonic() - opened_at > STABLE_SECONDS else attempt + 1
            await self._poll_for(pause)
        return self.state

    @property
    def _is_active(self) -> bool:
        return self.state["status"] in ACTIVE

    async def _listen(self) -> None:
        """Read the socket until the export has ended. Raises an OSError or a WebSocketException when it breaks."""
        async with self._site.sockets.listen(self.state["id"]) as (socket, inbox):
            if socket.is_shared:
                # It tells what changes from now on, and of what was before only some.
                await self._poll()
            while self._is_active:
                try:
                    await self._receive(inbox)
                except TimeoutError:
                    if socket.has_ended:
                        raise
                    # It may be silent because it is cut: the answer to a ping, or the end of the export, must come.
                    await socket.ping()
                    await self._receive(inbox)
                await socket.ping(unless_within=PING_SECONDS)
                if time.monotonic() - self._polled_at > POLL_BESIDE_SOCKET_SECONDS:
                    await self._poll()

    async def _receive(self, inbox: Inbox) -> None:
        message = await asyncio.wait_for(inbox.get(), SILENCE_SECONDS)
        if isinstance(message, Exception):
            raise message
        if message["type"] == "export.changed":
            self._take(message["export"])
        elif message["type"] == "export.removed":
            raise ClientError("The export was deleted.", code="not_found")

    async def _poll_for(self, seconds: float) -> None:
        """Poll until these seconds are over or the export has ended, once at least."""
        end = time.monotonic() + seconds
        while self._is_active:
            await self._poll()
            left = end - time.monotonic()
            if left <= 0 or not self._is_active:
                return
            await asyncio.sleep(min(self._poll_pause, left))

    async def _poll(self) -> None:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        response = await self._site.request("GET", self.state["urls"]["self"], headers=headers, allowed=(304, 410))
        self._polled_at = time.monotonic()
        self._poll_pause = max(retry_after(response), POLL_SECONDS)
        if response.status_code != 304:
            self._etag = response.headers.get("ETag", "")
            self._take(state_in(response), is_read=True)

    def _take(self, state: dict[str, Any], *, is_read: bool = False) -> None:
        """Keep a STATE, unless it is that of a message and older than the one that is known.

        One that was read counts also with a smaller number: a backup of the site's database has been restored.
        """
        if state["seq"] < self.state["seq"] and not is_read:
            return
        is_new = state["seq"] != self.state["seq"]
        self.state = state
        if is_new:
            self._on_progress(Progress.of_state(state))
