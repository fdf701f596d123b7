"""Pages without a browser, as docs/protocol.md wants its clients: they come back with jitter, ask while there is no
socket and every 15 s even then, keep the newest state, and say that its end was seen.

All of them live in the event loop of one thread, so that a test may kill and wait beside them.
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

from tests.storm.journal import Step
from tests.storm.site import ENDED, TOKEN, Site

RESYNC_EVERY, POLL_EVERY, PING_EVERY = 15.0, 1.0, 25.0
SILENCE, STABLE_AFTER, LONGEST_PAUSE, CONNECT_GRACE = 60.0, 10.0, 15.0, 2.0
# People do not open their pages in the same moment.
OPENED_EVERY = 0.1
# A page asks every 15 s, and the answer takes its time.
CONVERGED = RESYNC_EVERY + 1


@dataclass(frozen=True)
class Outage:
    """When the web process was away: epoch seconds."""

    began: float
    ended: float


@dataclass
class Page:
    """Follows these exports: one by its own socket, several by the socket of all that its person has asked for."""

    site: Site
    person: int
    export_ids: Sequence[str]
    chance: Random
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard: list[tuple[float, str, int]] = field(default_factory=list)
    sockets: int = 0
    _socket: ClientConnection | None = None
    _unsaid: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    async def live(self, client: httpx.AsyncClient, *, begin: float) -> None:
        """Opens after so many seconds."""
        self._is_lost = asyncio.Event()
        await asyncio.sleep(begin)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._ask(client))

    def learn(self, state: dict[str, Any]) -> None:
        """Newest wins."""
        before = self.known.get(state["id"])
        if state["id"] not in self.export_ids or (before is not None and state["seq"] < before["seq"]):
            return
        self.known[state["id"]] = state
        self.heard.append((time.time(), state["id"], state["seq"]))
        is_new = before is None or before["status"] != state["status"]
        if is_new and state["status"] in ("ready", "failed"):
            self._unsaid.add(state["id"])

    def lag(self, change: Step, outages: Iterable[Outage]) -> float:
        """How many seconds this page was behind a change: since it happened, or since the web process was back that
        went away before the page had to know."""
        since = max(change.at.timestamp(), self.heard[0][0] if self.heard else 0.0)
        for outage in outages:
            if since < outage.ended and since + RESYNC_EVERY > outage.began:
                since = outage.ended
        knew = (at for at, export_id, seq in self.heard if export_id == change.request_id and seq >= change.seq)
        return max(next(knew, float("inf")) - since, 0.0)

    # The socket

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
        origin = f"http://127.0.0.1:{self.site.port}"
        path = "/ws/exports/" if len(self.export_ids) > 1 else f"/ws/exports/{self.export_ids[0]}/"
        headers = {"Cookie": f"sessionid={self.site.sessions[self.person]}"}
        options = {"origin": origin, "additional_headers": headers, "open_timeout": 10, "ping_interval": None}
        async with connect(f"ws{origin[4:]}{path}", proxy=None, **options) as socket:
            self._socket = socket
            self._is_lost.clear()
            self.sockets += 1
            pinging = asyncio.create_task(_ping(socket))
            try:
                while message := json.loads(await asyncio.wait_for(socket.recv(), SILENCE)):
                    if message["type"] == "export.changed":
                        self.learn(message["export"])
                        await self._say_seen(socket)
            finally:
                pinging.cancel()

    async def _say_seen(self, socket: ClientConnection) -> None:
        for export_id in list(self._unsaid):
            await socket.send(json.dumps({"type": "seen", "id": export_id}))
            self._unsaid.discard(export_id)

    # By GET

    async def _ask(self, client: httpx.AsyncClient) -> None:
        # What it shows first came with the page itself; the socket has a moment to open.
        await asyncio.sleep(CONNECT_GRACE)
        failures = 0
        while True:
            try:
                pauses = [await self._read(client, export_id) for export_id in self._under_way()]
                pause, failures = max(pauses, default=0.0), 0
                for export_id in list(self._unsaid):
                    (await client.post(f"/exports/{export_id}/seen/")).raise_for_status()
                    self._unsaid.discard(export_id)
            except httpx.HTTPError:
                pause = self.chance.uniform(0, min(LONGEST_PAUSE, 2**failures))
                failures += 1
            await asyncio.sleep(pause)
            if self.is_open:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_lost.wait(), max(RESYNC_EVERY - pause, 0))
            else:
                await asyncio.sleep(max(POLL_EVERY - pause, 0))

    def _under_way(self) -> list[str]:
        return [each for each in self.export_ids if self.known.get(each, {}).get("status") not in ENDED]

    async def _read(self, client: httpx.AsyncClient, export_id: str) -> float:
        """Returns after how many seconds the server wants to be asked again. Raises HTTPError."""
        answer = (await client.get(f"/exports/{export_id}/")).raise_for_status()
        self.learn(answer.json())
        return float(answer.headers.get("Retry-After", 0))


async def _ping(socket: ClientConnection) -> None:
    with suppress(WebSocketException):
        while True:
            await asyncio.sleep(PING_EVERY)
            await socket.send('{"type": "ping"}')


class Crowd:
    """Many pages, open inside the `with`."""

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
            self.site.until(lambda: self.open() == len(self.pages), "not all pages are open", pause=0.05)
            self._open = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._open.close()
        if kind is None:
            self.open()

    def open(self) -> int:
        """How many have a socket. Raises what ended the thread of the pages."""
        if self._error is not None:
            raise self._error
        return sum(page.is_open for page in self.pages)

    def are_right(self) -> bool:
        """Whether every page shows what the row says now, of all that it follows."""
        query = "SELECT id::text, seq, status FROM exports_filerequest"
        rows = {export_id: (seq, status) for export_id, seq, status in self.site.sql(query)}
        shown = [(page.known.get(each), rows[each]) for page in self.pages for each in page.export_ids]
        return self.open() >= 0 and all(state and (state["seq"], state["status"]) == row for state, row in shown)

    def longest_lag(self, steps: Iterable[Step], outages: Iterable[Outage] = ()) -> float:
        """By how many seconds the slowest page was behind a change of status: see Page.lag."""
        changes = [step for step in steps if step.status != step.old_status]
        outages = list(outages)
        follow = [(page, step) for page in self.pages for step in changes if step.request_id in page.export_ids]
        return max((page.lag(step, outages) for page, step in follow), default=0.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            self._error = error

    async def _live(self) -> None:
        limits = httpx.Limits(max_connections=40)
        clients = [
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{self.site.port}",
                cookies={"sessionid": session, "csrftoken": TOKEN},
                headers={"Accept": "application/json", "X-CSRFToken": TOKEN},
                timeout=10,
                limits=limits,
                trust_env=False,
                verify=False,
            )
            for session in self.site.sessions
        ]
        pages = [
            asyncio.create_task(page.live(clients[page.person], begin=number * OPENED_EVERY))
            for number, page in enumerate(self.pages)
        ]
        while not self._leave.is_set() and not any(page.done() for page in pages):
            await asyncio.sleep(0.05)
        for page in pages:
            page.cancel()
        # All of them: a page that is cancelled says goodbye first, and must not be cancelled again meanwhile.
        ends = await asyncio.gather(*pages, return_exceptions=True)
        for client in clients:
            await client.aclose()
        for error in ends:
            if not isinstance(error, asyncio.CancelledError):
                raise error or RuntimeError("A page went away by itself.")
