"""A client that does not read, on a server that takes whatever it is given: only the newest state waits, and here."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import User

from exports.models import transitions
from exports.realtime import consumers
from exports.realtime.consumers import CloseCode
from exports.realtime.daphne_transport import unread_bytes
from exports.realtime.routing import websocket_application
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.exports import open_office
from tests.office.pages import ALL, IN_TIME, QUIET, Page, leave, made, moved, page_of
from tests.servers import Valkey

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

FULL = b"x" * (consumers.MAX_UNREAD_BYTES + 1)


@pytest.fixture(autouse=True)
async def layer(valkey: Valkey) -> AsyncIterator[None]:
    yield
    await leave()


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def transport() -> SimpleNamespace:
    """The buffers of a transport as Twisted has them."""
    return SimpleNamespace(dataBuffer=b"", _tempDataLen=0)


@asynccontextmanager
async def served(user: User, buffers: SimpleNamespace) -> AsyncIterator[Page]:
    """A page whose frames go through these buffers, as daphne lets them."""
    protocol = SimpleNamespace(transport=buffers)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def reply(_: SimpleNamespace, message: dict[str, Any]) -> None:
            await send(message)

        await websocket_application(scope, receive, partial(reply, protocol))

    page = page_of(await sync_to_async(signed_in)(user), ALL)
    page.application = application
    assert (await page.connect(timeout=IN_TIME))[0]
    try:
        yield page
    finally:
        await page.disconnect(timeout=IN_TIME)


async def test_while_it_does_not_read_only_the_newest_state_waits(owner: User):
    request, claim = await made(rows.claimed, owner)
    buffers = transport()
    async with served(owner, buffers) as page:
        await page.next_state()
        buffers.dataBuffer = FULL
        for done in (1, 2, 3):
            await moved(
                transitions.renew_lease, claim, rows.progress(done), request=request, began_phase=False, progressed=True
            )
        assert await page.receive_nothing(timeout=QUIET)
        buffers.dataBuffer = b""
        assert (await page.next_state())["progress"]["rows_done"] == 3
        assert await page.receive_nothing(timeout=QUIET)


async def test_a_client_that_pings_and_never_reads_is_closed(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "SOCKET_IDLE_TIMEOUT_SECONDS": 1.0}
    request, claim = await made(rows.claimed, owner)
    buffers = transport()
    async with served(owner, buffers) as page:
        await page.next_state()
        buffers._tempDataLen = len(FULL)
        await moved(
            transitions.renew_lease, claim, rows.progress(1), request=request, began_phase=False, progressed=True
        )
        assert await pinging_until_closed(page) == CloseCode.SILENT


async def pinging_until_closed(page: Page) -> int:
    """The code of the close. Until then each ping is answered."""
    for _ in range(20):
        await page.send_to(text_data='{"type": "ping"}')
        message = await page.receive_output(IN_TIME)
        if message["type"] == "websocket.close":
            return message["code"]
        assert message["text"] == '{"type": "pong"}'
        await asyncio.sleep(0.3)
    raise AssertionError("it was not closed")


def test_a_server_that_says_nothing_of_its_buffers_holds_nothing():
    async def send(message: dict[str, Any]) -> None:
        """As uvicorn's, which returns once there is room."""

    assert unread_bytes(send) == unread_bytes(partial(send)) == 0
    assert unread_bytes(partial(send, SimpleNamespace(transport=None))) == 0
