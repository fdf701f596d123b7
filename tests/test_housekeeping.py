"""Housekeeping: every step, run twice, and with a failing row or service."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connections
from django.utils import timezone

from exports import housekeeping, storage
from exports.conf import config
from exports.exceptions import StorageFailed
from exports.exporters import registry
from exports.housekeeping import sweep
from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.worker import work_dir
from tests.servers import wait_until
from tests.shop.exports import OrderExport, heard, order_rule, registered
from tests.shop.requests import at_once, claimed, in_status, made, queued, row, user
from tests.shop.runs import Events, claimed_now, configure, run_now, send_mails_by, stored_files, use_folders, write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("folder")]

NOTHING = "nothing"


@pytest.fixture(autouse=True)
def woken(settings: Any, folder: Path) -> list[str]:
    """The names of the queues that were woken."""
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue")
    heard.clear()
    return heard


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def change(export: FileRequest, **columns: Any) -> FileRequest:
    FileRequest.objects.filter(pk=export.pk).update(**columns)
    export.refresh_from_db()
    return export


def waiting(**columns: Any) -> FileRequest:
    """Return an export that was requested, and whose queue was woken, just now."""
    now = timezone.now()
    return queued(**{"requested_at": now, "woken_at": now, **columns})


def ready(**columns: Any) -> FileRequest:
    """Return an export whose file was published just now, without a mail."""
    export, claim = claimed_now(waiting(**columns))
    assert transitions.publish(claim, made())
    Notification.objects.filter(request=export).delete()
    export.refresh_from_db()
    return export


def store_file(export: FileRequest) -> str:
    """Store a file under the newest key of this export and return the key."""
    key = Artifact.objects.filter(request=export).latest("pk").key
    storage.exports_storage().save(key, ContentFile(b"abc"))
    return key


def exists(key: str) -> bool:
    return storage.exports_storage().exists(key)


# Lost workers


def test_an_export_of_a_lost_worker_is_queued_again_until_the_last_crash(settings: Any, woken: list[str]) -> None:
    export, claim = claimed_now(waiting())
    change(export, lease_expires_at=ago(1))
    old = FileRequest.objects.get(pk=export.pk)
    swept = sweep()
    assert (swept.rescued, swept.woken, woken) == (1, 1, ["large"])
    assert (row(export.pk)["status"], row(export.pk)["crashes"]) == ("queued", 1)
    assert not transitions.publish(claim, made())
    # A second housekeeper that read the row before changes nothing.
    assert not transitions.rescue(old)
    assert row(export.pk)["crashes"] == 1
    configure(settings, MAX_CRASHES=2)
    change(claimed_now(FileRequest.objects.get())[0], lease_expires_at=ago(1))
    assert sweep().rescued == 1
    assert (row(export.pk)["status"], row(export.pk)["error_code"]) == ("failed", "worker_lost")


# Queued exports


def test_an_export_that_is_queued_too_long_fails() -> None:
    old, young = waiting(requested_at=ago(config.QUEUE_TIMEOUT_SECONDS + 60)), waiting()
    assert sweep().timed_out == 1
    assert (row(old.pk)["status"], row(old.pk)["error_code"]) == ("failed", "expired_in_queue")
    assert row(young.pk)["status"] == "queued"


def test_a_queue_is_woken_for_an_export_of_a_web_host_whose_clock_is_ahead(woken: list[str]) -> None:
    waiting(woken_at=ago(-300))

    assert (housekeeping.wake_again(), housekeeping.wake_again(), woken) == (1, 0, ["large"])


def test_each_queue_is_woken_once_for_the_exports_that_were_not_picked_up(woken: list[str]) -> None:
    waiting(woken_at=ago(config.WAKE_AGAIN_SECONDS + 1))
    waiting(woken_at=None)
    waiting(woken_at=ago(config.WAKE_AGAIN_SECONDS + 1), queue_name="small")
    waiting()
    assert sweep().woken == 3
    assert str(sweep()) == NOTHING
    assert woken == ["large", "small"]


def test_a_queue_is_not_woken_before_its_export_is_due(woken: list[str]) -> None:
    export, claim = claimed_now(waiting())
    transitions.retry_later(claim, delay=60, code="unavailable", detail="")
    assert sweep().woken == 0
    change(export, not_before=ago(1))
    assert sweep().woken == 1
    assert woken == ["large"]


def test_a_failing_queue_backend_stops_no_other_step(settings: Any) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.BrokenQueue")
    waiting(woken_at=None)
    change(ready(), expires_at=ago(1))
    assert str(sweep()) == "woken 1, expired 1"


def test_exports_of_unregistered_types_are_not_touched(woken: list[str]) -> None:
    old = ago(config.QUEUE_TIMEOUT_SECONDS + config.HISTORY_SECONDS + 60)
    export = waiting(file_type="unregistered", requested_at=old, woken_at=None)
    change(in_status(Status.CANCELLED, file_type="unregistered"), finished_at=old, erased_at=old)
    claimed(file_type="unregistered", now=timezone.now())
    waiting()
    assert str(sweep()) == NOTHING
    assert (row(export.pk)["status"], woken, FileRequest.objects.count()) == ("queued", [], 4)
    assert housekeeping.unregistered() == {"unregistered": 1}
    assert "orders" in registry.handlers


# Files


def test_a_file_expires_first_and_is_deleted_after_the_delay() -> None:
    export = ready()
    key = store_file(export)
    change(export, expires_at=ago(1))
    assert sweep().expired == 1
    assert (row(export.pk)["status"], exists(key)) == ("expired", True)
    assert str(sweep()) == NOTHING
    change(export, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + 60))
    assert sweep().deleted == 1
    assert not exists(key)
    assert str(sweep()) == NOTHING


def test_running_exports_and_their_files_and_those_of_ready_ones_are_kept() -> None:
    running, _ = claimed_now(waiting())
    keys = [store_file(export) for export in (ready(), change(ready(), expires_at=None), running)]
    assert str(sweep()) == NOTHING
    assert row(running.pk)["status"] == "running"
    assert all(map(exists, keys))


def fail(export: FileRequest) -> bool:
    return transitions.fail(transitions.Claim(export.pk, export.epoch, ""), code="no_file", detail="")


def rescue(export: FileRequest) -> bool:
    return transitions.rescue(change(export, lease_expires_at=ago(1)))


@pytest.mark.parametrize("end", [transitions.cancel, fail, rescue])
def test_the_file_of_an_ended_attempt_is_deleted_even_if_written_later(end: Callable[[FileRequest], bool]) -> None:
    export, _ = claimed_now(waiting())
    key = store_file(export)
    assert end(export)
    assert sweep().deleted == 1
    assert not exists(key)
    storage.exports_storage().save(key, ContentFile(b"by a worker without a lease"))
    assert sweep().deleted == 0
    assert exists(key)
    Artifact.objects.update(deleted_at=ago(2 * config.LEASE_SECONDS + 1))
    sweep()
    assert not exists(key)
    assert not Artifact.objects.exists()


class FrozenStorage(FileSystemStorage):
    """A storage whose worker is frozen before it writes, until housekeeping has deleted the file twice."""

    ages: Sequence[float] = ()

    def _save(self, name: str, content: Any) -> str:
        # Housekeeping on the same host deletes the work file.
        read = ContentFile(content.read())
        assert rescue(FileRequest.objects.get())
        for age in self.ages:
            sweep()
            Artifact.objects.update(deleted_at=ago(age))
        return super()._save(name, read)


@pytest.mark.parametrize("ages", [(), (0,), (2 * config.LEASE_SECONDS + 1, 0)], ids=["none", "once", "twice"])
def test_a_worker_deletes_the_file_that_it_has_written_after_housekeeping_deleted_it(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: Sequence[float]
) -> None:
    folder = use_folders(settings, tmp_path)
    settings.STORAGES["exports"]["BACKEND"] = "tests.test_housekeeping.FrozenStorage"
    monkeypatch.setattr(FrozenStorage, "ages", ages)
    export, claim = run_now(write(b"late"), Events(), waiting())
    assert export.status == Status.QUEUED
    assert Artifact.objects.filter(key=claim.key).exists() == (len(ages) < 2)
    if not ages:
        sweep()
    assert stored_files(folder) == []


class StubbornStorage(FileSystemStorage):
    """A storage that refuses to delete some keys, or all of them because it is down."""

    refused: frozenset[str] = frozenset()
    is_down = False
    attempts = 0

    def delete(self, name: str) -> None:
        self.attempts += 1
        if self.is_down:
            raise StorageFailed("The storage does not answer.")
        if name in self.refused:
            raise PermissionError(13, "Permission denied", name)
        super().delete(name)


def test_a_file_that_cannot_be_deleted_is_retried_and_stops_no_other(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = StubbornStorage(tmp_path / "files")
    configure(settings, STORAGE=stubborn)
    keys = []
    for _ in range(3):
        export, _ = claimed_now(waiting())
        keys.append(store_file(export))
        assert transitions.cancel(export)
    stubborn.refused = frozenset(keys[:1])
    assert sweep().deleted == 2
    assert "PermissionError" in caplog.text
    assert [exists(key) for key in keys] == [True, False, False]
    Artifact.objects.update(deleted_at=ago(2 * config.LEASE_SECONDS + 1))
    sweep()
    assert list(Artifact.objects.values_list("key", flat=True)) == keys[:1]
    stubborn.refused = frozenset()
    sweep()
    assert not exists(keys[0])
    assert not Artifact.objects.exists()


def test_a_step_stops_when_its_service_is_down(settings: Any, tmp_path: Path) -> None:
    down = StubbornStorage(tmp_path / "files")
    down.is_down = True
    configure(settings, STORAGE=down)
    for _ in range(5):
        export, _ = claimed_now(waiting())
        assert transitions.cancel(export)
    assert sweep().deleted == 0
    assert down.attempts == housekeeping.MAX_FAILURES_IN_A_ROW


# Old rows


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_rows_are_deleted_after_the_history(status: str) -> None:
    export = in_status(status, criteria="at_least=1")
    Notification.objects.all().delete()
    for age, count in ((-60, 1), (60, 0)):
        ended = ago(config.HISTORY_SECONDS + age)
        change(export, finished_at=ended, expires_at=ended - timedelta(seconds=config.FILE_DELETE_DELAY_SECONDS))
        sweep()
        assert FileRequest.objects.count() == count


def test_the_history_of_a_row_with_a_file_begins_when_the_file_is_deleted() -> None:
    export = change(ready(), finished_at=ago(3 * config.HISTORY_SECONDS))
    key = store_file(export)
    assert str(sweep()) == NOTHING
    change(export, expires_at=ago(1))
    assert sweep().expired == 1
    assert (sweep().removed_rows, exists(key)) == (0, True)
    change(export, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + 60))
    swept = sweep()
    assert (swept.deleted, swept.removed_rows, exists(key)) == (1, 0, False)
    change(export, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + config.HISTORY_SECONDS + 60))
    assert sweep().removed_rows == 1


# Mail


def recipients() -> list[str]:
    return [str(message.to[0]) for message in mail.outbox]


def with_due_mail(name: str, *, is_ready: bool, **columns: Any) -> FileRequest:
    """Return an export of this user that is ready or failed, and whose mail is due."""
    export = waiting(requester=user(name), **columns)
    if is_ready:
        export, claim = claimed_now(export)
        assert transitions.publish(claim, made())
    else:
        assert transitions.fail(claimed_now(export)[1], code="permission_lost", detail="")
    Notification.objects.filter(request=export).update(due_at=ago(1))
    return export


def test_no_mail_is_sent_to_an_owner_who_lost_the_permission() -> None:
    export = with_due_mail("ada", is_ready=True)
    with order_rule(lambda user: False):
        sweep()
    assert recipients() == []
    assert Notification.objects.get(request=export).reason == "permission lost"


def test_a_mail_whose_check_or_composition_raises_stops_no_other() -> None:
    class Broken(OrderExport):
        file_type = "broken"

        def has_permission(self, user: Any, criteria: Any) -> bool:
            raise RuntimeError

    export = with_due_mail("ada", is_ready=False)
    Notification.objects.filter(request=export).update(message_id="<a>\nBcc: x@example.com", due_at=ago(5))
    with_due_mail("eve", is_ready=True, file_type="broken")
    with_due_mail("bob", is_ready=True)
    with registered(Broken):
        assert sweep().mailed == 1
    assert recipients() == ["bob@shop.example"]
    assert Notification.objects.get(request=export).state == "pending"


def test_due_mails_are_sent_once_and_for_at_most_the_housekeeping_interval(settings: Any) -> None:
    with_due_mail("ada", is_ready=False)
    with_due_mail("bob", is_ready=True)
    assert transitions.fail(claimed_now(waiting(requester=user("later")))[1], code="permission_lost", detail="")
    for interval, count in ((0, 0), (15, 2), (15, 0)):
        configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=interval)
        assert sweep().mailed == count
    assert sorted(recipients()) == ["ada@shop.example", "bob@shop.example"]


def test_no_mail_is_begun_once_housekeeping_is_told_to_stop() -> None:
    with_due_mail("ada", is_ready=False)
    stop = threading.Event()
    stop.set()
    assert housekeeping.send_mails(stop) == 0
    assert housekeeping.send_mails(threading.Event()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_does_not_answer_delays_no_rescue(settings: Any) -> None:
    with_due_mail("ada", is_ready=False)
    export, _ = claimed_now(waiting())
    stop = threading.Event()

    def housekeep() -> None:
        housekeeping.run_forever(stop)
        connections.close_all()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        send_mails_by(settings, "smtp", EMAIL_HOST=host, EMAIL_PORT=port)
        configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=0.1)
        housekeeper = threading.Thread(target=housekeep)
        housekeeper.start()
        client, _address = silent.accept()
        change(export, lease_expires_at=ago(1))
        wait_until(lambda: FileRequest.objects.get(pk=export.pk).status == Status.QUEUED, seconds=10)
        assert Notification.objects.filter(state="sending").exists()
        stop.set()
        client.close()
    housekeeper.join()


# The whole sweep


def test_a_step_that_fails_stops_no_other_step(settings: Any, tmp_path: Path) -> None:
    configure(settings, HISTORY_SECONDS="long", WORK_DIR=str(tmp_path))
    export, _ = claimed_now(waiting())
    cancelled, _ = claimed_now(waiting())
    transitions.cancel(cancelled)
    change(export, lease_expires_at=ago(1))
    (tmp_path / f"{cancelled.pk}-1").mkdir()
    with_due_mail("ada", is_ready=False)
    swept = sweep()
    assert (swept.rescued, swept.removed_rows, swept.mailed, swept.work_dirs) == (1, 0, 1, 1)
    assert swept.failed == 1


def test_only_work_folders_of_ended_attempts_are_deleted() -> None:
    running, _ = claimed_now(waiting())
    kept = work_dir.root() / f"{running.pk}-{running.epoch}"
    left = work_dir.root() / f"{running.pk}-{running.epoch - 1}"
    for folder in (kept, left):
        folder.mkdir(parents=True)
    assert sweep().work_dirs == 1
    assert (kept.exists(), left.exists()) == (True, False)


@pytest.mark.django_db(transaction=True)
def test_the_housekeeper_sweeps_until_it_is_stopped(
    settings: Any, caplog: pytest.LogCaptureFixture, woken: list[str]
) -> None:
    configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=0.01)
    waiting(woken_at=None)
    stop = threading.Event()
    caplog.set_level(logging.INFO, "exports.housekeeping")
    at_once(lambda: housekeeping.run_forever(stop), lambda: wait_until(lambda: woken) or stop.set())
    assert woken == ["large"]
    assert "swept: woken 1" in caplog.text
