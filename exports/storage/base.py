"""What the exports ask of a storage, done with what every Django storage can."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from django.core.files import File
from django.core.files.storage import Storage

from exports import faults
from exports.exceptions import ExportError, RunInterrupted, StorageFailed, StorageFull

NOT_KEPT = "The storage did not keep the file as it was given."


class Store:
    """The promises are in `exports.storage`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, path: Path, key: str, *, content_type: str, on_bytes: Callable[[int], None]) -> None:
        size = path.stat().st_size
        with self.failures_named():
            stored = self._save(path, key, content_type, on_bytes)
            faults.point("after_complete")
            if stored != key or self._storage.size(key) != size:
                self._discard(stored)
                raise StorageFailed(NOT_KEPT)
        on_bytes(size)

    def _save(self, path: Path, key: str, content_type: str, on_bytes: Callable[[int], None]) -> str:
        try:
            with path.open("rb") as file:
                faults.point("part_1")
                faults.point("before_complete")
                return self._storage.save(key, _WorkFile(file, path, content_type, on_bytes))
        except BaseException:
            self._discard(key)
            raise

    def _discard(self, key: str) -> None:
        # What cannot be removed now, housekeeping removes by its Artifact.
        with suppress(Exception):
            self._storage.delete(key)

    def put_contents(self, contents: File, key: str) -> None:
        with self.failures_named():
            # A wrapper of its own: FileSystemStorage would move a file that has a path, and this one is not ours.
            if self._storage.save(key, File(contents, name=key)) != key:
                raise StorageFailed(NOT_KEPT)

    def open(self, key: str) -> File:
        return self._storage.open(key, "rb")

    def size_of(self, key: str) -> int:
        return self._storage.size(key)

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str, method: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        self._storage.delete(key)

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """What a storage raises, by our names."""
        try:
            yield
        except (ExportError, RunInterrupted):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The storage is full.") from error
            raise StorageFailed(f"The storage failed: {type(error).__name__}.") from error


class _WorkFile(File):
    """A finished work file. FileSystemStorage moves it, other storages read it; every read is reported."""

    def __init__(self, file: IO[bytes], path: Path, content_type: str, on_bytes: Callable[[int], None]) -> None:
        super().__init__(file, name=path.name)
        self.content_type = content_type
        self._path = path
        self._on_bytes = on_bytes

    def temporary_file_path(self) -> str:
        return str(self._path)

    def read(self, size: int = -1) -> bytes:
        chunk = self.file.read(size)
        self._on_bytes(self.file.tell())
        return chunk
