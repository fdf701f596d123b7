"""The WebSockets of a client. Followers of many exports share one, since a site allows few to each user."""

import asyncio
import json
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect

SOCKETS: Final = "/ws/exports/"
PING: Final = '{"type": "ping"}'
PING_SECONDS: Final = 25.0

# Any: values of JSON. An exception ends the socket.
Inbox = asyncio.Queue[dict[str, Any] | Exception]


class Connect(connect):
    """Opens a socket and follows no redirect: websockets 15 and 16 send the token along, also to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Socket:
    """One connection, which is read from the start, and the inboxes of those who listen."""

    def __init__(self, connecting: Connect, *, is_shared: bool) -> None:
        self.is_shared = is_shared
        self.has_ended = False
        self._connecting = connecting
        self._connection: ClientConnection | None = None
        self._inboxes: dict[str, list[Inbox]] = defaultdict(list)
        self._pinged_at = 0.0
        self._awaits_pong = False
        self._reading = asyncio.create_task(self._read())

    def join(self, export_id: str) -> Inbox:
        """Return the inbox of a listener, with the messages about this export from now on and all pongs."""
        inbox = Inbox()
        self._inboxes[export_id].append(inbox)
        return inbox

    async def leave(self, export_id: str, inbox: Inbox) -> None:
        """Forget a listener, and close the connection behind the last one."""
        self._inboxes[export_id].remove(inbox)
        if not any(self._inboxes.values()):
            self.has_ended = True
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def ping(self, *, unless_within: float = 0.0) -> None:
        """Send a ping, unless one is not answered yet, or was sent within these seconds."""
        is_due = not self._awaits_pong and time.monotonic() - self._pinged_at >= unless_within
        if is_due and self._connection is not None:
            self._awaits_pong, self._pinged_at = True, time.monotonic()
            await self._connection.send(PING)

    async def _read(self) -> None:
        try:
            async with self._connecting as self._connection:
                await self.ping()
                while True:
                    self._deliver(json.loads(await self._connection.recv()))
        except Exception as error:
            self.has_ended = True
            for inbox in self._all_inboxes():
                inbox.put_nowait(error)

    def _deliver(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "export.changed", "export": {"id": export_id}} | {"type": "export.removed", "id": export_id}:
                inboxes = self._inboxes.get(export_id, [])
            case {"type": "pong"}:
                self._awaits_pong, inboxes = False, self._all_inboxes()
            case _:
                inboxes = []
        for inbox in inboxes:
            inbox.put_nowait(message)

    def _all_inboxes(self) -> list[Inbox]:
        return [inbox for inboxes in self._inboxes.values() for inbox in inboxes]


class Sockets:
    """The sockets of one client: one for the export that is followed first, and one for all others meanwhile."""

    def __init__(self, url: httpx.URL, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None) -> None:
        self._url, self._headers = url, headers
        # What websockets takes as `ssl`: a context or True for wss, None for ws.
        self._ssl = (ssl_context or True) if url.scheme == "https" else None
        self._has_own = False
        self._shared: Socket | None = None

    def url_of(self, path: str = "") -> str:
        """Return the URL of the socket of all exports of the user, or of one whose id is the path: `<id>/`."""
        scheme = "wss" if self._url.scheme == "https" else "ws"
        return str(self._url.copy_with(scheme=scheme, path=f"{self._url.path.rstrip('/')}{SOCKETS}{path}"))

    @asynccontextmanager
    async def listen(self, export_id: str) -> AsyncIterator[tuple[Socket, Inbox]]:
        """Listen to one export inside. How the connection ends is in the inbox."""
        socket = self._shared_one() if self._has_own else self._open(f"{export_id}/", is_shared=False)
        self._has_own = self._has_own or not socket.is_shared
        inbox = socket.join(export_id)
        try:
            yield socket, inbox
        finally:
            self._has_own = self._has_own and socket.is_shared
            await socket.leave(export_id, inbox)

    def _shared_one(self) -> Socket:
        if self._shared is None or self._shared.has_ended:
            self._shared = self._open("", is_shared=True)
        return self._shared

    def _open(self, path: str, *, is_shared: bool) -> Socket:
        # The server answers pings of the protocol's own kind, not those of WebSocket.
        connecting = Connect(
            self.url_of(path), additional_headers=self._headers, ping_interval=None, max_size=None, ssl=self._ssl
        )
        return Socket(connecting, is_shared=is_shared)
