"""The lease keeper of a run: it renews the lease, reports the progress, and ends a run that hangs.

It has its own thread and database connection, so that reporting progress costs the run a counter per batch. A run that
was told to end and does not return is abandoned: its row moves on, and a worker process ends.
"""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Protocol, Self

from django.db import DatabaseError, InterfaceError, connection

from exports.conf import config
from exports.exceptions import ExportError, LeaseLost, RunInterrupted, Stalled, TookTooLong, WorkerStopping
from exports.models import FileRequest, transitions
from exports.models.progress import COUNTING, STORING, Snapshot
from exports.models.transitions import Claim
from exports.worker.limits import RunLimits
from exports.worker.progress import Progress

log = logging.getLogger("exports.worker.lease")

may_exit_process = threading.Event()
"""Set in a worker process, which is restarted when it ends: it may end itself to get rid of a run that hangs."""


class Clock:
    """The seconds that pass, and how to wait for them."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, finished: threading.Event, seconds: float) -> bool:
        """Wait for up to `seconds`. Return True if the event was set before the time was up."""
        return finished.wait(seconds)


CLOCK: Final = Clock()
# The exit status of an internal error in sysexits.h.
EX_SOFTWARE: Final = 70


class Attempt(Protocol):
    """The parts of a run that its lease keeper reads, and `end`, which makes the run raise at its next check."""

    claim: Claim
    limits: RunLimits
    progress: Progress

    @property
    def is_stopping(self) -> bool: ...

    def end(self, reason: RunInterrupted | ExportError) -> None: ...


class LeaseKeeper(threading.Thread):
    """Keeps the lease of a run, as a context manager around it.

    The lease is renewed every HEARTBEAT_SECONDS, progress is written at most every PROGRESS_INTERVAL_SECONDS. A run
    that is told to end (it exceeds its limits) or to stop (the process shuts down) has
    EXPORTS["SHUTDOWN_GRACE_SECONDS"] seconds to return.

    Args:
        attempt: The run.
        notify: Called with the row after each write that succeeded.
        clock: The clock; tests pass their own.

    """

    def __init__(self, attempt: Attempt, notify: Callable[[FileRequest], None], *, clock: Clock = CLOCK) -> None:
        super().__init__(name=f"exports-lease-{attempt.claim.request_id}", daemon=True)
        self._attempt = attempt
        self._notify = notify
        self._clock = clock
        self._finished = threading.Event()
        self._seen = self._written = attempt.progress.now
        self._renewed_at = self._progressed_at = self._began_at = clock.now()
        self._stopping_since: float | None = None
        # The row as it was written last; None if it must be read again.
        self._row: FileRequest | None = None
        # When the row was read, and the same moment on the database's clock.
        self._read_at = self._began_at
        self._read_progress_at: datetime | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finished.set()
        self.join()

    def run(self) -> None:
        reason: RunInterrupted | ExportError | None = None
        try:
            _feed_watchdog()
            while reason is None and not self._clock.wait(self._finished, config.PROGRESS_INTERVAL_SECONDS):
                _feed_watchdog()
                reason = self._check()
            if reason is None:
                return
            # A run that was told to stop has already had its time to return.
            grace = 0 if isinstance(reason, WorkerStopping) else config.SHUTDOWN_GRACE_SECONDS
            if not self._clock.wait(self._finished, grace):
                self._abandon(reason)
        finally:
            if may_exit_process.is_set():
                faulthandler.cancel_dump_traceback_later()
            connection.close()

    def _check(self) -> RunInterrupted | ExportError | None:
        """Renew the lease if it is time. Return why the run has to end, or None while it goes on."""
        progress, now, runtime = self._attempt.progress.now, self._clock.now(), self._attempt.limits.runtime
        if progress != self._seen:
            self._seen, self._progressed_at = progress, now
        overdue: ExportError | None = None
        if runtime is not None and now - self._began_at > runtime:
            overdue = TookTooLong(f"The export took longer than {runtime:,} seconds.")
        elif now - self._progressed_at > config.STALL_TIMEOUT_SECONDS and progress.phase not in (COUNTING, STORING):
            overdue = Stalled("The export made no progress for EXPORTS['STALL_TIMEOUT_SECONDS'] seconds.")
        if overdue is not None:
            self._attempt.end(overdue)
            return overdue
        if self._attempt.is_stopping:
            if self._stopping_since is None:
                self._stopping_since = now
            if now - self._stopping_since > config.SHUTDOWN_GRACE_SECONDS:
                return WorkerStopping("The worker was told to stop, and the run did not return.")
        if progress == self._written and now - self._renewed_at < config.HEARTBEAT_SECONDS:
            return None
        return self._renew(progress)

    def _renew(self, progress: Snapshot) -> LeaseLost | None:
        """Renew the lease and write the progress. Return LeaseLost if another process has moved the row."""
        claim, before, known = self._attempt.claim, self._written, self._row
        began_phase, progressed = progress.phase != before.phase, progress != before
        row, self._row = None, None
        try:
            elapsed, read_at = self._clock.now() - self._read_at, self._read_progress_at
            # Progress in the same phase needs no reading, but the row is read every HEARTBEAT_SECONDS nevertheless:
            # not every change of a row is a transition.
            if known and read_at and progressed and not began_phase and elapsed < config.HEARTBEAT_SECONDS:
                at = read_at + timedelta(seconds=elapsed)
                row = transitions.renew_lease(
                    claim, progress, began_phase=False, progressed=True, seen=known, progressed_at=at
                )
            if row is None:
                row = transitions.renew_lease(claim, progress, began_phase=began_phase, progressed=progressed)
                if row is not None and progressed:
                    self._read_at, self._read_progress_at = self._clock.now(), row.progressed_at
            if row is None:
                lost = LeaseLost("Another process has moved this request.")
                self._attempt.end(lost)
                return lost
            self._row = row
            self._notify(row)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            log.warning("request %s: lease not renewed: %s", claim.request_id, type(error).__name__)
            connection.close()
            return None
        self._written, self._renewed_at = progress, self._clock.now()
        return None

    def _abandon(self, reason: RunInterrupted | ExportError) -> None:
        """Move the row on as if the run had returned; the run finds itself fenced if it ever does."""
        claim = self._attempt.claim
        log.error("request %s epoch %d: the run hangs: %s", claim.request_id, claim.epoch, reason)
        try:
            moved = False
            if isinstance(reason, WorkerStopping):
                moved = transitions.release(claim)
            elif isinstance(reason, ExportError):
                moved = transitions.fail(claim, code=reason.code, detail=str(reason))
            if moved:
                row = FileRequest.objects.get(pk=claim.request_id)
                self._notify(row)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            # The lease expires, and housekeeping moves the row on.
            log.warning("request %s: its end is not written: %s", claim.request_id, type(error).__name__)
        if may_exit_process.is_set() and not self._finished.is_set():
            # Where the run hangs: files, lines and names of functions, no values.
            faulthandler.dump_traceback()
            os._exit(EX_SOFTWARE)


def _feed_watchdog() -> None:
    """Postpone the end of this process.

    faulthandler's timer is a thread in C. It ends the process even if a call never gives the interpreter back, which
    stops every Python thread, this one too: by then the lease is lost.
    """
    if may_exit_process.is_set():
        faulthandler.dump_traceback_later(config.LEASE_SECONDS + config.SHUTDOWN_GRACE_SECONDS, exit=True)
