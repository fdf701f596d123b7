"""One claimed request, from lease to publish. Knows nothing of huey or channels.

A heartbeat beside it renews the lease and reports the progress. The main thread makes the file and looks at the lease
between batches. Whoever loses the lease stops, writes nothing and says nothing.
"""

import errno
import hashlib
import logging
import os
import random
import re
import shutil
import tempfile
import threading
import time
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection
from django.utils import timezone, translation

from exports import faults, storage
from exports.conf import config
from exports.exceptions import (
    ExportError,
    ExportRefused,
    LeaseLost,
    NoFile,
    RetryableError,
    RunInterrupted,
    StorageFull,
    WorkerStopping,
    describe_error,
)
from exports.models import FileRequest, Status, transitions
from exports.models.result import ExportResult
from exports.models.transitions import Claim
from exports.worker import registry as worker_registry
from exports.worker.lease import CLOCK, Clock, LeaseKeeper
from exports.worker.limits import Ceilings, DiskWatch
from exports.worker.progress import Progress

log = logging.getLogger("exports.worker.runner")

HASH_BLOCK = 1 << 20
WORK_DIR_NAME = re.compile(r"(?P<request>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<epoch>[0-9]{1,9})")

Answer = TypeVar("Answer")
OnChange = Callable[[FileRequest], None]

_current: ContextVar["Run | None"] = ContextVar("exports_run", default=None)

stopping = threading.Event()
"""Set when the process was told to stop: every run gives its request back at the next batch."""

disk = DiskWatch()


class Exporter(Protocol):
    """What makes the bytes of one request. See patterns.QuerySetExport."""

    def extension(self, request: FileRequest) -> str: ...

    def produce(self, run: "Run") -> ExportResult | None: ...

    def refusal(self, request: FileRequest) -> str | None: ...


class Run:
    """One attempt as its exporter sees it: the request, where to write, the progress to report, when to stop."""

    result: ExportResult | None = None
    pattern: object = None
    """Set by a pattern of dj-bgfiles that wrote the file inside its handler, together with the result."""

    def __init__(
        self,
        request: FileRequest,
        claim: Claim,
        extension: str,
        stop: threading.Event,
        ceilings: Ceilings | None = None,
    ) -> None:
        self.ceilings = ceilings or Ceilings()
        self.request = request
        self.claim = claim
        self.work_dir = work_root() / f"{request.pk}-{claim.epoch}"
        self.path = self.work_dir / f"file.{extension}"
        self.progress = Progress()
        self._stop = stop
        self._ended: RunInterrupted | ExportError | None = None
        self._looked_at, self._look_interval = 0.0, config.PROGRESS_INTERVAL_SECONDS
        self._has_faults = faults.are_armed()

    def check(self) -> None:
        """Raise what ended this run, if anything did, and TooManyBytes. Exporters call it between batches."""
        self._check_end()
        self.ceilings.check_file(self.path)
        self._looked_at = time.monotonic()

    def _check_end(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self._stop.is_set():
            raise WorkerStopping("The worker was told to stop.")

    def end(self, reason: RunInterrupted | ExportError) -> None:
        self._ended = reason

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def begin(self, rows_total: int | None, is_estimate: bool = False) -> None:
        """Writing begins; None when the number of rows is not known. Raises TooManyRows for more than are allowed."""
        if not is_estimate:
            self.ceilings.check_rows(rows_total or 0)
        self.progress.writing(rows_total, is_estimate=is_estimate)

    def advance(self, rows_done: int) -> None:
        """So many rows are written. Raises what ended this run, like `check`, and TooManyRows."""
        if self._has_faults:
            faults.point("mid_rows" if self.progress.rows_done else "first_row")
        # Asking for the size of the file gives the interpreter away, and the deflate beside keeps it for a while.
        if time.monotonic() - self._looked_at > self._look_interval:
            self.check()
        else:
            self._check_end()
        self.ceilings.check_rows(rows_done)
        self.progress.rows(rows_done)


def current(request: FileRequest) -> Run | None:
    """The run of this request that this very code is part of, if it is."""
    running = _current.get()
    return running if running is not None and running.request.pk == request.pk else None


def take(
    request: FileRequest,
    exporter: Exporter,
    *,
    on_change: OnChange,
    stop: threading.Event = stopping,
    clock: Clock = CLOCK,
) -> bool:
    """Claim a due request and make its file. Returns False when somebody else has it, or it is not due."""
    ceilings, extension = Ceilings.of(exporter), exporter.extension(request)
    claim = transitions.claim(request, owner=owner_name(), extension=extension, runtime=ceilings.runtime)
    if claim is None:
        return False
    faults.point("after_claim")
    request.refresh_from_db()
    _tell(on_change, request)
    run(request, claim, exporter, on_change=on_change, stop=stop, clock=clock)
    return True


def run(
    request: FileRequest,
    claim: Claim,
    exporter: Exporter,
    *,
    on_change: OnChange,
    stop: threading.Event = stopping,
    clock: Clock = CLOCK,
) -> None:
    """Make, store and publish the file of a claimed request, or move it on with the reason why not.

    `on_change` gets the request after every move that won. Whatever the export raises is dealt with: see the row.
    """
    attempt = Run(request, claim, exporter.extension(request), stop, Ceilings.of(exporter))
    try:
        with _work_dir(attempt), _heartbeat(attempt, on_change, clock), _running(attempt):
            made = _make(attempt, exporter)
        faults.point("before_publish")
        won = made is None or _patiently(partial(transitions.publish, claim, made))
        faults.point("after_publish")
    except LeaseLost:
        won = False
    except WorkerStopping:
        won = _patiently(partial(transitions.release, claim))
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


def has_room() -> bool:
    """Whether this host has the free disk that it takes to begin a run. Says so in the log where it has not."""
    return disk.has_room(work_root())


def owner_name() -> str:
    """Who holds a lease, for people who read the row: host, process, thread."""
    return f"{worker_registry.process_name()}:{threading.get_ident()}"


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


def _make(attempt: Run, exporter: Exporter) -> ExportResult | None:
    """The file, stored and checked; None where the exporter has attached and published it itself."""
    attempt.check()
    result = exporter.produce(attempt)
    faults.point("after_close")
    if result is None:
        return _attached(attempt, exporter)
    attempt.check()
    if not attempt.path.is_file():
        raise NoFile("The exporter wrote no file.")
    size, sha256 = _measure(attempt.path)
    attempt.progress.storing(0, size)
    storage.put(
        attempt.path,
        attempt.claim.key,
        on_bytes=lambda sent: _stored(attempt, sent, size),
        content_type=result.content_type,
    )
    attempt.check()
    receipt = {**result.receipt, "rows": result.rows, "sha256": sha256}
    _patiently(lambda: _ask_again(attempt, exporter, receipt))
    return replace(result, size=size, sha256=sha256, receipt=receipt)


def _ask_again(attempt: Run, exporter: Exporter, receipt: Mapping[str, Any]) -> None:
    """Whoever was demoted or deactivated meanwhile gets no file. Raises ExportRefused, or LeaseLost without a row."""
    request = FileRequest.objects.select_related("requester").filter(pk=attempt.request.pk).first()
    if request is None:
        raise LeaseLost("The request is gone.")
    request.receipt = receipt
    if (code := exporter.refusal(request)) is not None:
        raise ExportRefused(code)


def _attached(attempt: Run, exporter: Exporter) -> None:
    # Attached twice, it has moved on by itself.
    ready = FileRequest.objects.filter(pk=attempt.request.pk, epoch__gte=attempt.claim.epoch, status=Status.READY)
    request = ready.select_related("requester").first()
    if request is None:
        attempt.check()
        raise NoFile("The handler attached no file.")
    if exporter.refusal(request) is not None:
        transitions.expire(request)


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
    detail = describe_error(error)
    log.warning("request %s epoch %d: %s (%s)", claim.request_id, claim.epoch, code, detail)
    if _is_retryable(error) and request.attempts < config.MAX_ATTEMPTS:
        delay = config.RETRY_DELAY_SECONDS * 2 ** (request.attempts - 1) * random.uniform(0.5, 1.5)
        return _patiently(partial(transitions.retry_later, claim, delay=delay, code=code, detail=detail))
    return _patiently(partial(transitions.fail, claim, code=code, detail=detail))


def _patiently(move: Callable[[], Answer]) -> Answer:
    """The last steps of a run: a database that is away for less than a lease must not cost the whole work."""
    give_up_at = time.monotonic() + config.LEASE_SECONDS
    while True:
        try:
            return move()
        except (OperationalError, InterfaceError, InternalError) as error:
            # InternalError: the server has ended a transaction that was frozen in the middle.
            if connection.in_atomic_block or time.monotonic() > give_up_at:
                raise
            log.warning("the end of a run is not written yet: %s", type(error).__name__)
            # A connection that has died stays dead; the next query opens another.
            connection.close()
            time.sleep(config.PROGRESS_INTERVAL_SECONDS)


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, (RetryableError, OperationalError, InterfaceError, ConnectionError, TimeoutError))


def _code_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull.code
    return "unavailable" if _is_retryable(error) else "export_failed"


def _report(request: FileRequest, claim: Claim, won: bool, on_change: OnChange) -> None:
    if not won:
        log.info("request %s epoch %d: the lease was lost, nothing was published", claim.request_id, claim.epoch)
        return
    request.refresh_from_db()
    _tell(on_change, request)


def _tell(on_change: OnChange, request: FileRequest) -> None:
    """Pages are told, and nothing more: one that cannot be told reads the row, and the run goes on."""
    try:
        on_change(request)
    except Exception as error:
        log.warning("request %s: nobody was told of a change: %s", request.pk, describe_error(error))


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
        with transitions.attach_under(attempt.claim, check_bytes=attempt.ceilings.check_bytes):
            yield
    finally:
        _current.reset(token)


@contextmanager
def _heartbeat(attempt: Run, on_change: OnChange, clock: Clock) -> Iterator[None]:
    if connection.in_atomic_block:
        # The host's own transaction: until it ends nobody else sees this claim, the heart's connection neither.
        yield
        return
    heart = LeaseKeeper(attempt, partial(_tell, on_change), clock=clock)
    heart.start()
    try:
        yield
    finally:
        heart.stop()
