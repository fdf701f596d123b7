"""Programs in Node that follow exports with the classes of frontend/."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from tests.office.processes import ROOT

# Before Node 22 a program asks for the WebSocket of browsers, which came with Node 20.10.
NODE = ["node", "--experimental-websocket"]


@cache
def has_websocket() -> bool:
    """Return True if Node is installed and has the WebSocket of browsers."""
    if shutil.which("node") is None:
        return False
    done = subprocess.run([*NODE, "--eval", "new WebSocket"], capture_output=True, text=True)
    return "not defined" not in done.stderr and "bad option" not in done.stderr


FOLLOW = ROOT / "tests" / "frontend" / "follow.mjs"


@asynccontextmanager
async def following(site: str, token: str, states: Sequence[dict[str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
    """Follow these exports inside. The list that is yielded grows by each state that the program is told.

    In the end the program must end by itself, since all exports have.
    """
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        *NODE, str(FOLLOW), site, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 20
    )
    told: list[dict[str, Any]] = []

    async def listen() -> None:
        async for line in program.stdout:
            told.append(json.loads(line))

    listening = asyncio.create_task(listen())
    program.stdin.write(json.dumps({"token": token, "states": states}).encode())
    program.stdin.close()
    try:
        yield told
        async with asyncio.timeout(20):
            await listening
            assert await program.wait() == 0, (await program.stderr.read()).decode()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
        listening.cancel()
