"""While Redis is down, a web process says so in one line a minute, and sockets are refused until it is back."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from tests.office import rows
from tests.office.pages import made, moved
from tests.office.processes import Daphne, Uvicorn
from tests.office.wires import daphne_with, handshake_status, next_state, opened
from tests.servers import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer"), pytest.mark.servers]

OUTAGE_SECONDS = 3


@pytest.mark.parametrize("server", [Daphne, Uvicorn])
async def test_an_outage_of_redis_is_one_line_and_ends_by_itself(
    valkey: Valkey, owner: User, browser: Client, server: type[Daphne]
):
    _export, claim = await made(rows.claimed, owner)
    with daphne_with(valkey, server, LOG_EXCEPTIONS=True) as web:
        async with opened(web, browser) as socket:
            await next_state(socket)
            await sync_to_async(valkey.stop)()
            # channels_redis looks every second.
            await asyncio.sleep(OUTAGE_SECONDS)
            for _ in range(3):
                assert await handshake_status(web, browser) in (403, 500, 503)
            said = web.words()
            await sync_to_async(valkey.start)()
        async with opened(web, browser) as socket:
            await next_state(socket)
            await moved(rows.publish, claim)
            assert (await next_state(socket))["status"] == "ready"
        later = web.words()
    assert "Traceback" not in said
    assert "Traceback" not in later
    lines = [line for line in later.splitlines() if "Redis" in line or "redis" in line or "ConnectionError" in line]
    assert len(lines) == 1, lines
    assert "channel layer does not answer" in lines[0]
