"""A proxy in front of S3 that makes a share of the requests fail: errors, connection resets, delays.

python -m tests.storm.proxy PORT TARGET_PORT SEED ERRORS RESETS DELAYS      (shares from 0 to 1)
"""

import http.client
import random
import socket
import struct
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from tests.servers import Server, free_port

DELAY_SECONDS = 2.0
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class Proxy(Server):
    """The proxy as a child process."""

    def __init__(self, target: int, *, seed: int, errors: float, resets: float, delays: float) -> None:
        super().__init__()
        self.port = free_port()
        self._arguments = [str(each) for each in (self.port, target, seed, errors, resets, delays)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.storm.proxy", *self._arguments]

    def answers(self) -> bool:
        return "proxy ready" in self.log.read_text(errors="replace")

    def count(self, word: str) -> int:
        """Return the number of requests with this outcome: "error", "reset", "delay" or "passed"."""
        return self.log.read_text(errors="replace").splitlines().count(word)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: ClassVar[int]
    chance: ClassVar[random.Random]
    shares: ClassVar[Mapping[str, float]]

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        body = self._body()
        outcome = self._draw_outcome()
        print(outcome, flush=True)
        if outcome == "delay":
            time.sleep(DELAY_SECONDS)
        if outcome == "reset":
            self._reset()
        elif outcome == "error":
            self._answer(self.chance.choice((500, 503)), {}, b"<Error><Code>SlowDown</Code></Error>")
        else:
            self._pass_on(body)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def _draw_outcome(self) -> str:
        number = self.chance.random()
        for outcome, share in self.shares.items():
            number -= share
            if number < 0:
                return outcome
        return "passed"

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _reset(self) -> None:
        """Close the connection with RST instead of an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        raise ConnectionResetError

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = upstream.getresponse()
        self._answer(answer.status, dict(answer.getheaders()), answer.read())
        upstream.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        kept = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        for name, value in ({"Content-Length": str(len(body))} | kept).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the outcome of each request is the log."""


def serve(port: int, target: int, seed: int, errors: float, resets: float, delays: float) -> None:
    Handler.target, Handler.chance = target, random.Random(seed)
    Handler.shares = {"error": errors, "reset": resets, "delay": delays}
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.handle_error = lambda *_: None
    print("proxy ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:4]), *map(float, sys.argv[4:7]))
