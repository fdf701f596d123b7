"""One claimed request, from lease to publish. Knows nothing of huey or channels.

A heartbeat thread with a database connection of its own renews the lease and reports the progress. The main thread
makes the file and looks at the lease between batches. Whoever loses the lease stops, writes nothing and says nothing.
"""

import errno
import hashlib
import logging
import os
import random
import re
import shutil
import socket
import tempfile
import threading
import time
import traceback
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone, translation

from exports import storage
from exports.conf import config
from exports.exceptions import (
    ExportError,
    LeaseEnded,
    LostLease,
    NoFile,
    Retryable,
    Stalled,
    Stopping,
    StorageFull,
    TookTooLong,
)
from exports.models import FileRequest, Status, moves
from exports.models.moves import Claim, Made
from exports.progress import COUNTING, STORING, Progress, Snapshot

log = logging.getLogger("exports.runner")

HASH_BLOCK = 1 << 20
WORK_DIR_NAME = re.compile(r"(?P<request>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<epoch>[0-9]{1,9})")

OnChange = Callable[[FileRequest], None]

_current: ContextVar["Run | None"] = ContextVar("exports_run", default=None)

stopping = threading.Event()
"""Set when the process was told to stop: every run gives its request back at the next batch."""


class Exporter(Protocol):
    """What makes the bytes of one request. See patterns.QuerySetExport."""

    def extension(self, request: FileRequest) -> str: ...

    def produce(self, run: "Run") -> "Produced | None": ...


@dataclass(frozen=True)
class Produced:
    """What an exporter says about the file that it wrote to `run.path`."""

    filename: str
    content_type: str
    rows: int
    receipt: Mapping[str, Any] = field(default_factory=dict)
    retention: float | None = field(default_factory=lambda: config.RETENTION)
    """Seconds until the file expires; None leaves `expires_at` as it is."""


class Run:
    """One attempt as its exporter sees it: the request, where to write, the progress to report, when to stop."""

    produced: Produced | None = None

    def __init__(self, request: FileRequest, claim: Claim, extension: str, stop: threading.Event) -> None:
        self.request = request
        self.claim = claim
        self.work_dir = work_root() / f"{request.pk}-{claim.epoch}"
        self.path = self.work_dir / f"file.{extension}"
        self.progress = Progress()
        self._stop = stop
        self._ended: LeaseEnded | ExportError | None = None

    def check(self) -> None:
        """Raise what ended this run, if anything did. Exporters call it between batches."""
        if self._ended is not None:
            raise self._ended
        if self._stop.is_set():
            raise Stopping("The worker was told to stop.")

    def end(self, reason: LeaseEnded | ExportError) -> None:
        self._ended = reason

    def begin(self, rows_total: int | None) -> None:
        """Writing begins; None when the number of rows is not known."""
        if self.progress.now.phase == COUNTING:
            self.progress.writing(rows_total)

    def advance(self, rows_done: int) -> None:
        """So many rows are written. Raises what ended this run, like `check`."""
        self.check()
        self.progress.rows(rows_done)


def current(request: FileRequest) -> Run | None:
    """The run of this request that this very code is part of, if it is."""
    running = _current.get()
    return running if running is not None and running.request.pk == request.pk else None


def take(request: FileRequest, exporter: Exporter, *, on_change: OnChange, stop: threading.Event = stopping) -> bool:
    """Claim a due request and make its file. Returns False when somebody else has it, or it is not due."""
    claim = moves.claim(request, owner=owner_name(), extension=exporter.extension(request))
    if claim is None:
        return False
    request.refresh_from_db()
    _tell(on_change, request)
    run(request, claim, exporter, on_change=on_change, stop=stop)
    return True


def run(
    request: FileRequest, claim: Claim, exporter: Exporter, *, on_change: OnChange, stop: threading.Event = stopping
) -> None:
    """Make, store and publish the file of a claimed request, or move it on with the reason why not.

    `on_change` gets the request after every move that won. Whatever the export raises is dealt with: see the row.
    """
    attempt = Run(request, claim, exporter.extension(request), stop)
    try:
        with _work_dir(attempt), _heartbeat(attempt, on_change), _running(attempt):
            made = _make(attempt, exporter)
        won = made is None or _patiently(partial(moves.publish, claim, made))
    except LostLease:
        won = False
    except Stopping:
        won = _patiently(partial(moves.give_back, claim))
    except Exception as error:
        won = _settle(request, claim, error)
    _report(request, claim, won, on_change)


@contextmanager
def locale_of(request: FileRequest) -> Iterator[None]:
    """The language and the time zone of whoever asked are active inside."""
    language = request.requester_language or translation.get_language()
    with translation.override(language), timezone.override(zone_named(request.requester_timezone)):
        yield


def zone_named(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of this IANA name, or the site's where there is none or the name is not known here."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.get_default_timezone()


def work_root() -> Path:
    """Where unfinished files lie on this host."""
    return Path(config.WORK_DIR or Path(tempfile.gettempdir()) / "exports-work")


def owner_name() -> str:
    """Who holds a lease, for people who read the row: host, process, thread."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"


def sweep_work_dirs() -> int:
    """Remove the work files on this host of every attempt that does not run any more. Returns how many there were."""
    removed = 0
    for folder, request_id, epoch in _work_dirs():
        if not FileRequest.objects.filter(pk=request_id, epoch=epoch, status=Status.RUNNING).exists():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _work_dirs() -> Iterator[tuple[Path, str, str]]:
    """The folders of attempts on this host, each with its request and its epoch."""
    for folder in work_root().glob("*-*"):
        if (name := WORK_DIR_NAME.fullmatch(folder.name)) is not None:
            yield folder, name["request"], name["epoch"]


def _make(attempt: Run, exporter: Exporter) -> Made | None:
    """The file, stored and checked; None where the exporter has attached and published it itself."""
    attempt.check()
    produced = exporter.produce(attempt)
    if produced is None:
        return _attached(attempt)
    attempt.check()
    if not attempt.path.is_file():
        raise NoFile("The exporter wrote no file.")
    size, sha256 = _measure(attempt.path)
    attempt.progress.storing(0, size)
    storage.put(
        attempt.path,
        attempt.claim.key,
        on_bytes=lambda sent: _stored(attempt, sent, size),
        content_type=produced.content_type,
    )
    attempt.check()
    receipt = {**produced.receipt, "rows": produced.rows, "sha256": sha256}
    return Made(size, sha256, produced.filename, produced.content_type, produced.rows, receipt, produced.retention)


def _attached(attempt: Run) -> None:
    # Attached twice, it has moved on by itself.
    ready = FileRequest.objects.filter(pk=attempt.request.pk, epoch__gte=attempt.claim.epoch, status=Status.READY)
    if not ready.exists():
        attempt.check()
        raise NoFile("The handler attached no file.")


def _stored(attempt: Run, sent: int, size: int) -> None:
    attempt.check()
    attempt.progress.storing(sent, size)


def _measure(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file that is now safe on the disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(HASH_BLOCK):
            digest.update(block)
        return file.tell(), digest.hexdigest()


def _settle(request: FileRequest, claim: Claim, error: Exception) -> bool:
    """Back to the queue where another attempt may help and is left, else FAILED."""
    code = error.code if isinstance(error, ExportError) else _code_of(error)
    detail = describe(error)
    log.warning("request %s epoch %d: %s (%s)", claim.request_id, claim.epoch, code, detail)
    if _is_retryable(error) and request.attempts < config.MAX_ATTEMPTS:
        delay = config.RETRY_DELAY * 2 ** (request.attempts - 1) * random.uniform(0.5, 1.5)
        return _patiently(partial(moves.retry_later, claim, delay=delay, code=code, detail=detail))
    return _patiently(partial(moves.fail, claim, code=code, detail=detail))


def _patiently(move: Callable[[], bool]) -> bool:
    """The last move of a run: a database that is away for less than a lease must not cost the whole work."""
    give_up_at = time.monotonic() + config.LEASE
    while True:
        try:
            return move()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() > give_up_at:
                raise
            log.warning("the end of a run is not written yet: %s", type(error).__name__)
            # A connection that has died stays dead; the next query opens another.
            connection.close()
            time.sleep(config.REPORT_INTERVAL)


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, (Retryable, OperationalError, InterfaceError, ConnectionError, TimeoutError))


def _code_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull.code
    return "unavailable" if _is_retryable(error) else "export_failed"


def describe(error: BaseException) -> str:
    """For staff: the exception's type and place, never its message, which may hold row data."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {Path(place[0].filename).name}:{place[0].lineno} in {place[0].name}" if place else ""
    message = f": {error}" if isinstance(error, ExportError) else ""
    return f"{type(error).__name__}{message}{where}"


def _report(request: FileRequest, claim: Claim, won: bool, on_change: OnChange) -> None:
    if not won:
        log.info("request %s epoch %d: the lease was lost, nothing was published", claim.request_id, claim.epoch)
        return
    request.refresh_from_db()
    log.info("request %s epoch %d: %s", claim.request_id, claim.epoch, request.status)
    _tell(on_change, request)


def _tell(on_change: OnChange, request: FileRequest) -> None:
    """Pages are told, and nothing more: one that cannot be told reads the row, and the run goes on."""
    try:
        on_change(request)
    except Exception as error:
        log.warning("request %s: nobody was told of a change: %s", request.pk, describe(error))


@contextmanager
def _work_dir(attempt: Run) -> Iterator[None]:
    attempt.work_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(attempt.work_dir, ignore_errors=True)


@contextmanager
def _running(attempt: Run) -> Iterator[None]:
    token = _current.set(attempt)
    try:
        with moves.holding(attempt.claim):
            yield
    finally:
        _current.reset(token)


@contextmanager
def _heartbeat(attempt: Run, on_change: OnChange) -> Iterator[None]:
    if connection.in_atomic_block:
        # The host's own transaction: until it ends nobody else sees this claim, the heart's connection neither.
        yield
        return
    heart = _Heart(attempt, on_change)
    heart.start()
    try:
        yield
    finally:
        heart.stop()


class _Heart(threading.Thread):
    """Renews the lease every HEARTBEAT, reports progress at most every REPORT_INTERVAL, ends a run that hangs."""

    def __init__(self, attempt: Run, on_change: OnChange) -> None:
        super().__init__(name=f"exports-heart-{attempt.claim.request_id}", daemon=True)
        self._attempt = attempt
        self._on_change = on_change
        self._finished = threading.Event()
        self._seen = self._written = attempt.progress.now
        self._beat_at = self._moved_at = self._began_at = time.monotonic()

    def stop(self) -> None:
        self._finished.set()
        self.join()

    def run(self) -> None:
        try:
            while not self._finished.wait(config.REPORT_INTERVAL):
                if not self._look():
                    break
        finally:
            connection.close()

    def _look(self) -> bool:
        """Whether the run goes on."""
        progress = self._attempt.progress.now
        if progress != self._seen:
            self._seen, self._moved_at = progress, time.monotonic()
        if (reason := self._overdue(progress)) is not None:
            self._attempt.end(reason)
            return False
        if progress == self._written and time.monotonic() - self._beat_at < config.HEARTBEAT:
            return True
        return self._beat(progress)

    def _overdue(self, progress: Snapshot) -> ExportError | None:
        now = time.monotonic()
        if now - self._began_at > config.MAX_RUNTIME:
            return TookTooLong("The export took longer than EXPORTS['MAX_RUNTIME'].")
        if now - self._moved_at > config.STALL and progress.phase not in (COUNTING, STORING):
            return Stalled("The export made no progress for EXPORTS['STALL'] seconds.")
        return None

    def _beat(self, progress: Snapshot) -> bool:
        claim, before = self._attempt.claim, self._written
        began_phase = progress.phase != before.phase
        try:
            if not moves.beat(claim, progress, began_phase=began_phase, moved=progress != before):
                self._attempt.end(LostLease("Another process has moved this request."))
                return False
            _tell(self._on_change, FileRequest.objects.get(pk=claim.request_id))
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            log.warning("request %s: heartbeat not written: %s", claim.request_id, type(error).__name__)
            connection.close()
            return True
        self._written, self._beat_at = progress, time.monotonic()
        return True
