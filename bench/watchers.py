"""Clients of bench/live in one event loop: sockets, streams and polls, as light as possible: servers are measured.

They note when they first heard of which number, by the machine's monotonic clock, and connect again as our pages do.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

STATE = re.compile(rb'"(?:seq|current|result)": ?(\d+)')
HEADER_LINE = b"%s: %s\r\n"
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 15.0
OPEN_WITHIN_SECONDS = 20.0
PING = bytes([0x89, 0x80, 0, 0, 0, 0])


@dataclass
class Heard:
    """What one client heard: the numbers of the states with their times, and how it connected."""

    numbers: list[tuple[float, int]] = field(default_factory=list)
    live_at: float | None = None
    tries: int = 0
    ends: int = 0

    def note(self, number: int) -> None:
        now = time.monotonic()
        if self.live_at is None:
            self.live_at = now
        self.numbers.append((now, number))


class Connection(asyncio.Protocol):
    """One connection; `scan` reads what arrived and returns what it has not used."""

    def __init__(self, request: bytes, heard: Heard) -> None:
        self.request, self.heard = request, heard
        self.buffer = b""
        self.is_open = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if head.split(b" ", 2)[1] not in (b"101", b"200"):
                self.transport.close()
                return
            self.is_open, self.buffer = True, rest
        self.buffer = self.scan(self.buffer)

    def scan(self, data: bytes) -> bytes:
        raise NotImplementedError


class WebSocket(Connection):
    """Reads the frames of a server, which are not masked and, from ours, not fragmented."""

    def scan(self, data: bytes) -> bytes:
        while len(data) >= 2:
            opcode, length, start = data[0] & 0x0F, data[1], 2
            if length == 126:
                length, start = int.from_bytes(data[2:4]), 4
            elif length == 127:
                length, start = int.from_bytes(data[2:10]), 10
            if len(data) < start or len(data) < start + length:
                break
            body, data = data[start : start + length], data[start + length :]
            if opcode == 1 and (found := STATE.search(body)):
                self.heard.note(int(found[1]))
            elif opcode == 9:
                # A mask of zeros leaves the body as it is.
                self.transport.write(bytes([0x8A, 0x80 | len(body), 0, 0, 0, 0]) + body)
        return data


class EventStream(Connection):
    """Reads server-sent events, whatever the chunks of the response."""

    def scan(self, data: bytes) -> bytes:
        if self.heard.live_at is None:
            self.heard.live_at = time.monotonic()
        *events, rest = data.split(b"\n\n")
        for event in events:
            if found := STATE.search(event):
                self.heard.note(int(found[1]))
        return rest


class Watchers:
    """Clients of one server, each with a path and a session."""

    def __init__(self, port: int, kind: type[Connection], paths: list[str], cookies: list[str]) -> None:
        self.port, self.kind = port, kind
        self.requests = [request_of(port, path, cookie, kind) for path, cookie in zip(paths, cookies, strict=True)]
        self.heard = [Heard() for _ in paths]
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, *, delay: Callable[[int], float]) -> None:
        """Let each client connect after a delay, and again whenever its connection ends."""
        self.tasks = [asyncio.create_task(self._run(place, delay(place))) for place in range(len(self.requests))]

    async def all_live(self, seconds: float) -> float | None:
        """Wait until all clients have heard of a state. Return when the last did, or None if not all did in time."""
        give_up_at = time.monotonic() + seconds
        while any(each.live_at is None for each in self.heard):
            if time.monotonic() > give_up_at:
                return None
            await asyncio.sleep(0.05)
        return max(each.live_at for each in self.heard if each.live_at is not None)

    def forget(self) -> None:
        """Count from now on, as if no client were live."""
        for each in self.heard:
            each.live_at, each.tries, each.ends = None, 0, 0
            each.numbers.clear()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _run(self, place: int, delay: float) -> None:
        heard, failures = self.heard[place], 0
        await asyncio.sleep(delay)
        while True:
            heard.tries += 1
            began = time.monotonic()
            await self._connection(place)
            heard.ends += 1
            failures = 0 if time.monotonic() - began > 10 else failures + 1
            await asyncio.sleep(random.uniform(0, min(LAST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**failures)))

    async def _connection(self, place: int) -> None:
        """Return when the connection is closed, or was not open in time."""
        loop = asyncio.get_running_loop()
        try:
            transport, connection = await loop.create_connection(
                lambda: self.kind(self.requests[place], self.heard[place]), "127.0.0.1", self.port
            )
        except OSError:
            return
        try:
            await asyncio.wait([connection.closed], timeout=OPEN_WITHIN_SECONDS)
            if connection.is_open:
                await connection.closed
        finally:
            transport.close()


class Polls(Watchers):
    """Clients that read their path again and again, `seconds` after each answer, as the pages of celery-progress do."""

    def __init__(self, port: int, paths: list[str], cookies: list[str], *, seconds: float) -> None:
        super().__init__(port, Connection, paths, cookies)
        self.seconds = seconds

    async def _connection(self, place: int) -> None:
        heard = self.heard[place]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return
        try:
            while True:
                writer.write(self.requests[place])
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(found[1])) if found else b""
                if state := STATE.search(body):
                    heard.note(int(state[1]))
                elif heard.live_at is None:
                    heard.live_at = time.monotonic()
                await asyncio.sleep(self.seconds)
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()


def request_of(port: int, path: str, cookie: str, kind: type[Connection]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Cookie: sessionid={cookie}"]
    if kind is WebSocket:
        lines += [f"Origin: http://127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    elif kind is EventStream:
        lines.append("Accept: text/event-stream")
    else:
        lines.append("Accept: application/json")
    return "\r\n".join([*lines, "", ""]).encode()
