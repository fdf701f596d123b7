"""Sockets of browsers on a real daphne."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.conf import settings
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.office.pages import ALL, IN_TIME
from tests.office.processes import Daphne
from tests.servers import Valkey


def daphne_with(valkey: Valkey, server: type[Daphne] = Daphne, **exports: Any) -> Daphne:
    """Return a web process that is not started, with this Valkey as channel layer and these settings in EXPORTS."""
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [valkey.url]}}
    given = {**settings.EXPORTS, "REDIS_URL": valkey.url, **exports}
    return server(CHANNEL_LAYERS={"default": layer}, EXPORTS=given)


def cookie_of(client: Client) -> str:
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


@asynccontextmanager
async def opened(
    daphne: Daphne, client: Client | None, path: str = ALL, *, origin: str | None = ""
) -> AsyncIterator[ClientConnection]:
    """Open a socket with the session of this client; the Origin header is that of the site unless given."""
    headers = {"Cookie": cookie_of(client)} if client else {}
    own = f"http://{daphne.host}" if origin == "" else origin
    async with connect(
        f"ws://{daphne.host}{path}", origin=own, additional_headers=headers, open_timeout=IN_TIME, max_size=None
    ) as socket:
        yield socket


async def next_state(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(socket.recv(), IN_TIME))["export"]


async def close_code(socket: ClientConnection, *, seconds: float = IN_TIME + 6) -> int:
    """Return the code with which the socket is closed within `seconds`; messages before it are ignored."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code


async def handshake_status(daphne: Daphne, client: Client | None, path: str = ALL, **options: Any) -> int:
    """Return the HTTP status of the answer to a handshake; 101 means that the socket opened."""
    try:
        async with opened(daphne, client, path, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code
