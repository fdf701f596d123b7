"""How many sockets one person may have open, in all processes together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.contrib.auth.models import User

from exports.realtime import events
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.exports import open_office
from tests.office.pages import ALL, IN_TIME, QUIET, Page, leave, made, one, opened, page_of
from tests.office.processes import Daphne
from tests.office.wires import close_code
from tests.office.wires import opened as opened_at
from tests.servers import Valkey

ROOM, NO_ROOM = 5, 4430

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


async def is_there(page: Page) -> bool:
    """Whether the socket is still open once it had time to be counted, and answers a ping."""
    try:
        async with asyncio.timeout(QUIET):
            while (message := await page.output_queue.get())["type"] != "websocket.close":
                pass
    except TimeoutError:
        await page.send_json_to({"type": "ping"})
        return await page.next() == {"type": "pong"}
    assert message["code"] == NO_ROOM
    return False


async def are_there(pages: list[Page]) -> list[bool]:
    return await asyncio.gather(*map(is_there, pages))


async def test_the_sixth_socket_of_a_person_is_closed_and_the_five_stay(owner: User, logged: Logged):
    request = await made(rows.queued, owner)
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(opened(owner)) for _ in range(ROOM - 1)]
        pages.append(await stack.enter_async_context(opened(owner, one(request))))
        async with opened(owner) as sixth:
            assert not await is_there(sixth)
        assert await are_there(pages) == [True] * ROOM
        await sync_to_async(events.publish)(request)
        for page in pages:
            assert (await page.next_state())["id"] == str(request.pk)
    assert logged() == ["socket closed with 4430: too many sockets"]


async def test_there_is_room_again_as_soon_as_one_has_gone(owner: User):
    async with AsyncExitStack() as stack:
        for _ in range(ROOM - 1):
            await stack.enter_async_context(opened(owner))
        async with opened(owner) as fifth:
            assert await is_there(fifth)
        async with opened(owner) as next_one:
            assert await is_there(next_one)


async def test_of_many_that_come_at_once_as_many_stay_as_may(owner: User):
    browser = await sync_to_async(signed_in)(owner)
    pages = [page_of(browser, ALL) for _ in range(3 * ROOM)]
    await asyncio.gather(*(page.connect(timeout=IN_TIME) for page in pages))
    stayed = await are_there(pages)
    await asyncio.gather(*(page.disconnect(timeout=IN_TIME) for page in pages))
    assert sum(stayed) == ROOM


async def test_nobody_takes_the_room_of_another_person(owner: User):
    other = await made(people.user, "other")
    async with AsyncExitStack() as stack:
        for _ in range(ROOM):
            await stack.enter_async_context(opened(other))
        assert await is_there(await stack.enter_async_context(opened(owner)))


@pytest.mark.parametrize(("most", "count"), [(None, 7), (1, 1), (2, 2)])
async def test_the_settings_say_how_many(owner: User, settings: LazySettings, most: int | None, count: int):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_SOCKETS_PER_USER": most}
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(opened(owner)) for _ in range(count)]
        assert await are_there(pages) == [True] * count
        if most is not None:
            assert not await is_there(await stack.enter_async_context(opened(owner)))


# Two web processes


@pytest.fixture
def two(valkey: Valkey, transactional_db: None) -> Iterator[tuple[Daphne, Daphne]]:
    settings = {"CHANNEL_LAYERS": django_settings.CHANNEL_LAYERS, "EXPORTS": django_settings.EXPORTS}
    with Daphne(**settings) as first, Daphne(**settings) as second:
        yield first, second


@pytest.mark.servers
async def test_the_sockets_of_all_web_processes_and_all_browsers_are_counted_together(
    two: tuple[Daphne, Daphne], owner: User
):
    async def stays(socket: Any) -> bool:
        await socket.send('{"type": "ping"}')
        return await asyncio.wait_for(socket.recv(), IN_TIME) == '{"type": "pong"}'

    async with AsyncExitStack() as stack:
        sockets = []
        for number in range(ROOM):
            browser = await sync_to_async(signed_in)(owner)
            sockets.append(await stack.enter_async_context(opened_at(two[number % 2], browser)))
        for daphne in two:
            async with opened_at(daphne, browser) as sixth:
                assert await close_code(sixth, seconds=IN_TIME) == NO_ROOM
        assert [await stays(socket) for socket in sockets] == [True] * ROOM
