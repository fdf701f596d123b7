"""Malformed bytes at a real web server, by HTTP and both sockets: it answers or closes, and lives on."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import ConnectionClosed

from exports.models import FileRequest
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.exports import open_office
from tests.office.malformed import HEADERS, JUNK
from tests.office.pages import ALL, IN_TIME, leave, made, one
from tests.office.processes import Daphne
from tests.office.wires import cookie_of, opened
from tests.servers import Valkey

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

ANSWER_BYTES = 1 << 16
FRAMES = 80

# {host}, {cookie} and {id} are filled in.
OPENING = "GET /ws/exports/ HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
MINE = "Cookie: {cookie}\r\n"
RAW = [
    "GET /exports/%ff%fe/ HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/%00/ HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/file/\xff\xfe/ HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/file/..%2f..%2fetc%2fpasswd/ HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET //exports// HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/?page=%ff&page=\xff&page=" + "9" * 4000 + " HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/{id}/ HTTP/1.1\r\nHost: {host}\r\nIf-None-Match: \xff\r\nAccept: \xff\xfe\r\n" + MINE,
    "GET /exports/{id}/page/ HTTP/1.1\r\nHost: {host}\r\nAccept-Language: \xff\r\n" + MINE,
    "GET /exports/{id}/download/ HTTP/1.1\r\nHost: {host}\r\nRange: bytes=\xff\r\n" + MINE,
    "GET /exports/ HTTP/1.1\r\nHost: evil.example\r\n" + MINE,
    "GET /exports/ HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n" + MINE,
    "GET /exports/ HTTP/1.0\r\n" + MINE,
    "GET /exports/ HTTP/1.1\r\nHost: {host}\r\nCookie: sessionid=\xff\xfe; =; ;;\r\n",
    "POST /exports/new/report/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Type: multipart/x\r\n" + MINE,
    "POST /exports/new/report/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: -5\r\n" + MINE,
    "POST /exports/new/report/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: x\r\n" + MINE,
    "POST /exports/new/report/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n" + MINE,
    "POST /exports/{id}/cancel/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n" + MINE,
    "BREW /exports/ HTTP/1.1\r\nHost: {host}\r\n" + MINE,
    "GET /exports/ HTTP/9.9\r\nHost: {host}\r\n" + MINE,
    "GET\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "\0\0\0\0",
    OPENING + KEY + "Origin: http://{host}\r\nOrigin: http://evil.example\r\n" + MINE,
    OPENING + KEY + "Origin: http://evil.example\r\nOrigin: http://{host}\r\n" + MINE,
    OPENING + KEY + "Origin: http://{host}\r\nHost: evil.example\r\n" + MINE,
    OPENING + KEY + "Origin: \xff\xfe\r\n" + MINE,
    OPENING + KEY + MINE,
    OPENING + KEY + "Origin: http://{host}\r\nCookie: sessionid=\xff\xfe\r\n",
    OPENING + KEY + "Origin: http://{host}\r\nCookie: =;=;;\r\n",
    OPENING + "Origin: http://{host}\r\n" + MINE,
    OPENING.replace("/ws/exports/", "/ws/exports/%ff/") + KEY + "Origin: http://{host}\r\n" + MINE,
    OPENING.replace("/ws/exports/", "/ws/exports/%00/") + KEY + "Origin: http://{host}\r\n" + MINE,
    OPENING + KEY.replace("13", "99") + "Origin: http://{host}\r\n" + MINE,
]  # fmt: skip


@pytest.fixture(scope="module")
def daphne(valkey_server: Valkey, django_db_setup: None) -> Iterator[Daphne]:
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [valkey_server.url]}}
    given = {**django_settings.EXPORTS, "REDIS_URL": valkey_server.url}
    with Daphne(CHANNEL_LAYERS={"default": layer}, EXPORTS=given) as server:
        yield server


@pytest.fixture(autouse=True)
async def office(valkey: Valkey) -> AsyncIterator[None]:
    with open_office():
        yield
    await leave()


@pytest.fixture
def browser(transactional_db: None) -> Client:
    return signed_in(people.user("owner"))


def owner() -> User:
    return User.objects.get(username="owner")


def send(daphne: Daphne, request: bytes) -> bytes:
    """What the server answers to these bytes, if anything, before it closes or falls silent."""
    with socket.create_connection(("127.0.0.1", daphne.port), timeout=1) as wire:
        wire.sendall(request + b"\r\n")
        with suppress(TimeoutError, ConnectionError):
            return wire.recv(ANSWER_BYTES)
    return b""


def is_well(daphne: Daphne, before: int) -> bool:
    """Whether the server runs and has logged neither a traceback nor a server error since."""
    words = daphne.words()[before:]
    # Django notes a host that it does not serve with a traceback of its own, and answers 400.
    assert words.count("Traceback") == words.count("ERROR    Invalid HTTP_HOST header"), words[-3000:]
    assert '" 500 ' not in words, words[-3000:]
    return daphne.is_running


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
async def test_bytes_that_are_no_request_break_nothing(daphne: Daphne, browser: Client, raw: str) -> None:
    request = await made(rows.running, await sync_to_async(owner)())
    before = len(daphne.words())
    text = raw.replace("{host}", daphne.host).replace("{cookie}", cookie_of(browser)).replace("{id}", str(request.pk))
    answer = await sync_to_async(send, thread_sensitive=False)(daphne, text.encode("latin1"))
    status = answer.split(b" ")[1][:3] if answer.startswith(b"HTTP/") else b""
    assert status not in (b"101", b"500"), answer[:200]
    assert is_well(daphne, before)
    assert await sync_to_async(FileRequest.objects.count)() == 1
    assert (await made(rows.fresh, request)).status == "running"


async def test_headers_that_make_no_sense_break_nothing(daphne: Daphne, browser: Client) -> None:
    request, before = await made(rows.ready, await sync_to_async(owner)()), len(daphne.words())
    for name, values in HEADERS.items():
        for value in values:
            if name in ("content_length", "host") or "\0" in value or not value.isascii():
                continue
            line = f"{name.replace('_', '-')}: {value}\r\n"
            head = f"GET /exports/{request.pk}/ HTTP/1.1\r\nHost: {daphne.host}\r\nConnection: close\r\n"
            cookie = "" if name == "cookie" else f"Cookie: {cookie_of(browser)}\r\n"
            answer = await sync_to_async(send, thread_sensitive=False)(daphne, f"{head}{cookie}{line}".encode())
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), (line, answer[:200])
    assert is_well(daphne, before)


def frame(chance: random.Random) -> str | bytes:
    """One frame that is nearly right, or nothing of the kind."""
    junk = chance.choice(JUNK)
    return chance.choice(
        [
            junk, junk.encode("utf-8", "replace"), f'{{"type": "{junk}"}}', f'{{"type": "seen", "id": "{junk}"}}',
            '{"type": "seen", "id": ["x"]}', '{"type": {"a": 1}}', '{"type": "ping", "type": 7}', "[" * 900, "9" * 900,
            '{"type": "ping", "x": ' + "[" * 400, '{"type": "seen", "id": "\\ud800"}', '{"type": "\\u0000"}',
            "\ufeff{}", '{"type": "export.changed", "export": {"id": "x", "seq": 9}}', '{"type": "export.look"}',
            chance.randbytes(50),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("is_single", [False, True], ids=["all of mine", "one request"])
async def test_frames_that_make_no_sense_close_the_socket_and_break_nothing(
    daphne: Daphne, browser: Client, is_single: bool
) -> None:
    request = await made(rows.running, await sync_to_async(owner)())
    chance, before = random.Random(7), len(daphne.words())
    codes = set()
    for _ in range(FRAMES):
        async with opened(daphne, browser, one(request) if is_single else ALL) as wire:
            for each in (frame(chance), frame(chance), "no frame"):
                with suppress(ConnectionClosed):
                    await wire.send(each)
            await asyncio.wait_for(wire.wait_closed(), IN_TIME)
            codes.add(wire.close_code)
    # What the server says may be lost on the way to a client that still sends; its log has each of them, below.
    assert codes in ({4400}, {4400, 1006})
    assert is_well(daphne, before)
    lines = [line for line in daphne.words()[before:].splitlines() if not line.startswith("127.0.0.1:")]
    assert len(lines) == FRAMES
    assert all("socket closed with 4400: malformed frame" in line for line in lines)
    async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as visitor:
        assert (await visitor.get(f"http://{daphne.host}/exports/{request.pk}/")).status_code == 200
