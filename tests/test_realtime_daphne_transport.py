"""Clients that do not read, on a server that accepts everything: only the newest state waits in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from exports.asgi.daphne_transport import unread_bytes
from exports.realtime import consumers
from exports.realtime.protocol import CloseCode
from exports.realtime.routing import websocket_application
from tests.office import rows
from tests.office.pages import ALL, IN_TIME, QUIET, Page, made, page_of, written

FULL = b"x" * (consumers.MAX_UNREAD_BYTES + 1)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


@pytest.fixture
def transport() -> SimpleNamespace:
    """The buffers of a transport, named as in Twisted."""
    return SimpleNamespace(dataBuffer=b"", _tempDataLen=0)


@asynccontextmanager
async def opened_through(transport: SimpleNamespace, client: Client) -> AsyncIterator[Page]:
    """Open a page whose frames pass through this transport as they do in daphne."""
    protocol = SimpleNamespace(transport=transport)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def handle_reply(_: SimpleNamespace, message: dict[str, Any]) -> None:
            await send(message)

        await websocket_application(scope, receive, partial(handle_reply, protocol))

    page = page_of(client, ALL)
    page.application = application
    assert (await page.connect(timeout=IN_TIME))[0]
    try:
        yield page
    finally:
        await page.disconnect(timeout=IN_TIME)


async def test_only_the_newest_state_waits_while_a_client_does_not_read(
    owner: User, browser: Client, transport: SimpleNamespace
):
    _, claim = await made(rows.claimed, owner)
    async with opened_through(transport, browser) as page:
        await page.next_state()
        transport.dataBuffer = FULL
        for rows_done in (1, 2, 3):
            await written(claim, rows_done)
        assert await page.receive_nothing(timeout=QUIET)
        transport.dataBuffer = b""
        assert (await page.next_state())["progress"]["rows_done"] == 3
        assert await page.receive_nothing(timeout=QUIET)


async def test_a_client_that_pings_and_never_reads_is_closed(
    owner: User, browser: Client, transport: SimpleNamespace, settings: LazySettings
):
    settings.EXPORTS = {**settings.EXPORTS, "SOCKET_IDLE_TIMEOUT_SECONDS": 1.0}
    _, claim = await made(rows.claimed, owner)
    async with opened_through(transport, browser) as page:
        await page.next_state()
        transport._tempDataLen = len(FULL)
        await written(claim, 1)
        message = {"type": "websocket.send", "text": '{"type": "pong"}'}
        while message["type"] == "websocket.send":
            assert message["text"] == '{"type": "pong"}'
            await page.send_to(text_data='{"type": "ping"}')
            message = await page.receive_output(IN_TIME)
            await asyncio.sleep(0.3)
        assert message["code"] == CloseCode.SILENT


def test_another_server_reports_no_unread_bytes():
    async def send(message: dict[str, Any]) -> None:
        """Return once the client has read, as in uvicorn."""

    assert unread_bytes(send) == unread_bytes(partial(send)) == 0
    assert unread_bytes(partial(send, SimpleNamespace(transport=None))) == 0
