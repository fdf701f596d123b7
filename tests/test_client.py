"""The client against a real web process and a worker: it goes on whatever is restarted, cut or killed."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker

from exports import services
from exports.access import tokens
from exports.client import (
    AsyncClient,
    Client,
    DamagedFile,
    Denied,
    ExportFailed,
    Progress,
    RequestRefused,
    Unavailable,
    downloads,
    following,
)
from exports.client.asynchronous import request_body
from exports.client.downloads import Note
from exports.client.sockets import Socket, Sockets
from exports.exit_codes import Exit
from exports.models import AccessToken, AuditEntry, FileRequest, Status
from exports.models.audit import SYSTEM
from tests import asyncapi
from tests.doc_blocks import blocks_of
from tests.office import people
from tests.office.processes import ROOT, Daphne, Worker
from tests.office.wires import daphne_with
from tests.servers import Valkey, free_port, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

REPORT = "\ufeffName\r\nowner\r\n".encode()
Ran = subprocess.CompletedProcess[str]


class Site:
    """A web process and a worker that are shared by the tests of this module."""

    def __init__(self, daphne: Daphne, worker: Worker) -> None:
        self.daphne, self.worker = daphne, worker

    @property
    def url(self) -> str:
        return f"http://{self.daphne.host}"


@pytest.fixture(scope="module")
def site(valkey_server: Valkey, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    with ExitStack() as stack, django_db_blocker.unblock():
        pace = {"PROGRESS_INTERVAL_SECONDS": 0.1, "HEARTBEAT_SECONDS": 0.5, "QUEUE_BACKEND": "exports.queue.huey"}
        daphne = daphne_with(valkey_server, **pace)
        worker = Worker(**daphne.changes)
        stack.callback(worker.close)
        stack.callback(daphne.close)
        worker.start()
        daphne.start()
        yield Site(daphne, worker)


@pytest.fixture
def token(owner: User) -> str:
    return tokens.create(owner, "nightly", SYSTEM, can_create=True)[1]


@pytest.fixture
def client(site: Site, token: str) -> Iterator[Client]:
    with Client(site.url, token, patience_seconds=20) as client:
        yield client


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which files are saved."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(autouse=True)
def frames(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each message that the clients of this process get is as docs/asyncapi.yaml says."""
    wrong: list[str] = []
    deliver = Socket._deliver

    def check(socket: Socket, message: dict[str, Any]) -> None:
        wrong.extend(asyncapi.errors_of(message))
        deliver(socket, message)

    monkeypatch.setattr(Socket, "_deliver", check)
    yield
    assert wrong == []


class Long:
    """An export that runs until it is let go, and the files by which the test knows and does so."""

    def __init__(self, folder: Path) -> None:
        self.until, self.log = folder / "until", folder / "log"
        self.criteria = {"until": str(self.until), "log": str(self.log)}

    def has_begun(self) -> bool:
        return self.log.exists()

    def let_go(self) -> None:
        self.until.touch()

    @property
    def begun(self) -> int:
        return self.log.read_text().count("begin")


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Long]:
    long = Long(tmp_path)
    yield long
    long.let_go()


class Terminal:
    """`python -m exports.client` as a process."""

    def __init__(self, site: Site, token: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "exports.client", site.url, *arguments]
        environment = {**os.environ, "EXPORTS_TOKEN": token, "PYTHONPATH": str(ROOT)}
        # Tests that a shell has started in the background ignore Ctrl-C, and their processes would too.
        ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        finally:
            signal.signal(signal.SIGINT, ignored)

    def ended(self) -> Ran:
        written, said = self.process.communicate(timeout=20)
        return subprocess.CompletedProcess([], self.process.returncode, written, said)


@pytest.fixture
def terminal(site: Site, token: str) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(site, token, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def arguments_of(long: Long, output: str = "long.csv") -> list[str]:
    return ["long", *(f"{name}={value}" for name, value in long.criteria.items()), "--output", output]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# In a program


def test_a_file_is_requested_followed_and_saved(client: Client, here: Path) -> None:
    told: list[Progress] = []
    export = client.run("report", month=4, format="csv", on_progress=told.append)
    assert (export.status, told[-1].status, told[-1].fraction) == ("ready", "ready", 1.0)
    assert export.save("report.csv") == Path("report.csv")
    assert (here / "report.csv").read_bytes() == REPORT
    assert export.save().name == export.state["file"]["name"]
    assert names_in(here) == sorted(["report.csv", export.state["file"]["name"]])
    assert AuditEntry.objects.filter(verb="download", actor_kind="token", outcome="sent").count() == 2
    assert client.get(export.id).state["file"]["sha256"] == hashlib.sha256(REPORT).hexdigest()
    assert {"long", "report"} <= {each["type"] for each in client.types()}


def test_the_programs_of_the_page_save_their_files(
    site: Site, token: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORTS_TOKEN", token)
    names: dict[str, object] = {}
    for block in blocks_of(ROOT / "docs" / "client.md"):
        if block.language == "python":
            code = block.code.replace("https://site.example", site.url)
            exec(code.replace('"flights"', '"report"').replace('carrier="UA"', "month=4"), names)
            assert (here / "flights.xlsx").read_bytes().startswith(b"PK")
            (here / "flights.xlsx").unlink()
    assert names_in(here) == []


async def test_two_exports_run_at_once_with_asyncio(site: Site, here: Path) -> None:
    from asgiref.sync import sync_to_async

    owner = await sync_to_async(people.user)("owner")
    _, token = await sync_to_async(tokens.create)(owner, "nightly", SYSTEM, can_create=True)
    async with AsyncClient(site.url, token) as client:
        first, second = await asyncio.gather(
            client.download("report", "4.csv", month=4, format="csv"),
            client.download("report", "5.xlsx", {"month": 5}, format="xlsx"),
        )
    assert first.read_bytes() == REPORT
    assert second.read_bytes().startswith(b"PK")
    assert names_in(here) == ["4.csv", "5.xlsx"]


def test_the_same_key_gets_the_same_export(client: Client) -> None:
    asked = [client.request("report", month=4, idempotency_key="nightly-1") for _ in range(2)]
    assert asked[0].id == asked[1].id
    with pytest.raises(RequestRefused, match="used for another request"):
        client.request("report", month=5, idempotency_key="nightly-1")


def test_refusals_are_told_as_the_site_tells_them(client: Client, site: Site, token: str) -> None:
    with pytest.raises(RequestRefused, match=r"month: .*less than or equal to 12") as refused:
        client.run("report", month=13)
    assert (refused.value.code, list(refused.value.fields)) == ("invalid_criteria", ["month"])
    with pytest.raises(RequestRefused, match="no such fields: moth"):
        client.run("report", moth=4)
    with pytest.raises(RequestRefused, match="no format named 'doc'"):
        client.run("report", month=4, format="doc")
    for name in ("nothing", "../types"):
        with pytest.raises(Denied):
            client.run(name)
    with pytest.raises(Denied):
        client.get("7d9f6c1e-2b0a-4c57-9d53-0f4f6a1c8a11")
    with Client(site.url, "exp_wrong") as stranger, pytest.raises(Denied) as denied:
        stranger.types()
    assert denied.value.code == "not_signed_in"
    with Client(f"{site.url}/accounts/login", token) as lost, pytest.raises(Denied):
        lost.types()
    with Client(f"http://127.0.0.1:{free_port()}", token, patience_seconds=0.5) as nobody, pytest.raises(Unavailable):
        nobody.types()


def test_an_export_that_fails_or_is_cancelled_ends_as_an_exception(client: Client, long: Long, here: Path) -> None:
    export = client.request("long", long.criteria)
    wait_until(long.has_begun)
    export.cancel()
    export.cancel()
    with pytest.raises(ExportFailed) as failed:
        export.wait()
    assert (failed.value.code, failed.value.state["status"]) == ("cancelled", "cancelled")
    with pytest.raises(ExportFailed):
        export.save("long.csv")
    assert names_in(here) == []


def test_a_file_that_its_owner_may_not_have_any_more_is_not_saved(client: Client, owner: User, here: Path) -> None:
    export = client.run("report", month=4, format="csv")
    people.refuse(owner)
    with pytest.raises(ExportFailed) as failed:
        client.get(export.id).save()
    assert failed.value.code == "permission_lost"
    with pytest.raises(Denied):
        export.save()
    assert [name for name in names_in(here) if not name.endswith((".part", ".part.json"))] == []


def test_a_token_that_is_revoked_meanwhile_ends_the_wait(client: Client, long: Long, token: str) -> None:
    def revoke(progress: Progress) -> None:
        if progress.status == "running" and not revoked:
            revoked.append(threading.Thread(target=in_thread))
            revoked[0].start()

    def in_thread() -> None:
        from django.db import connections

        tokens.revoke(AccessToken.objects.get(), SYSTEM)
        connections.close_all()

    revoked: list[threading.Thread] = []
    with pytest.raises(Denied):
        client.run("long", long.criteria, on_progress=revoke)
    revoked[0].join()


def test_without_sockets_the_client_polls(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.client.sockets.SOCKETS", "/ws/nowhere/")
    monkeypatch.setattr(following, "POLL_SECONDS", 0.1)
    assert client.run("report", month=4, format="csv").status == "ready"


async def test_exports_that_are_followed_at_once_share_a_socket(
    site: Site, token: str, long: Long, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(sockets: Sockets, path: str, **options: bool) -> Socket:
        opened.append(path)
        return open_socket(sockets, path, **options)

    opened: list[str] = []
    open_socket = Sockets._open
    monkeypatch.setattr(Sockets, "_open", note)
    async with AsyncClient(site.url, token) as client:
        exports = [await client.request("long", long.criteria, log=f"{long.log}{number}") for number in range(5)]
        waiting = asyncio.gather(*(export.wait() for export in exports))
        await asyncio.sleep(0)
        long.let_go()
        assert [export.status for export in await asyncio.wait_for(waiting, 60)] == ["ready"] * 5
    assert opened[:2] == [f"{exports[0].id}/", ""]


# Restarts, cuts and damage


def test_a_client_that_is_killed_goes_on_with_the_same_export(
    terminal: Callable[..., Terminal], long: Long, here: Path
) -> None:
    first = terminal(*arguments_of(long))
    wait_until(long.has_begun)
    first.process.send_signal(signal.SIGKILL)
    first.ended()
    assert names_in(here) == ["long.csv.part.json"]
    long.let_go()
    assert terminal(*arguments_of(long)).ended().returncode == Exit.DONE
    export = FileRequest.objects.get()
    assert (export.status, long.begun) == (Status.READY, 1)
    assert hashlib.sha256((here / "long.csv").read_bytes()).hexdigest() == export.sha256
    assert names_in(here) == ["long.csv"]


def test_a_server_that_is_restarted_costs_nothing(
    site: Site, terminal: Callable[..., Terminal], long: Long, here: Path
) -> None:
    running = terminal(*arguments_of(long), "--json")
    while '"status": "running"' not in (told := running.process.stdout.readline()):
        assert told
    site.daphne.stop(signal.SIGKILL)
    long.let_go()
    wait_until(lambda: FileRequest.objects.get().status == Status.READY)
    site.daphne.start()
    ended = running.ended()
    assert ended.returncode == Exit.DONE, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["export"]["status"] for event in events if event["event"] == "export"][-1] == "ready"
    assert events[-1] == {"event": "saved", "path": "long.csv", "size": (here / "long.csv").stat().st_size}
    assert FileRequest.objects.count() == 1


class CuttingProxy:
    """Passes on one connection after another; the first answer that is longer than `after` bytes is cut there."""

    def __init__(self, target: int, after: int) -> None:
        self.cuts = 0
        self._target, self._after = target, after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as site:
            threading.Thread(target=_copy, args=[client, site], daemon=True).start()
            _copy(site, client, limit=None if self.cuts else self._after)
            self.cuts += 1
            client.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket, limit: int | None = None) -> None:
    copied = 0
    try:
        while (block := source.recv(1 << 16)) and (limit is None or copied < limit):
            target.sendall(block if limit is None else block[: limit - copied])
            copied += len(block)
    except OSError:
        return


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch, owner: User) -> bytes:
    """The bytes of a report with ten thousand names."""
    User.objects.bulk_create(User(username=f"user {number:05}") for number in range(10_000))
    names = "".join(f"{name}\r\n" for name in User.objects.order_by("username").values_list("username", flat=True))
    return f"\ufeffName\r\n{names}".encode()


def test_a_download_that_is_cut_is_resumed_where_it_ended(site: Site, client: Client, token: str, big: bytes) -> None:
    export = client.run("report", month=4, format="csv")
    with (
        closing(CuttingProxy(site.daphne.port, after=60_000)) as proxy,
        Client(proxy.url, token) as cut,
    ):
        told: list[Progress] = []
        saved = cut.get(export.id).save("big.csv", on_progress=told.append)
    assert saved.read_bytes() == big
    assert proxy.cuts >= 1
    counts = [progress.done for progress in told]
    assert counts == sorted(counts)
    assert counts[-1] == len(big)
    downloads_of = AuditEntry.objects.filter(verb="download").order_by("pk")
    assert sum(entry.byte_count for entry in downloads_of) < 2 * len(big)


def test_bytes_of_another_file_are_an_error_and_leave_no_file(client: Client, big: bytes, here: Path) -> None:
    export = client.run("report", month=4, format="csv")
    sha256 = export.state["file"]["sha256"]
    Note(export.id, "", sha256).write(Path("big.csv"))
    downloads.part_path(Path("big.csv")).write_bytes(b"x" * 1000)
    with pytest.raises(DamagedFile):
        export.save("big.csv")
    assert names_in(here) == []
    assert export.save("big.csv").read_bytes() == big


def test_what_was_downloaded_by_a_client_that_was_killed_is_not_downloaded_again(client: Client, big: bytes) -> None:
    export = client.run("report", month=4, format="csv")
    Note(export.id, "", export.state["file"]["sha256"]).write(Path("big.csv"))
    downloads.part_path(Path("big.csv")).write_bytes(big[:100_000])
    told: list[Progress] = []
    assert export.save("big.csv", on_progress=told.append).read_bytes() == big
    assert told[0].done > 100_000
    assert AuditEntry.objects.get(verb="download").byte_count == len(big) - 100_000


def test_bytes_that_are_not_known_to_be_of_this_file_are_downloaded_again(client: Client, big: bytes) -> None:
    export = client.run("report", month=4, format="csv")
    Note(export.id, "", export.state["file"]["sha256"]).write(Path("big.csv"))
    downloads.part_path(Path("big.csv")).write_bytes(big + b"x")
    assert export.save("big.csv").read_bytes() == big
    FileRequest.objects.update(sha256="")
    Note(export.id, "").write(Path("big.csv"))
    downloads.part_path(Path("big.csv")).write_bytes(b"x" * 1000)
    assert client.get(export.id).save("big.csv").read_bytes() == big


def test_a_file_that_expires_before_its_download_leaves_nothing(
    client: Client, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expire(progress: Progress) -> None:
        if progress.status == "ready":
            services.expire(FileRequest.objects.get(), SYSTEM)

    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with pytest.raises(RequestRefused):
        client.download("report", "report.csv", month=4, format="csv", on_progress=expire)
    assert names_in(here) == []


def test_an_export_with_a_smaller_number_is_that_of_a_restored_backup(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_BESIDE_SOCKET_SECONDS", 0.0)
    export = client.run("report", month=4, format="csv")
    export.state.update(status="running", seq=export.state["seq"] + 5)
    assert export.wait().status == "ready"


def test_an_earlier_export_that_has_expired_is_requested_again(client: Client, site: Site, here: Path) -> None:
    first = client.run("report", month=4, format="csv", idempotency_key="earlier")
    services.expire(FileRequest.objects.get(), SYSTEM)
    request = json.dumps([site.url, request_body("report", {"month": 4}, "csv", None, None)], sort_keys=True)
    Note(request, "earlier").write(Path("report.csv"))
    assert client.download("report", "report.csv", month=4, format="csv").read_bytes() == REPORT
    assert [export.status for export in FileRequest.objects.order_by("requested_at")] == ["expired", "ready"]
    assert first.id != str(FileRequest.objects.get(status="ready").pk)
    assert names_in(here) == ["report.csv"]


# In a terminal


def test_ctrl_c_cancels_the_export(terminal: Callable[..., Terminal], long: Long, here: Path) -> None:
    running = terminal(*arguments_of(long))
    wait_until(long.has_begun)
    running.process.send_signal(signal.SIGINT)
    ended = running.ended()
    assert (ended.returncode, ended.stdout) == (Exit.INTERRUPTED, "")
    assert ended.stderr.splitlines()[-1] == "Stopped. (interrupted)"
    assert FileRequest.objects.get().status == Status.CANCELLED
    assert AuditEntry.objects.get(verb="cancel").actor_kind == "token"
    assert names_in(here) == []


def test_errors_end_with_their_codes(terminal: Callable[..., Terminal], here: Path) -> None:
    wrong = terminal("report", "month=13", "--output", "x.csv", "--json")
    unknown = terminal("nothing", "--output", "x.csv")
    missing = terminal("report", "month=4", "--output", "missing/x.csv")
    wrong_ended = wrong.ended()
    [event] = [json.loads(line) for line in wrong_ended.stdout.splitlines()]
    assert (wrong_ended.returncode, event["code"], event["exit_code"]) == (Exit.USAGE, "invalid_criteria", Exit.USAGE)
    assert (unknown.ended().returncode, missing.ended().returncode) == (Exit.DENIED, Exit.FAILED)
    assert names_in(here) == []
