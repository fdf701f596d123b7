"""Many handshakes at once: a few are at work, the others wait, and nothing stays of those that were refused or left."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from exports.realtime import admission, users
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.pages import ALL, IN_TIME, Page, made, one, page_of
from tests.servers import Valkey, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Handshakes at work wait until this event is set."""
    opened, active_user = threading.Event(), users.active_user

    def wait_and_find(scope: users.Scope) -> Any:
        assert opened.wait(IN_TIME)
        return active_user(scope)

    monkeypatch.setattr(users, "active_user", wait_and_find)
    return opened


def subscriptions(valkey: Valkey) -> int:
    with valkey.client() as client:
        return len(client.pubsub_channels())


async def is_open(page: Page) -> bool:
    return (await page.connect(timeout=2 * IN_TIME))[0]


async def test_a_burst_of_handshakes_is_admitted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    at_work, most, lock, open_for = 0, 0, threading.Lock(), users.open_for

    def counted(*args: Any) -> Any:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        try:
            return open_for(*args)
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(users, "open_for", counted)
    browsers = [await sync_to_async(lambda name: signed_in(people.user(name)))(f"user{number}") for number in range(20)]
    pages = [page_of(browser, ALL) for browser in browsers]
    assert all(await asyncio.gather(*map(is_open, pages)))
    assert 1 <= most <= admission.HANDSHAKES_AT_ONCE
    await asyncio.gather(*(page.disconnect(timeout=IN_TIME) for page in pages))


async def test_an_open_socket_does_not_wait_for_handshakes(owner: User, browser: Client, gate: threading.Event):
    gate.set()
    export, page = await made(rows.queued, owner), page_of(browser, ALL)
    assert await is_open(page)
    assert (await page.next_state())["id"] == str(export.pk)
    gate.clear()
    handshakes = [page_of(browser, ALL) for _ in range(3 * admission.HANDSHAKES_AT_ONCE)]
    for handshake in handshakes:
        await handshake.send_input({"type": "websocket.connect"})
    assert await asyncio.wait_for(users.in_thread(lambda scope: scope["path"])(page.scope), IN_TIME) == ALL
    for handshake in handshakes:
        await handshake.send_input({"type": "websocket.disconnect", "code": 1006})
    gate.set()
    for each in (page, *handshakes):
        await each.disconnect(timeout=IN_TIME) if each is page else await each.wait(IN_TIME)


async def test_no_turn_is_lost_if_an_old_connection_cannot_be_closed(monkeypatch: pytest.MonkeyPatch):
    def broken() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(admission, "close_old_connections", broken)
    turns = admission.Turns(1)
    assert [await asyncio.wait_for(turns.call(lambda: 1), IN_TIME) for _ in range(2)] == [1, 1]


async def test_no_work_is_done_for_a_handshake_that_leaves_while_it_waits(
    browser: Client, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, valkey: Valkey
):
    begun, open_for = [], users.open_for

    def noted(scope: users.Scope, join: Any) -> Any:
        begun.append(scope)
        return open_for(scope, join)

    monkeypatch.setattr(users, "open_for", noted)
    pages = [page_of(browser, ALL) for _ in range(5 * admission.HANDSHAKES_AT_ONCE)]
    for page in pages:
        await page.send_input({"type": "websocket.connect"})
    await sync_to_async(wait_until)(lambda: len(begun) == admission.HANDSHAKES_AT_ONCE)
    for page in pages:
        await page.send_input({"type": "websocket.disconnect", "code": 1006})
    for page in pages:
        await page.wait(IN_TIME)
    gate.set()
    later = page_of(browser, ALL)
    assert await is_open(later)
    await later.disconnect(timeout=IN_TIME)
    assert len(begun) == admission.HANDSHAKES_AT_ONCE + 1
    await sync_to_async(wait_until)(lambda: subscriptions(valkey) == 0)


async def test_sockets_that_are_refused_or_one_too_many_leave_no_subscription(
    owner: User, browser: Client, valkey: Valkey
):
    export = await made(rows.running, await made(people.user, "other"))
    before = await sync_to_async(subscriptions)(valkey)
    pages = [page_of(browser, path) for path in (ALL, one(export), ALL) for _ in range(10)]
    opened = await asyncio.gather(*map(is_open, pages))
    assert opened == [True] * 10 + [False] * 10 + [True] * 10
    await asyncio.gather(*(page.disconnect(timeout=IN_TIME) for page in pages))
    await sync_to_async(wait_until)(lambda: subscriptions(valkey) == before)


@pytest.mark.parametrize("path", ["all", "one"])
async def test_a_connect_takes_three_queries_however_many_exports_it_shows(owner: User, browser: Client, path: str):
    exports = [await made(rows.queued, owner) for _ in range(10)] + [await made(rows.ready, owner)]
    page = page_of(browser, ALL if path == "all" else one(exports[0]))
    scope = {**page.scope, "cookies": {"sessionid": browser.cookies["sessionid"].value}}
    scope["url_route"] = {"kwargs": {} if path == "all" else {"pk": exports[0].pk}}

    @sync_to_async
    def queries_of_the_second() -> list[str]:
        # Within a second all sockets share what the first one learned about the queue.
        users.open_for(scope, lambda *groups: None)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            states = users.open_for(scope, lambda *groups: None).states
        assert [state["progress"]["queue_position"] for state in states][:10] == list(range(1, len(states) + 1))[:10]
        return [query["sql"] for query in captured]

    queries = await queries_of_the_second()
    assert len(queries) == 3
    assert not any(column in queries[-1] for column in ('"criteria"', '"options"', '"error_detail"'))
