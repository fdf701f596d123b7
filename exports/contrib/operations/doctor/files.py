"""Where files lie: is the storage private and writable, has the folder of files in the making room and no strangers."""

import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from django.core.files.base import ContentFile

from exports import storage
from exports.conf import config
from exports.contrib.operations.doctor.findings import Finding, Probe, error, ok, warning
from exports.models import Artifact
from exports.worker import runner

GET_SECONDS = 2.0
GIB = 1 << 30


def finished_files(name: str) -> Iterator[Finding]:
    """Put a file, read it, ask for it as a stranger, and delete it."""
    key, contents = storage.new_key(storage.NOBODY, 0, "txt"), secrets.token_hex(16).encode()
    # A note of the key comes first: should this process die, housekeeping removes the bytes.
    noted = Artifact.objects.create(epoch=0, key=key, state=Artifact.State.INPUT)
    try:
        storage.put_contents(ContentFile(contents), key)
        with storage.open_file(key) as stored:
            kept = stored.read() == contents
        open_at = _open_at(_unsigned_addresses(key), contents)
    finally:
        storage.delete(key)
        noted.delete()
    yield _verdict(name, kept=kept, open_at=open_at)


def work_dir(name: str) -> Iterator[Finding]:
    folder = runner.work_root()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemporaryFile(dir=folder) as probe:
        probe.write(b"probe")
    free = shutil.disk_usage(folder).free
    advice = (
        "Free some, or set WORK_DIR to a disk with more: below MIN_FREE_DISK_BYTES no worker of this host begins a run."
    )
    text = f"{folder} on this host is writable, {free / GIB:.1f} GiB free."
    if free < 2 * config.MIN_FREE_DISK_BYTES:
        yield error(name, text, advice) if free < config.MIN_FREE_DISK_BYTES else warning(name, text, advice)
    else:
        yield ok(name, text)
    yield from _strangers(name, folder)


def _verdict(name: str, *, kept: bool, open_at: list[str]) -> Finding:
    kind = type(storage.exports_storage()).__name__
    if open_at:
        advice = "Close it: no public folder, bucket, ACL or proxy rule may lead there. See docs/s3.md."
        return error(name, f"{kind} is public: anybody gets a file at {urlsplit(open_at[0]).netloc}.", advice)
    if not kept:
        return error(name, f"{kind} gave other bytes than it was given.", "Do not let anything change what is stored.")
    return ok(name, f"{kind}: put, read and deleted a file; a stranger is refused.")


def _unsigned_addresses(key: str) -> set[str]:
    """Where a stranger would look: the storage's own addresses, without what signs them."""
    found = [storage.presign(key, seconds=60, content_type="", disposition="", method="GET")]
    with suppress(NotImplementedError, ValueError):
        found.append(urljoin(config.BASE_URL, storage.exports_storage().url(key)))
    bare = {address.partition("?")[0] for address in found if address}
    return {address for address in bare if urlsplit(address).scheme in ("http", "https")}


def _open_at(addresses: set[str], contents: bytes) -> list[str]:
    """Where a GET gets these very bytes. In threads, since a name server may take longer than any timeout says."""
    found: list[str] = []
    threads = [threading.Thread(target=_look, args=(each, contents, found), daemon=True) for each in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GET_SECONDS / len(threads))
    return found


def _look(address: str, contents: bytes, found: list[str]) -> None:
    """Without a session or signature; a page to sign in at is none of ours."""
    with suppress(URLError, HTTPException, OSError, ValueError), urlopen(address, timeout=GET_SECONDS) as answer:
        if contents in answer.read(4096):
            found.append(address)


def _strangers(name: str, folder: Path) -> Iterator[Finding]:
    """A folder that others can write to, or could have made before us, may lead our files somewhere else."""
    found = folder.lstat()
    private = "Set WORK_DIR to a folder of this user alone: chmod 700."
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        yield error(name, f"{folder} is a link, or somebody else owns it or may write to it.", private)
    elif found.st_mode & 0o077:
        yield warning(name, f"Other users of this host may look into {folder}.", private)
    if not config.WORK_DIR and folder.is_relative_to(gettempdir()):
        yield warning(name, f"{folder} is a name that anybody on this host can foresee and take first.", private)


PROBES = (
    Probe("storage", finished_files, "Correct EXPORTS_ROOT or the bucket's settings; see docs/s3.md.", needs_rows=True),
    Probe("work dir", work_dir, "Set WORK_DIR to a folder that this user may write to."),
)
