"""What a program that can write to Redis cannot do to the sockets: messages that this site has not sent to them."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings
from django.contrib.auth.models import User

from exports.models import FileRequest, transitions
from exports.realtime import events
from exports.state import serialize
from tests.office import rows
from tests.office.pages import IN_TIME, Page, made, moved, opened, sent
from tests.servers import Valkey, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]

FOREIGN = {"download": "https://evil.example/malware.xlsx"}

Forged = Callable[[FileRequest, dict[str, Any], str], Any]
FORGED: dict[str, Forged] = {
    "a state with a foreign address": lambda _, state, __: events.message(state | {"urls": FOREIGN, "status": "ready"}),
    "a state that no later one replaces": lambda _, state, __: events.message(state | {"seq": 10**9}),
    "ready with a malformed id": lambda _, state, __: events.message(state | {"id": "x", "status": "ready"}),
    "a state that is none": lambda *_: {"type": "export.changed", "export": 1},
    "close": lambda *_: {"type": "close"},
    "websocket.disconnect": lambda *_: {"type": "websocket.disconnect", "code": 1000},
    "no type": lambda *_: {"event": "x"},
    "an unsigned event": lambda *_: {"type": "exports.sealed", "to": "?", "event": "{}"},
    "older sockets": lambda *_: {"type": "export.older", "socket": "x"},
    "a list": lambda *_: [1, 2],
    "text": lambda *_: "x",
    "sealed for another group": lambda _, state, __: events.seal(events.message(state | {"seq": 10**9}), "elsewhere"),
    "sealed for another group, readdressed": lambda _, state, group: (
        events.seal(events.message(state | {"seq": 10**9}), "elsewhere") | {"to": group}
    ),
    "sealed with another key": lambda _, state, group: (
        events.seal(events.message(state), group) | {"event": "0" * 64 + "." + "{}"}
    ),
}


async def goes_on(page: Page, export: FileRequest) -> bool:
    """Return True if the next message of the socket is the true change of this export."""
    await moved(transitions.cancel, export)
    state = await page.next_state()
    return (state["id"], state["status"]) == (str(export.pk), "cancelled")


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_message_is_dropped_and_the_socket_goes_on(owner: User, forge: Forged, log_lines):
    export = await made(rows.running, owner)
    group = events.group_of_user(owner.pk)
    async with opened(owner) as page:
        state = await page.next_state()
        for _ in range(6):
            await get_channel_layer().group_send(group, forge(export, state, group))
        assert await goes_on(page, export)
    [line] = log_lines("exports.realtime.consumers")
    assert line.startswith("a message on the channel layer was dropped: ")


async def test_bytes_that_are_no_message_do_not_end_the_socket(owner: User, valkey: Valkey):
    export = await made(rows.running, owner)
    async with opened(owner) as page:
        await page.next_state()
        with valkey.client() as client:
            for channel in client.pubsub_channels():
                for data in (b"", b"\xc1", b"\x93", b"x" * 100_000, b"\x91" * 5000):
                    client.publish(channel, data)
        assert await goes_on(page, export)


async def test_an_event_that_is_repeated_does_not_count_as_another_socket(owner: User, valkey: Valkey):
    """Five answers to the announcement of a new socket close it; they must come from five sockets."""
    async with AsyncExitStack() as stack:
        with valkey.client() as client, client.pubsub() as listener:
            listener.psubscribe("*")
            older = await stack.enter_async_context(opened(owner))
            newer = await stack.enter_async_context(opened(owner))
            heard: list[dict[str, Any]] = []

            def has_answered() -> bool:
                heard.extend(filter(None, [listener.get_message(ignore_subscribe_messages=True)]))
                return any(b"specific." in each["channel"] for each in heard)

            await sync_to_async(wait_until)(has_answered, seconds=IN_TIME)
            for message in heard * 6:
                client.publish(message["channel"], message["data"])
        for page in (older, newer):
            await page.send_json_to({"type": "ping"})
            assert await page.next() == {"type": "pong"}


async def test_sockets_that_end_leave_no_subscription(owner: User, valkey: Valkey, settings: LazySettings):
    """Also a refused one, and one that ends while events arrive, whose channel the layer would keep."""
    settings.EXPORTS = {**settings.EXPORTS, "MAX_SOCKETS_PER_USER": 2}
    message = events.message(await sync_to_async(serialize)(await made(rows.running, owner)))

    def subscriptions() -> int:
        with valkey.client() as client:
            return len(client.pubsub_channels())

    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(opened(owner))
        for _ in range(5):
            async with opened(owner) as page:
                assert (await page.next())["type"] == "export.changed"
                assert await page.close_code() == 4430
                for _ in range(20):
                    await sent(message, events.group_of_user(owner.pk))
    await sync_to_async(wait_until)(lambda: subscriptions() == 0, seconds=IN_TIME)
