"""Malformed requests and frames at a real daphne: it answers or closes the connection, and keeps running."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import ConnectionClosed

from exports.models import FileRequest
from tests.office import rows
from tests.office.malformed import HEADERS, JUNK
from tests.office.pages import ALL, IN_TIME, made, one
from tests.office.processes import Daphne
from tests.office.wires import cookie_of, daphne_with, opened
from tests.servers import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]

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
    with daphne_with(valkey_server) as server:
        yield server


def answer_to(daphne: Daphne, request: str) -> bytes:
    """Return what the server answers to these bytes before it closes or sends nothing more; empty for no answer."""
    with socket.create_connection(("127.0.0.1", daphne.port), timeout=1) as connection:
        connection.sendall(request.encode("latin1") + b"\r\n")
        with suppress(TimeoutError, ConnectionError):
            return connection.recv(ANSWER_BYTES)
    return b""


def assert_no_error(daphne: Daphne, logged: str) -> None:
    """Assert that the server runs and has logged neither a traceback nor a server error."""
    # Django logs a host that it does not serve with a traceback, and answers 400.
    assert logged.count("Traceback") == logged.count("ERROR    Invalid HTTP_HOST header"), logged[-3000:]
    assert '" 500 ' not in logged, logged[-3000:]
    assert daphne.is_running


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
async def test_bytes_that_are_no_request_change_nothing(daphne: Daphne, owner: User, browser: Client, raw: str) -> None:
    export, before = await made(rows.running, owner), len(daphne.words())
    text = raw.replace("{host}", daphne.host).replace("{cookie}", cookie_of(browser)).replace("{id}", str(export.pk))
    answer = await sync_to_async(answer_to, thread_sensitive=False)(daphne, text)
    status = answer.split(b" ")[1][:3] if answer.startswith(b"HTTP/") else b""
    assert status not in (b"101", b"500"), answer[:200]
    assert_no_error(daphne, daphne.words()[before:])
    assert await sync_to_async(FileRequest.objects.count)() == 1
    assert (await made(rows.fresh, export)).status == "running"


async def test_malformed_headers_cause_no_server_error(daphne: Daphne, owner: User, browser: Client) -> None:
    export, before = await made(rows.ready, owner), len(daphne.words())
    for name, values in HEADERS.items():
        for value in values:
            if name in ("content_length", "host") or "\0" in value or not value.isascii():
                continue
            line = f"{name.replace('_', '-')}: {value}\r\n"
            head = f"GET /exports/{export.pk}/ HTTP/1.1\r\nHost: {daphne.host}\r\nConnection: close\r\n"
            cookie = "" if name == "cookie" else f"Cookie: {cookie_of(browser)}\r\n"
            answer = await sync_to_async(answer_to, thread_sensitive=False)(daphne, f"{head}{cookie}{line}")
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), (line, answer[:200])
    assert_no_error(daphne, daphne.words()[before:])


def random_frame(chance: random.Random) -> str | bytes:
    """Return a malformed frame; some are close to a correct one."""
    junk = chance.choice(JUNK)
    return chance.choice(
        [
            junk, junk.encode("utf-8", "replace"), f'{{"type": "{junk}"}}', f'{{"type": "seen", "id": "{junk}"}}',
            '{"type": "seen", "id": ["x"]}', '{"type": {"a": 1}}', '{"type": "ping", "type": 7}', "[" * 900, "9" * 900,
            '{"type": "ping", "x": ' + "[" * 400, '{"type": "seen", "id": "\\ud800"}', '{"type": "\\u0000"}',
            "\ufeff{}", '{"type": "export.changed", "export": {"id": "x", "seq": 9}}', '{"type": "export.opened"}',
            chance.randbytes(50),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("is_single", [False, True], ids=["all exports", "one export"])
async def test_malformed_frames_close_the_socket_and_log_one_line_each(
    daphne: Daphne, owner: User, browser: Client, is_single: bool
) -> None:
    export = await made(rows.running, owner)
    chance, before, codes = random.Random(7), len(daphne.words()), set()
    for _ in range(FRAMES):
        async with opened(daphne, browser, one(export) if is_single else ALL) as connection:
            for frame in (random_frame(chance), random_frame(chance), "no frame"):
                with suppress(ConnectionClosed):
                    await connection.send(frame)
            await asyncio.wait_for(connection.wait_closed(), IN_TIME)
            codes.add(connection.close_code)
    # The close code may be lost on its way to a client that is still sending; the log has all of them.
    assert codes in ({4400}, {4400, 1006})
    assert_no_error(daphne, daphne.words()[before:])
    lines = [line for line in daphne.words()[before:].splitlines() if not line.startswith("127.0.0.1:")]
    assert len(lines) == FRAMES
    assert all("socket closed with 4400: malformed frame" in line for line in lines)
    async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as client:
        assert (await client.get(f"http://{daphne.host}/exports/{export.pk}/")).status_code == 200
