"""The handshakes of sockets: only a few are at work in a process at a time, the others wait for their turn.

After a restart all pages connect again at once. If all were answered at once, each would take longer than its server or
its browser waits, and all would be tried again. A handshake whose client leaves while it waits costs nothing more, and
one connection to the database serves all that wait.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import close_old_connections

Result = TypeVar("Result")

HANDSHAKES_AT_ONCE = 4
THREADS = 8
"""The threads in which sockets query the database: more than handshakes, for which open sockets need not wait then."""

threads = ThreadPoolExecutor(THREADS, thread_name_prefix="exports-sockets")

_lock = threading.Lock()
_waiting: deque[tuple["Future[Any]", Callable[[], Any]]] = deque()
_at_work = 0


async def in_turn(work: Callable[[], Result]) -> Result:
    """Call a function that queries the database in a thread, once those before it are done; not at all if cancelled."""
    global _at_work
    future: Future[Result] = Future()
    with _lock:
        context = contextvars.copy_context()
        _waiting.append((future, lambda: context.run(work)))
        needs_thread = _at_work < HANDSHAKES_AT_ONCE
        _at_work += needs_thread
    if needs_thread:
        threads.submit(_work_off)
    return await asyncio.wrap_future(future)


def _work_off() -> None:
    """Do the work that waits until there is none, with one connection to the database."""
    close_old_connections()
    while (following := _next()) is not None:
        future, work = following
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
            close_old_connections()


def _next() -> tuple["Future[Any]", Callable[[], Any]] | None:
    global _at_work
    with _lock:
        if _waiting:
            return _waiting.popleft()
        _at_work -= 1
    close_old_connections()
    return None


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
