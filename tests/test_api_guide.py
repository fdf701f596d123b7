"""The commands of docs/api.md get files from a real web process."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.urls import URLResolver

from exports.access import tokens
from exports.models import Actor, FileRequest
from exports.worker.loop import WorkerLoop
from tests.doc_blocks import ROOT, blocks_of
from tests.office.wires import daphne_with
from tests.servers import Valkey

BLOCKS = list(blocks_of(ROOT / "docs" / "api.md"))
COMMANDS = "\n".join(each.code for each in BLOCKS if each.language == "sh" and not each.code.startswith(("pip", "npm")))
PROGRAMS = [each.code for each in BLOCKS if each.language == "python"]
IN_THE_OFFICE = {"flights/": "report/", '"flights"': '"report"', '"carrier": "UA"': '"month": 4'}


@contextmanager
def a_worker() -> Iterator[None]:
    """Make what is requested, in a thread of this process."""
    stop = Event()

    def work() -> None:
        while not stop.wait(0.05):
            WorkerLoop("small").run_due()
        connections.close_all()

    thread = Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("office")
def test_the_commands_of_the_page_get_files(valkey: Valkey, owner: User, tmp_path: Path):
    _token, text = tokens.create(owner, "script", Actor.of(owner), can_create=True)
    commands = COMMANDS
    for theirs, ours in IN_THE_OFFICE.items():
        assert theirs in commands
        commands = commands.replace(theirs, ours)
    with daphne_with(valkey, REUSE_WITHIN_SECONDS=0) as site, a_worker():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path,
            env={**os.environ, "SITE": f"http://{site.host}", "TOKEN": text},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert '"text": "1 row' in done.stdout
    for name in ("flights.csv", "followed.csv"):
        assert (tmp_path / name).read_bytes().endswith(b"Name\r\nowner\r\n")
    assert FileRequest.objects.count() == 2


def test_the_page_mounts_the_api_before_the_pages():
    mounting, *_ = PROGRAMS
    exec(mounting, names := {})
    api, pages = names["urlpatterns"]
    assert isinstance(api, URLResolver)
    assert (api.app_name, pages.app_name) == ("exports_api", "exports")


def test_the_page_counts_the_lines_of_its_programs():
    _, _, table = (ROOT / "docs" / "api.md").read_text().partition("| | Lines |")
    told = [int(row.split("|")[2]) for row in table.splitlines()[2:6]]
    assert told == [len(re.findall(r"^ *[^ #\n]", program, re.MULTILINE)) for program in PROGRAMS[1:]]


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("office")
@pytest.mark.parametrize(
    ("number", "requests"),
    [(1, ["POST exports", "GET download", "GET file"]), (2, ["POST exports", "GET file"])],
    ids=["client", "any HTTP client"],
)
def test_the_programs_of_the_page_send_as_many_requests_as_it_says(
    number: int, requests: list[str], valkey: Valkey, owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def kind(request: httpx.Request) -> str:
        *_, before, last = request.url.path.rstrip("/").split("/")
        if before == "exports":
            return "look"
        return f"{request.method} {last if last in ('exports', 'download') else 'file'}"

    def noted(send: Any) -> Any:
        def note(transport: object, request: httpx.Request) -> Any:
            sent.append(kind(request))
            return send(transport, request)

        return note

    sent: list[str] = []
    for transport, method in (
        (httpx.HTTPTransport, "handle_request"),
        (httpx.AsyncHTTPTransport, "handle_async_request"),
    ):
        monkeypatch.setattr(transport, method, noted(getattr(transport, method)))
    monkeypatch.chdir(tmp_path)
    _token, text = tokens.create(owner, "script", Actor.of(owner), can_create=True)
    program = PROGRAMS[number].replace('"flights"', '"report"').replace('carrier="UA"', "month=4")
    program = program.replace('"carrier": "UA"', '"month": 4')
    with daphne_with(valkey, REUSE_WITHIN_SECONDS=0) as site, a_worker():
        exec(program, {"site": f"http://{site.host}", "token": text})
    assert (tmp_path / "flights.csv").read_bytes().endswith(b"Name\r\nowner\r\n")
    # A slow machine looks and asks again.
    assert [each for each in dict.fromkeys(sent) if each != "look"] == requests
