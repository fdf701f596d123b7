"""Sockets of programs with an API token: by header, subprotocol or first message; what it opens, and its end."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings, settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone

from exports.access import tokens
from exports.models import AccessToken, transitions
from exports.models.audit import SYSTEM
from exports.realtime import connections, consumers, events, users
from exports.realtime.routing import websocket_application
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.pages import ALL, IN_TIME, QUIET, Page, made, moved, one, sent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]

WAITING = f"{ALL}?authenticate=message"

token_for = sync_to_async(lambda owner, **scope: tokens.create(owner, "nightly", SYSTEM, **scope))
revoked = sync_to_async(lambda token: tokens.revoke(token, SYSTEM))


def page_with(path: str = ALL, text: str = "", **headers: str) -> Page:
    """Return a socket of a program, which sends no Origin, with this token in its header."""
    given = headers | ({"authorization": f"Bearer {text}"} if text else {})
    return Page(websocket_application, path, headers=[(n.encode(), v.encode()) for n, v in given.items()])


@asynccontextmanager
async def opened(page: Page) -> AsyncIterator[Page]:
    is_open, _ = await page.connect(timeout=IN_TIME)
    assert is_open
    try:
        yield page
    finally:
        await page.disconnect(timeout=IN_TIME)


def by_header(path: str, text: str) -> Page:
    return page_with(path, text)


def by_subprotocol(path: str, text: str) -> Page:
    offered = ["exports", f"authorization.{quote(f'Bearer {text}', safe='')}"]
    return Page(websocket_application, path, subprotocols=offered)


@pytest.mark.parametrize("opening", [by_header, by_subprotocol])
async def test_a_token_opens_sockets_and_shows_nothing_of_other_types(owner: User, opening: Callable[..., Page]):
    long, report = await made(rows.running, owner, file_type="long"), await made(rows.running, owner)
    removed = await made(rows.failed, owner)
    _token, text = await token_for(owner, exporters=["long"])
    assert await opening(one(report), text).connect(timeout=IN_TIME) == (False, 1000)
    async with opened(opening(one(long), text)) as page:
        assert (await page.next_state())["id"] == str(long.pk)
    async with opened(opening(ALL, text)) as page:
        assert (await page.next_state())["id"] == str(long.pk)
        await moved(transitions.cancel, report)
        await sync_to_async(events.send_removal)(removed)
        await moved(transitions.cancel, long)
        state = await page.next_state()
        assert (state["id"], state["status"]) == (str(long.pk), "cancelled")
        await sync_to_async(events.send_removal)(long)
        assert await page.next() == {"type": "export.removed", "id": str(long.pk)}


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "authenticate"])
async def test_a_token_in_the_address_does_not_count(owner: User, name: str):
    _token, text = await token_for(owner)
    for given in (text, quote(f"Bearer {text}")):
        assert await page_with(f"{ALL}?{name}={given}").connect(timeout=IN_TIME) == (False, 1000)


async def test_a_revoked_token_closes_its_sockets_within_two_seconds_and_no_others(owner: User):
    (token, text), (_other, other_text) = await token_for(owner), await token_for(owner)
    async with opened(page_with(ALL, text)) as page, opened(page_with(ALL, other_text)) as other:
        before = time.monotonic()
        await revoked(token)
        assert await page.close_code() == 4401
        assert time.monotonic() - before < 2
        assert await other.receive_nothing(timeout=QUIET)
        await other.send_json_to({"type": "ping"})
        assert await other.next() == {"type": "pong"}
    assert await page_with(ALL, text).connect(timeout=IN_TIME) == (False, 1000)


@pytest.mark.parametrize("ended", [{"revoked_at": 0}, {"expires_at": 0}], ids=["revoked", "expired"])
async def test_without_an_event_the_next_check_ends_the_socket(owner: User, settings: LazySettings, ended: Any):
    """An attacker who holds back or repeats what goes over Redis keeps no socket alive."""
    settings.EXPORTS = {**settings.EXPORTS, "SOCKET_RECHECK_SECONDS": 0.4}
    _token, text = await token_for(owner)
    export = await made(rows.running, owner)
    async with opened(page_with(ALL, text)) as page:
        first = await page.next_state()
        await AccessToken.objects.aupdate(**dict.fromkeys(ended, timezone.now()))
        group = events.group_of_user(owner.pk)
        await get_channel_layer().group_send(group, {"type": "exports.sealed", "to": group, "event": "0.{}"})
        await sent(events.message(first), group)
        assert (await page.next_state())["id"] == str(export.pk)
        assert await page.close_code() == 4401


async def test_a_token_is_checked_again_before_a_download_link(owner: User):
    _token, text = await token_for(owner)
    export, claim = await made(rows.claimed, owner)
    async with opened(page_with(one(export), text)) as page:
        await page.next_state()
        await AccessToken.objects.aupdate(revoked_at=timezone.now())
        await made(rows.publish, claim)
        await sync_to_async(lambda: events.send_state(rows.fresh(export)))()
        assert await page.close_code() == 4401


# By the first message


async def test_the_first_message_may_be_the_token(owner: User):
    export = await made(rows.running, owner)
    token, text = await token_for(owner)
    async with opened(page_with(WAITING, origin="https://app.example")) as page:
        assert await page.receive_nothing(timeout=QUIET)
        await page.send_json_to({"type": "authenticate", "token": text})
        assert (await page.next_state())["id"] == str(export.pk)
        await revoked(token)
        assert await page.close_code() == 4401


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "authenticate", "token": "exp_x"}, 4401),
        ({"type": "authenticate", "token": "x\u20ac\ud800"}, 4401),
        ({"type": "authenticate", "token": ["x"]}, 4400),
        ({"type": "authenticate"}, 4400),
        ({"type": "ping"}, 4401),
        ({"type": "seen", "id": "7d9f6c1e-2b0a-4c57-9d53-0f4f6a1c8a11"}, 4401),
    ],
)
async def test_any_other_first_message_ends_the_socket(owner: User, frame: dict[str, Any], code: int):
    """Even of a page with the cookie of a session, which does not count here: any site could have opened it."""
    cookie = (await sync_to_async(signed_in)(owner)).cookies[settings.SESSION_COOKIE_NAME].value
    page = page_with(WAITING, cookie=f"{settings.SESSION_COOKIE_NAME}={cookie}", origin="https://evil.example")
    async with opened(page):
        await page.send_json_to(frame)
        assert await page.close_code() == code


async def test_the_token_of_another_user_does_not_open_an_export(owner: User):
    export = await made(rows.running, owner)
    _token, text = await token_for(await sync_to_async(people.user)("stranger"))
    async with opened(page_with(f"{one(export)}?authenticate=message")) as page:
        await page.send_json_to({"type": "authenticate", "token": text})
        assert await page.close_code() == 4404


async def test_a_socket_that_sends_no_token_is_closed_in_time(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(consumers, "TOKEN_TIMEOUT_SECONDS", 1.5)
    _token, text = await token_for(owner)
    async with opened(page_with(WAITING)) as page, opened(page_with(WAITING)) as known:
        await known.send_json_to({"type": "authenticate", "token": text})
        assert await page.close_code() == 4401
        await known.send_json_to({"type": "ping"})
        assert await known.next() == {"type": "pong"}


async def test_a_token_sent_in_time_counts_however_long_the_join_takes(owner: User, monkeypatch: pytest.MonkeyPatch):
    def slow(*arguments: Any) -> users.Opened:
        time.sleep(1.5)
        return open_for(*arguments)

    open_for = users.open_for
    monkeypatch.setattr(consumers, "TOKEN_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(users, "open_for", slow)
    _token, text = await token_for(owner)
    async with opened(page_with(WAITING)) as page:
        await page.send_json_to({"type": "authenticate", "token": text})
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}


async def test_a_token_that_the_database_cannot_check_is_sent_again(owner: User, monkeypatch: pytest.MonkeyPatch):
    def broken(*_arguments: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(users, "open_for", broken)
    _token, text = await token_for(owner)
    async with opened(page_with(WAITING)) as page:
        await page.send_json_to({"type": "authenticate", "token": text})
        assert await page.close_code() == 1013


async def test_a_header_that_a_proxy_adds_does_not_hide_the_token(owner: User):
    _token, text = await token_for(owner)
    async with opened(page_with(WAITING, authorization="Basic dTpw")) as page:
        await page.send_json_to({"type": "authenticate", "token": text})
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}


async def test_only_so_many_sockets_may_wait_for_a_token(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(consumers, "MAX_WAITING_SOCKETS", 1)
    _token, text = await token_for(owner)
    async with opened(page_with(WAITING)) as page:
        assert await page_with(WAITING).connect(timeout=IN_TIME) == (False, 1000)
        async with opened(page_with(ALL, text)):
            pass
        await page.send_json_to({"type": "authenticate", "token": text})
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}
        assert connections.waiting_now() == 0
        async with opened(page_with(WAITING)):
            pass
    assert connections.waiting_now() == 0


async def test_an_open_socket_takes_no_second_token(owner: User):
    _token, text = await token_for(owner, expires_at=timezone.now() + timedelta(hours=1))
    async with opened(page_with(ALL, text)) as page:
        await page.send_json_to({"type": "authenticate", "token": text})
        assert await page.close_code() == 4400


async def test_a_socket_that_resumes_hears_of_other_types_as_of_exports_that_do_not_exist(owner: User):
    long, report = await made(rows.running, owner, file_type="long"), await made(rows.running, owner)
    _token, text = await token_for(owner, exporters=["long"])
    for others in (str(report.pk), str(uuid4())):
        for number in (report.seq, report.seq + 9):
            async with opened(page_with(f"{ALL}?resume=1", text)) as page:
                await page.send_json_to({"type": "resume", "known": {others: number}, "epoch": None})
                resumed = await page.next()
                assert (resumed["type"], resumed["is_restored"]) == ("resumed", False)
                assert await page.next() == {"type": "export.removed", "id": others}
                assert (await page.next_state())["id"] == str(long.pk)


async def test_a_token_that_only_reads_does_not_mark_the_end_of_an_export_as_seen(owner: User):
    export = await made(rows.ready, owner)
    for can_create in (False, True):
        assert (await made(rows.fresh, export)).seen_at is None
        _token, text = await token_for(owner, can_create=can_create)
        async with opened(page_with(one(export), text)) as page:
            await page.next_state()
            await page.send_json_to({"type": "seen", "id": str(export.pk)})
            await page.send_json_to({"type": "ping"})
            while (await page.next())["type"] != "pong":
                pass
    assert (await made(rows.fresh, export)).seen_at is not None
