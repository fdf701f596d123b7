"""Pages without a browser that follow docs/protocol.md.

They reconnect with jitter, poll while they have no socket and every 15 s otherwise, keep the newest state, and
acknowledge the end with `seen`. All pages run in the event loop of one thread, so that a test can act meanwhile.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.storm.site import ENDED, Site
from tests.storm.transition_log import Step

RESYNC_EVERY, POLL_EVERY, PING_EVERY = 15.0, 1.0, 25.0
SILENCE, STABLE_AFTER, LONGEST_PAUSE, CONNECT_GRACE = 60.0, 10.0, 15.0, 2.0
# Pages are not all opened at the same moment.
OPEN_EVERY = 0.1
# A page polls every 15 s; one second is for the response.
MAX_LAG_SECONDS = RESYNC_EVERY + 1


@dataclass(frozen=True)
class Outage:
    """When the web process was down (epoch seconds)."""

    began: float
    ended: float


@dataclass
class Page:
    """Follow these exports: one by its own socket, several by the socket of all exports of the user."""

    site: Site
    user: int
    export_ids: Sequence[str]
    chance: Random
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    received: list[tuple[float, str, int]] = field(default_factory=list)
    sockets: int = 0
    _socket: ClientConnection | None = None
    _unacknowledged: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    async def run(self, client: httpx.AsyncClient, *, open_after: float) -> None:
        """Open after `open_after` seconds and run until cancelled."""
        self._is_lost = asyncio.Event()
        await asyncio.sleep(open_after)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._poll(client))

    def receive(self, state: dict[str, Any]) -> None:
        """Keep a state unless it is older than the known one."""
        before = self.known.get(state["id"])
        if state["id"] not in self.export_ids or (before is not None and state["seq"] < before["seq"]):
            return
        self.known[state["id"]] = state
        self.received.append((time.time(), state["id"], state["seq"]))
        is_new = before is None or before["status"] != state["status"]
        if is_new and state["status"] in ("ready", "failed"):
            self._unacknowledged.add(state["id"])

    def lag(self, change: Step, outages: Iterable[Outage]) -> float:
        """Return how many seconds after a change this page received it.

        If the web process was down before the page had to know, the seconds count from the end of that outage.
        """
        since = max(change.at.timestamp(), self.received[0][0] if self.received else 0.0)
        for outage in outages:
            if since < outage.ended and since + RESYNC_EVERY > outage.began:
                since = outage.ended
        knew = (at for at, export_id, seq in self.received if export_id == change.request_id and seq >= change.seq)
        return max(next(knew, float("inf")) - since, 0.0)

    # WebSocket

    async def _follow(self) -> None:
        attempt = 0
        while True:
            began = time.monotonic()
            with suppress(OSError, WebSocketException, TimeoutError):
                await self._listen()
            if self.is_open and time.monotonic() - began >= STABLE_AFTER:
                attempt = 0
            self._socket = None
            self._is_lost.set()
            await asyncio.sleep(self.chance.uniform(0, min(LONGEST_PAUSE, 2**attempt)))
            attempt += 1

    async def _listen(self) -> None:
        origin = f"http://{self.site.address}:{self.site.port}"
        path = "/ws/exports/" if len(self.export_ids) > 1 else f"/ws/exports/{self.export_ids[0]}/"
        headers = {"Cookie": f"sessionid={self.site.sessions[self.user]}"}
        options = {"origin": origin, "additional_headers": headers, "open_timeout": 10, "ping_interval": None}
        async with connect(f"ws{origin[4:]}{path}", proxy=None, **options) as socket:
            self._socket = socket
            self._is_lost.clear()
            self.sockets += 1
            pinging = asyncio.create_task(_ping(socket))
            try:
                while message := json.loads(await asyncio.wait_for(socket.recv(), SILENCE)):
                    if message["type"] == "export.changed":
                        self.receive(message["export"])
                        await self._acknowledge(socket)
            finally:
                pinging.cancel()

    async def _acknowledge(self, socket: ClientConnection) -> None:
        for export_id in list(self._unacknowledged):
            await socket.send(json.dumps({"type": "seen", "id": export_id}))
            self._unacknowledged.discard(export_id)

    # Polling

    async def _poll(self, client: httpx.AsyncClient) -> None:
        # A page is rendered with the first state, and its socket needs a moment to open.
        await asyncio.sleep(CONNECT_GRACE)
        failures = 0
        while True:
            try:
                pauses = [await self._read(client, export_id) for export_id in self._active()]
                pause, failures = max(pauses, default=0.0), 0
                for export_id in list(self._unacknowledged):
                    (await client.post(f"/exports/{export_id}/seen/")).raise_for_status()
                    self._unacknowledged.discard(export_id)
            except httpx.HTTPError:
                pause = self.chance.uniform(0, min(LONGEST_PAUSE, 2**failures))
                failures += 1
            await asyncio.sleep(pause)
            if self.is_open:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_lost.wait(), max(RESYNC_EVERY - pause, 0))
            else:
                await asyncio.sleep(max(POLL_EVERY - pause, 0))

    def _active(self) -> list[str]:
        return [each for each in self.export_ids if self.known.get(each, {}).get("status") not in ENDED]

    async def _read(self, client: httpx.AsyncClient, export_id: str) -> float:
        """Get a state, and return the seconds of Retry-After. Raise HTTPError."""
        response = (await client.get(f"/exports/{export_id}/")).raise_for_status()
        self.receive(response.json())
        return float(response.headers.get("Retry-After", 0))


async def _ping(socket: ClientConnection) -> None:
    with suppress(WebSocketException):
        while True:
            await asyncio.sleep(PING_EVERY)
            await socket.send('{"type": "ping"}')


class OpenPages:
    """Many pages, open inside the `with` block."""

    def __init__(self, site: Site, pages: Sequence[Page]) -> None:
        self.site, self.pages = site, pages
        self._error: BaseException | None = None
        self._leave = Event()
        self._thread = Thread(target=self._run, name="pages", daemon=True)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._thread.start()
            opened.callback(self._thread.join)
            opened.callback(self._leave.set)
            self.site.wait_until(lambda: self.open_sockets() == len(self.pages), "not all pages are open", pause=0.05)
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._open.close()
        if kind is None:
            self.open_sockets()

    def open_sockets(self) -> int:
        """Return how many pages have a socket. Raise the exception that ended the thread of the pages, if any."""
        if self._error is not None:
            raise self._error
        return sum(page.is_open for page in self.pages)

    def are_up_to_date(self) -> bool:
        """Return True if every page shows the present seq and status of all exports that it follows."""
        query = "SELECT id::text, seq, status FROM exports_filerequest"
        rows = {export_id: (seq, status) for export_id, seq, status in self.site.sql(query)}
        shown = [(page.known.get(each), rows[each]) for page in self.pages for each in page.export_ids]
        self.open_sockets()  # raises the exception of the thread, if any
        return all(state and (state["seq"], state["status"]) == row for state, row in shown)

    def longest_lag(self, steps: Iterable[Step], outages: Iterable[Outage] = ()) -> float:
        """Return the longest `Page.lag` in seconds of all changes of status."""
        changes = [step for step in steps if step.status != step.old_status]
        outages = list(outages)
        follow = [(page, step) for page in self.pages for step in changes if step.request_id in page.export_ids]
        return max((page.lag(step, outages) for page, step in follow), default=0.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._run_pages())
        except BaseException as error:
            self._error = error

    async def _run_pages(self) -> None:
        limits = httpx.Limits(max_connections=40)
        clients = [
            httpx.AsyncClient(**self.site.client_options(user), limits=limits)
            for user in range(len(self.site.sessions))
        ]
        pages = [
            asyncio.create_task(page.run(clients[page.user], open_after=number * OPEN_EVERY))
            for number, page in enumerate(self.pages)
        ]
        while not self._leave.is_set() and not any(page.done() for page in pages):
            await asyncio.sleep(0.05)
        for page in pages:
            page.cancel()
        # A cancelled page closes its socket first. Wait for all, so that none is cancelled a second time meanwhile.
        ends = await asyncio.gather(*pages, return_exceptions=True)
        for client in clients:
            await client.aclose()
        for error in ends:
            if not isinstance(error, asyncio.CancelledError):
                raise error or RuntimeError("A page ended although it was not cancelled.")
