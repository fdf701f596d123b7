"""The storage of files: which one is used, which keys it gets, and what happens when it fails."""

import errno
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import UUID

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage, default_storage, storages

from exports import storage
from exports.exceptions import LeaseLost, RetryableError, StorageFailed, StorageFull
from exports.storage.field import ConfigurableFileField, get_storage, get_upload_to
from tests.shop.runs import configure

REQUEST = UUID("7d9f6c1e-2b0a-4c57-9d53-0f4f6a1c8a11")
KEY = "generated/some/1-key.csv"


class Other(InMemoryStorage):
    """A storage for tests."""


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def work_file(tmp_path: Path) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(b"1,2\r\n" * 50_000)
    return path


def ignore(done: int) -> None:
    """Take no notice of the progress."""


# Which storage


def test_the_exports_alias_is_used_by_default() -> None:
    assert storage.exports_storage() is storages["exports"]
    assert storage.configured_storage() is get_storage() is storages["exports"]


def test_without_a_choice_djangos_default_is_used(settings: Any) -> None:
    settings.STORAGES = {name: chosen for name, chosen in settings.STORAGES.items() if name != "exports"}
    assert storage.configured_storage() is None
    assert storage.exports_storage() is default_storage


@pytest.mark.parametrize("given", ["tests.test_storage.Other", Other, Other(), "default"])
def test_a_path_a_class_an_instance_or_an_alias_can_be_chosen(settings: Any, given: Any) -> None:
    configure(settings, STORAGE=given)
    assert isinstance(storage.exports_storage(), type(storages["default"]) if given == "default" else Other)


def test_a_path_that_cannot_be_imported_raises(settings: Any) -> None:
    configure(settings, STORAGE="tests.nowhere.Storage")
    with pytest.raises(ImportError, match="nowhere"):
        storage.exports_storage()


def test_the_field_follows_the_settings_but_not_in_migrations(settings: Any) -> None:
    configure(settings, UPLOAD_TO="exports-of-today")
    field = ConfigurableFileField(storage=Other())
    assert get_upload_to() == "exports-of-today"
    assert not {"storage", "upload_to"} & field.deconstruct()[3].keys()


# Which key


def test_a_key_has_the_request_the_epoch_and_a_random_part() -> None:
    key = storage.new_key(REQUEST, 3, "csv")
    assert re.fullmatch(f"generated/{REQUEST}/3-[0-9a-f]{{16}}\\.csv", key)
    assert storage.new_key(REQUEST, 3, "csv") != key


@pytest.mark.parametrize(
    ("given", "start"),
    [("", ""), ("/", ""), ("a/b/", "a/b/"), ("/a", "a/"), ("%Y/x", f"{datetime.now():%Y}/x/")],
)
def test_keys_begin_with_upload_to(settings: Any, given: str, start: str) -> None:
    configure(settings, UPLOAD_TO=given)
    assert storage.new_key(REQUEST, 1, "csv").startswith(f"{start}{REQUEST}/1-")


# Put


@pytest.mark.parametrize("make", [lambda: None, lambda: Other()])
def test_put_stores_the_whole_file_and_reports_bytes(
    settings: Any, work_file: Path, make: Callable[[], Storage | None]
) -> None:
    configure(settings, STORAGE=make())
    content, sent = work_file.read_bytes(), list[int]()

    storage.put(work_file, KEY, on_bytes=sent.append)

    with storage.open_file(KEY) as file:
        assert file.read() == content
    assert sent == sorted(sent)
    assert sent[-1] == len(content) == storage.size_of(KEY)


def test_a_work_file_on_the_same_disk_is_moved(work_file: Path, folder: Path) -> None:
    inode = work_file.stat().st_ino
    storage.put(work_file, KEY, on_bytes=ignore)
    assert (folder / KEY).stat().st_ino == inode
    assert not work_file.exists()


class BackendError(Exception):
    """An exception as object stores' libraries raise it, which is not an OSError."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EDQUOT, "row 4711"), StorageFull),
        (OSError(errno.EIO, "row 4711"), StorageFailed),
        (OSError(errno.EACCES, "row 4711"), StorageFailed),
        (BackendError("row 4711"), StorageFailed),
    ],
)
def test_errors_of_the_storage_are_translated_without_their_text(
    settings: Any, work_file: Path, error: Exception, expected: type[Exception]
) -> None:
    class Failing(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise error

    configure(settings, STORAGE=Failing())

    with pytest.raises(expected) as raised:
        storage.put(work_file, KEY, on_bytes=ignore)

    assert isinstance(raised.value, RetryableError) is (expected is StorageFailed)
    assert "4711" not in str(raised.value)


def test_a_full_device_raises_storage_full(settings: Any, work_file: Path) -> None:
    class Full(FileSystemStorage):
        def _save(self, name: str, content: Any) -> str:
            with Path("/dev/full").open("wb") as device:
                for chunk in content.chunks():
                    device.write(chunk)
            return name

    configure(settings, STORAGE=Full())

    with pytest.raises(StorageFull):
        storage.put(work_file, KEY, on_bytes=ignore)


def test_put_fails_if_the_storage_chooses_another_key(work_file: Path, folder: Path) -> None:
    (folder / KEY).parent.mkdir(parents=True)
    (folder / KEY).write_bytes(b"another file")
    with pytest.raises(StorageFailed):
        storage.put(work_file, KEY, on_bytes=ignore)
    assert (folder / KEY).read_bytes() == b"another file"


def test_an_exception_of_on_bytes_ends_the_upload(settings: Any, work_file: Path) -> None:
    configure(settings, STORAGE=Other())

    def lost(done: int) -> None:
        raise LeaseLost("cancelled")

    with pytest.raises(LeaseLost):
        storage.put(work_file, KEY, on_bytes=lost)

    assert not storage.exports_storage().exists(KEY)


def test_put_contents_copies_the_callers_file(tmp_path: Path, folder: Path) -> None:
    with NamedTemporaryFile(dir=tmp_path) as mine:
        mine.write(b"abc")
        mine.seek(0)
        storage.put_contents(File(mine), KEY)
        assert Path(mine.name).read_bytes() == b"abc"
    assert (folder / KEY).read_bytes() == b"abc"


# Open, delete, sign


@pytest.mark.parametrize("read", [storage.open_file, storage.size_of])
def test_a_missing_file_is_not_found(read: Callable[[str], object]) -> None:
    with pytest.raises(FileNotFoundError):
        read(KEY)


def test_deleting_twice_is_not_an_error() -> None:
    storage.put_contents(ContentFile(b"abc"), KEY)
    storage.delete(KEY)
    storage.delete(KEY)
    assert not storage.exports_storage().exists(KEY)


def test_a_folder_has_no_signed_urls() -> None:
    assert storage.presign(KEY, seconds=60, content_type="text/csv", disposition="attachment") is None
