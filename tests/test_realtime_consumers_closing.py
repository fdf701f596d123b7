"""Sockets of users who may not listen any more, too many sockets of one user, and servers in trouble."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import InterfaceError, connection
from django.test import Client

from exports.realtime import events, users
from exports.realtime.routing import websocket_application
from tests.office import people, rows
from tests.office.browsers import second_window, signed_in
from tests.office.pages import ALL, IN_TIME, QUIET, Page, made, moved, one, opened, page_of, sent
from tests.office.wires import close_code, daphne_with
from tests.office.wires import opened as opened_at
from tests.servers import Valkey, wait_until

LOGGER = "exports.realtime.consumers"
MAX_SOCKETS, TOO_MANY = 5, 4430

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


def recheck_every(settings: LazySettings, seconds: float) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "SOCKET_RECHECK_SECONDS": seconds}


# Users who may not listen any more. None of these changes sends a signal, so only a re-check finds it.


def delete_session(client: Client, user: User) -> None:
    SessionStore(client.cookies[django_settings.SESSION_COOKIE_NAME].value).delete()


ENDINGS = {
    "session deleted": delete_session,
    "deactivated": lambda client, user: people.deactivate(user),
    "password changed": lambda client, user: User.objects.filter(pk=user.pk).update(password="another hash"),
}
ENDING = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)


@ENDING
async def test_the_next_re_check_closes_the_sockets(
    owner: User, browser: Client, settings: LazySettings, end: Callable[[Client, User], None], log_lines
):
    recheck_every(settings, 0.2)
    export = await made(rows.queued, owner)
    async with opened(browser) as all_exports, opened(browser, one(export)) as single:
        await all_exports.next_state()
        await single.next_state()
        await sync_to_async(end)(browser, owner)
        assert await all_exports.close_code() == await single.close_code() == 4401
    assert log_lines(LOGGER) == ["socket closed with 4401: signed out"] * 2


@ENDING
async def test_a_file_that_becomes_ready_is_not_sent_to_a_user_signed_out(
    owner: User, browser: Client, end: Callable[[Client, User], None]
):
    _, claim = await made(rows.claimed, owner)
    async with opened(browser) as page:
        await page.next_state()
        await sync_to_async(end)(browser, owner)
        await moved(rows.publish, claim)
        assert await page.close_code() == 4401
        assert await page.receive_nothing(QUIET)


@ENDING
async def test_a_user_signed_out_cannot_report_an_export_as_seen(
    owner: User, browser: Client, end: Callable[[Client, User], None]
):
    export = await made(rows.ready, owner)
    async with opened(browser) as page:
        await page.next_state()
        await sync_to_async(end)(browser, owner)
        await page.send_json_to({"type": "seen", "id": str(export.pk)})
        assert await page.close_code() == 4401
    assert (await made(rows.fresh, export)).seen_at is None


async def test_a_logout_closes_the_socket_at_once(owner: User, browser: Client):
    async with opened(second_window(browser)) as page:
        await sync_to_async(browser.logout)()
        assert await page.close_code() == 4401


async def test_a_re_check_keeps_the_socket_of_a_user_who_is_still_signed_in(owner: User, settings: LazySettings):
    recheck_every(settings, 0.1)
    async with opened(owner) as page:
        assert await page.receive_nothing(0.6)
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}


async def test_staff_who_lose_the_permission_are_told_not_found(owner: User, settings: LazySettings):
    recheck_every(settings, 0.2)
    export, staff = await made(rows.queued, owner), await made(people.staff, "staff", people.VIEW)
    async with opened(staff, one(export)) as page:
        await page.next_state()
        await sync_to_async(staff.user_permissions.clear)()
        assert await page.close_code() == 4404


async def test_a_user_set_by_the_projects_own_middleware_is_re_checked(owner: User, settings: LazySettings):
    recheck_every(settings, 0.2)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await websocket_application({**scope, "user": owner}, receive, send)

    page = Page(application, ALL, headers=[(b"host", b"testserver"), (b"origin", b"http://testserver")])
    assert (await page.connect(timeout=IN_TIME))[0]
    await sync_to_async(people.deactivate)(owner)
    assert await page.close_code() == 4401
    await page.disconnect(timeout=IN_TIME)


# Too many sockets


async def closed_as_one_too_many(page: Page) -> bool:
    """Return True once the socket is closed as one too many; states before are ignored."""
    async with asyncio.timeout(IN_TIME):
        while (message := await page.output_queue.get())["type"] != "websocket.close":
            pass
    return message["code"] == TOO_MANY


async def stays_open(page: Page) -> bool:
    """Return True if the socket sends no close for a while, and then answers a ping."""
    while not await page.receive_nothing(QUIET):
        assert (await page.receive_output())["type"] == "websocket.send"
    await page.send_json_to({"type": "ping"})
    return await page.next() == {"type": "pong"}


async def test_the_sixth_socket_of_a_user_is_closed_and_the_five_stay(owner: User, log_lines):
    export, other = await made(rows.queued, owner), await made(people.user, "other")
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(opened(owner)) for _ in range(MAX_SOCKETS - 1)]
        pages.append(await stack.enter_async_context(opened(owner, one(export))))
        async with opened(owner) as sixth, opened(other) as socket_of_another_user:
            assert await closed_as_one_too_many(sixth)
            assert await stays_open(socket_of_another_user)
        assert all([await stays_open(page) for page in pages])
        await sync_to_async(events.send_state)(export)
        for page in pages:
            assert (await page.next_state())["id"] == str(export.pk)
    assert log_lines(LOGGER) == ["socket closed with 4430: too many sockets"]


async def test_a_socket_that_closes_makes_room_for_another(owner: User):
    async with AsyncExitStack() as stack:
        for _ in range(MAX_SOCKETS - 1):
            await stack.enter_async_context(opened(owner))
        for _ in range(2):
            async with opened(owner) as fifth:
                assert await stays_open(fifth)


async def test_of_many_sockets_opened_at_once_only_the_limit_stays(browser: Client):
    pages = [page_of(browser, ALL) for _ in range(3 * MAX_SOCKETS)]
    await asyncio.gather(*(page.connect(timeout=IN_TIME) for page in pages))
    closing = {asyncio.create_task(closed_as_one_too_many(page)): page for page in pages}
    async with asyncio.timeout(IN_TIME):
        while sum(task.done() for task in closing) < 2 * MAX_SOCKETS:
            await asyncio.sleep(0.01)
    open_pages = [page for task, page in closing.items() if task.cancel()]
    assert all(task.result() for task in closing if task.done())
    assert all([await stays_open(page) for page in open_pages])
    await asyncio.gather(*(page.disconnect(timeout=IN_TIME) for page in pages))


@pytest.mark.parametrize(("limit", "count"), [(None, 7), (1, 1), (2, 2)])
async def test_the_setting_limits_the_sockets_of_a_user(
    owner: User, settings: LazySettings, limit: int | None, count: int
):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_SOCKETS_PER_USER": limit}
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(opened(owner)) for _ in range(count)]
        assert all([await stays_open(page) for page in pages])
        if limit is not None:
            assert await closed_as_one_too_many(await stack.enter_async_context(opened(owner)))


@pytest.mark.servers
async def test_sockets_of_all_web_processes_and_browsers_count_together(valkey: Valkey, owner: User):
    with daphne_with(valkey) as first, daphne_with(valkey) as second:
        async with AsyncExitStack() as stack:
            sockets = []
            for number in range(MAX_SOCKETS):
                browser = await sync_to_async(signed_in)(owner)
                sockets.append(await stack.enter_async_context(opened_at((first, second)[number % 2], browser)))
            for daphne in (first, second):
                async with opened_at(daphne, browser) as sixth:
                    assert await close_code(sixth, seconds=IN_TIME) == TOO_MANY
            for socket in sockets:
                await socket.send('{"type": "ping"}')
                assert await asyncio.wait_for(socket.recv(), IN_TIME) == '{"type": "pong"}'


# Servers in trouble


@sync_to_async
def rename_table(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


async def test_a_database_error_loses_a_state_and_keeps_the_socket(owner: User, settings: LazySettings, log_lines):
    recheck_every(settings, 0.2)
    export = await made(rows.ready, owner)
    async with opened(owner) as page:
        await page.next_state()
        await rename_table("django_session", "renamed")
        try:
            await sync_to_async(events.send_state)(export)
            await page.send_json_to({"type": "seen", "id": str(export.pk)})
            await sync_to_async(wait_until)(lambda: len(log_lines(LOGGER)) > 2)
        finally:
            await rename_table("renamed", "django_session")
        await sync_to_async(events.send_state)(export)
        assert (await page.next_state())["id"] == str(export.pk)
    assert all(line.startswith("the page will have to ask: ") for line in log_lines(LOGGER))


async def test_a_lost_database_connection_loses_a_state_and_keeps_the_socket(
    owner: User, monkeypatch: pytest.MonkeyPatch, log_lines
):
    def fail(*args: Any) -> None:
        raise InterfaceError

    export = await made(rows.ready, owner)
    async with opened(owner) as page:
        await page.next_state()
        with monkeypatch.context() as lost:
            lost.setattr(users, "ready_state_for", fail)
            await sync_to_async(events.send_state)(export)
            await sync_to_async(wait_until)(lambda: log_lines(LOGGER) == ["the page will have to ask: InterfaceError"])
        await sync_to_async(events.send_state)(export)
        assert (await page.next_state())["id"] == str(export.pk)


async def test_a_socket_whose_channel_layer_fails_leaves_no_task(
    owner: User, browser: Client, monkeypatch: pytest.MonkeyPatch
):
    async def fail(channel: str) -> None:
        raise ConnectionError

    page = page_of(browser, ALL)
    await page.connect(timeout=IN_TIME)
    monkeypatch.setattr(get_channel_layer(), "receive", fail)
    await sent({"type": "export.recheck"}, events.group_of_reader(owner.pk))
    await page.wait(IN_TIME)
    async with asyncio.timeout(IN_TIME):
        while any("ExportsConsumer" in repr(task) for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("trouble", [Valkey.flush, Valkey.restart])
async def test_events_arrive_again_after_the_server_was_emptied_or_restarted(
    owner: User, valkey: Valkey, trouble: Callable[[Valkey], None], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL, "channels_redis.pubsub")
    export = await made(rows.running, owner)
    async with opened(owner) as page:
        await page.next_state()
        await sync_to_async(trouble)(valkey)
        for _ in range(40):
            await sync_to_async(events.send_state)(export)
            if not await page.receive_nothing(0.25):
                break
        assert (await page.next_state())["id"] == str(export.pk)
