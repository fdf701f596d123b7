"""The WebSocket consumer: sends the whole state on connect, then every change. docs/protocol.md describes it.

Only the newest state of each export waits to be sent, so a client that reads slowly costs no memory.
"""

import asyncio
import json
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from channels.utils import await_many_dispatch
from django.db import DatabaseError, InterfaceError

from exports import failures
from exports.access import authentication
from exports.asgi.daphne_transport import unread_bytes
from exports.conf import LOCAL, config
from exports.models import Status
from exports.realtime import admission, connections, events, resume, users
from exports.realtime.protocol import TRY_AGAIN_LATER, CloseCode, SocketRefused, parse_frame
from exports.realtime.users import Scope, in_thread
from exports.state import State, urls_of

log = logging.getLogger("exports.realtime.consumers")
SEND_INTERVAL_SECONDS = 0.05
MAX_UNREAD_BYTES = 64 * 1024
UNREAD_CHECK_SECONDS = 0.5
JOIN_SECONDS = 10.0
# Django sends its signals just before a session ends, so one check at once is not enough.
RECHECK_DELAYS_SECONDS = (0.0, 0.2, 1.0)
TOKEN_TIMEOUT_SECONDS = 5.0
RESUME_TIMEOUT_SECONDS = 5.0
MAX_WAITING_SOCKETS = 100
"""How many sockets may wait for a token in this process; further ones are refused."""


class ExportsConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no annotations
    """A socket that follows all exports of a user, or the one whose id is in its path."""

    # Any: ASGI's callables, which channels does not annotate.
    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Run the socket until it is closed, as channels does (checked against 4.3.2), with three differences.

        Messages of the channel layer are only handled as events: one with a type such as "websocket.disconnect" is
        none of the server's. Its tasks end, and the layer forgets it, however the socket ends. And a handshake waits
        for its turn, and is forgotten if its client leaves before.

        While the server of the channel layer is down the socket is refused, or closed: pages then poll.
        """
        try:
            await self._run(scope, receive, send)
        except Exception as error:
            if not failures.is_redis(error) and not isinstance(error, ConnectionError | TimeoutError):
                raise
            failures.report_outage(log, "sockets are closed, since the channel layer does not answer", error)
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})

    async def _run(self, scope: Scope, receive: Any, send: Any) -> None:
        self.scope, self.base_send = scope, send
        self.channel_layer = events.channel_layer()
        events.sockets_run_on(asyncio.get_running_loop())
        self.channel_name = ""
        self._groups: list[str] = []
        # The client may leave while it joins.
        self._joining = asyncio.Lock()
        self._has_joined = asyncio.Event()
        self._has_dropped = self._has_left = False
        self._tasks: list[asyncio.Task[None]] = []
        self._sending: asyncio.Task[None] | None = None
        self._recheck: asyncio.Task[None] | None = None
        frames = admission.Frames(receive)
        try:
            if await admission.opens(frames, self.connect):
                await await_many_dispatch([frames.next, self._next_event], self.dispatch)
        except StopConsumer:
            pass
        finally:
            for task in [*self._tasks, *filter(None, [self._sending, self._recheck])]:
                task.cancel()
            connections.closed(self)
            frames.stop()
            # A server that cancels the socket again while it leaves would leave it subscribed.
            await asyncio.shield(asyncio.ensure_future(self._leave_channel_layer()))

    async def connect(self) -> bool:
        """Answer the handshake. Return False if the socket is refused, and nothing more may be sent."""
        self._waiting: dict[str, State] = {}
        self._last_frame_at = time.monotonic()
        self._frame_times: deque[float] = deque(maxlen=config.SOCKET_MAX_FRAMES_PER_SECOND + 1)
        self._wants_recheck = False
        self._opened: list[Any] = []
        self._older_sockets: set[str] = set()
        self._is_closed = False
        self._file_types: list[str] = []
        self._awaits_resume = self._may_resume = users.resumes(self.scope)
        self._awaits_token = authentication.awaits_token(self.scope)
        is_full = self._awaits_token and connections.waiting_now() >= MAX_WAITING_SOCKETS
        if self.channel_layer is None or is_deaf(self.channel_layer) or is_full:
            await self.close()
            return False
        offered = self.scope.get("subprotocols", ())
        # A browser closes a socket that accepts none of the subprotocols it offered.
        subprotocol = authentication.SUBPROTOCOL if authentication.SUBPROTOCOL in offered else None
        if self._awaits_token:
            connections.waits(self)
            await self.accept(subprotocol)
            self._tasks = [asyncio.create_task(self._end_without_token())]
            return True
        try:
            snapshot = await self._join()
        except SocketRefused:
            await self.close()
            return False
        await self.accept(subprotocol)
        self._begin(snapshot)
        return True

    async def _join(self) -> list[State]:
        """Join the groups of the user, and return the states to begin with. Raise SocketRefused."""
        loop = asyncio.get_running_loop()

        def join(*groups: str) -> None:
            # The event loop may have ended too, and a coroutine that it never awaits causes a warning.
            if self._has_left:
                raise SocketRefused(CloseCode.SILENT, "gone")
            asyncio.run_coroutine_threadsafe(self._join_groups(groups), loop).result(JOIN_SECONDS)

        first = await admission.handshakes.call(users.of_tenant(users.open_for), self.scope, join)
        self._user_id, self._tenant, self._file_types = first.user_id, first.tenant, first.file_types
        self._opened = [time.time(), self.channel_name]
        if config.MAX_SOCKETS_PER_USER is not None:
            opened = events.seal({"type": "export.opened", "since": self._opened}, first.reader)
            await self.channel_layer.group_send(first.reader, opened)
        return first.states

    async def _join_groups(self, groups: Sequence[str]) -> None:
        """Receive the events of these groups from now on. Raises SocketRefused if the client has gone."""
        async with self._joining:
            if self._has_left:
                raise SocketRefused(CloseCode.SILENT, "gone")
            self.channel_name = await self.channel_layer.new_channel()
            for group in groups:
                self._groups.append(group)
                await self.channel_layer.group_add(group, self.channel_name)
            self._has_joined.set()

    def _begin(self, snapshot: list[State]) -> None:
        """Send these states, and every change from now on."""
        connections.opened(self)
        for state in snapshot:
            self._queue(state)
        self._tasks.append(asyncio.create_task(self._watch()))
        if self._awaits_resume:
            self._tasks.append(asyncio.create_task(self._tell_without_resume()))

    async def _authenticate(self, token: str) -> None:
        """Go on as if the token had been in the header of the handshake. Raise SocketRefused if it is not valid."""
        # It came in time, however long it waits for its turn.
        self._awaits_token = False
        self.scope = authentication.with_token(self.scope, token)
        self._begin(await self._join())

    async def _end_without_token(self) -> None:
        await asyncio.sleep(TOKEN_TIMEOUT_SECONDS)
        if self._awaits_token:
            await self._end(CloseCode.LOGGED_OUT, "no token was sent")

    async def _resume(self, known: dict[UUID, int], epoch: str | None) -> None:
        """Tell a client that knows these states what it has missed. Raise SocketRefused if the user has signed out."""
        self._awaits_resume = False
        missed = await resume.missed(resume.Question(self._user_id, known, epoch, self._file_types), self._tenant)
        resumed = {"type": "resumed", "epoch": missed.epoch, "is_restored": missed.is_restored}
        gone = [{"type": "export.removed", "id": str(export_id)} for export_id in missed.gone]
        states = await in_thread(users.states_for)(self.scope, missed.changed) if missed.changed else []
        if not self._is_closed:
            for message in [resumed, *gone]:
                await self.send(text_data=json.dumps(message))
            for state in states:
                self._queue(state)

    async def _tell_without_resume(self) -> None:
        await asyncio.sleep(RESUME_TIMEOUT_SECONDS)
        if self._awaits_resume:
            await self._end_if_failed(self._resume({}, None))

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle an event of the channel layer, or a message of the server.

        channels would close old database connections in its one shared thread before each, so that one slow query would
        delay every socket.
        """
        match message:
            case {"type": "exports.event", "event": {"type": "export.changed", "export": state}}:
                if self._opens(state["file_type"]):
                    self._queue(state)
            case {"type": "exports.event", "event": {"type": "export.removed", "id": export_id, "file_type": removed}}:
                self._waiting.pop(export_id, None)
                if self._opens(removed):
                    await self.send(text_data=json.dumps({"type": "export.removed", "id": export_id}))
            case {"type": "exports.event", "event": {"type": "export.recheck"}}:
                self._wants_recheck = True
                if self._recheck is None or self._recheck.done():
                    self._recheck = asyncio.create_task(self._recheck_user())
            case {"type": "exports.event", "event": {"type": "export.opened", "since": [*opened]}}:
                # Tell a newer socket of the same user, in whichever process it is, that this one is older.
                if self._opened < opened and not self._is_closed:
                    older = events.seal({"type": "export.older", "socket": self.channel_name}, opened[1])
                    await self.channel_layer.send(opened[1], older)
            case {"type": "exports.event", "event": {"type": "export.older", "socket": socket}}:
                self._older_sockets.add(socket)
                if len(self._older_sockets) >= (config.MAX_SOCKETS_PER_USER or math.inf):
                    await self._end(CloseCode.TOO_MANY, "too many sockets")
            case {"type": "exports.event"}:
                log.info("an event of another version of this site was ignored")
            case {"type": "websocket.receive"}:
                await self.websocket_receive(message)
            case {"type": "websocket.disconnect"}:
                await self.websocket_disconnect(message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._is_closed:
            return
        now = self._last_frame_at = time.monotonic()
        self._frame_times.append(now)
        if len(self._frame_times) == self._frame_times.maxlen and now - self._frame_times[0] < 1:
            await self._end(CloseCode.TOO_FAST, "too many frames")
            return
        frame = parse_frame(text_data)
        if frame is None or (frame["type"] == "authenticate" and not self._awaits_token):
            await self._end(CloseCode.MALFORMED, "malformed frame")
        elif frame["type"] == "authenticate":
            await self._end_if_failed(self._authenticate(frame["token"]))
        elif self._awaits_token:
            await self._end(CloseCode.LOGGED_OUT, "the first message is no token")
        elif frame["type"] == "resume" and not self._may_resume:
            await self._end(CloseCode.MALFORMED, "a second resume")
        elif frame["type"] == "resume":
            self._may_resume = False
            await self._end_if_failed(self._resume(frame["known"], frame["epoch"]))
        elif frame["type"] == "ping":
            await self.send(text_data='{"type": "pong"}')
        else:
            await self._end_if_refused(in_thread(users.mark_seen)(self.scope, frame["id"]))

    async def _next_event(self) -> dict[str, Any]:
        """Return the next event that this site sent to this socket. Drop other messages, and log the first of them."""
        await self._has_joined.wait()
        while True:
            try:
                message = await self.channel_layer.receive(self.channel_name)
                return {"type": "exports.event", "event": events.unseal(message, [*self._groups, self.channel_name])}
            except (ValueError, TypeError, RecursionError) as error:
                # Also what the layer raises for bytes that it cannot read.
                if not self._has_dropped:
                    log.warning("a message on the channel layer was dropped: %s", type(error).__name__)
                self._has_dropped = True

    async def _leave_channel_layer(self) -> None:
        """Leave the groups, and let the layer forget the channel.

        channels_redis (checked against 4.3.0) forgets it only when it interrupts a `receive` that waits, and not if a
        message has just arrived.
        """
        async with self._joining:
            self._has_left = True
            for group in self._groups:
                await self.channel_layer.group_discard(group, self.channel_name)
            while self.channel_name and self.channel_name in getattr(self.channel_layer, "channels", ()):
                with suppress(TimeoutError, ValueError, TypeError, RecursionError):
                    async with asyncio.timeout(0):
                        await self.channel_layer.receive(self.channel_name)

    def _opens(self, file_type: str) -> bool:
        """Return True unless the socket was opened with an API token for other types."""
        return not self._file_types or file_type in self._file_types

    def _queue(self, state: State) -> None:
        """Let this state wait to be sent, in place of an older one of the same export."""
        if state["seq"] >= self._waiting.get(state["id"], state)["seq"]:
            self._waiting[state["id"]] = state
            if self._sending is None or self._sending.done():
                self._sending = asyncio.create_task(self._send_states())

    async def _send_states(self) -> None:
        """Send the waiting states, at most once in SEND_INTERVAL_SECONDS, until none waits."""
        while self._waiting and not self._is_closed:
            # A client that does not read is waited for.
            give_up_at = time.monotonic() + config.SOCKET_IDLE_TIMEOUT_SECONDS
            while unread_bytes(self.base_send) > MAX_UNREAD_BYTES and not self._is_closed:
                if time.monotonic() > give_up_at:
                    await self._end(CloseCode.SILENT, "it does not read")
                else:
                    await asyncio.sleep(UNREAD_CHECK_SECONDS)
            waiting, self._waiting = self._waiting, {}
            for state in waiting.values():
                await self._end_if_refused(self._send_state(state))
            await asyncio.sleep(SEND_INTERVAL_SECONDS)

    async def _send_state(self, state: State) -> None:
        """Send a state with its reader's URLs; a READY one is read again, to check the user and to sign a ticket."""
        latest: State | None
        if state["status"] == Status.READY:
            latest = await in_thread(users.ready_state_for)(self.scope, state["id"])
        else:
            with users.urls_for(self.scope):
                # Spelled out, so that mypy knows the keys.
                applies = {
                    name: bool(state["urls"][name])
                    for name in ("seen", "edit", "cancel", "retry", "delete", "download")
                }
                latest = {**state, "urls": urls_of(state["id"], state["file_type"], **applies)}
        if latest is not None and not self._is_closed:
            await self.send(text_data=json.dumps(events.message(latest)))

    async def _watch(self) -> None:
        """Close the socket of a client that sends nothing, or of a user who has signed out."""
        checked_at = time.monotonic()
        while not self._is_closed:
            await asyncio.sleep(min(config.SOCKET_IDLE_TIMEOUT_SECONDS, config.SOCKET_RECHECK_SECONDS) / 4)
            now = time.monotonic()
            if now - self._last_frame_at > config.SOCKET_IDLE_TIMEOUT_SECONDS:
                await self._end(CloseCode.SILENT, "silent")
            elif now - checked_at > config.SOCKET_RECHECK_SECONDS:
                checked_at = now
                await self._end_if_refused(in_thread(users.check)(self.scope))

    async def _recheck_user(self) -> None:
        """Check the user at once and twice more; then again, if that was asked for meanwhile."""
        while self._wants_recheck:
            self._wants_recheck = False
            for seconds in RECHECK_DELAYS_SECONDS:
                await asyncio.sleep(seconds)
                await self._end_if_refused(in_thread(users.check)(self.scope))

    async def _end_if_refused(self, step: Awaitable[object]) -> None:
        """Await a step that checks the user, and close the socket if it raises SocketRefused."""
        try:
            await step
        except SocketRefused as refused:
            await self._end(refused.code, str(refused))
        except (DatabaseError, InterfaceError) as error:
            log.warning("the page will have to ask: %s", type(error).__name__)

    async def _end_if_failed(self, step: Awaitable[object]) -> None:
        """Await a step that says what the client has missed, and close the socket if it raises SocketRefused.

        A database error closes it, too: the client would wait for an answer, and has to connect again.
        """
        try:
            await step
        except SocketRefused as refused:
            await self._end(refused.code, str(refused))
        except (DatabaseError, InterfaceError) as error:
            await self._end(TRY_AGAIN_LATER, type(error).__name__)

    async def _end(self, code: int, reason: str) -> None:
        """Close the socket once; frames and events that arrive later are ignored."""
        if not self._is_closed:
            self._is_closed = True
            log.warning("socket closed with %d: %s", code, reason)
            # autobahn 26.10 under daphne refuses subclasses of int.
            await self.close(code=int(code))


def is_deaf(layer: object) -> bool:
    """Return True, and log it, if workers are other processes whose events this channel layer does not receive.

    A page polls every second without a socket, and every 15 seconds with one.
    """
    if config.QUEUE_BACKEND in (None, "", LOCAL) or not isinstance(layer, InMemoryChannelLayer):
        return False
    log.warning("socket refused: InMemoryChannelLayer receives no events of workers (check exports.W037); pages poll")
    return True
