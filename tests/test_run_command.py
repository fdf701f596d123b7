"""`manage.py exports run`: a file here and now, as a user or as the system."""

import csv
import hashlib
import io
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connections

from exports import services
from exports.exit_codes import Exit
from exports.management.progress import ExportProgress
from exports.models import Actor, AuditEntry, FileRequest, Status
from exports.worker import loop
from tests.servers import wait_until
from tests.shop.exports import OrderExport, order_rule, registered
from tests.shop.models import Customer, Order
from tests.shop.requests import user
from tests.shop.runs import configure, use_folders

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which files are written; three orders are in the database."""
    use_folders(settings, tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    customer = Customer.objects.create(name="Ada", city="Rome")
    for number in (1, 2, 3):
        Order.objects.create(number=f"A{number}", quantity=number, customer=customer)
    return tmp_path / "here"


def run(*arguments: str) -> None:
    call_command("exports", "run", *arguments)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))


def entries(**about: Any) -> list[tuple[str, str, str, str]]:
    found = AuditEntry.objects.filter(**about).order_by("pk")
    return list(found.values_list("verb", "actor_kind", "actor_name", "outcome"))


@pytest.mark.both_databases
def test_a_user_gets_the_file_under_its_own_name_and_the_audit_log_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], settings: Any
) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue")
    ada = user()
    run("orders", "--user", "ada", "--column", "number", "--column", "quantity", "at_least=2")
    export = FileRequest.objects.get()
    told = capsys.readouterr()
    assert told.out == f"{export.filename}\n"
    assert told.err.splitlines()[-1].startswith("done: 2")
    path = folder / export.filename
    assert [path.name] == names_in(folder)
    assert rows_of(path) == [["Order number", "Quantity"], ["A2", "2"], ["A3", "3"]]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == export.sha256
    assert (export.requester, export.status, export.attempts) == (ada, Status.READY, 1)
    assert export.seen_at is not None
    assert entries() == [
        ("request", "user", "command", "done"),
        ("start", "system", "worker", "done"),
        ("publish", "system", "worker", "done"),
        ("download", "user", "command", "sent"),
    ]
    assert AuditEntry.objects.get(verb="download").bytes_sent == path.stat().st_size


def test_the_system_may_have_every_export_and_gets_no_mail(folder: Path) -> None:
    with order_rule(lambda someone: someone.has_perm("shop.view_order")):
        run("orders", "--system", "--format", "xlsx", "--output", "orders.xlsx", "--quiet")
    export = FileRequest.objects.get()
    assert (export.requester, export.by_system, export.dedupe_key) == (None, True, "")
    assert (folder / "orders.xlsx").read_bytes().startswith(b"PK")
    assert (export.sends_mail, export.seen_at is not None) == (False, True)
    assert entries(verb__in=("request", "download")) == [
        ("request", "system", "command", "done"),
        ("download", "system", "command", "sent"),
    ]
    # Staff that asks for it again asks for nobody, not for the system.
    with order_rule(lambda someone: someone.has_perm("shop.view_order")), pytest.raises(services.NotAllowed):
        services.regenerate(export, Actor.of(user("staff")))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing", "--system"], Exit.USAGE, "No exporter is registered for 'nothing'"),
        (["orders", "--user", "bob"], Exit.USAGE, "There is no user 'bob'"),
        (["orders", "--system", "at_least"], Exit.USAGE, "'at_least' is not NAME=VALUE"),
        (["orders", "--system", "at_lest=2"], Exit.USAGE, "no criterion at_lest. Its form has status, at_least, city"),
        (["customers", "--system", "x=2"], Exit.USAGE, "Its form has no fields"),
        (["orders", "--system", "at_least=two"], Exit.USAGE, "at_least: Enter a whole number"),
        (["orders", "--system", "--format", "doc"], Exit.USAGE, "no format named 'doc'"),
        (["orders", "--system", "--option", "bom=maybe"], Exit.USAGE, "'maybe' is not allowed"),
        (["orders", "--system", "--column", "price"], Exit.USAGE, "there is no column 'price'"),
        (["orders", "--system", "--output", "missing/x.csv"], Exit.USAGE, "missing is no folder"),
        (["orders", "--user", "ada"], Exit.DENIED, "You may not export this"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    arguments: list[str], code: Exit, message: str, folder: Path
) -> None:
    user()
    with order_rule(lambda someone: someone.username == "system"), pytest.raises(CommandError, match=message) as raised:
        run(*arguments)
    assert raised.value.returncode == code
    assert not FileRequest.objects.exists()
    assert names_in(folder) == []


@pytest.mark.both_databases
def test_a_user_at_the_limit_is_refused_and_no_row_is_left(settings: Any) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    export, _ = services.request_export(user(), "customers", {})
    assert loop.claim_export(export, loop.registry.exporter_of(export)) is not None
    with pytest.raises(CommandError, match="1 exports running, which is the limit") as raised:
        run("orders", "--user", "ada")
    assert raised.value.returncode == Exit.UNAVAILABLE
    assert FileRequest.objects.get() == export


class Losing(OrderExport):
    """The orders; their owner loses the right while they are read."""

    def get_queryset(self, user: Any, criteria: Any) -> Any:
        FileRequest.objects.get().requester.groups.clear()
        return super().get_queryset(user, criteria)

    def has_permission(self, user: Any, criteria: Any) -> bool:
        return user.groups.exists()


def test_a_right_that_is_lost_during_the_run_leaves_no_file(folder: Path) -> None:
    user().groups.add(Group.objects.create(name="clerks"))
    # Its queue is asked about the number of rows at the request, which would lose the right too early.
    losing = registered(type("Losing", (Losing,), {"queue_name": "small"}))
    with losing, pytest.raises(CommandError, match="permission_lost") as raised:
        run("orders", "--user", "ada")
    assert raised.value.returncode == Exit.DENIED
    assert names_in(folder) == []


class Failing(OrderExport):
    queue_name = "small"

    def get_queryset(self, user: Any, criteria: Any) -> Any:
        raise ZeroDivisionError


def test_a_failed_export_ends_with_its_code_and_keeps_the_old_file(folder: Path) -> None:
    (folder / "orders.csv").write_text("the old one")
    with (
        registered(Failing),
        pytest.raises(CommandError, match=r"failed\. export_failed: .*ZeroDivisionError") as raised,
    ):
        run("orders", "--system", "--output", "orders.csv")
    assert raised.value.returncode == Exit.FAILED
    assert (folder / "orders.csv").read_text() == "the old one"
    assert names_in(folder) == ["orders.csv"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_a_line_for_each_phase_elsewhere() -> None:
    row = FileRequest(phase="writing", rows_done=1_200, rows_total=4_800)
    outputs = [Terminal(), io.StringIO(), io.StringIO()]
    for output in outputs:
        with ExportProgress(output, is_quiet=output is outputs[2]) as progress:
            progress(row)
            progress(row)
    assert "writing:  25%" in outputs[0].getvalue()
    assert [output.getvalue() for output in outputs[1:]] == ["writing: 1,200 of 4,800 rows\n", ""]


# Other processes


class Slow(OrderExport):
    """The orders, read while `meanwhile` says so."""

    queue_name = "small"
    meanwhile: Any = staticmethod(lambda: None)

    def get_queryset(self, user: Any, criteria: Any) -> Any:
        type(self).meanwhile()
        return super().get_queryset(user, criteria)


@pytest.mark.both_databases
def test_an_export_that_a_worker_runs_already_is_followed_and_not_made_twice(folder: Path) -> None:
    going_on = threading.Event()
    slow = type("Slow", (Slow,), {"meanwhile": staticmethod(lambda: going_on.wait(10))})
    with registered(slow):
        export, _ = services.request_export(user(), "orders", {}, format="csv")

        def work() -> None:
            loop.dispatch(export.pk)
            connections.close_all()

        worker = threading.Thread(target=work)
        worker.start()
        wait_until(lambda: FileRequest.objects.get().status == Status.RUNNING)
        threading.Timer(0.3, going_on.set).start()
        run("orders", "--user", "ada", "--output", "orders.csv", "--format", "csv")
        worker.join()
    assert (FileRequest.objects.get().attempts, len(rows_of(folder / "orders.csv"))) == (1, 4)


@pytest.mark.both_databases
def test_no_worker_can_claim_the_export_in_between(folder: Path) -> None:
    """The row is never seen waiting: the worker that the request wakes finds nothing."""
    found: list[Any] = []

    def look() -> None:
        found.append(loop.WorkerLoop(None).run_next())
        connections.close_all()

    def meanwhile() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    with registered(type("Slow", (Slow,), {"meanwhile": staticmethod(meanwhile)})):
        run("orders", "--system", "--output", "orders.csv")
    assert found == [None]
    assert (folder / "orders.csv").exists()


@pytest.mark.both_databases
@pytest.mark.parametrize("output", ["orders.csv", "-"])
def test_a_damaged_file_in_the_storage_is_not_handed_out(
    output: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def damage(*_given: Any) -> None:
        export = FileRequest.objects.get()
        path = Path(export.filehandle.path)
        path.chmod(0o600)
        path.write_bytes(path.read_bytes().replace(b"A2", b"A9"))

    monkeypatch.setattr(services, "mark_seen", damage)
    with pytest.raises(CommandError, match="not the one that was made") as raised:
        run("orders", "--system", "--output", output)
    assert raised.value.returncode == Exit.DAMAGED
    assert (names_in(folder), capsysbinary.readouterr().out) == ([], b"")
    assert entries(verb="download") == [("download", "system", "command", "failed")]
    assert AuditEntry.objects.get(verb="download").bytes_sent == 0


def test_a_file_that_cannot_be_written_is_recorded_as_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out").mkdir()
    monkeypatch.setattr(services, "mark_seen", lambda _: (folder / "out").rmdir())
    with pytest.raises(CommandError, match="cannot be written") as raised:
        run("orders", "--system", "--output", "out/orders.csv")
    assert raised.value.returncode == Exit.FAILED
    assert entries(verb="download") == [("download", "system", "command", "failed")]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_cancel_the_export_and_leave_no_file(signum: int, folder: Path) -> None:
    slow = type("Slow", (Slow,), {"meanwhile": staticmethod(lambda: os.kill(os.getpid(), signum))})
    # Tests that a shell has started in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with registered(slow), pytest.raises(CommandError, match="Stopped; the export is cancelled") as raised:
            run("orders", "--system", "--output", "orders.csv")
    finally:
        signal.signal(signal.SIGINT, before)
    assert raised.value.returncode == Exit.INTERRUPTED
    assert FileRequest.objects.get().status == Status.CANCELLED
    assert entries(verb="cancel") == [("cancel", "system", "command", "done")]
    assert names_in(folder) == []
