"""Download the file of an export beside its final name, resume it by Range, and check its SHA-256.

While "flights.xlsx" is downloaded there are "flights.xlsx.part", its bytes so far, and "flights.xlsx.part.json", a
`Note` of which export they belong to: a client that was killed goes on with both.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import httpx

from exports.client.errors import ClientError, DamagedFile
from exports.client.progress import OnProgress, Progress
from exports.client.site import PASSING_STATUSES, Site, error_of, retry_after


@dataclass(frozen=True)
class Note:
    """What a client that was killed must know to go on.

    Attributes:
        request: A text that is the same for the same request to the same site only.
        key: The idempotency key with which the export was requested.
        sha256: The SHA-256 of the file whose bytes have been downloaded, "" before the download.

    """

    request: str
    key: str
    sha256: str = ""

    @classmethod
    def read(cls, path: Path, request: str) -> Self | None:
        """Return the note beside the file `path` if it is about this request, else None."""
        try:
            note = cls(**json.loads(note_path(path).read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return note if note.request == request else None

    def write(self, path: Path) -> None:
        new = note_path(path).with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), "utf-8")
        new.replace(note_path(path))


def part_path(path: Path) -> Path:
    """Return where the bytes of the file `path` are until all are there."""
    return path.with_name(f"{path.name}.part")


def note_path(path: Path) -> Path:
    """Return where the note about the file `path` is."""
    return path.with_name(f"{path.name}.part.json")


def forget(path: Path) -> None:
    """Delete what was downloaded so far, and the note about it."""
    part_path(path).unlink(missing_ok=True)
    note_path(path).unlink(missing_ok=True)


# Any: values of JSON.
async def save(site: Site, state: Mapping[str, Any], path: Path, note: Note, on_progress: OnProgress) -> None:
    """Download the file of a READY export to `path`, which is replaced at once when all bytes are there.

    Raises DamagedFile, what `Site.request` raises, and OSError.
    """
    part, file = part_path(path), state["file"]
    # Without a SHA-256 nothing tells of which file the bytes are.
    if not file["sha256"] or note.sha256 != file["sha256"]:
        part.unlink(missing_ok=True)
        Note(note.request, note.key, file["sha256"]).write(path)
    patience = site.patience()
    with part.open("ab") as target:
        while not (file["sha256"] and target.tell() == file["size"]):
            before = target.tell()
            try:
                error, pause = await _read_on(site, state, target, on_progress)
            except httpx.RequestError as broken:
                error, pause = ClientError(f"The download was cut: {broken!r}", code="unreachable"), 0.0
            if error is None:
                break
            if target.tell() > before:
                patience.renew()
            await patience.wait(error, retry_after=pause)
        target.flush()
        os.fsync(target.fileno())
    # Nothing is known of a file that a handler attached itself.
    if file["sha256"]:
        with part.open("rb") as arrived:
            is_whole = hashlib.file_digest(arrived, "sha256").hexdigest() == file["sha256"]
        if not is_whole or part.stat().st_size != file["size"]:
            forget(path)
            raise DamagedFile(f"The bytes of {path.name} are not those that the export made.", code="damaged_file")
    part.replace(path)
    note_path(path).unlink(missing_ok=True)


# Any: values of JSON, and the open file.
async def _read_on(
    site: Site, state: Mapping[str, Any], target: Any, on_progress: OnProgress
) -> tuple[ClientError | None, float]:
    """Append the rest of the bytes. Return None at the end, or why to try again and after how many seconds.

    Raises the error of an answer for which there is no other attempt.
    """
    have = target.tell()
    async with site.stream(state["urls"]["download"], {"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code not in (200, 206):
            await response.aread()
            error = error_of(response)
            if response.status_code == 416:
                _empty(target)
            elif response.status_code not in PASSING_STATUSES:
                raise error
            return error, retry_after(response)
        if response.status_code == 200 or not response.headers["Content-Range"].startswith(f"bytes {have}-"):
            _empty(target)
        # Without a size, so that what has arrived before a cut is kept.
        async for block in response.aiter_raw():
            target.write(block)
            on_progress(Progress.of_download(state, target.tell()))
    return None, 0.0


def _empty(target: BinaryIO) -> None:
    # `truncate` alone keeps the position, at which the next range would begin.
    target.seek(0)
    target.truncate()
