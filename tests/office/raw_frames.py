"""A program that follows all exports of a user by the bytes of RFC 6455, without a library for WebSockets."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from exports.realtime import SOCKET_PATH
from tests.office.pages import IN_TIME

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
LENGTHS = {126: 2, 127: 8}


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole frame of a client with at most 125 bytes; its mask is zeros, which leave the bytes as they are."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the opcode and the payload of the next frame, which is whole and without a mask."""
    first, length = await reader.readexactly(2)
    assert first & 0xF0 == 0x80
    if length in LENGTHS:
        length = int.from_bytes(await reader.readexactly(LENGTHS[length]))
    return first & 0x0F, await reader.readexactly(length)


@asynccontextmanager
async def following(host: str, token: str, told: list[dict[str, Any]]) -> AsyncIterator[None]:
    """Follow all exports of the user of the token inside. The list grows by each message."""
    address, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {SOCKET_PATH}?authenticate=message HTTP/1.1", f"Host: {host}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", "",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(IN_TIME):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    for message in ({"type": "authenticate", "token": token}, {"type": "ping"}):
        writer.write(frame(TEXT, json.dumps(message).encode()))

    async def listen() -> None:
        while True:
            opcode, payload = await next_frame(reader)
            assert opcode in (TEXT, PING), (opcode, payload)
            if opcode == PING:
                writer.write(frame(PONG, payload))
            else:
                told.append(json.loads(payload))

    listening = asyncio.create_task(listen())
    try:
        yield
        assert not listening.done(), listening.exception()
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        writer.close()
