"""Probe the storage of finished files and the folder of unfinished ones."""

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from tempfile import TemporaryFile
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from django.core.files.base import ContentFile

from exports import checks, storage
from exports.access.tenants import base_url
from exports.conf import GIB, config
from exports.contrib.operations.doctor.findings import Finding, Probe, error, from_checks, ok, warning
from exports.models import Artifact
from exports.worker.work_dir import ensure_private

DOWNLOAD_SECONDS = 2.0


def finished_files(name: str) -> Iterator[Finding]:
    """Store a file, read it, try to download it without a signature, and delete it."""
    key, contents = storage.new_key(storage.NIL_ID, 0, "txt"), secrets.token_hex(16).encode()
    # The row comes first: if this process dies, housekeeping deletes the file.
    artifact = Artifact.objects.create(epoch=0, key=key, state=Artifact.State.INPUT)
    try:
        storage.put_contents(ContentFile(contents), key)
        with storage.open_file(key) as stored:
            is_intact = stored.read() == contents
        public_urls = _public_urls(key, contents)
    finally:
        storage.delete(key)
        artifact.delete()
    kind = type(storage.exports_storage()).__name__
    if public_urls:
        advice = "Make it private: no public folder, bucket, ACL or proxy rule may serve it. See docs/s3.md."
        host = urlsplit(public_urls[0]).netloc
        yield error(name, f"{kind} is public: anyone can download a file from {host}.", advice)
    elif not is_intact:
        yield error(name, f"{kind} returned other bytes than it was given.", "Let nothing change what is stored.")
    else:
        yield ok(name, f"{kind}: stored, read and deleted a file; an unsigned download was refused.")


def work_dir(name: str) -> Iterator[Finding]:
    """Report whether the folder of unfinished files is writable, has room and is private."""
    folder = ensure_private()
    with TemporaryFile(dir=folder) as file:
        file.write(b"probe")
    free = shutil.disk_usage(folder).free
    text = f"{folder} on this host is writable, {free / GIB:.1f} GiB free."
    advice = (
        "Free some space, or set WORK_DIR to a disk with more: "
        "below MIN_FREE_DISK_BYTES no worker of this host starts a run."
    )
    if free < config.MIN_FREE_DISK_BYTES:
        yield error(name, text, advice)
    elif free < 2 * config.MIN_FREE_DISK_BYTES:
        yield warning(name, text, advice)
    else:
        yield ok(name, text)
    yield from from_checks(name, checks.check_work_dir())


def _public_urls(key: str, contents: bytes) -> list[str]:
    """Return the URLs at which anyone gets these contents, without a session and a signature."""
    urls = [storage.presign(key, seconds=60, content_type="", disposition="", method="GET")]
    with suppress(NotImplementedError, ValueError):
        urls.append(urljoin(base_url(""), storage.exports_storage().url(key)))
    unsigned = {url.partition("?")[0] for url in urls if url}
    found: list[str] = []

    def download(url: str) -> None:
        with suppress(URLError, HTTPException, OSError, ValueError), urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
            # A login page is served, too; the random contents tell it from the file.
            if contents in response.read(4096):
                found.append(url)

    # In threads, because resolving a host name can take longer than any timeout of urlopen.
    threads = [
        threading.Thread(target=download, args=[url], daemon=True)
        for url in unsigned
        if urlsplit(url).scheme in ("http", "https")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DOWNLOAD_SECONDS / len(threads))
    return found


PROBES = (
    Probe("storage", finished_files, "Correct EXPORTS_ROOT or the bucket's settings; see docs/s3.md.", needs_rows=True),
    Probe("work dir", work_dir, "Set WORK_DIR to a folder that this user can write to."),
)
