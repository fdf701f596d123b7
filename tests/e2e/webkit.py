"""The installed WebKitGTK, Safari's engine, by WebDriver: Playwright's own build cannot be had from packages.

https://www.w3.org/TR/webdriver2/ describes the commands. Debian: webkit2gtk-driver and xvfb.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers import NotInstalled, free_port, wait_until

BROWSERS = "*/webkit2gtk-4.*/MiniBrowser"
# Machines of tests have no graphics card.
SOFTWARE = {"GDK_BACKEND": "x11", "LIBGL_ALWAYS_SOFTWARE": "1", "WEBKIT_DISABLE_DMABUF_RENDERER": "1"}
SECONDS = 120.0


class WebKit:
    """One window. Commands that fail raise AssertionError with what the driver says."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client = client
        self._session = session

    def send(self, command: str, **parameters: Any) -> Any:
        answer = self._client.post(f"/session/{self._session}/{command}", json=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def go(self, url: str) -> None:
        self.send("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what the body of a function with these `arguments` returns."""
        return self.send("execute/sync", script=script, args=arguments)

    def wait_for(self, expression: str, *arguments: Any) -> None:
        wait_until(
            lambda: self.run(f"return {expression}", *arguments),
            seconds=SECONDS,
            describe=lambda: self.run("return document.body.innerText"),
        )

    def press(self, selector: str) -> None:
        [element] = self.send("elements", using="css selector", value=selector)[:1]
        self.send(f"element/{next(iter(element.values()))}/click")


@contextmanager
def webkit() -> Iterator[WebKit]:
    """Start a window on a screen of its own. Raise NotInstalled."""
    programs = [shutil.which("WebKitWebDriver"), shutil.which("Xvfb"), next(Path("/usr/lib").glob(BROWSERS), None)]
    if not all(programs):
        raise NotInstalled("WebKitGTK was not found. Install the packages webkit2gtk-driver and xvfb.")
    driver, screen, browser = map(str, programs)
    with ExitStack() as opened:
        command = [screen, "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
        shown = opened.enter_context(running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        assert shown.stdout is not None
        environment = os.environ | SOFTWARE | {"DISPLAY": f":{shown.stdout.readline().strip()}"}
        port = free_port()
        opened.enter_context(running([driver, f"--port={port}"], env=environment))
        address = f"http://127.0.0.1:{port}"
        client = opened.enter_context(httpx.Client(base_url=address, timeout=SECONDS, trust_env=False))
        wait_until(lambda: is_up(client))
        options = {"binary": browser, "args": ["--automation"]}
        wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
        session = client.post("/session", json=wanted).json()["value"]["sessionId"]
        opened.callback(client.delete, f"/session/{session}")
        yield WebKit(client, session)


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/status").is_success
    except httpx.TransportError:
        return False
