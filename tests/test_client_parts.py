"""The parts of the client that need no site, and that it needs no Django."""

import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from rich.console import Console

from exports.client import Client, Denied, Progress, RequestRefused, Unavailable
from exports.client.__main__ import BarReporter, main, pairs
from exports.client.downloads import Note, forget, note_path
from exports.client.following import Follower
from exports.client.progress import ignore
from exports.client.site import Site, backoff, error_of, own_path, state_in
from exports.exit_codes import Exit
from tests.office.processes import ROOT

BLOCKED = "import sys; sys.modules['django'] = None; sys.modules['asgiref'] = None\n"
STATE = {
    "status": "running",
    "phase": "writing",
    "progress": {"rows_done": 1200, "rows_total": 4800, "fraction": 0.25, "eta_seconds": 3.4, "queue_position": None},
    "file": {"size": 2048},
}
FOLLOWED = {**STATE, "id": "1", "seq": 1, "urls": {"self": "/exports/1/"}}


@pytest.mark.parametrize("code", ["import exports.client", "from exports.client.__main__ import parser; parser()"])
def test_the_client_imports_no_django(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "writing: 1,200 of 4,800 rows, 25%, 3 s left"),
        ({"status": "queued", "progress": {**STATE["progress"], "queue_position": 3}}, "queued, place 3"),
        ({"status": "queued"}, "queued"),
    ],
)
def test_progress_is_a_line_for_people(changes: dict[str, object], line: str) -> None:
    assert str(Progress.of_state({**STATE, **changes})) == line


def test_progress_of_a_download_counts_bytes() -> None:
    assert str(Progress.of_download(STATE, 512)) == "downloading: 512 of 2,048 bytes, 25%"
    assert Progress.of_download({**STATE, "file": {"size": 0}}, 0).fraction == 1.0


def answer(status: int, **content: object) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "http://site.example/exports/"), **content)


@pytest.mark.parametrize(
    ("response", "kind", "message"),
    [
        (answer(401, json={"error": {"code": "not_signed_in", "message": "Sign in."}}), Denied, "Sign in."),
        (answer(404, json={"title": "Not Found", "detail": "Nothing.", "status": 404}), Denied, "Nothing."),
        (answer(429, json={"detail": "Five.", "code": "too_many_today"}), Unavailable, "Five."),
        (answer(503, text="<html>"), Unavailable, "/exports/ was answered with 503."),
        (answer(500), Unavailable, "/exports/ was answered with 500."),
        (answer(400, json={"detail": "No.", "fields": {"month": ["Big."]}}), RequestRefused, "No. month: Big."),
        (answer(400, json=["unexpected"]), RequestRefused, "/exports/ was answered with 400."),
    ],
)  # fmt: skip
def test_an_answer_is_told_as_an_exception(response: httpx.Response, kind: type[Exception], message: str) -> None:
    error = error_of(response)
    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize("response", [answer(200, text="<html>"), answer(200, json=[]), answer(200, json={"id": 1})])
def test_a_page_is_not_taken_for_an_export(response: httpx.Response) -> None:
    with pytest.raises(Unavailable, match="Is this the address of the site"):
        state_in(response)


@pytest.mark.parametrize("path", ["http://evil.example/", "//evil.example/", "exports/"])
def test_the_token_is_sent_to_no_other_host(path: str) -> None:
    with pytest.raises(Unavailable, match="none of its own paths"):
        own_path(path)


@pytest.mark.parametrize("url", ["site.example", "ftp://site.example", "https://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(RequestRefused, match="not the address of a site"):
        Client(url, "exp_x")


def test_a_site_may_have_a_path() -> None:
    site = Site("https://site.example/intern/", "exp_x")
    assert site.api("types/") == "/intern/exports/api/v1/types/"
    assert site.sockets.url_of("1/") == "wss://site.example/intern/ws/exports/1/"
    assert Site("http://[::1]:8000", "exp_x").sockets.url_of("1/") == "ws://[::1]:8000/ws/exports/1/"


class Elsewhere(BaseHTTPRequestHandler):
    """Redirects a file and a socket to the same server under another name, and returns the header with the token."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers["Host"])
        is_redirected = self.path in ("/file", "/ws/exports/1/")
        self.send_response(302 if is_redirected else 200)
        self.send_header("Connection", "close")
        if is_redirected:
            self.send_header("Location", f"//localhost:{self.server.server_port}/bytes")
        self.end_headers()
        if self.path == "/exports/1/":
            self.wfile.write(json.dumps({**FOLLOWED, "status": "ready", "seq": 2}).encode())
        elif not is_redirected:
            self.wfile.write(f"{self.headers['Authorization']} {self.headers['Range']}".encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The host and port of a server of Elsewhere."""
    Elsewhere.asked.clear()
    with HTTPServer(("", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_redirect_to_another_host_takes_the_range_along_and_not_the_token(elsewhere: str) -> None:
    async with Site(f"http://{elsewhere}", "exp_x") as site:
        told = [(await site.request("GET", path, headers={"Range": "bytes=3-"})).text for path in ("/here", "/file")]
    assert told == ["Bearer exp_x bytes=3-", "None bytes=3-"]


async def test_a_socket_that_is_redirected_is_not_opened_at_another_host(elsewhere: str) -> None:
    async with Site(f"http://{elsewhere}", "exp_x") as site:
        assert (await Follower(site, FOLLOWED, ignore).follow())["status"] == "ready"
    assert Elsewhere.asked == [elsewhere, elsewhere]


def test_a_terminal_shows_a_bar() -> None:
    shown = io.StringIO()
    bar = BarReporter(Console(file=shown, force_terminal=True, width=100))
    with bar:
        bar(Progress.of_state(STATE))
    assert "writing: 1,200 of 4,800 rows, 25%" in shown.getvalue()


def test_waits_grow_up_to_a_quarter_of_a_minute() -> None:
    assert 0 <= backoff(0) <= 1
    assert max(backoff(100) for _ in range(50)) <= 15


def test_a_note_counts_for_its_own_request_alone(tmp_path: Path) -> None:
    path = tmp_path / "flights.xlsx"
    assert Note.read(path, "one") is None
    note = Note("one", "key", "ab")
    note.write(path)
    assert (Note.read(path, "one"), Note.read(path, "two")) == (note, None)
    for text in ("", "[]", '{"unknown": 1}'):
        note_path(path).write_text(text)
        assert Note.read(path, "one") is None
    forget(path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_takes_criteria_in_any_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert pairs(["month=4", "airport=JFK", "airport=EWR", "note=a=b"]) == {
        "month": "4",
        "airport": ["JFK", "EWR"],
        "note": "a=b",
    }
    assert main(["https://site.example", "flights", "--output", "x", "month"]) == Exit.USAGE
    assert main(["https://site.example", "flights", "--quiet", "month=4"]) == Exit.USAGE
    assert main(["https://site.example", "--json"]) == Exit.USAGE
    assert "needs --output" in capsys.readouterr().err


def test_the_page_has_every_exit_code() -> None:
    table = (ROOT / "docs" / "client.md").read_text().partition("## Exit codes")[2]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(Exit)
