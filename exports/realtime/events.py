"""Publish changes of exports to the sockets, over the channel layer. A lost event does no harm: pages also poll.

One event loop in a thread per process sends all events: an event loop per call would open a new connection each time.
Without channels, or without a channel layer, nothing is sent. Nor under gevent, where that thread would be a greenlet
among those that serve the pages, and Django would take them all for asynchronous code.
"""

import asyncio
import atexit
import hashlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import cache
from typing import Any
from uuid import UUID

from exports import failures, faults, signing
from exports.conf import LOCAL, config, key_prefix
from exports.models import FileRequest
from exports.state import State, serialize

log = logging.getLogger("exports.realtime.events")

SEND_TIMEOUT_SECONDS = 2.0
BACKLOG = 200
UNUSED_GROUP = "exports.unused"
SEALED = "exports.sealed"

_sending: set["Future[None]"] = set()
_starting = threading.Lock()
# A layer in memory wakes a socket only from the event loop of the socket.
_loop_of_sockets: asyncio.AbstractEventLoop | None = None


def send_state(export: FileRequest) -> None:
    """Send the state of an export to the sockets that follow it. Returns at once and never raises."""
    _publish(export, lambda: message(serialize(export)))


def send_removal(export: FileRequest) -> None:
    """Tell the sockets that follow an export that its owner has deleted it. Returns at once and never raises."""
    _publish(export, lambda: {"type": "export.removed", "id": str(export.pk), "file_type": export.file_type})


def recheck_sockets(user_id: object) -> None:
    """Let the open sockets of this user check at once whether the user may still listen.

    The app calls this for what Django sends signals for; call it where your project ends sessions in other ways.
    Returns at once and never raises.
    """
    try:
        layer = _layer_to_send_on()
        if layer is not None:
            _send(layer, [group_of_reader(user_id)], {"type": "export.recheck"})
    except Exception as error:
        failures.report_outage(log, "event not sent", error)


def ping_channel_layer(seconds: float) -> None:
    """Send an event to a group without members. Raises if the channel layer does not accept it in time."""
    layer = _layer_to_send_on()
    if layer is not None:
        with _starting:
            loop = _event_loop(os.getpid())
        sending = layer.group_send(UNUSED_GROUP, {"type": SEALED})
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(sending, seconds), loop).result(2 * seconds)


def message(state: State) -> dict[str, Any]:
    """Return the message that carries a state to a page."""
    return {"type": "export.changed", "export": state}


def seal(event: Mapping[str, Any], address: str) -> dict[str, str]:
    """Return the message that carries an event over the channel layer, signed for this group or channel."""
    body = json.dumps(event, separators=(",", ":")).encode()
    return {"type": SEALED, "to": address, "event": signing.seal(body, f"{SEALED} {address}").decode()}


def unseal(sealed: Any, addresses: Collection[str]) -> Any:
    """Return the event of a message to one of these groups and channels. Raise BadMessage for anything else.

    Another program that can write to Redis may send anything, and may repeat what was sent to the same address.
    """
    match sealed:
        case {"type": "exports.sealed", "to": str(address), "event": str(text)} if address in addresses:
            return json.loads(signing.unseal(text.encode(), f"{SEALED} {address}"))
    raise signing.BadMessage("A message on the channel layer is none of this site's.")


def group_of_user(user_id: object, tenant: str = "") -> str:
    """Return the group of the sockets that follow all exports of this user in a tenant."""
    return f"exports.user.{_group_suffix(user_id, tenant)}"


def group_of_reader(user_id: object) -> str:
    """Return the group of all sockets that this user has opened, whatever they follow."""
    return f"exports.reader.{_group_suffix(user_id)}"


def group_of_request(export_id: UUID) -> str:
    """Return the group of the sockets that follow one export."""
    return f"exports.request.{export_id.hex}"


def _group_suffix(user_id: object, tenant: str = "") -> str:
    """Return a hash of a primary key and a tenant, since a channel layer allows few characters in a group name.

    The prefix of the site keeps users of another site on the same server apart, who may have the same keys.
    """
    return hashlib.sha256(f"{key_prefix()} {user_id} {tenant}".rstrip().encode()).hexdigest()[:32]


# Any: a layer is whatever class the CHANNEL_LAYERS setting names.
def channel_layer() -> Any:
    """Return the default channel layer; None without one, or without channels, which is an optional dependency.

    The queue of development, whose workers are in this process, comes with a layer in memory.
    """
    try:
        from channels.layers import get_channel_layer
    except ImportError:
        return None
    layer = get_channel_layer()
    return _layer_in_memory() if layer is None and config.QUEUE_BACKEND == LOCAL else layer


def sockets_run_on(loop: asyncio.AbstractEventLoop) -> None:
    """Remember the event loop of this process's sockets."""
    global _loop_of_sockets
    _loop_of_sockets = loop


@cache
def _layer_in_memory() -> Any:
    from channels.layers import InMemoryChannelLayer

    return InMemoryChannelLayer()


def _layer_to_send_on() -> Any:
    return None if _has_greenlets() else channel_layer()


@cache
def _has_greenlets() -> bool:
    """Return True, and log it, if threads are greenlets in this process. Checked against gevent 26.9."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent and gevent.is_module_patched("threading"):
        log.warning("events are not sent: threads of this process are greenlets; pages find its changes by polling")
        return True
    return False


def _publish(export: FileRequest, event: Callable[[], Mapping[str, Any]]) -> None:
    try:
        faults.point("before_event")
        layer = _layer_to_send_on()
        if layer is not None:
            groups = [group_of_request(export.pk)]
            if export.requester_id:
                groups.append(group_of_user(export.requester_id, export.tenant))
            _send(layer, groups, event())
    except Exception as error:
        failures.report_outage(log, "event not sent", error)


def _send(layer: Any, groups: Sequence[str], event: Mapping[str, Any]) -> None:
    if len(_sending) >= BACKLOG:
        failures.report_outage(log, f"event dropped, since {BACKLOG} wait for the channel layer", asyncio.QueueFull())
        return

    async def send_to_all() -> None:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            for group in groups:
                await layer.group_send(group, seal(event, group))

    with _starting:
        loop = _event_loop(os.getpid())
    in_memory, of_sockets = type(layer).__name__ == "InMemoryChannelLayer", _loop_of_sockets
    if in_memory and of_sockets is not None and of_sockets.is_running():
        loop = of_sockets
    sending = asyncio.run_coroutine_threadsafe(send_to_all(), loop)
    _sending.add(sending)
    sending.add_done_callback(_sent)


def _sent(sending: "Future[None]") -> None:
    _sending.discard(sending)
    if (error := sending.exception()) is not None:
        failures.report_outage(log, "event not sent", error)


@cache
def _event_loop(pid: int) -> asyncio.AbstractEventLoop:
    """Start the event loop of this process; a forked child starts its own and forgets what its parent was sending."""
    _sending.clear()
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="exports-events", daemon=True).start()
    # Otherwise a command that ends right after a change would exit before its event is sent.
    atexit.register(lambda: wait(_sending, SEND_TIMEOUT_SECONDS))
    return loop
