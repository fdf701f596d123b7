"""The model, its manager, the file field and the settings under the names of dj-bgfiles."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.utils import timezone

from exports import storage
from exports.conf import DJ_BGFILES_NAMES, config
from exports.fields import ConfigurableFileField, get_storage, get_upload_to
from exports.models import FileRequest, Status
from exports.patterns import registry
from tests.seed.fake_time import FakeTime
from tests.shop.requests import NOON, after, queued, user
from tests.shop.runs import configure, stored_files

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


def expired(count: int) -> list[FileRequest]:
    """Return requests whose files expired at noon, one second after the other."""
    made = [queued(expires_at=after(second)) for second in range(count)]
    for request in made:
        request.attach_file(ContentFile(b"x"), "x.csv")
        request.save()
    return made


# The model


def test_a_user_has_requested_downloads_newest_first():
    old, new = queued(), queued(requested_at=after(1))
    assert list(user().requested_downloads.all()) == list(FileRequest.objects.all()) == [new, old]
    assert str(old) == f"orders requested at {NOON} by ada"
    assert str(queued(requester=None)).endswith("by None")


def test_deleting_a_request_deletes_its_file_and_ignores_storage_errors(folder: Path, settings: Any):
    request, other = expired(2)
    assert len(stored_files(folder)) == 2
    request.delete()
    assert len(stored_files(folder)) == 1
    configure(settings, STORAGE=Stubborn())
    other.delete()
    assert not FileRequest.objects.exists()


class Stubborn(FileSystemStorage):
    def delete(self, name: str) -> None:
        raise PermissionError(name)


def test_attach_file_leaves_name_type_and_size_to_save():
    request = queued()
    request.attach_file(ContentFile(b"x"), "x.csv", "text/csv", 1, timestamp=NOON)
    row = FileRequest.objects.get()
    assert (row.status, row.finished_at, row.filehandle.read()) == (Status.READY, NOON, b"x")
    assert (row.filename, row.content_type, row.size) == ("", "", None)
    row.filehandle.close()
    request.save()
    row = FileRequest.objects.get()
    assert (row.filename, row.content_type, row.size, row.finished_at) == ("x.csv", "text/csv", 1, NOON)
    unsaved = FileRequest(file_type="unsaved", requested_at=NOON)
    unsaved.attach_file(ContentFile(b"x"), "y.csv")
    unsaved.save()
    assert FileRequest.objects.get(file_type="unsaved", filename="y.csv").status == Status.READY


def test_expire_in_sets_the_expiry_without_saving():
    request = queued()
    request.expire_in(timedelta(hours=1), timestamp=NOON)
    assert (request.expires_at, FileRequest.objects.get().expires_at) == (after(3600), None)
    request.expire_in(timedelta(hours=1))
    assert timedelta(minutes=59) < request.expires_at - timezone.now() <= timedelta(hours=1)


@pytest.mark.parametrize("file_type", ["orders", "unregistered"])
def test_a_row_with_finished_at_and_no_status_counts_as_finished(file_type: str):
    request = FileRequest.objects.create(file_type=file_type, requested_at=NOON, finished_at=NOON)
    assert not FileRequest.objects.to_handle().exists()
    assert not FileRequest.objects.due(timezone.now()).exists()
    assert registry.dispatch(request.pk) is False


def test_the_file_field_stores_under_upload_to(settings: Any, folder: Path):
    configure(settings, UPLOAD_TO="by/%Y")
    request = queued()
    request.filehandle.save("x.csv", ContentFile(b"x"))
    year = timezone.now().year
    assert FileRequest.objects.get().filehandle.name == f"by/{year}/x.csv"
    assert (folder / f"by/{year}/x.csv").read_bytes() == b"x"
    assert request.filehandle.size == 1


# The manager


def test_to_handle_gives_unfinished_requests_oldest_first():
    requests = [queued(requested_at=after(second)) for second in (2, 0, 1)]
    expired(1)
    assert list(FileRequest.objects.to_handle()) == [requests[1], requests[2], requests[0]]


@pytest.mark.parametrize("given", [{"treshold": after(1)}, {"threshold": after(1)}])
def test_remove_expired_deletes_rows_and_files_up_to_the_threshold(folder: Path, given: dict[str, Any]):
    requests = expired(3)
    assert FileRequest.objects.remove_expired(**given) == ("processed", 2, 2)
    assert list(FileRequest.objects.all()) == [requests[2]]
    assert len(stored_files(folder)) == 1


def test_remove_expired_starts_with_the_earliest_and_stops_at_max_items():
    requests = expired(3)
    assert FileRequest.objects.remove_expired(after(9), None, None, 2) == ("max_items", 2, 3)
    assert list(FileRequest.objects.all()) == [requests[2]]


def test_remove_expired_stops_after_the_timeout(fake_time: FakeTime):
    expired(3)
    assert FileRequest.objects.remove_expired(after(9), fake_time.now - 1) == ("timeout", 1, 3)
    assert FileRequest.objects.remove_expired(after(9), fake_time.now + 60) == ("processed", 2, 2)


def test_remove_expired_sleeps_between_rows_and_keeps_those_without_an_expiry(fake_time: FakeTime):
    expired(3)
    without_expiry = queued()
    assert FileRequest.objects.remove_expired(after(9), sleep=60) == ("processed", 3, 3)
    assert fake_time.slept == [60, 60]
    assert FileRequest.objects.get() == without_expiry


# The field and the settings


def test_the_file_field_keeps_storage_and_folder_out_of_migrations():
    field = ConfigurableFileField(upload_to="here", storage=FileSystemStorage("/tmp"), null=True)
    field.set_attributes_from_name("file")
    assert (field.upload_to, field.storage.location) == ("here", "/tmp")
    for each in (field, FileRequest._meta.get_field("filehandle")):
        assert {"storage", "upload_to"}.isdisjoint(each.deconstruct()[3])


def test_storage_and_folder_are_empty_unless_they_are_set(settings: Any, tmp_path: Path):
    settings.EXPORTS = {}
    settings.STORAGES = {name: each for name, each in settings.STORAGES.items() if name != storage.ALIAS}
    assert (get_storage(), get_upload_to()) == (None, "")
    settings.BG_FILES_STORAGE, settings.BG_FILES_UPLOAD_TO = FileSystemStorage(tmp_path), "reports/"
    assert (get_storage(), get_upload_to()) == (settings.BG_FILES_STORAGE, "reports/")
    assert FileRequest._meta.get_field("filehandle").storage.location == str(tmp_path)
    (request,) = expired(1)
    assert request.filehandle.name.startswith("reports/")


@pytest.mark.parametrize("name", DJ_BGFILES_NAMES)
def test_each_setting_falls_back_to_its_dj_bgfiles_name(settings: Any, name: str):
    settings.EXPORTS = {}
    default = getattr(config, name)
    setattr(settings, DJ_BGFILES_NAMES[name], "the old one")
    assert getattr(config, name) == "the old one"
    settings.EXPORTS = {name: "ours"}
    assert getattr(config, name) == "ours"
    settings.EXPORTS = {}
    delattr(settings, DJ_BGFILES_NAMES[name])
    assert getattr(config, name) == default
