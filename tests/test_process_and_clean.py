"""`manage.py exports process` and `clean`: what they do, when they stop and what they print."""

import io
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from exports import toolbox
from exports.models import Artifact, FileRequest, Status
from exports.worker import runner
from tests.seed.fake_time import FakeTime
from tests.shop.exports import registered
from tests.shop.requests import NOON, after, in_status, queued, row, user
from tests.shop.runs import configure, stored_files, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

HOUR = 3600


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """The folder of the stored files; mails are due at once and rows have no history."""
    configure(settings, MAIL_DELAY_SECONDS=0, HISTORY_SECONDS=0)
    return use_folders(settings, tmp_path)


class Quick:
    """A handler that attaches a file and records the requests it handled."""

    file_type = "quick"
    handled: list[Any]

    @classmethod
    def handle(cls, request: FileRequest) -> None:
        cls.handled.append(request.pk)
        toolbox.attach_file(request, ContentFile(b"x"), "x.txt")


@pytest.fixture(autouse=True)
def quick() -> Any:
    Quick.handled = []
    with registered(Quick):
        yield Quick


class Terminal(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        return True


def waiting(count: int) -> list[FileRequest]:
    return [queued(file_type="quick", requested_at=after(second)) for second in range(count)]


def expired(count: int) -> list[FileRequest]:
    """Return requests whose files expired long ago, one second after the other."""
    requests = [queued(expires_at=after(second)) for second in range(count)]
    for request in requests:
        toolbox.attach_file(request, ContentFile(b"x"), "x.csv")
    return requests


def run(*arguments: Any, stdout: io.StringIO | None = None, **options: Any) -> str:
    """Return what `manage.py exports` prints."""
    out = stdout or io.StringIO()
    call_command("exports", *arguments, stdout=out, **options)
    return out.getvalue()


# process


def test_process_makes_the_oldest_file_first_and_stops_after_items():
    requests = waiting(3)
    told = run("process", "--items=2")
    assert Quick.handled == [request.pk for request in requests[:2]]
    assert told.splitlines() == [*(f"quick {request.pk}: ready" for request in requests[:2]), "Handled 2 requests."]
    assert [run("process", items=2) for _ in range(2)][1] == "Handled 0 requests.\n"


def test_process_sleeps_between_files_and_stops_after_the_timeout(fake_time: FakeTime):
    waiting(4)
    run("process", "--timeout=2", "--sleep=1.5")
    assert (len(Quick.handled), fake_time.slept) == (3, [1.5, 1.5])


def test_process_shows_a_progress_bar_on_a_terminal():
    requests = waiting(2)
    shown = run("process", stdout=Terminal())
    for part in ("| 0/2 [", "| 1/2 [", "| 2/2 ["):
        assert part in shown
    lines = [line.rpartition("\r")[2] for line in shown.rstrip("\n").split("\n")]
    assert lines == [*(f"quick {request.pk}: ready" for request in requests), "Handled 2 requests."]


def test_process_refuses_the_leeway_of_clean():
    with pytest.raises(CommandError, match="process deletes no files"):
        run("process", "--leeway=60")


def test_process_rescues_exports_of_lost_workers():
    request = queued(file_type="quick")
    FileRequest.objects.filter(pk=request.pk).update(status=Status.RUNNING, epoch=1, lease_expires_at=NOON)
    run("process")
    assert (row(request.pk)["status"], row(request.pk)["crashes"]) == (Status.READY, 1)


def test_process_goes_on_after_a_handler_that_deletes_its_row():
    class Deleting(Quick):
        @classmethod
        def handle(cls, request: FileRequest) -> None:
            cls.handled.append(request.pk)
            request.delete()

    with registered(Deleting):
        waiting(2)
        assert run("process").endswith("Handled 2 requests.\n")
    assert not FileRequest.objects.exists()


def test_sigterm_stops_process_and_requeues_the_export():
    class Stopped(Quick):
        @classmethod
        def handle(cls, request: FileRequest) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            while not runner.stopping.wait(0.01):
                pass
            runner.current(request).check()

    before = signal.getsignal(signal.SIGTERM)
    with registered(Stopped):
        requests = waiting(2)
        try:
            run("process")
        finally:
            runner.stopping.clear()
    assert [row(request.pk)["status"] for request in requests] == [Status.QUEUED, Status.QUEUED]
    assert row(requests[0].pk)["attempts"] == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_process_works_outside_the_main_thread():
    waiting(1)
    told = []

    def process() -> None:
        told.append(run("process"))
        connection.close()

    thread = threading.Thread(target=process)
    thread.start()
    thread.join(30)
    assert told[0].endswith("Handled 1 requests.\n")


# clean


def test_clean_stops_after_items_and_after_the_timeout(fake_time: FakeTime):
    expired(4)
    removed = "Removed 1 of 4 expired requests: stopped at --items.\n"
    assert run("clean", "--items=1") == f"Swept: expired 4, deleted 4.\n{removed}"
    removed = "Removed 2 of 3 expired requests: stopped at --timeout.\n"
    assert run("clean", timeout=1, sleep=1.1).endswith(removed)


def test_clean_keeps_rows_for_the_history_but_no_files(settings: Any, folder: Path):
    configure(settings, HISTORY_SECONDS=HOUR)
    (request,) = expired(1)
    FileRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=HOUR - 60))
    run("clean", "--leeway=0")
    assert (row(request.pk)["status"], stored_files(folder)) == (Status.EXPIRED, [])
    assert row(request.pk)["erased_at"] is not None
    FileRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=HOUR + 60))
    run("clean", "--leeway=0")
    assert not FileRequest.objects.exists()


def test_clean_shows_a_progress_bar_on_a_terminal():
    expired(2)
    shown = run("clean", "--sleep=0.2", stdout=Terminal())
    assert "| 2/2 [" in shown
    assert shown.endswith("\rRemoved 2 of 2 expired requests: all of them.\n")


def test_clean_keeps_files_and_rows_for_the_leeway_which_is_by_default_the_setting(settings: Any, folder: Path):
    configure(settings, FILE_DELETE_DELAY_SECONDS=2 * HOUR)
    (request, _) = expired(2)
    FileRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now())
    FileRequest.objects.exclude(pk=request.pk).update(expires_at=timezone.now() - timedelta(seconds=HOUR + 60))
    run("clean")
    assert (row(request.pk)["status"], len(stored_files(folder))) == (Status.EXPIRED, 2)
    configure(settings, FILE_DELETE_DELAY_SECONDS=HOUR)
    run("clean")
    assert (FileRequest.objects.get().pk, len(stored_files(folder))) == (request.pk, 1)
    run("clean", "--leeway=0")
    assert (FileRequest.objects.count(), stored_files(folder)) == (0, [])


def test_clean_deletes_files_without_rows_in_several_batches(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exports.housekeeping.MAX_PER_STEP", 2)
    for request in expired(5):
        FileRequest.objects.filter(pk=request.pk).update(expires_at=None)
    FileRequest.objects.all().delete()
    assert len(stored_files(folder)) == 5
    assert run("clean").startswith("Swept: deleted 5.\n")
    assert stored_files(folder) == []


def test_clean_deletes_rows_that_ended_without_a_file():
    in_status(Status.FAILED)
    in_status(Status.CANCELLED)
    assert run("clean").startswith("Swept: removed rows 2.\n")
    assert not FileRequest.objects.exists()


def test_clean_goes_on_after_a_step_that_fails(settings: Any, caplog: pytest.LogCaptureFixture):
    expired(1)
    configure(settings, STORAGE="missing.module.Storage")
    told = run("clean")
    assert told.endswith("Removed 1 of 1 expired requests: all of them.\n")
    assert Artifact.objects.get().request is None
    assert user().requested_downloads.count() == 0
