"""Store files in S3 through the client and the options of django-storages' backend.

docs/s3.md says which bucket and role this needs. No message or log line here contains a key, a secret or a signed URL.
"""

from __future__ import annotations

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
CHECKSUM_BLOCK_BYTES = MAX_DOWNLOAD_IN_MEMORY_BYTES = 1 << 20
PROGRESS_SECONDS = 0.1
ADVICE = "Check the bucket, its region, the credentials and the role against docs/s3.md."

FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "507"}
GONE = {"404", "NoSuchKey"}
# Another attempt would get the same answer. The response to a HEAD has no body, so its status is the code.
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
    """An S3 bucket. The client is the storage's own, which may be used from any thread."""

    # Any: django-storages and boto3 have no types.
    _storage: Any

    def __init__(self, storage: Any) -> None:
        super().__init__(storage)
        self._bucket = storage.bucket_name
        self._client = storage.bucket.meta.client

    def put(self, path: Path, key: str, *, content_type: str, on_bytes: Callable[[int], None]) -> None:
        """Upload in parts, in boto3's threads, and compare size and checksum afterwards."""
        size, checksum = path.stat().st_size, {}
        if self._client.meta.config.request_checksum_calculation != "when_required":
            checksum = {"ChecksumCRC32": crc32_of(path)}
        extra = self._storage.get_object_parameters(key) | checksum
        if content_type:
            extra["ContentType"] = content_type
        meter = _Meter(size)
        with self.translated_errors():
            # An exception inside aborts the upload after the parts under way have ended.
            with create_transfer_manager(self._client, self._storage.transfer_config) as manager:
                upload = manager.upload(str(path), self._bucket, self._name(key), extra, [meter])
                while not meter.has_ended.wait(PROGRESS_SECONDS):
                    on_bytes(meter.most)
                upload.result()
            faults.point("after_complete")
            stored = self._client.head_object(**self._object(key), **({"ChecksumMode": "ENABLED"} if checksum else {}))
            # Some services keep no checksum, or one of the parts' checksums, which ends with "-<number of parts>".
            kept = {name: value for name, value in stored.items() if name in checksum and "-" not in value}
            if stored["ContentLength"] != size or not kept.items() <= checksum.items():
                raise StorageFailed(NOT_KEPT)
        on_bytes(size)

    def put_contents(self, contents: File[bytes] | File[str], key: str) -> None:
        """Upload through a temporary file of bytes: boto3 would send text with its number of characters as length."""
        # Any: of bytes or of text.
        file: File[Any] = File(contents)
        with self.translated_errors(), NamedTemporaryFile() as copy:
            for chunk in file.chunks():
                copy.write(chunk.encode() if isinstance(chunk, str) else chunk)
            copy.flush()
            self.put(Path(copy.name), key, content_type="", on_bytes=lambda sent: None)

    def open(self, key: str) -> File[bytes]:
        """Download the file, to disk if it is large: django-storages would hold all of it in memory."""
        with self._reading(key), ExitStack() as opened:
            copy = opened.enter_context(SpooledTemporaryFile(max_size=MAX_DOWNLOAD_IN_MEMORY_BYTES))
            self._client.download_fileobj(**self._object(key), Fileobj=copy, Config=self._storage.transfer_config)
            opened.pop_all()
        copy.seek(0)
        return File(copy, name=key)

    def size_of(self, key: str) -> int:
        with self._reading(key):
            return int(self._client.head_object(**self._object(key))["ContentLength"])

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str, method: str) -> str:
        """Sign a URL of the bucket itself, even if the storage has a custom domain, which could not verify it."""
        response_headers = {
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
            "ResponseCacheControl": CACHE_CONTROL,
        }
        with self.translated_errors():
            url: str = self._client.generate_presigned_url(
                "head_object" if method == "HEAD" else "get_object",
                Params=self._object(key) | response_headers,
                ExpiresIn=seconds,
            )
        return url

    def delete(self, key: str) -> None:
        with self.translated_errors():
            self._client.delete_object(**self._object(key))
            name = self._name(key)
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=name)
            unfinished = [each["UploadId"] for page in pages for each in page.get("Uploads", ()) if each["Key"] == name]
            for upload_id in unfinished:
                try:
                    self._client.abort_multipart_upload(**self._object(key), UploadId=upload_id)
                except self._client.exceptions.NoSuchUpload:
                    continue  # Its worker, or another housekeeping process, has aborted it.

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        with super().translated_errors():
            try:
                yield
            except (BotoCoreError, ClientError) as error:
                raise _translated(error) from error

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            is_gone = isinstance(error, ClientError) and _code_of(error) in GONE
            raise (FileNotFoundError(key) if is_gone else _translated(error)) from error

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._name(key)}

    def _name(self, key: str) -> str:
        """Return the name of the object in the bucket, which begins with the storage's `location`."""
        return f"{self._storage.location.strip('/')}/{key}".lstrip("/")


def crc32_of(path: Path) -> str:
    """Return the file's CRC-32 as S3 writes it: four bytes in Base64."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(CHECKSUM_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


def _translated(error: BotoCoreError | ClientError) -> ExportError:
    """Return the exception for an error of boto3, with the service's code and the operation, but not its text."""
    if isinstance(error, ClientError):
        code = _code_of(error)
        answer = f"The storage answered {error.operation_name} with {code}."
        if code in FULL:
            return StorageFull(answer)
        return StorageDenied(f"{answer} {ADVICE}") if code in DENIED else StorageFailed(answer)
    message = f"The storage could not be asked: {type(error).__name__}."
    return StorageDenied(f"{message} {ADVICE}") if isinstance(error, NEVER_SENT) else StorageFailed(message)


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "no code"))


class _Meter:
    """Add up what the threads of one upload have sent. s3transfer 0.19 calls these two methods by name."""

    def __init__(self, size: int) -> None:
        self.has_ended = threading.Event()
        self.most = 0
        self._size = size
        self._sent = 0
        self._lock = threading.Lock()

    def on_progress(self, bytes_transferred: int, **event: object) -> None:
        """Add the bytes, a negative number when a part is to be sent again."""
        with self._lock:
            self._sent += bytes_transferred
            self.most = max(self.most, self._sent)
        faults.point("before_complete" if self.most >= self._size else "part_1")

    def on_done(self, **event: object) -> None:
        self.has_ended.set()
