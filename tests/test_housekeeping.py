"""The housekeeper: each step, twice over, and with something in its way."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.utils import timezone

from exports import housekeeping, storage
from exports.conf import config
from exports.exporters import registry
from exports.housekeeping import sweep
from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.worker import runner
from tests.servers import wait_until
from tests.shop.exports import OrderExport, heard, order_rule, registered
from tests.shop.requests import at_once, claimed, in_status, made, queued, row, user
from tests.shop.runs import claimed_now, configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NOTHING = "nothing"


@pytest.fixture(autouse=True)
def bell(settings: Any, tmp_path: Path) -> Iterator[list[str]]:
    use_folders(settings, tmp_path)
    configure(settings, QUEUE_BACKEND="tests.shop.exports.hear")
    heard.clear()
    yield heard
    heard.clear()


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def change(request: FileRequest, **columns: Any) -> FileRequest:
    FileRequest.objects.filter(pk=request.pk).update(**columns)
    request.refresh_from_db()
    return request


def waiting(**columns: Any) -> FileRequest:
    """A request that was asked for, and rung for, just now."""
    now = timezone.now()
    return queued(**{"requested_at": now, "woken_at": now, **columns})


def with_bytes(request: FileRequest) -> str:
    """Put bytes under the newest key that was made for this request."""
    key = Artifact.objects.filter(request=request).latest("pk").key
    storage.exports_storage().save(key, ContentFile(b"abc"))
    return key


def ready(**columns: Any) -> FileRequest:
    """A file that was published just now."""
    request, claim = claimed_now(waiting(**columns))
    assert transitions.publish(claim, made())
    Notification.objects.filter(request=request).delete()
    request.refresh_from_db()
    return request


def exists(key: str) -> bool:
    return storage.exports_storage().exists(key)


# Rescue


def test_an_export_of_a_lost_worker_is_queued_and_woken_again(bell: list[str]) -> None:
    request, claim = claimed_now(waiting())
    change(request, lease_expires_at=ago(1))

    swept = sweep()

    assert (swept.rescued, swept.woken) == (1, 1)
    assert (row(request.pk)["status"], row(request.pk)["crashes"]) == ("queued", 1)
    assert bell == ["large"]
    assert not transitions.publish(claim, made())


def test_an_export_with_a_valid_lease_is_not_rescued() -> None:
    request, _ = claimed_now(waiting())

    assert str(sweep()) == NOTHING
    assert row(request.pk)["status"] == "running"


def test_the_last_allowed_crash_fails_the_export(settings: Any) -> None:
    configure(settings, MAX_CRASHES=1)
    request, _ = claimed_now(waiting())
    change(request, lease_expires_at=ago(1))

    assert sweep().rescued == 1
    assert (row(request.pk)["status"], row(request.pk)["error_code"]) == ("failed", "worker_lost")


# Waiting


def test_an_export_that_is_queued_too_long_fails() -> None:
    old, young = waiting(requested_at=ago(config.QUEUE_TIMEOUT_SECONDS + 60)), waiting()

    assert sweep().timed_out == 1

    assert (row(old.pk)["status"], row(old.pk)["error_code"]) == ("failed", "expired_in_queue")
    assert row(young.pk)["status"] == "queued"


def test_exports_of_unregistered_types_are_not_touched(bell: list[str]) -> None:
    request = waiting(file_type="somebody-elses", requested_at=ago(config.QUEUE_TIMEOUT_SECONDS + 60), woken_at=None)

    assert str(sweep()) == NOTHING
    assert row(request.pk)["status"] == "queued"
    assert bell == []


def test_each_queue_is_woken_once_for_the_exports_that_were_not_picked_up(bell: list[str]) -> None:
    waiting(woken_at=ago(config.WAKE_AGAIN_SECONDS + 1))
    waiting(woken_at=None)
    waiting(woken_at=ago(config.WAKE_AGAIN_SECONDS + 1), queue_name="small")
    waiting()

    assert sweep().woken == 3
    assert bell == ["large", "small"]

    assert str(sweep()) == NOTHING
    assert bell == ["large", "small"]


def test_a_queue_is_not_woken_before_its_export_is_due(bell: list[str]) -> None:
    request, claim = claimed_now(waiting())
    transitions.retry_later(claim, delay=60, code="unavailable", detail="")

    assert sweep().woken == 0

    change(request, not_before=ago(1))
    assert sweep().woken == 1
    assert bell == ["large"]


def test_a_failing_queue_backend_stops_no_other_step(settings: Any) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.deaf")
    waiting(woken_at=None)
    expired = change(ready(), expires_at=ago(1))

    swept = sweep()

    assert (swept.woken, swept.expired, swept.failed) == (1, 1, 0)
    assert row(expired.pk)["status"] == "expired"


# Files


def test_a_file_expires_first_and_is_deleted_after_the_delay() -> None:
    request = ready()
    key = with_bytes(request)
    change(request, expires_at=ago(1))

    assert sweep().expired == 1
    assert row(request.pk)["status"] == "expired"
    assert exists(key)
    assert str(sweep()) == NOTHING

    change(request, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + 60))
    assert sweep().deleted == 1
    assert not exists(key)
    assert str(sweep()) == NOTHING


def test_a_file_without_an_expiry_is_kept() -> None:
    request = change(ready(), expires_at=None)
    key = with_bytes(request)

    assert str(sweep()) == NOTHING
    assert exists(key)


def test_files_of_ready_and_running_exports_are_kept() -> None:
    running, _ = claimed_now(waiting())
    keys = [with_bytes(ready()), with_bytes(running)]

    assert str(sweep()) == NOTHING
    assert all(map(exists, keys))


def test_files_of_a_deleted_user_are_deleted() -> None:
    keys = [with_bytes(ready(requester=user("bob"))), with_bytes(claimed_now(waiting(requester=user("bob")))[0])]
    User.objects.get(username="bob").delete()

    assert sweep().deleted == 2
    assert not any(map(exists, keys))


@pytest.mark.parametrize("end", [transitions.cancel, lambda request: fail(request), lambda request: rescue(request)])
def test_the_file_of_an_attempt_that_ended_is_deleted(end: Any) -> None:
    request, _ = claimed_now(waiting())
    key = with_bytes(request)
    assert end(request)

    assert sweep().deleted == 1
    assert not exists(key)


def fail(request: FileRequest) -> bool:
    claim = transitions.Claim(request.pk, request.epoch, "")
    return transitions.fail(claim, code="no_file", detail="")


def rescue(request: FileRequest) -> bool:
    return transitions.rescue(change(request, lease_expires_at=ago(1)))


def test_a_file_written_after_the_deletion_is_deleted_by_the_second_pass() -> None:
    request, _ = claimed_now(waiting())
    key = with_bytes(request)
    assert transitions.cancel(request)
    sweep()
    assert not exists(key)

    storage.exports_storage().save(key, ContentFile(b"of a zombie"))
    assert sweep().deleted == 0
    assert exists(key)

    Artifact.objects.update(deleted_at=ago(2 * config.LEASE_SECONDS + 1))
    sweep()
    assert not exists(key)
    assert not Artifact.objects.exists()


class Sticky(FileSystemStorage):
    """A storage that does not let go of what was put under some keys."""

    stuck: frozenset[str] = frozenset()

    def delete(self, name: str) -> None:
        if name in self.stuck:
            raise PermissionError(13, "Permission denied", name)
        super().delete(name)


def test_a_file_that_cannot_be_deleted_is_retried_and_stops_no_other(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sticky = Sticky(tmp_path / "files")
    configure(settings, STORAGE=sticky)
    keys = []
    for _ in range(3):
        request, _ = claimed_now(waiting())
        keys.append(with_bytes(request))
        assert transitions.cancel(request)
    sticky.stuck = frozenset(keys[:1])

    assert sweep().deleted == 2
    assert "PermissionError" in caplog.text
    assert [sticky.exists(key) for key in keys] == [True, False, False]

    Artifact.objects.update(deleted_at=ago(2 * config.LEASE_SECONDS + 1))
    sweep()
    assert list(Artifact.objects.values_list("key", flat=True)) == keys[:1]

    sticky.stuck = frozenset()
    sweep()
    assert not sticky.exists(keys[0])
    assert not Artifact.objects.exists()


# Old rows


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_rows_are_deleted_after_the_history(status: str) -> None:
    request = change(in_status(status, criteria="at_least=1"), finished_at=ago(config.HISTORY_SECONDS + 60))
    change(request, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + config.HISTORY_SECONDS + 60))
    Notification.objects.all().delete()

    sweep()

    assert not FileRequest.objects.exists()


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_rows_are_kept_for_the_history(status: str) -> None:
    change(in_status(status), finished_at=ago(config.HISTORY_SECONDS - 60))

    assert sweep().removed_rows == 0


def test_the_history_of_a_row_with_a_file_begins_when_the_file_is_deleted() -> None:
    request = change(ready(), finished_at=ago(3 * config.HISTORY_SECONDS))
    key = with_bytes(request)
    assert str(sweep()) == NOTHING

    change(request, expires_at=ago(1))
    assert sweep().expired == 1
    assert (sweep().removed_rows, exists(key)) == (0, True)

    change(request, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + 60))
    swept = sweep()
    assert (swept.deleted, swept.removed_rows, exists(key)) == (1, 0, False)

    change(request, expires_at=ago(config.FILE_DELETE_DELAY_SECONDS + config.HISTORY_SECONDS + 60))
    assert sweep().removed_rows == 1


def test_old_rows_of_unregistered_types_are_kept() -> None:
    change(in_status(Status.CANCELLED, file_type="somebody-elses"), finished_at=ago(config.HISTORY_SECONDS + 60))

    assert sweep().removed_rows == 0


# Mail


def mailed() -> list[str]:
    return [str(message.to[0]) for message in mail.outbox]


def failed_for(name: str, **columns: Any) -> FileRequest:
    """A request of this user that failed long enough ago to be mailed about."""
    request = waiting(requester=user(name), **columns)
    assert transitions.refuse(request, code="permission_lost")
    Notification.objects.filter(request=request).update(due_at=ago(1))
    return request


def ready_for(name: str, **columns: Any) -> FileRequest:
    request, claim = claimed_now(waiting(requester=user(name), **columns))
    assert transitions.publish(claim, made())
    Notification.objects.filter(request=request).update(due_at=ago(1))
    return request


def test_mails_that_are_due_are_sent_once() -> None:
    failed_for("ada")
    ready_for("bob")
    assert transitions.refuse(waiting(requester=user("not-yet")), code="permission_lost")

    assert sweep().mailed == 2
    assert sweep().mailed == 0
    assert sorted(mailed()) == ["ada@shop.example", "bob@shop.example"]


def test_no_mail_is_sent_to_an_owner_who_lost_the_permission() -> None:
    request = ready_for("ada")

    with order_rule(lambda user: False):
        sweep()

    assert mailed() == []
    assert Notification.objects.get(request=request).reason == "permission lost"


def test_a_permission_check_that_raises_stops_no_other_mail() -> None:
    class Broken(OrderExport):
        file_type = "broken"

        def has_permission(self, user: Any, criteria: Any) -> bool:
            raise RuntimeError

    ready_for("ada", file_type="broken")
    ready_for("bob")

    with registered(Broken):
        sweep()

    assert mailed() == ["bob@shop.example"]


def test_a_mail_that_cannot_be_composed_stops_no_other_mail() -> None:
    bad = failed_for("ada")
    Notification.objects.filter(request=bad).update(message_id="<a>\nBcc: x@example.com", due_at=ago(5))
    failed_for("bob")

    assert sweep().mailed == 1
    assert mailed() == ["bob@shop.example"]
    assert Notification.objects.get(request=bad).state == "pending"


def test_sending_mails_stops_after_the_housekeeping_interval(settings: Any) -> None:
    configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=0)
    failed_for("ada")

    assert sweep().mailed == 0

    configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=15)
    assert sweep().mailed == 1


# All of it


def test_a_step_that_fails_stops_no_other_step(settings: Any, tmp_path: Path) -> None:
    configure(settings, HISTORY_SECONDS="long", WORK_DIR=str(tmp_path))
    request, _ = claimed_now(waiting())
    cancelled, _ = claimed_now(waiting())
    transitions.cancel(cancelled)
    change(request, lease_expires_at=ago(1))
    (tmp_path / f"{cancelled.pk}-1").mkdir()
    failed_for("ada")

    swept = sweep()

    assert (swept.rescued, swept.removed_rows, swept.mailed, swept.work_dirs) == (1, 0, 1, 1)
    assert swept.failed == 1


def test_a_sweep_reports_its_counts(caplog: pytest.LogCaptureFixture) -> None:
    waiting(woken_at=None)
    change(ready(), expires_at=ago(1))

    assert str(sweep()) == "woken 1, expired 1"


def test_a_second_housekeeper_with_old_rows_changes_nothing() -> None:
    request, _ = claimed_now(waiting())
    change(request, lease_expires_at=ago(1))
    stale = FileRequest.objects.get(pk=request.pk)
    sweep()

    assert not transitions.rescue(stale)
    assert row(request.pk)["crashes"] == 1


def test_only_work_folders_of_ended_attempts_are_deleted() -> None:
    running, _ = claimed_now(waiting())
    kept = runner.work_root() / f"{running.pk}-{running.epoch}"
    left = runner.work_root() / f"{running.pk}-{running.epoch - 1}"
    for folder in (kept, left):
        folder.mkdir(parents=True)

    assert sweep().work_dirs == 1
    assert (kept.exists(), left.exists()) == (True, False)


@pytest.mark.django_db(transaction=True)
def test_the_housekeeper_sweeps_until_it_is_stopped(
    settings: Any, caplog: pytest.LogCaptureFixture, bell: list[str]
) -> None:
    configure(settings, HOUSEKEEPING_INTERVAL_SECONDS=0.01)
    waiting(woken_at=None)
    stop = threading.Event()
    caplog.set_level(logging.INFO, "exports.housekeeping")

    at_once(lambda: housekeeping.run_forever(stop), lambda: wait_until(lambda: bell) or stop.set())

    assert bell == ["large"]
    assert "swept: woken 1" in caplog.text


def test_queued_exports_of_unregistered_types_are_counted() -> None:
    waiting()
    waiting(file_type="gone")
    claimed(file_type="gone")

    assert housekeeping.unregistered() == {"gone": 1}
    assert "orders" in registry.handlers
