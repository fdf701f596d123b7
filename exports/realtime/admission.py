"""The handshakes of sockets: only a few are at work in a process at a time, the others wait for their turn.

After a restart all pages connect again at once. If all were answered at once, each would take longer than its server or
its browser waits, and all would be tried again. A handshake whose client leaves while it waits costs nothing more, and
one connection to the database serves all that wait.
"""

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from django.db import close_old_connections

from exports.exceptions import without_stop_iteration

log = logging.getLogger("exports.realtime.admission")

Result = TypeVar("Result")

HANDSHAKES_AT_ONCE = 4
THREADS = 8
"""The threads in which sockets query the database. The others are for open sockets, which wait for no handshake."""

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="exports-sockets")


class Turns:
    """Calls functions that query the database in threads, at most `at_once` at a time, in the order of the calls."""

    def __init__(self, at_once: int) -> None:
        self._lock = threading.Lock()
        # Any: results of different functions.
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._free = at_once

    async def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Return what the function returns, or raise what it raises. If this is cancelled before, it is not called."""
        future: Future[Result] = Future()
        # A Future cannot raise StopIteration.
        work = partial(contextvars.copy_context().run, without_stop_iteration(function), *args)
        with self._lock:
            self._waiting.append((future, work))
            needs_thread = self._free > 0
            self._free -= needs_thread
        if needs_thread:
            _threads.submit(self._work_off)
        return await asyncio.wrap_future(future)

    def _work_off(self) -> None:
        """Do the work that waits until there is none, with one connection to the database."""
        _close_old_connections()
        while (following := self._next()) is not None:
            future, work = following
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
                _close_old_connections()

    def _next(self) -> tuple["Future[Any]", Callable[[], Any]] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
        _close_old_connections()
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None


def _close_old_connections() -> None:
    """Do what Django does between requests. An error is logged, since a turn that ended with one would be lost."""
    try:
        close_old_connections()
    except Exception:
        log.exception("an old connection to the database was not closed")


handshakes = Turns(HANDSHAKES_AT_ONCE)
open_sockets = Turns(THREADS - HANDSHAKES_AT_ONCE)


class Frames:
    """What the server sends to a socket, with a look ahead at the next message."""

    # Any: the messages of ASGI.
    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._ahead: asyncio.Future[Any] | None = None

    async def next(self) -> Any:
        message = await self.ahead()
        self._ahead = None
        return message

    def ahead(self) -> asyncio.Future[Any]:
        """Return the future of the message that `next` will return."""
        self._ahead = self._ahead or asyncio.ensure_future(self._receive())
        return self._ahead

    def stop(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()


async def opens(frames: Frames, connect: Callable[[], Awaitable[bool]]) -> bool:
    """Answer the handshake by `connect`, and return what that does. Stop it and return False if the client leaves."""
    await frames.next()
    connecting, leaving = asyncio.ensure_future(connect()), frames.ahead()
    try:
        await asyncio.wait([connecting, leaving], return_when=asyncio.FIRST_COMPLETED)
        return connecting.done() and connecting.result()
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])
