"""Where finished files lie: put one, open one, forget one. Keys are generated and never used twice."""

import errno
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import InvalidStorageError, Storage, default_storage, storages
from django.utils.module_loading import import_string

from exports.conf import config
from exports.exceptions import StorageFailed, StorageFull

ALIAS = "exports"


def exports_storage() -> Storage:
    """The storage of the files: EXPORTS["STORAGE"], else STORAGES["exports"], else Django's default."""
    return configured() or default_storage


def configured() -> Storage | None:
    """The storage chosen for exports (an alias, a dotted path, a class or an instance), or None where none is."""
    chosen = config.STORAGE
    if chosen is None:
        return storages[ALIAS] if ALIAS in settings.STORAGES else None
    if isinstance(chosen, str):
        return _named(chosen)
    return chosen() if callable(chosen) else chosen


def _named(name: str) -> Storage:
    try:
        return storages[name]
    except InvalidStorageError:
        return import_string(name)()


def new_key(request_id: UUID, epoch: int, extension: str) -> str:
    """A storage key that only this claim may write. Nothing in it comes from a user."""
    name = f"{request_id}/{epoch}-{secrets.token_hex(8)}.{extension}"
    return f"{config.UPLOAD_TO.strip('/')}/{name}".lstrip("/")


class _WorkFile(File):
    """A finished work file. FileSystemStorage moves it, other storages read it; every read is reported."""

    def __init__(self, file: IO[bytes], path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(file, name=path.name)
        self._path = path
        self._on_bytes = on_bytes

    def temporary_file_path(self) -> str:
        return str(self._path)

    def read(self, size: int = -1) -> bytes:
        chunk = self.file.read(size)
        self._on_bytes(self.file.tell())
        return chunk


def put(path: Path, key: str, *, on_bytes: Callable[[int], None]) -> None:
    """Store the work file under `key` and check that all of it arrived. `on_bytes` gets the bytes sent so far.

    Raises StorageFull without room; StorageFailed when the storage refuses, chose another key or holds another size.
    """
    size = path.stat().st_size
    storage = exports_storage()
    with _failures_named():
        with path.open("rb") as file:
            stored = storage.save(key, _WorkFile(file, path, on_bytes))
        if stored != key or storage.size(key) != size:
            raise StorageFailed("The storage did not keep the file as it was given.")
    on_bytes(size)


def put_contents(contents: File, key: str) -> None:
    """Store what somebody attaches by hand under `key`. Raises StorageFull, StorageFailed like `put`."""
    with _failures_named():
        # A wrapper of its own: FileSystemStorage would move a file that has a path, and this one is not ours.
        if exports_storage().save(key, File(contents, name=key)) != key:
            raise StorageFailed("The storage did not keep the file as it was given.")


@contextmanager
def _failures_named() -> Iterator[None]:
    """What a storage raises, by our names."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The storage is full.") from error
        raise StorageFailed(f"The storage failed: {type(error).__name__}.") from error


def open_file(key: str) -> File:
    """The stored bytes, for reading. Raises FileNotFoundError when they are gone."""
    return exports_storage().open(key, "rb")


def size_of(key: str) -> int:
    """Raises FileNotFoundError when the bytes are gone."""
    return exports_storage().size(key)


def forget(key: str) -> None:
    """Delete the bytes under `key`; a key that holds nothing is fine."""
    exports_storage().delete(key)
