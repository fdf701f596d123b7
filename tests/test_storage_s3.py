"""Files in an S3 bucket, on a real server: put, open, sign, delete."""

import json
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from django.conf import LazySettings
from django.core.files import File
from django.core.files.base import ContentFile

from exports import storage
from exports.exceptions import ExportError, LeaseLost, StorageDenied, StorageFailed
from exports.storage.s3 import crc32_of
from tests.bucket import exports as big
from tests.bucket.server import Moto
from tests.office import processes

KEY = "generated/7/1-ab.csv"
NOTHING = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 20 MiB, which is stored in three parts."""
    big.write(tmp_path / "file.csv", 20)
    return tmp_path / "file.csv"


def put(path: Path, key: str = KEY, on_bytes: Callable[[int], None] = lambda sent: None) -> None:
    storage.put(path, key, on_bytes=on_bytes, content_type="text/csv; charset=utf-8")


def presign(**changes: Any) -> str:
    given = {"seconds": 60, "content_type": "text/csv; charset=utf-8", "disposition": 'attachment; filename="a b.csv"'}
    url = storage.presign(KEY, **given | changes)
    assert url is not None
    return url


def head(s3: Moto, key: str = KEY) -> dict[str, Any]:
    return s3.client().head_object(Bucket=s3.BUCKET, Key=key, ChecksumMode="ENABLED")


# Put


def test_a_file_is_uploaded_in_parts_with_type_and_checksum(s3: Moto, path: Path):
    sent: list[int] = []
    put(path, on_bytes=sent.append)
    assert sent == sorted(sent)
    assert sent[-1] == 20 * big.MEBIBYTE
    stored = head(s3)
    assert (stored["ContentLength"], stored["ContentType"]) == (20 * big.MEBIBYTE, "text/csv; charset=utf-8")
    assert stored["ETag"].endswith('-3"')
    assert stored["ChecksumType"] == "FULL_OBJECT"
    with storage.open_file(KEY) as file:
        assert file.read() == big.content(20)
    assert s3.unfinished() == []


@pytest.mark.parametrize("content", [b"", b"a small one"])
def test_a_small_file_is_uploaded_at_once(s3: Moto, tmp_path: Path, content: bytes):
    (tmp_path / "small").write_bytes(content)
    put(tmp_path / "small")
    with storage.open_file(KEY) as file:
        assert file.read() == content


@pytest.mark.parametrize("prefix", ["", "live-exports", "a/b"])
def test_the_location_of_the_storage_begins_every_name(s3: Moto, settings: LazySettings, path: Path, prefix: str):
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(location=prefix)}
    put(path)
    assert s3.stored() == [f"{prefix}/{KEY}".lstrip("/")]
    assert storage.exports_storage().exists(KEY)
    assert httpx.get(presign()).content == path.read_bytes()
    storage.delete(KEY)
    assert s3.stored() == []


def test_an_exception_of_on_bytes_aborts_the_upload(s3: Moto, path: Path):
    has_lost = threading.Event()
    big.at_each_part(lambda **event: has_lost.wait(10))

    def lose_the_lease(sent: int) -> None:
        if sent > 0:
            has_lost.set()
            raise LeaseLost("cancelled")

    with pytest.raises(LeaseLost):
        put(path, on_bytes=lose_the_lease)
    assert (s3.stored(), s3.unfinished()) == ([], [])


@pytest.mark.parametrize("size", [7, 20 * big.MEBIBYTE])
def test_a_file_that_differs_in_the_bucket_is_a_failure(s3: Moto, path: Path, tmp_path: Path, size: int):
    other = tmp_path / "other"
    other.write_bytes(b"x" * size)

    def replace(**event: object) -> None:
        s3.client().upload_file(str(other), s3.BUCKET, KEY, ExtraArgs={"ChecksumCRC32": crc32_of(other)})

    big.client().meta.events.register("after-call.s3.CompleteMultipartUpload", replace)
    with pytest.raises(StorageFailed, match="did not keep the file"):
        put(path)


def test_no_checksum_is_sent_to_a_service_without_checksums(s3: Moto, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    put(path)
    assert not [name for name in head(s3) if name.startswith("Checksum")]


def test_put_contents_takes_text(s3: Moto):
    storage.put_contents(ContentFile("größer"), KEY)
    storage.put_contents(File(StringIO("größer")), "generated/7/2.csv")
    assert httpx.get(presign()).text == "größer"
    assert storage.size_of("generated/7/2.csv") == 8


# Errors


def failure_of(act: Callable[[], object]) -> ExportError:
    with pytest.raises(ExportError) as failed:
        act()
    return failed.value


VERBS: dict[str, Callable[[Path], object]] = {
    "put": put,
    "put_contents": lambda path: storage.put_contents(ContentFile(b"abc"), KEY),
    "open": lambda path: storage.open_file(KEY),
    "size": lambda path: storage.size_of(KEY),
    "delete": lambda path: storage.delete(KEY),
}


@pytest.mark.parametrize("verb", VERBS)
def test_an_unreachable_server_is_retryable(s3: Moto, path: Path, verb: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.stop()
    failed = failure_of(lambda: VERBS[verb](path))
    assert type(failed) is StorageFailed
    assert str(failed) == "The storage could not be asked: EndpointConnectionError."


@pytest.mark.parametrize("verb", VERBS)
def test_a_role_without_permission_is_denied_with_advice(s3: Moto, path: Path, verb: str):
    with s3.allowing({"Version": "2012-10-17", "Statement": [NOTHING]}):
        failed = failure_of(lambda: VERBS[verb](path))
    assert type(failed) is StorageDenied
    assert "docs/s3.md" in str(failed)


@pytest.mark.parametrize(
    ("bucket", "code"), [("no-such-bucket-here", "NoSuchBucket"), ("not a name", "ParamValidationError")]
)
def test_a_missing_bucket_is_denied(s3: Moto, settings: LazySettings, path: Path, bucket: str, code: str):
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(bucket_name=bucket)}
    failed = failure_of(lambda: put(path))
    assert type(failed) is StorageDenied
    assert code in str(failed)


@pytest.mark.parametrize("read", [storage.open_file, storage.size_of])
def test_a_missing_file_is_not_found(s3: Moto, read: Callable[[str], object]):
    with pytest.raises(FileNotFoundError):
        read(KEY)


# Signed URLs


def test_a_signed_url_serves_the_file_with_its_headers(s3: Moto, path: Path):
    put(path)
    answer = httpx.get(presign(disposition="attachment; filename=\"a.csv\"; filename*=UTF-8''%C3%BC.csv"))
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=\"a.csv\"; filename*=UTF-8''%C3%BC.csv"
    assert answer.headers["cache-control"] == "private, no-store"
    part = httpx.get(presign(), headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, path.read_bytes()[100:200])


def test_the_signature_covers_the_seconds_and_the_headers(s3: Moto):
    s3.stop()  # No request is sent to sign.
    signed = dict(parse_qsl(urlsplit(presign(seconds=47)).query))
    expected = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Expires": "47"}
    expected |= {"response-content-type": "text/csv; charset=utf-8", "response-cache-control": "private, no-store"}
    assert signed == signed | expected | {"response-content-disposition": 'attachment; filename="a b.csv"'}
    for changes in ({"disposition": "inline"}, {"method": "HEAD"}):
        other = dict(parse_qsl(urlsplit(presign(seconds=47, **changes)).query))
        assert other["X-Amz-Signature"] != signed["X-Amz-Signature"]


# Delete


def test_deleting_twice_is_not_an_error(s3: Moto, path: Path):
    put(path)
    storage.delete(KEY)
    storage.delete(KEY)
    assert s3.stored() == []


def test_deleting_aborts_the_uploads_of_this_key_only(s3: Moto):
    for key in (KEY, KEY, f"{KEY}.gz", "generated/7/2-cd.csv"):
        s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=key)
    storage.delete(KEY)
    assert sorted(s3.unfinished()) == [f"{KEY}.gz", "generated/7/2-cd.csv"]


def test_a_storage_given_by_path_is_created_once(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "STORAGE": "storages.backends.s3.S3Storage"}
    assert storage.configured_storage() is storage.configured_storage()


# In another process

MEASURED = """
import json, warnings
from pathlib import Path
from exports import storage

warnings.simplefilter("error")

def peak() -> int:
    # ru_maxrss would begin with the peak of the process that started this one.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

small, large, sent = Path({small!r}), Path({large!r}), []
storage.put(small, "generated/small.csv", on_bytes=lambda sent: None)
before = peak()
storage.put(large, "generated/large.csv", on_bytes=sent.append)
grown = peak() - before
assert storage.presign("generated/large.csv", seconds=60, content_type="text/csv", disposition="attachment")
storage.delete("generated/small.csv")
print(json.dumps({{"grown": grown, "sent": sorted(set(sent)), "is_growing": sent == sorted(sent)}}))
"""


def test_200_megabytes_are_uploaded_in_constant_memory(s3: Moto, tmp_path: Path):
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    big.write(small, 20)
    big.write(large, 200)
    measured = json.loads(processes.run(MEASURED.format(small=str(small), large=str(large)), tmp_path))
    assert measured["grown"] < 32 * big.MEBIBYTE
    assert (measured["sent"][-1], measured["is_growing"]) == (200 * big.MEBIBYTE, True)
    assert len(measured["sent"]) > 5
    assert head(s3, "generated/large.csv")["ETag"].endswith('-25"')
    assert s3.stored() == ["generated/large.csv"]


def test_boto3_is_not_imported_without_a_bucket(tmp_path: Path):
    code = "import sys\nfrom django.core.checks import run_checks\nfrom exports import storage\n"
    code += "run_checks(tags=['exports'])\nstorage.delete('nothing')\n"
    code += "print([name for name in ('boto3', 'botocore', 'storages') if name in sys.modules])"
    assert processes.run(code, tmp_path).strip() == "[]"
