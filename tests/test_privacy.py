"""How long files, criteria and error details are kept, and that nothing is left of a deleted user."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.utils import timezone

from exports import housekeeping, services, storage
from exports.conf import config
from exports.exceptions import TransitionNotAllowed
from exports.models import Artifact, FileRequest, Notification, Status
from exports.models.audit import SYSTEM
from exports.models.request import FileRequestQuerySet
from exports.state import serialize
from exports.worker import loop
from tests.bucket.server import Moto
from tests.office import people, rows
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered
from tests.shop.runs import stored_files

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600
ENDED = [Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@pytest.fixture(autouse=True)
def office(folder: Path) -> Iterator[None]:
    with open_office():
        yield


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


# Retention of files


def seconds_left(export: type[ReportExport]) -> float | None:
    with registered(export):
        request, _ = services.request_export(people.user("ada"), "report", {"month": 4}, format="csv")
        assert loop.dispatch(request.pk)
    request.refresh_from_db()
    return request.expires_at and (request.expires_at - request.finished_at).total_seconds()


@pytest.mark.parametrize(
    ("own", "left"),
    [({}, 48 * HOUR), ({"retention_seconds": HOUR}, HOUR), ({"retention_seconds": math.inf}, None)],
)
def test_a_file_is_kept_for_two_days_or_as_long_as_its_export_says(own: dict[str, float], left: float | None):
    assert seconds_left(type("Own", (ReportExport,), own)) == (left and pytest.approx(left, abs=1))


# Erasing criteria and error details


def over(request: FileRequest) -> FileRequest:
    """Set the times of an ended export as if its retention and the delete delay were just over."""
    moments = {
        "expires_at": ago(config.FILE_DELETE_DELAY_SECONDS + 60),
        "finished_at": ago(config.RETENTION_SECONDS + config.FILE_DELETE_DELAY_SECONDS + 60),
    }
    FileRequest.objects.filter(pk=request.pk).update(**moments)
    return rows.fresh(request)


@pytest.mark.parametrize("status", ENDED)
def test_file_criteria_and_error_details_are_erased_together_and_retry_is_refused(folder: Path, status: str):
    request = over(rows.IN_STATUS[status](people.user("ada"), dedupe_key="of-its-criteria", label="Month: April"))
    housekeeping.sweep()
    erased = rows.fresh(request)
    assert (erased.criteria, erased.error_detail, erased.dedupe_key) == ("", "", "")
    assert (erased.label, erased.filename) == ("", "")
    assert erased.erased_at is not None
    assert (erased.status, erased.seq) == (status, request.seq + 1)
    assert stored_files(folder) == []
    assert housekeeping.erase() == 0
    assert serialize(erased)["urls"]["retry"] is None
    with pytest.raises(TransitionNotAllowed):
        services.retry(erased, SYSTEM)
    assert FileRequest.objects.count() == 1


@pytest.mark.parametrize("status", ENDED)
def test_until_then_the_export_can_be_retried(folder: Path, status: str):
    request = rows.IN_STATUS[status](people.user("ada"))
    housekeeping.sweep()
    assert rows.fresh(request).criteria == "month=4"
    assert len(stored_files(folder)) == (status == Status.EXPIRED)
    assert services.retry(request, SYSTEM)[0].criteria == "month=4"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.READY])
def test_queued_running_and_ready_exports_are_not_erased(status: str):
    request = rows.IN_STATUS[status](people.user("ada"), requested_at=ago(HOUR))
    housekeeping.sweep()
    assert (rows.fresh(request).criteria, rows.fresh(request).erased_at) == ("month=4", None)


def test_without_retention_error_details_are_kept(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "RETENTION_SECONDS": None}
    request = rows.failed(people.user("ada"))
    FileRequest.objects.update(finished_at=ago(config.HISTORY_SECONDS - HOUR))
    housekeeping.sweep()
    assert rows.fresh(request).error_detail


# Deleted users


def by_instance(user: User) -> None:
    user.delete()


def by_queryset(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def by_cascade(user: User) -> None:
    """Delete like a cascade from another model, which does not call FileRequest.delete."""
    FileRequestQuerySet(FileRequest).filter(requester=user).delete()
    User.objects.filter(pk=user.pk).delete()


def by_database(user: User) -> None:
    """Delete like the database itself, as by Django 6.1's DB_CASCADE and DB_SET_NULL: no signal, no `delete()`."""
    exports = FileRequest.objects.filter(requester=user)
    Notification.objects.filter(request__in=exports)._raw_delete(exports.db)
    Artifact.objects.filter(request__in=exports).update(request=None)
    exports._raw_delete(exports.db)
    User.objects.filter(pk=user.pk)._raw_delete(exports.db)


WAYS = [by_instance, by_queryset, by_cascade, by_database]


def make_exports(user: User) -> None:
    """Make an export in every status, one that a worker writes, and one with stored rows."""
    for make in rows.IN_STATUS.values():
        make(user)
    _, claim = rows.claimed(user)
    storage.exports_storage().save(claim.key, ContentFile(b"half a file"))
    given = {"format": "csv", "options": {}, "filename": "rows.csv", "is_small": True}
    services.request_rows(user, [{"name": "Ada"}], ["name"], **given)


def check_nothing_is_left(delete: Callable[[User], None], stored: Callable[[], list[Any]]) -> None:
    user = people.user("ada")
    make_exports(user)
    bobs = rows.ready(people.user("bob"))
    assert len(stored()) == 5
    delete(user)
    # Stored rows are kept for a while, because their export may not be saved yet.
    Artifact.objects.filter(state=Artifact.State.INPUT).update(created_at=ago(config.FILE_DELETE_DELAY_SECONDS + 60))
    housekeeping.sweep()
    assert list(FileRequest.objects.all()) == [bobs]
    assert len(stored()) == 1


@pytest.mark.parametrize("delete", WAYS)
def test_no_file_of_a_deleted_user_is_left_in_a_folder(folder: Path, delete: Callable[[User], None]):
    check_nothing_is_left(delete, lambda: stored_files(folder))


@pytest.mark.servers
@pytest.mark.parametrize("delete", WAYS)
def test_no_file_of_a_deleted_user_is_left_in_a_bucket(s3: Moto, delete: Callable[[User], None]):
    check_nothing_is_left(delete, s3.stored)


def test_a_worker_cannot_publish_for_a_deleted_user(folder: Path):
    request, claim = rows.claimed(people.user("ada"))
    User.objects.all().delete()
    assert not rows.publish(claim)
    housekeeping.sweep()
    assert stored_files(folder) == []
    assert not FileRequest.objects.filter(pk=request.pk).exists()
