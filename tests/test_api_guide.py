"""The commands of docs/api.md get files from a real web process."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

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
    [mounting] = [each.code for each in BLOCKS if each.language == "python"]
    exec(mounting, names := {})
    api, pages = names["urlpatterns"]
    assert isinstance(api, URLResolver)
    assert (api.app_name, pages.app_name) == ("exports_api", "exports")
