"""Where finished files are kept: store, open, sign and delete them by key.

Keys are generated and never used twice. The work is done by a `Store`: `base` for any Django storage, `s3` for S3.
"""

from __future__ import annotations

import errno
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage, default_storage, storages
from django.utils.module_loading import import_string

from exports.conf import config
from exports.exceptions import StorageDenied
from exports.storage.base import Store

ALIAS = "exports"
NIL_ID = UUID(int=0)
# An absolute path, a step to another folder, or a name that no file system accepts.
INVALID_KEY = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|\A/|/\Z|(\A|/)\.\.?(/|\Z)|[^/]{256,}|\A\Z")


def exports_storage() -> Storage:
    """Return the storage of the files: EXPORTS["STORAGE"], else STORAGES["exports"], else Django's default."""
    return configured_storage() or default_storage


def configured_storage() -> Storage | None:
    """Return the storage that the settings choose for exports, or None if they choose none.

    EXPORTS["STORAGE"] may be an alias of STORAGES, a dotted path, a class or an instance.
    """
    chosen = config.STORAGE
    if chosen is None:
        return storages[ALIAS] if ALIAS in settings.STORAGES else None
    if isinstance(chosen, str):
        try:
            return storages[chosen]
        except InvalidStorageError:
            return _storage_at(chosen)
    return chosen() if callable(chosen) else chosen


def is_s3(storage: Storage) -> bool:
    """Return True for django-storages' S3 backend and its subclasses. Imports neither django-storages nor boto3."""
    return any(each.__module__ == "storages.backends.s3" for each in type(storage).__mro__)


def new_key(request_id: UUID, epoch: int, extension: str) -> str:
    """Return a new storage key, which only the claim with this epoch may write. It contains no user input."""
    return f"{folder()}{request_id}/{epoch}-{secrets.token_hex(8)}.{extension}"


def folder() -> str:
    """Return EXPORTS["UPLOAD_TO"] with today's %Y, %m, ... and a "/", or "" for the root of the storage."""
    path = datetime.now().strftime(config.UPLOAD_TO).strip("/")
    return f"{path}/" if path else ""


def put(path: Path, key: str, *, on_bytes: Callable[[int], None], content_type: str = "") -> None:
    """Store the work file under `key` and check that all of it arrived.

    `on_bytes` is called with the number of bytes sent so far. An exception that it raises ends the upload, leaves
    nothing in the storage, and is raised here. Raise StorageFull if there is no room, StorageDenied if the storage
    refuses access, StorageFailed if it does not answer, chose another key or holds something else.
    """
    _store().put(path, key, content_type=content_type, on_bytes=on_bytes)


def put_contents(contents: File[bytes] | File[str], key: str) -> None:
    """Store an open file, which remains the caller's, under `key`. Raise like `put`."""
    _store().put_contents(contents, key)


def open_file(key: str) -> File[bytes]:
    """Open the stored bytes for reading. Raise FileNotFoundError if they are gone, else like `put`."""
    with _invalid_names_not_found(key):
        return _store().open(key)


def size_of(key: str) -> int:
    """Return the number of stored bytes. Raise like `open_file`."""
    with _invalid_names_not_found(key):
        return _store().size_of(key)


def check_available() -> None:
    """Ask the storage for a file that does not exist. Raise StorageFailed, or OSError, if it does not answer.

    StorageDenied is an answer: S3 gives it for any missing key if the role may not list the bucket.
    """
    storage = exports_storage()
    if isinstance(storage, FileSystemStorage):
        Path(storage.location).mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError, StorageDenied):
        size_of(new_key(NIL_ID, 0, "bin"))


def presign(key: str, *, seconds: int, content_type: str, disposition: str, method: str = "GET") -> str | None:
    """Return a signed URL that serves the bytes for `seconds`, or None if the storage has no such URLs.

    The response will have this Content-Type and Content-Disposition and `Cache-Control: private, no-store`. `method` is
    GET or HEAD. The storage is not asked, so the bytes may be gone. Raise FileNotFoundError for an invalid key.
    """
    check_key(key)
    return _store().presign(key, seconds=seconds, content_type=content_type, disposition=disposition, method=method)


def delete(key: str) -> None:
    """Delete the bytes under `key` and its unfinished uploads. A key without any is not an error."""
    _store().delete(key)


def check_key(key: str) -> None:
    """Raise FileNotFoundError for a key that leads out of the storage, or that cannot be a file name.

    Generated keys are always valid; another can only come from a row that was written outside the app.
    """
    if INVALID_KEY.search(key):
        raise FileNotFoundError("This is not a key of the storage.")


@contextmanager
def _invalid_names_not_found(key: str) -> Iterator[None]:
    """Raise FileNotFoundError for an invalid key, and for one that names a folder or something inside a file."""
    check_key(key)
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        raise FileNotFoundError("This is not a key of the storage.") from error


def _store() -> Store:
    storage = exports_storage()
    if not is_s3(storage):
        return Store(storage)
    # Only here, since boto3 is optional and takes a third of a second to import.
    from exports.storage.s3 import S3Store

    return S3Store(storage)


# Creating an S3 client takes a third of a second, and a storage keeps its client.
@cache
def _storage_at(dotted_path: str) -> Storage:
    storage: Storage = import_string(dotted_path)()
    return storage
