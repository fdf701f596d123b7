"""When the WebSocket door closes: frames it does not know, readers who have left, servers in trouble."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from exports.models import transitions
from exports.realtime import events
from exports.realtime.routing import websocket_application
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import second_window, signed_in
from tests.office.exports import open_office
from tests.office.pages import ALL, IN_TIME, QUIET, Page, leave, made, moved, one, opened
from tests.servers import Valkey, wait_until

SHORT = 0.2

Logged = Callable[[], list[str]]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("layer")]


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
async def layer(valkey: Valkey) -> AsyncIterator[None]:
    yield
    await leave()


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """The door's own log lines."""
    caplog.set_level(logging.INFO, "exports.realtime.connections")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "exports.realtime.connections"]


def sockets(settings: LazySettings, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


MALFORMED = [
    "x", "{", "null", "7", '"ping"', "[]", '["ping"]', "{}", '{"type": null}', '{"type": "run"}', '{"type": ["ping"]}',
    '{"type": "seen"}', '{"type": "seen", "id": 7}', '{"type": "seen", "id": "x"}', '{"type": "seen", "id": null}',
    '{"type": "export.changed", "export": {}}', "[" * 600, "1" * 1000, '{"type": "ping", "x": "' + "x" * 1000 + '"}',
    '{"type": "ping", "x": "' + "é" * 501 + '"}', b"binary", b'{"type": "ping"}',
]  # fmt: skip


@pytest.mark.parametrize("frame", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_frame_that_is_not_one_closes_the_socket_with_one_line(
    owner: User, frame: str | bytes, logged: Logged, caplog: pytest.LogCaptureFixture
):
    async with opened(owner) as page:
        for _ in range(2):
            await page.send_to(**{"bytes_data" if isinstance(frame, bytes) else "text_data": frame})
        assert await page.close_code() == 4400
        assert await page.receive_nothing(QUIET)
    assert logged() == ["socket closed with 4400: malformed frame"]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_frame_may_have_a_kibibyte(owner: User):
    async with opened(owner) as page:
        await page.send_to(text_data='{"type": "ping"}'.ljust(1024))
        assert await page.next() == {"type": "pong"}
        await page.send_to(text_data='{"type": "ping"}'.ljust(1025))
        assert await page.close_code() == 4400


async def test_five_frames_a_second_are_fine_and_the_sixth_closes_the_socket(owner: User, logged: Logged):
    async with opened(owner) as page:
        for _ in range(8):
            await page.send_json_to({"type": "ping"})
        for _ in range(5):
            assert await page.next() == {"type": "pong"}
        assert await page.close_code() == 4429
        assert await page.receive_nothing(QUIET)
    assert logged() == ["socket closed with 4429: too many frames"]


async def test_a_silent_socket_is_closed_and_one_that_pings_is_not(owner: User, settings: LazySettings):
    sockets(settings, SOCKET_IDLE_TIMEOUT_SECONDS=0.6, SOCKET_MAX_FRAMES_PER_SECOND=100)
    async with opened(owner) as silent, opened(owner) as alive:
        for _ in range(12):
            await alive.send_json_to({"type": "ping"})
            assert await alive.next() == {"type": "pong"}
            await asyncio.sleep(0.1)
        assert await silent.close_code() == 4408
        assert await alive.receive_nothing(0.05)


# Who is not there any more


def log_out(user: User, client: Client) -> None:
    client.logout()


def deactivate(user: User, client: Client) -> None:
    people.deactivate(user)


def change_password(user: User, client: Client) -> None:
    user.set_password("another one")
    user.save()


LEAVING = pytest.mark.parametrize("leave", [log_out, deactivate, change_password])


@LEAVING
async def test_whoever_has_left_is_told_so_at_the_next_look(
    owner: User, settings: LazySettings, leave: Callable[[User, Client], None], logged: Logged
):
    sockets(settings, SOCKET_RECHECK_SECONDS=SHORT)
    request = await made(rows.queued, owner)
    client = await sync_to_async(signed_in)(owner)
    async with opened(second_window(client)) as all_of_mine, opened(second_window(client), one(request)) as single:
        await all_of_mine.next_state()
        await single.next_state()
        await sync_to_async(leave)(owner, client)
        assert await all_of_mine.close_code() == 4401
        assert await single.close_code() == 4401
    assert logged() == ["socket closed with 4401: signed out"] * 2


@LEAVING
async def test_whoever_has_left_hears_of_no_file(owner: User, leave: Callable[[User, Client], None]):
    request, claim = await made(rows.claimed, owner)
    client = await sync_to_async(signed_in)(owner)
    async with opened(second_window(client)) as page:
        await page.next_state()
        await sync_to_async(leave)(owner, client)
        await moved(rows.publish, claim, request=request)
        assert await page.close_code() == 4401
        assert await page.receive_nothing(QUIET)


@LEAVING
async def test_whoever_has_left_can_say_nothing_more(owner: User, leave: Callable[[User, Client], None]):
    request = await made(rows.ready, owner)
    client = await sync_to_async(signed_in)(owner)
    async with opened(second_window(client)) as page:
        await page.next_state()
        await sync_to_async(leave)(owner, client)
        await page.send_json_to({"type": "seen", "id": str(request.pk)})
        assert await page.close_code() == 4401
    assert (await made(rows.fresh, request)).seen_at is None


async def test_whoever_is_still_there_keeps_the_socket(owner: User, settings: LazySettings):
    sockets(settings, SOCKET_RECHECK_SECONDS=0.1)
    async with opened(owner) as page:
        assert await page.receive_nothing(0.6)
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}


async def test_staff_who_lose_the_permission_lose_the_socket_but_are_not_told_to_sign_in(
    owner: User, settings: LazySettings
):
    sockets(settings, SOCKET_RECHECK_SECONDS=SHORT)
    request = await made(rows.queued, owner)
    staff = await made(people.staff, "staff", people.VIEW)
    async with opened(staff, one(request)) as page:
        await page.next_state()
        await sync_to_async(staff.user_permissions.clear)()
        assert await page.close_code() == 4404


async def test_a_ready_request_that_was_deleted_meanwhile_is_passed_over(owner: User):
    gone, other = await made(rows.ready, owner), await made(rows.queued, owner)
    async with opened(owner) as page:
        await page.next_state()
        await page.next_state()
        state = await sync_to_async(serialize)(gone)
        await sync_to_async(gone.delete)()
        await get_channel_layer().group_send(events.group_of_user(owner.pk), events.message(state))
        await moved(transitions.cancel, other, request=other)
        assert (await page.next_state())["id"] == str(other.pk)


async def test_a_user_that_the_hosts_own_middleware_named_is_looked_at_again_too(owner: User, settings: LazySettings):
    sockets(settings, SOCKET_RECHECK_SECONDS=SHORT)

    async def named(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await websocket_application({**scope, "user": owner}, receive, send)

    page = Page(named, ALL, headers=[(b"host", b"testserver"), (b"origin", b"http://testserver")])
    assert (await page.connect(timeout=IN_TIME))[0]
    await sync_to_async(people.deactivate)(owner)
    assert await page.close_code() == 4401
    await page.disconnect(timeout=IN_TIME)


# Trouble


@sync_to_async
def rename_table(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


async def test_a_database_in_trouble_costs_a_state_but_not_the_socket(
    owner: User, settings: LazySettings, logged: Logged
):
    sockets(settings, SOCKET_RECHECK_SECONDS=SHORT)
    request = await made(rows.ready, owner)
    async with opened(owner) as page:
        await page.next_state()
        await rename_table("django_session", "away")
        try:
            await sync_to_async(events.publish)(request)
            await page.send_json_to({"type": "seen", "id": str(request.pk)})
            await sync_to_async(wait_until)(lambda: len(logged()) > 2)
        finally:
            await rename_table("away", "django_session")
        await sync_to_async(events.publish)(request)
        assert (await page.next_state())["id"] == str(request.pk)
    assert all(line.startswith("the page will have to ask: ") for line in logged())


@pytest.mark.parametrize("trouble", [Valkey.flush, Valkey.restart])
async def test_events_arrive_again_after_the_server_was_emptied_or_restarted(
    owner: User, valkey: Valkey, trouble: Callable[[Valkey], None], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL, "channels_redis.pubsub")
    request = await made(rows.running, owner)
    async with opened(owner) as page:
        await page.next_state()
        await sync_to_async(trouble)(valkey)
        for _ in range(40):
            await sync_to_async(events.publish)(request)
            if not await page.receive_nothing(0.25):
                break
        assert (await page.next_state())["id"] == str(request.pk)
