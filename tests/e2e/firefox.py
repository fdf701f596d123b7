#!/usr/bin/env python
"""Start the installed Firefox for Playwright, which drives it by WebDriver BiDi: `firefox.py ARGUMENTS`.

Playwright 1.65 sends each page a command for its colour scheme that Firefox 153 does not know. This program stands
between the two and answers that one with success, as if there were nothing to change.
"""

import asyncio
import json
import re
import shutil
import signal
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

PROGRAMS = ("firefox-esr", "firefox")
UNKNOWN = "emulation.setMediaFeaturesOverride"
LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
UNLIMITED = {"max_size": None, "ping_interval": None, "compression": None}


async def main(arguments: list[str]) -> int:
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    firefox = await asyncio.create_subprocess_exec(program, *arguments, stderr=asyncio.subprocess.PIPE)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, firefox.terminate)
    address = ""

    async def relay(playwright: ServerConnection) -> None:
        assert playwright.request is not None
        async with connect(address + playwright.request.path, **UNLIMITED) as browser:
            answering = asyncio.create_task(to_playwright(browser, playwright))
            await to_firefox(playwright, browser)
            answering.cancel()

    async with serve(relay, "127.0.0.1", 0, **UNLIMITED) as server:
        port = server.sockets[0].getsockname()[1]
        while line := (await firefox.stderr.readline()).decode(errors="replace"):
            if found := LISTENING.search(line):
                address = found[1]
                line = line.replace(address, f"ws://127.0.0.1:{port}")
            print(line, end="", file=sys.stderr, flush=True)
        return await firefox.wait()


async def to_firefox(playwright: ServerConnection, browser: ClientConnection) -> None:
    async for text in playwright:
        command = json.loads(text)
        if command["method"] == UNKNOWN:
            await playwright.send(json.dumps({"type": "success", "id": command["id"], "result": {}}))
        else:
            await browser.send(text)


async def to_playwright(browser: ClientConnection, playwright: ServerConnection) -> None:
    async for text in browser:
        await playwright.send(text)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
