"""The channel layer's send side: tell the pages that a request has changed. A hint; whoever misses it reads the row.

One event loop thread per process sends all of them: a new loop for every call would open a new connection each time.
Without channels, or without a channel layer, nothing is sent.
"""

import asyncio
import atexit
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache
from typing import Any
from uuid import UUID

from exports import audit, faults
from exports.models import FileRequest
from exports.state import State, serialize

log = logging.getLogger("exports.realtime.events")

SEND_SECONDS = 2.0
BACKLOG = 200
NOBODY = "exports.nobody"

_sending: set["Future[None]"] = set()
_starting = threading.Lock()


def publish(request: FileRequest, note: Callable[[FileRequest], None] = audit.note) -> None:
    """Send the whole state of `request` to the pages that follow it, and log where it is, by `note`. Returns at once
    and never raises."""
    try:
        note(request)
        faults.point("before_event")
        layer = _layer()
        if layer is not None:
            _send(layer, _groups_of(request), message(serialize(request)))
    except Exception as error:
        log.warning("event not sent: %s", type(error).__name__)


def look_again(user_id: Any) -> None:
    """Let the open sockets of this user ask at once whether their reader may go on. Returns at once and never raises.

    The app does so itself for what Django sends a signal of; a host calls it where it ends sessions by other means.
    """
    try:
        layer = _layer()
        if layer is not None:
            _send(layer, [group_of_reader(user_id)], {"type": "export.look"})
    except Exception as error:
        log.warning("event not sent: %s", type(error).__name__)


def reach(seconds: float) -> None:
    """Send a message that nobody gets. Raises when the channel layer does not take it in time."""
    layer = _layer()
    if layer is not None:
        with _starting:
            loop = _loop(os.getpid())
        sending = layer.group_send(NOBODY, {"type": "export.changed"})
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(sending, seconds), loop).result(2 * seconds)


def message(state: State) -> dict[str, Any]:
    return {"type": "export.changed", "export": state}


def group_of_user(user_id: Any) -> str:
    """The changes of what this user asked for."""
    return f"exports.user.{_named(user_id)}"


def group_of_reader(user_id: Any) -> str:
    """The open sockets of this user, whatever they follow."""
    return f"exports.reader.{_named(user_id)}"


def group_of_request(request_id: UUID) -> str:
    return f"exports.request.{request_id.hex}"


def _named(user_id: Any) -> str:
    """A name within the channel layer's alphabet, whatever a primary key looks like."""
    return hashlib.sha256(str(user_id).encode()).hexdigest()[:32]


def _groups_of(request: FileRequest) -> list[str]:
    owner = [group_of_user(request.requester_id)] if request.requester_id else []
    return [group_of_request(request.pk), *owner]


def _layer() -> Any:
    try:
        from channels.layers import get_channel_layer
    except ImportError:
        return None
    return get_channel_layer()


def _send(layer: Any, groups: list[str], event: dict[str, Any]) -> None:
    if len(_sending) >= BACKLOG:
        log.warning("event dropped: %d are waiting for the channel layer", BACKLOG)
        return
    with _starting:
        loop = _loop(os.getpid())
    sending = asyncio.run_coroutine_threadsafe(_send_to_all(layer, groups, event), loop)
    _sending.add(sending)
    sending.add_done_callback(_sent)


async def _send_to_all(layer: Any, groups: list[str], event: dict[str, Any]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        for group in groups:
            await layer.group_send(group, event)


def _sent(sending: "Future[None]") -> None:
    _sending.discard(sending)
    if (error := sending.exception()) is not None:
        log.warning("event not sent: %s", type(error).__name__)


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """The loop of this process. A forked child makes its own, and leaves alone what its parent was sending."""
    _sending.clear()
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="exports-events", daemon=True).start()
    # A command that ends right after its last change would otherwise take the news with it.
    atexit.register(lambda: wait(_sending, SEND_SECONDS))
    return loop
