"""Where finished files lie: put one, open one, sign an address of one, forget one.

Keys are generated and never used twice. What a storage can do beyond Django's own is a Store of its own, as in `s3`.
"""

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
NOBODY = UUID(int=0)
NO_FILE = (errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
# What no file system takes as a name, or what one takes for a way to another folder.
UNFIT = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|\A/|/\Z|(\A|/)\.\.?(/|\Z)|[^/]{256,}|\A\Z")


def exports_storage() -> Storage:
    """The storage of the files: EXPORTS["STORAGE"], else STORAGES["exports"], else Django's default."""
    return configured_storage() or default_storage


def configured_storage() -> Storage | None:
    """The storage chosen for exports (an alias, a dotted path, a class or an instance), or None where none is."""
    chosen = config.STORAGE
    if chosen is None:
        return storages[ALIAS] if ALIAS in settings.STORAGES else None
    if isinstance(chosen, str):
        return _named(chosen)
    return chosen() if callable(chosen) else chosen


def is_s3(storage: Storage) -> bool:
    """Whether it is the S3 backend of django-storages, or made from it. Imports neither that nor boto3."""
    return any(each.__module__ == "storages.backends.s3" for each in type(storage).__mro__)


def new_key(request_id: UUID, epoch: int, extension: str) -> str:
    """A storage key that only this claim may write. Nothing in it comes from a user."""
    return f"{folder()}{request_id}/{epoch}-{secrets.token_hex(8)}.{extension}"


def folder() -> str:
    """What keys begin with: "", or EXPORTS["UPLOAD_TO"], its %Y, %m and the like filled in as Django does, and "/"."""
    path = datetime.now().strftime(config.UPLOAD_TO).strip("/")
    return f"{path}/" if path else ""


def put(path: Path, key: str, *, on_bytes: Callable[[int], None], content_type: str = "") -> None:
    """Store the work file under `key` and check that all of it arrived. `on_bytes` gets the bytes sent so far.

    What `on_bytes` raises ends the upload, leaves no part of it in the storage, and is raised here. Raises StorageFull
    without room; StorageDenied when the storage does not let us; StorageFailed when it does not answer, chose another
    key or holds something else.
    """
    _store().put(path, key, content_type=content_type, on_bytes=on_bytes)


def put_contents(contents: File, key: str) -> None:
    """Store what somebody attaches by hand under `key`. Raises StorageFull, StorageDenied, StorageFailed like `put`."""
    _store().put_contents(contents, key)


def open_file(key: str) -> File:
    """The stored bytes, for reading. Raises FileNotFoundError when they are gone; else like `put`."""
    with _other_names_missed(key):
        return _store().open(key)


def size_of(key: str) -> int:
    """How many bytes are stored. Raises like `open_file`."""
    with _other_names_missed(key):
        return _store().size_of(key)


def check_available() -> None:
    """Ask the storage for what it has not got. Raises StorageFailed, or OSError, when it does not answer.

    It does answer where it says that it lets us not even ask: without the right to list, S3 says so of any key.
    """
    storage = exports_storage()
    if isinstance(storage, FileSystemStorage):
        Path(storage.location).mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError, StorageDenied):
        size_of(new_key(NOBODY, 0, "bin"))


def presign(key: str, *, seconds: int, content_type: str, disposition: str, method: str = "GET") -> str | None:
    """An address of the bytes, for whoever holds it and `seconds` long; None where the storage has none to give.

    The answer there has these headers, `Cache-Control: private, no-store`, and a signature over all of it. `method` is
    GET or HEAD. Nothing is asked of the storage, so bytes that are gone are missed by whoever goes there. Raises
    FileNotFoundError for what can be no key.
    """
    check_key(key)
    return _store().presign(key, seconds=seconds, content_type=content_type, disposition=disposition, method=method)


def delete(key: str) -> None:
    """Delete the bytes under `key`, unfinished uploads too; a key that holds nothing is fine."""
    _store().delete(key)


def check_key(key: str) -> None:
    """Raises FileNotFoundError for what leads out of the storage, or is the name of no file anywhere.

    Keys are generated, so such a one comes from a row that somebody else wrote.
    """
    if UNFIT.search(key):
        raise FileNotFoundError("This is not a key of the storage.")


@contextmanager
def _other_names_missed(key: str) -> Iterator[None]:
    """Raises FileNotFoundError also for a key that names a folder, or something inside a file."""
    check_key(key)
    try:
        yield
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise FileNotFoundError("This is not a key of the storage.") from error


def _store() -> Store:
    storage = exports_storage()
    if not is_s3(storage):
        return Store(storage)
    from exports.storage.s3 import S3Store

    return S3Store(storage)


def _named(name: str) -> Storage:
    try:
        return storages[name]
    except InvalidStorageError:
        return _made_once(name)


# Making a client of S3 takes a third of a second, and a storage keeps its own.
@cache
def _made_once(dotted_path: str) -> Storage:
    return import_string(dotted_path)()
