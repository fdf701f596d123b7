"""Chromium without Playwright, which ends a download when its connection is lost instead of letting it be resumed."""

import json
import re
from contextlib import ExitStack
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import ARGUMENTS, chromium_program
from tests.servers import Server


class Chromium(Server):
    """A browser that saves downloads in the folder `downloads`, driven by its DevTools protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.downloads = self.folder / "downloads"
        self.downloads.mkdir()
        self._number = 0
        self._open = ExitStack()
        self._socket: ClientConnection | None = None

    def command(self) -> list[str]:
        profile = f"--user-data-dir={self.folder / 'profile'}"
        return [chromium_program(), "--headless=new", *ARGUMENTS, profile, "--remote-debugging-port=0", "about:blank"]

    def answers(self) -> bool:
        found = re.search(r"DevTools listening on (ws://\S+)", self.log.read_text(errors="replace"))
        if not found:
            return False
        self._socket = self._open.enter_context(connect(found[1], max_size=None))
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        return True

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events are dropped."""
        assert self._socket is not None
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while (answer := json.loads(self._socket.recv(30))).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str, cookie: str) -> str:
        """Open a page in a new tab with a cookie, given as "name=value"; return the tab's session."""
        name, _, value = cookie.partition("=")
        self.send("Storage.setCookies", cookies=[{"name": name, "value": value, "url": url}])
        target = self.send("Target.createTarget", url=url)["targetId"]
        return self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def evaluate(self, session: str, code: str) -> Any:
        return self.send("Runtime.evaluate", session, expression=code)["result"].get("value")

    def close(self) -> None:
        self._open.close()
        super().close()
