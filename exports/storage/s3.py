"""S3, by django-storages' backend: its bucket, its client, its options. docs/s3.md says what bucket and role need.

Nothing that is raised or logged here has a key, a secret or a signed address in it.
"""

import base64
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from typing import Any

from boto3.s3.transfer import create_transfer_manager
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)
from django.core.files import File

from exports import faults
from exports.exceptions import ExportError, StorageDenied, StorageFailed, StorageFull
from exports.storage.base import NOT_KEPT, Store

CACHE_CONTROL = "private, no-store"
CHECKSUM_BLOCK = IN_MEMORY = 1 << 20
LOOK_SECONDS = 0.1
ADVICE = "Check the bucket, its region, the credentials and the role against docs/s3.md."

FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "507"}
GONE = {"404", "NoSuchKey"}
# Another attempt would be answered in the same way. The answer to a HEAD has no body, so its status is the code.
DENIED = {
    "401",
    "403",
    "AccessControlListNotSupported",
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidToken",
    "NoSuchBucket",
    "NotImplemented",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
}
NEVER_SENT = (NoCredentialsError, NoRegionError, ParamValidationError, PartialCredentialsError)


class S3Store(Store):
    """An S3 bucket. The client is the storage's own, which any thread may use."""

    def __init__(self, storage: Any) -> None:
        super().__init__(storage)
        self._bucket = storage.bucket_name
        self._client = storage.bucket.meta.client

    def put(self, path: Path, key: str, *, content_type: str, on_bytes: Callable[[int], None]) -> None:
        size, checksum = path.stat().st_size, self._checksum(path)
        headers = self._storage.get_object_parameters(key) | ({"ContentType": content_type} if content_type else {})
        with self.failures_named():
            self._upload(path, key, headers | checksum, on_bytes)
            faults.point("after_complete")
            self._compare(key, size, checksum)
        on_bytes(size)

    def put_contents(self, contents: File, key: str) -> None:
        """By way of a file of bytes here: text would be sent with its number of characters as its length."""
        with self.failures_named(), NamedTemporaryFile() as copy:
            for chunk in File(contents).chunks():
                copy.write(chunk.encode() if isinstance(chunk, str) else chunk)
            copy.flush()
            self.put(Path(copy.name), key, content_type="", on_bytes=lambda sent: None)

    def open(self, key: str) -> File:
        """A copy on this machine, in memory while it is small; django-storages would hold all of it there."""
        with self._reading(key), ExitStack() as opened:
            copy = opened.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY))
            self._client.download_fileobj(**self._object(key), Fileobj=copy, Config=self._storage.transfer_config)
            opened.pop_all()
        copy.seek(0)
        return File(copy, name=key)

    def size_of(self, key: str) -> int:
        with self._reading(key):
            return self._client.head_object(**self._object(key))["ContentLength"]

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str, method: str) -> str:
        """Always of the bucket itself, whatever domain the storage's own addresses have: it needs no distribution."""
        answer = {
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
            "ResponseCacheControl": CACHE_CONTROL,
        }
        with self.failures_named():
            return self._client.generate_presigned_url(
                "head_object" if method == "HEAD" else "get_object",
                Params=self._object(key) | answer,
                ExpiresIn=seconds,
            )

    def delete(self, key: str) -> None:
        with self.failures_named():
            self._client.delete_object(**self._object(key))
            for upload_id in self._unfinished(key):
                self._abort(key, upload_id)

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        with super().failures_named():
            try:
                yield
            except (BotoCoreError, ClientError) as error:
                raise _named(error) from error

    def _upload(self, path: Path, key: str, extra: dict[str, str], on_bytes: Callable[[int], None]) -> None:
        """In parts, by boto3's threads. Whatever is raised here, it aborts the upload once no part is under way."""
        meter = _Meter(path.stat().st_size)
        with create_transfer_manager(self._client, self._storage.transfer_config) as manager:
            upload = manager.upload(str(path), self._bucket, self._name(key), extra, [meter])
            while not meter.has_ended.wait(LOOK_SECONDS):
                on_bytes(meter.most)
            upload.result()

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise (FileNotFoundError(key) if _is_gone(error) else _named(error)) from error

    def _checksum(self, path: Path) -> dict[str, str]:
        """The CRC-32 of the whole file, which the bucket compares too; nothing where the client may not send one."""
        if self._client.meta.config.request_checksum_calculation == "when_required":
            return {}
        return {"ChecksumCRC32": crc32_of(path)}

    def _compare(self, key: str, size: int, checksum: dict[str, str]) -> None:
        asked = {"ChecksumMode": "ENABLED"} if checksum else {}
        stored = self._client.head_object(**self._object(key), **asked)
        # Some services keep no checksum, or one of the parts' checksums, which ends with "-<number of parts>".
        kept = {name: value for name, value in stored.items() if name in checksum and "-" not in value}
        if stored["ContentLength"] != size or not kept.items() <= checksum.items():
            raise StorageFailed(NOT_KEPT)

    def _unfinished(self, key: str) -> list[str]:
        name = self._name(key)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=name)
        return [each["UploadId"] for page in pages for each in page.get("Uploads", ()) if each["Key"] == name]

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(**self._object(key), UploadId=upload_id)
        except self._client.exceptions.NoSuchUpload:
            return  # Its worker, or another housekeeper, was faster.

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._name(key)}

    def _name(self, key: str) -> str:
        """What the storage calls this key in its bucket."""
        return f"{self._storage.location.strip('/')}/{key}".lstrip("/")


def crc32_of(path: Path) -> str:
    """As S3 writes it: the four bytes in Base64."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(CHECKSUM_BLOCK):
            value = zlib.crc32(block, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


def _named(error: BaseException) -> ExportError:
    """The service's answer by our names: its code and the operation, never its text."""
    if isinstance(error, ClientError):
        code, answer = _code_of(error), f"The storage answered {error.operation_name} with {_code_of(error)}."
        if code in FULL:
            return StorageFull(answer)
        return StorageDenied(f"{answer} {ADVICE}") if code in DENIED else StorageFailed(answer)
    message = f"The storage could not be asked: {type(error).__name__}."
    return StorageDenied(f"{message} {ADVICE}") if isinstance(error, NEVER_SENT) else StorageFailed(message)


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, ClientError) and _code_of(error) in GONE


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "no code"))


class _Meter:
    """Adds up what the threads of an upload have sent. It gets their events by the names that boto3 has for them."""

    def __init__(self, size: int) -> None:
        self.has_ended = threading.Event()
        self.most = 0
        self._size = size
        self._sent = 0
        self._lock = threading.Lock()

    def on_progress(self, bytes_transferred: int, **event: object) -> None:
        """The number is negative where a part has to be sent once more."""
        with self._lock:
            self._sent += bytes_transferred
            self.most = max(self.most, self._sent)
        faults.point("before_complete" if self.most >= self._size else "part_1")

    def on_done(self, **event: object) -> None:
        self.has_ended.set()
