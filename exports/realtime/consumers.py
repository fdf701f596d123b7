"""The WebSocket door: the whole state on connect, then every change. docs/protocol.md describes it.

Only the latest state of each request waits to be sent, so a slow reader costs no memory and gets the end first.
"""

import asyncio
import json
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from exports import services
from exports.conf import config
from exports.models import ACTIVE, FileRequest, Status
from exports.models.request import AnyUser
from exports.realtime import connections, events
from exports.state import State, serialize

log = logging.getLogger("exports.realtime.connections")

MALFORMED, LOGGED_OUT, NOT_FOUND, SILENT, TOO_FAST, TOO_MANY = 4400, 4401, 4404, 4408, 4429, 4430
PACE_SECONDS = 0.05
UNREAD_BYTES = 64 * 1024
LOOK_AGAIN_SECONDS = 0.5
# Django says that a session ends just before it does, so one look is not enough.
LOOKS_AFTER = (0.0, 0.2, 1.0)
SNAPSHOT_AGE = timedelta(hours=24)


class Refused(Exception):
    """This reader may not listen, or not any more. `code` is the one to close the socket with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ExportsConsumer(AsyncWebsocketConsumer):
    """/ws/exports/ follows all of the user's requests, /ws/exports/<uuid>/ one that the user may see."""

    async def connect(self) -> None:
        self._waiting: dict[str, State] = {}
        self._wake = asyncio.Event()
        self._heard_at = time.monotonic()
        self._frames: deque[float] = deque(maxlen=config.SOCKET_MAX_FRAMES_PER_SECOND + 1)
        self._tasks: list[asyncio.Task[None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._groups: list[str] = []
        self._since: list[Any] = []
        self._older = 0
        self._is_over = False
        try:
            await self._begin()
        except Refused:
            await self.close()

    async def _begin(self) -> None:
        if self.channel_layer is None:
            raise Refused(NOT_FOUND, "This site has no channel layer: ask by GET.")
        self._since = [time.time(), self.channel_name]
        followed, reader = await in_thread(groups_for)(self.scope)
        # Join before reading, so that no change falls between the two.
        for group in (followed, reader):
            await self.channel_layer.group_add(group, self.channel_name)
            self._groups.append(group)
        if config.MAX_SOCKETS_PER_USER is not None:
            await self.channel_layer.group_send(reader, {"type": "export.opened", "since": self._since})
        snapshot = await in_thread(snapshot_for)(self.scope)
        await self.accept()
        connections.opened(self)
        for state in snapshot:
            self._offer(state)
        self._tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._watch())]

    async def disconnect(self, code: int) -> None:
        connections.closed(self)
        for task in [*self._tasks, *filter(None, [self._looking])]:
            task.cancel()
        for group in self._groups:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """What other processes say stays on this loop: the base class would hop through a thread for each."""
        match message:
            case {"type": "export.changed", "export": state}:
                self._offer(state)
            case {"type": "export.look"}:
                self._look_soon()
            case {"type": "export.opened", "since": since}:
                await self._answer(since)
            case {"type": "export.older"}:
                await self._count_older()
            case _:
                await super().dispatch(message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._is_over:
            return
        self._heard_at = time.monotonic()
        self._frames.append(self._heard_at)
        if len(self._frames) == self._frames.maxlen and self._heard_at - self._frames[0] < 1:
            await self._end(TOO_FAST, "too many frames")
            return
        frame = parse(text_data)
        if frame is None:
            await self._end(MALFORMED, "malformed frame")
        elif frame["type"] == "ping":
            await self.send(text_data='{"type": "pong"}')
        else:
            await self._try(in_thread(see)(self.scope, frame["id"]))

    def _offer(self, state: State) -> None:
        """Let this state wait to be sent, instead of an older one of the same request."""
        if state["seq"] >= self._waiting.get(state["id"], state)["seq"]:
            self._waiting[state["id"]] = state
            self._wake.set()

    async def _pump(self) -> None:
        """Send what waits, at most once in PACE_SECONDS, for as long as the socket is open."""
        while not self._is_over:
            await self._wake.wait()
            await self._until_read()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            for state in waiting.values():
                await self._try(self._send_state(state))
            await asyncio.sleep(PACE_SECONDS)

    async def _until_read(self) -> None:
        """Hold the states back while the client does not read: what the server has taken already costs memory."""
        give_up_at = time.monotonic() + config.SOCKET_IDLE_TIMEOUT_SECONDS
        while connections.unread_bytes(self.base_send) > UNREAD_BYTES and not self._is_over:
            if time.monotonic() > give_up_at:
                await self._end(SILENT, "it does not read")
            else:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _send_state(self, state: State) -> None:
        """A READY state gets a ticket of its reader's own, after another look at who that is."""
        latest: State | None = state
        if state["status"] == Status.READY:
            latest = await in_thread(ready_state_for)(self.scope, state["id"])
        if latest is not None and not self._is_over:
            await self.send(text_data=json.dumps({"type": "export.changed", "export": latest}))

    async def _watch(self) -> None:
        """Close the socket of a client that is silent, or of a user who has signed out."""
        checked_at = time.monotonic()
        while not self._is_over:
            await asyncio.sleep(min(config.SOCKET_IDLE_TIMEOUT_SECONDS, config.SOCKET_RECHECK_SECONDS) / 4)
            now = time.monotonic()
            if now - self._heard_at > config.SOCKET_IDLE_TIMEOUT_SECONDS:
                await self._end(SILENT, "silent")
            elif now - checked_at > config.SOCKET_RECHECK_SECONDS:
                checked_at = now
                await self._try(in_thread(groups_for)(self.scope))

    def _look_soon(self) -> None:
        """Ask at once whether the reader is still there."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        for seconds in LOOKS_AFTER:
            await asyncio.sleep(seconds)
            await self._try(in_thread(groups_for)(self.scope))

    async def _answer(self, since: list[Any]) -> None:
        """Let a newer socket of the same reader, in whichever process it is, know that this one was there before."""
        if self._since < since and not self._is_over:
            await self.channel_layer.send(since[1], {"type": "export.older"})

    async def _count_older(self) -> None:
        """One that was there before. With as many as are allowed there is no room for this one."""
        self._older += 1
        if self._older >= (config.MAX_SOCKETS_PER_USER or math.inf):
            await self._end(TOO_MANY, "too many sockets")

    async def _try(self, step: Awaitable[Any]) -> None:
        """Take a step that looks at who is there, and end the socket of whoever may not listen any more."""
        try:
            await step
        except Refused as refused:
            await self._end(refused.code, str(refused))
        except DatabaseError as error:
            log.warning("the page will have to ask: %s", type(error).__name__)

    async def _end(self, code: int, reason: str) -> None:
        """Close once: frames that were on their way have no say any more."""
        if not self._is_over:
            self._is_over = True
            log.warning("socket closed with %d: %s", code, reason)
            await self.close(code=code)


def in_thread(function: Any) -> Any:
    """In a thread of the pool: the one shared thread would let a slow query delay every socket."""
    return database_sync_to_async(function, thread_sensitive=False)


def parse(text: str | None) -> dict[str, Any] | None:
    """A client's frame, or None when it is not one that docs/protocol.md knows."""
    if text is None or len(text.encode()) > config.SOCKET_MAX_FRAME_BYTES:
        return None
    try:
        frame = json.loads(text)
        if frame["type"] == "seen":
            return {"type": "seen", "id": UUID(frame["id"])}
        return {"type": "ping"} if frame["type"] == "ping" else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def user_of(scope: dict[str, Any]) -> AnyUser:
    """Who the session cookie says it is, read afresh. A host's own middleware may set scope["user"] instead."""
    if "user" in scope:
        return get_user_model()._default_manager.filter(pk=scope["user"].pk).first() or AnonymousUser()
    engine = import_module(settings.SESSION_ENGINE)
    session = engine.SessionStore(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
    return get_user(SimpleNamespace(session=session))


def reader_of(scope: dict[str, Any]) -> AnyUser:
    """The user, as long as it is one who may read anything. Raises Refused."""
    user = user_of(scope)
    if not user.is_authenticated or not user.is_active:
        raise Refused(LOGGED_OUT, "signed out")
    return user


def groups_for(scope: dict[str, Any]) -> tuple[str, str]:
    """The groups of what this socket follows and of its reader. Raises Refused: anonymous, deactivated, not yours, not
    there."""
    user, request_id = reader_of(scope), scope["url_route"]["kwargs"].get("pk")
    if request_id is None:
        return events.group_of_user(user.pk), events.group_of_reader(user.pk)
    if not FileRequest.objects.visible_to(user).filter(pk=request_id).exists():
        raise Refused(NOT_FOUND, "no such request")
    return events.group_of_request(request_id), events.group_of_reader(user.pk)


def snapshot_for(scope: dict[str, Any]) -> list[State]:
    """What a page needs on connect, oldest first: what is under way and what ended lately. Raises Refused."""
    user, request_id = reader_of(scope), scope["url_route"]["kwargs"].get("pk")
    if request_id is not None:
        rows = FileRequest.objects.visible_to(user).filter(pk=request_id)
    else:
        recent = Q(status__in=ACTIVE) | Q(finished_at__gte=timezone.now() - SNAPSHOT_AGE)
        rows = FileRequest.objects.filter(recent, requester=user.pk)
    newest = rows.order_by("-requested_at")[: config.SNAPSHOT_MAX_EXPORTS]
    return [serialize(row) for row in reversed(newest)]


def ready_state_for(scope: dict[str, Any], request_id: str) -> State | None:
    """The state as it is now, with a ticket for this reader, or None when the row has gone. Raises Refused."""
    user = reader_of(scope)
    request = FileRequest.objects.visible_to(user).filter(pk=request_id).first()
    return None if request is None else services.state_for(user, request)


def see(scope: dict[str, Any], request_id: UUID) -> None:
    """The owner's page has shown the end of a request. Raises Refused."""
    user = reader_of(scope)
    request = FileRequest.objects.visible_to(user).filter(pk=request_id, requester=user.pk).first()
    if request is not None:
        services.mark_seen(request)
