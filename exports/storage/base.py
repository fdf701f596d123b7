"""Store files in any Django storage, with nothing but the methods that all of them have."""

from __future__ import annotations

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
    """The functions of `exports.storage` for one storage. They describe arguments and exceptions."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, path: Path, key: str, *, content_type: str, on_bytes: Callable[[int], None]) -> None:
        size = path.stat().st_size
        with self.translated_errors():
            try:
                with path.open("rb") as file:
                    faults.point("part_1")
                    faults.point("before_complete")
                    stored = self._storage.save(key, _WorkFile(file, path, content_type, on_bytes))
            except BaseException:
                self._discard(key)
                raise
            faults.point("after_complete")
            if stored != key or self._storage.size(key) != size:
                self._discard(stored)
                raise StorageFailed(NOT_KEPT)
        on_bytes(size)

    def put_contents(self, contents: File[bytes] | File[str], key: str) -> None:
        with self.translated_errors():
            # The wrapper hides the path of a temporary file: FileSystemStorage would move that file, which is not ours.
            if self._storage.save(key, File(contents, name=key)) != key:
                raise StorageFailed(NOT_KEPT)

    def open(self, key: str) -> File[bytes]:
        return self._storage.open(key, "rb")

    def size_of(self, key: str) -> int:
        return self._storage.size(key)

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str, method: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        self._storage.delete(key)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Raise StorageFull or StorageFailed in place of the storage's exceptions, whose text may contain keys."""
        try:
            yield
        except (ExportError, RunInterrupted):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The storage is full.") from error
            raise StorageFailed(f"The storage failed: {type(error).__name__}.") from error

    def _discard(self, key: str) -> None:
        # What cannot be deleted now is deleted later by housekeeping, which knows the key by its Artifact.
        with suppress(Exception):
            self._storage.delete(key)


class _WorkFile(File):  # type: ignore[type-arg]  # Django 5.2's File takes no type argument at runtime.
    """A finished work file that reports each read. FileSystemStorage moves it instead of reading it."""

    def __init__(self, file: IO[bytes], path: Path, content_type: str, on_bytes: Callable[[int], None]) -> None:
        super().__init__(file, name=path.name)
        self.content_type = content_type
        self._opened = file
        self._path = path
        self._on_bytes = on_bytes

    def temporary_file_path(self) -> str:
        return str(self._path)

    def read(self, size: int = -1) -> bytes:
        chunk = self._opened.read(size)
        self._on_bytes(self._opened.tell())
        return chunk
