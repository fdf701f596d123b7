"""Where files lie: which storage, which key, and that all of a file arrived."""

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
from tests.shop.runs import configure, use_folders

REQUEST = UUID("7d9f6c1e-2b0a-4c57-9d53-0f4f6a1c8a11")
KEY = "generated/some/1-key.csv"


class Other(InMemoryStorage):
    """A storage that is named by its path."""


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    return use_folders(settings, tmp_path)


@pytest.fixture
def work_file(tmp_path: Path) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(b"1,2\r\n" * 50_000)
    return path


def ignore(done: int) -> None:
    """Nobody asked."""


def failing(number: int) -> Storage:
    class Failing(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise OSError(number, "row 4711")

    return Failing()


# Which storage


def test_the_alias_of_the_exports_is_used_where_there_is_one() -> None:
    assert storage.exports_storage() is storages["exports"]
    assert storage.configured_storage() is get_storage() is storages["exports"]


def test_without_a_choice_it_is_djangos_default(settings: Any) -> None:
    settings.STORAGES = {name: chosen for name, chosen in settings.STORAGES.items() if name != "exports"}

    assert storage.configured_storage() is None
    assert storage.exports_storage() is default_storage


@pytest.mark.parametrize("given", ["tests.test_storage.Other", Other, Other()])
def test_a_path_a_class_or_an_instance_is_a_choice_too(settings: Any, given: Any) -> None:
    configure(settings, STORAGE=given)

    assert isinstance(storage.exports_storage(), Other)


def test_an_alias_is_a_choice_too(settings: Any) -> None:
    configure(settings, STORAGE="default")

    assert storage.exports_storage() is storages["default"]


def test_a_choice_that_is_nowhere_says_so(settings: Any) -> None:
    configure(settings, STORAGE="tests.nowhere.Storage")

    with pytest.raises(ImportError, match="nowhere"):
        storage.exports_storage()


def test_the_field_follows_the_settings_and_says_nothing_in_a_migration(settings: Any) -> None:
    configure(settings, UPLOAD_TO="exports-of-today")
    field = ConfigurableFileField(storage=Other())

    assert get_upload_to() == "exports-of-today"
    assert not {"storage", "upload_to"} & field.deconstruct()[3].keys()


# Which key


def test_a_key_holds_nothing_but_the_request_the_epoch_and_chance() -> None:
    key = storage.new_key(REQUEST, 3, "csv")

    assert re.fullmatch(f"generated/{REQUEST}/3-[0-9a-f]{{16}}\\.csv", key)
    assert storage.new_key(REQUEST, 3, "csv") != key


@pytest.mark.parametrize(
    ("given", "folder"),
    [("", ""), ("/", ""), ("a/b/", "a/b/"), ("/a", "a/"), ("%Y/x", f"{datetime.now():%Y}/x/")],
)
def test_the_folder_is_the_hosts(settings: Any, given: str, folder: str) -> None:
    configure(settings, UPLOAD_TO=given)

    assert storage.new_key(REQUEST, 1, "csv").startswith(f"{folder}{REQUEST}/1-")


# Put


@pytest.mark.parametrize("make", [lambda: None, lambda: Other()])
def test_a_file_arrives_whole_and_says_how_far_it_is(
    settings: Any, work_file: Path, make: Callable[[], Storage | None]
) -> None:
    configure(settings, STORAGE=make())
    content, sent = work_file.read_bytes(), list[int]()

    storage.put(work_file, KEY, on_bytes=sent.append)

    with storage.open_file(KEY) as file:
        assert file.read() == content
    assert sent == sorted(sent)
    assert sent[-1] == len(content) == storage.size_of(KEY)


def test_a_file_on_the_same_disk_is_moved(work_file: Path, files: Path) -> None:
    inode = work_file.stat().st_ino

    storage.put(work_file, KEY, on_bytes=ignore)

    assert (files / KEY).stat().st_ino == inode
    assert not work_file.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_storage_without_room_is_named_as_such(settings: Any, work_file: Path, number: int) -> None:
    configure(settings, STORAGE=failing(number))

    with pytest.raises(StorageFull) as raised:
        storage.put(work_file, KEY, on_bytes=ignore)

    assert not isinstance(raised.value, RetryableError)
    assert "4711" not in str(raised.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ETIMEDOUT])
def test_a_storage_that_fails_may_be_back_soon(settings: Any, work_file: Path, number: int) -> None:
    configure(settings, STORAGE=failing(number))

    with pytest.raises(StorageFailed) as raised:
        storage.put(work_file, KEY, on_bytes=ignore)

    assert isinstance(raised.value, RetryableError)
    assert "4711" not in str(raised.value)


def test_an_error_of_the_storages_own_is_a_failure_of_the_storage(settings: Any, work_file: Path) -> None:
    class Refused(Exception):
        """As the libraries of object stores raise them: no OSError."""

    class Refusing(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise Refused("row 4711")

    configure(settings, STORAGE=Refusing())

    with pytest.raises(StorageFailed, match="Refused"):
        storage.put(work_file, KEY, on_bytes=ignore)


def test_a_full_device_is_a_storage_without_room(settings: Any, work_file: Path) -> None:
    class Full(FileSystemStorage):
        def _save(self, name: str, content: Any) -> str:
            with Path("/dev/full").open("wb") as device:
                for chunk in content.chunks():
                    device.write(chunk)
            return name

    configure(settings, STORAGE=Full())

    with pytest.raises(StorageFull):
        storage.put(work_file, KEY, on_bytes=ignore)


def test_a_storage_that_chooses_another_key_has_not_kept_the_file(work_file: Path, files: Path) -> None:
    (files / KEY).parent.mkdir(parents=True)
    (files / KEY).write_bytes(b"somebody else's")

    with pytest.raises(StorageFailed):
        storage.put(work_file, KEY, on_bytes=ignore)

    assert (files / KEY).read_bytes() == b"somebody else's"


def test_whoever_is_told_of_the_bytes_can_end_the_storing(settings: Any, work_file: Path) -> None:
    configure(settings, STORAGE=Other())

    def lost(done: int) -> None:
        raise LeaseLost("moved")

    with pytest.raises(LeaseLost):
        storage.put(work_file, KEY, on_bytes=lost)

    assert not storage.exports_storage().exists(KEY)


# By hand


def test_what_is_attached_by_hand_is_copied_and_stays_its_owners(tmp_path: Path, files: Path) -> None:
    with NamedTemporaryFile(dir=tmp_path) as mine:
        mine.write(b"abc")
        mine.seek(0)
        storage.put_contents(File(mine), KEY)
        assert Path(mine.name).read_bytes() == b"abc"

    assert (files / KEY).read_bytes() == b"abc"


# Open, forget


@pytest.mark.parametrize("read", [storage.open_file, storage.size_of])
def test_bytes_that_are_gone_are_said_to_be_gone(read: Callable[[str], object]) -> None:
    with pytest.raises(FileNotFoundError):
        read(KEY)


def test_forgetting_twice_is_fine() -> None:
    storage.put_contents(ContentFile(b"abc"), KEY)

    storage.delete(KEY)
    storage.delete(KEY)

    assert not storage.exports_storage().exists(KEY)


def test_a_folder_has_no_address_to_sign() -> None:
    assert storage.presign(KEY, seconds=60, content_type="text/csv", disposition="attachment") is None
