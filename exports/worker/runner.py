"""Run one claimed export: make its file, store it, publish it. Knows nothing of queues.

A lease keeper runs beside it. The run checks between batches whether it still holds the lease; a run that lost the
lease stops, writes nothing and publishes nothing.
"""

import errno
import hashlib
import logging
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connection

from exports import failures, faults, storage
from exports.conf import config
from exports.exceptions import (
    ExportError,
    LeaseLost,
    NoFile,
    RetryableError,
    RunInterrupted,
    StorageFailed,
    StorageFull,
    WorkerStopping,
)
from exports.exporters import permissions
from exports.exporters.base import FileMaker
from exports.filenames import extension_of
from exports.models import Artifact, FileRequest, Status, transitions
from exports.models.audit import WORKER
from exports.models.progress import FINISHING, STORING
from exports.models.result import ExportResult
from exports.models.transitions import Claim
from exports.worker import work_dir
from exports.worker.lease import CLOCK, Clock, LeaseKeeper
from exports.worker.limits import DiskWatch, RunLimits
from exports.worker.progress import Progress

log = logging.getLogger("exports.worker.runner")

# Later delays are not longer than the 11th: about 85 minutes with the default settings.
MAX_DOUBLINGS: Final = 10
WORK_DIR_NAME = re.compile(r"(?P<request>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<epoch>[0-9]{1,9})")

Answer = TypeVar("Answer")
OnChange = Callable[[FileRequest], None]

stopping = threading.Event()
"""Set when the process was told to stop: every run releases its export at the next batch."""

disk = DiskWatch()

_current: ContextVar["Run | None"] = ContextVar("exports_run", default=None)


class Run:
    """One attempt. Its exporter sees it as an `exporters.base.ExportRun`, which documents the methods."""

    def __init__(
        self,
        export: FileRequest,
        claim: Claim,
        stop: threading.Event,
        limits: RunLimits | None = None,
    ) -> None:
        self.limits = limits or RunLimits()
        self.export = export
        self.claim = claim
        self.work_dir = work_dir.root() / f"{export.pk}-{claim.epoch}"
        self.path = self.work_dir / f"file.{extension_of(claim.key)}"
        self.progress = Progress()
        self._stop = stop
        self._ended: RunInterrupted | ExportError | None = None
        self._checked_at, self._check_interval = 0.0, config.PROGRESS_INTERVAL_SECONDS
        self._has_faults = faults.are_armed()

    def check(self) -> None:
        self._check_end()
        self.limits.check_file(self.path)
        self._checked_at = time.monotonic()

    def check_size(self, size: int) -> None:
        self.limits.check_bytes(size)

    def end(self, reason: RunInterrupted | ExportError) -> None:
        """Make the next check of this run raise `reason`."""
        self._ended = reason

    @property
    def is_stopping(self) -> bool:
        """True if the process was told to stop."""
        return self._stop.is_set()

    @property
    def rows_done(self) -> int:
        return self.progress.rows_done

    def begin(self, rows_total: int | None, is_estimate: bool = False) -> None:
        if not is_estimate:
            self.limits.check_rows(rows_total or 0)
        self.progress.writing(rows_total, is_estimate=is_estimate)

    def advance(self, rows_done: int) -> None:
        if self._has_faults:
            faults.point("mid_rows" if self.progress.rows_done else "first_row")
        # stat() releases the interpreter lock, and the thread that compresses may keep it for a while: not every batch.
        if time.monotonic() - self._checked_at > self._check_interval:
            self.check()
        else:
            self._check_end()
        self.limits.check_rows(rows_done)
        self.progress.rows(rows_done)

    def finishing(self, bytes_done: int, bytes_total: int | None) -> None:
        self.check()
        self.progress.report_bytes(FINISHING, bytes_done, bytes_total)

    def _check_end(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self._stop.is_set():
            raise WorkerStopping("The worker was told to stop.")


def current(export: FileRequest) -> Run | None:
    """Return the run of this export that the calling code is part of, or None."""
    running = _current.get()
    return running if running is not None and running.export.pk == export.pk else None


def run(
    export: FileRequest,
    claim: Claim,
    exporter: FileMaker,
    *,
    on_change: OnChange,
    stop: threading.Event = stopping,
    clock: Clock = CLOCK,
) -> None:
    """Make, store and publish the file of a claimed export, or record on its row why there is none.

    No error of the export is raised. `on_change` is called with the row after every transition and progress report.
    """
    try:
        code, detail = permissions.refusal_of(export, exporter, to_run=True)
        if code is not None:
            won = transitions.fail(claim, code=code, detail=detail)
        else:
            won = _make_and_publish(Run(export, claim, stop, RunLimits.of(exporter)), exporter, on_change, clock)
    except LeaseLost:
        won = False
    except WorkerStopping:
        won = _retry_database(partial(transitions.release, claim))
    except Exception as error:
        won = record_failure(export, claim, error)
    if not won:
        log.info("request %s epoch %d: the lease was lost, nothing was published", claim.request_id, claim.epoch)
        _delete_late_file(claim)
        return
    export.refresh_from_db()
    notify(on_change, export)


def _delete_late_file(claim: Claim) -> None:
    """Delete what a frozen worker has stored after housekeeping deleted the key, perhaps for the last time.

    Housekeeping deletes a file whose key it has not deleted yet. One that was published after all is kept.
    """
    needed = Artifact.objects.filter(key=claim.key).exclude(state=Artifact.State.DELETED)
    try:
        if not _retry_database(needed.exists):
            storage.delete(claim.key)
    except Exception as error:
        failures.report(
            log, "request %s epoch %d: the file was not deleted: %s", claim.request_id, claim.epoch, error=error
        )


def record_failure(export: FileRequest, claim: Claim, error: Exception) -> bool:
    """Return the export to the queue if another attempt may help and is left, else let it fail."""
    is_retryable = failures.may_pass(error)
    if isinstance(error, ExportError):
        code = error.code
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        code = StorageFull.code
    else:
        code = RetryableError.code if is_retryable else ExportError.code
    detail = failures.describe_error(error)
    numbers = error.numbers if isinstance(error, ExportError) else {}
    # At the level ERROR, which services such as Sentry collect, stands what only a developer can correct.
    level = logging.ERROR if code == ExportError.code else logging.WARNING
    failures.report(log, "request %s epoch %d: %s (%s)", claim.request_id, claim.epoch, code, error=error, level=level)
    if is_retryable and export.attempts < config.MAX_ATTEMPTS:
        # A crash is no sign that the database or the storage needs more time.
        doublings = min(export.attempts - export.crashes - 1, MAX_DOUBLINGS)
        delay = config.RETRY_DELAY_SECONDS * 2**doublings * random.uniform(0.5, 1.5)
        return _retry_database(partial(transitions.retry_later, claim, delay=delay, code=code, detail=detail))
    return _retry_database(partial(transitions.fail, claim, code=code, detail=detail, numbers=numbers))


def notify(on_change: OnChange, export: FileRequest) -> None:
    """Call `on_change`. A page that gets no event reads the row, so an error is logged and the run goes on."""
    try:
        on_change(export)
    except Exception as error:
        failures.report(log, "request %s: a change was not published: %s", export.pk, error=error)


def has_room() -> bool:
    """Return True if this host has the free disk space that a run needs to begin; log it if it has not."""
    return disk.has_room(work_dir.root())


def sweep_work_dirs() -> int:
    """Delete the work files of all attempts on this host that do not run any more. Return the number of attempts."""
    deleted = 0
    for folder in work_dir.root().glob("*-*"):
        name = WORK_DIR_NAME.fullmatch(folder.name)
        if name is None:
            continue
        attempt = FileRequest.objects.filter(pk=name["request"], epoch=name["epoch"], status=Status.RUNNING)
        if not attempt.exists():
            shutil.rmtree(folder, ignore_errors=True)
            deleted += 1
    return deleted


def _make_and_publish(attempt: Run, exporter: FileMaker, on_change: OnChange, clock: Clock) -> bool:
    """Make the file beside a lease keeper, and publish it. Return False if the lease was lost."""
    with ExitStack() as stack:
        work_dir.ensure_private()
        attempt.work_dir.mkdir(mode=0o700, exist_ok=True)
        stack.callback(shutil.rmtree, attempt.work_dir, ignore_errors=True)
        if not connection.in_atomic_block:
            # In the caller's own transaction, no other connection sees the claim until it commits.
            stack.enter_context(LeaseKeeper(attempt, partial(notify, on_change), clock=clock))
        stack.callback(_current.reset, _current.set(attempt))
        stack.enter_context(transitions.attach_under(attempt.claim, check_bytes=attempt.limits.check_bytes))
        result = _make_file(attempt, exporter)
    faults.point("before_publish")
    # Without a result, the handler has published the file itself.
    won = result is None or _retry_database(partial(transitions.publish, attempt.claim, result))
    faults.point("after_publish")
    return won


def _make_file(attempt: Run, exporter: FileMaker) -> ExportResult | None:
    """Return the file, stored and checked, or None if the exporter has attached and published it itself.

    Raise NoFile if it did neither. A file that it has attached expires if its owner may not have it any more.
    """
    attempt.check()
    result = exporter.produce(attempt)
    faults.point("after_close")
    if result is None:
        # A file that is attached twice has another epoch than the claim.
        ready = FileRequest.objects.filter(pk=attempt.export.pk, epoch__gte=attempt.claim.epoch, status=Status.READY)
        export = ready.select_related("requester").first()
        if export is None:
            attempt.check()
            raise NoFile("The handler attached no file.")
        if permissions.refusal(export, exporter) is not None:
            transitions.expire(export, WORKER)
        return None
    attempt.check()
    with work_dir.open_finished(attempt.path) as file:
        if os.name == "posix":
            # Windows syncs only what is open for writing.
            os.fsync(file.fileno())
        hashed = work_dir.state_of(file)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()

        def report_stored(sent: int) -> None:
            attempt.check()
            attempt.progress.report_bytes(STORING, sent, size)

        attempt.progress.report_bytes(STORING, 0, size)
        storage.put(attempt.path, attempt.claim.key, on_bytes=report_stored, content_type=result.content_type)
        if work_dir.state_of(file) != hashed:
            raise StorageFailed("The file was written to while it was stored.")
    attempt.check()
    receipt = {**result.receipt, "rows": result.rows, "sha256": sha256}
    _retry_database(partial(permissions.check_before_publishing, attempt.export, exporter, receipt))
    return replace(result, size=size, sha256=sha256, receipt=receipt)


def _retry_database(step: Callable[[], Answer]) -> Answer:
    """Return `step()`, repeated while the database is away: a short outage must not cost the work of a whole run.

    Give up after LEASE_SECONDS, when the lease is lost anyway.
    """
    give_up_at = time.monotonic() + config.LEASE_SECONDS
    while True:
        try:
            return step()
        except (OperationalError, InterfaceError, InternalError) as error:
            # InternalError: the server has ended a transaction that was frozen in the middle.
            if connection.in_atomic_block or time.monotonic() > give_up_at:
                raise
            log.warning("the end of a run is not written yet: %s", type(error).__name__)
            # A broken connection stays broken; the next query opens another one.
            connection.close()
            time.sleep(config.PROGRESS_INTERVAL_SECONDS)
