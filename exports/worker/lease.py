"""The heartbeat of a run: it renews the lease, reports the progress, and ends a run that hangs.

It has a thread and a database connection of its own, so that the run pays for its progress with a counter a batch.
A run that was told to end and does not come back is left behind: its row moves on, and an expendable process ends.
"""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.db import DatabaseError, InterfaceError, connection

from exports.conf import config
from exports.exceptions import ExportError, LeaseLost, RunInterrupted, Stalled, TookTooLong, WorkerStopping
from exports.models import FileRequest, transitions
from exports.models.progress import COUNTING, STORING, Snapshot
from exports.models.transitions import Claim
from exports.worker.limits import Ceilings
from exports.worker.progress import Progress

log = logging.getLogger("exports.worker.lease")

expendable = threading.Event()
"""Set in a process that is started again when it ends, such as a worker: it may be ended to get rid of a run."""


class Clock:
    """The seconds that pass, and how to wait for them."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, finished: threading.Event, seconds: float) -> bool:
        """Whether it was set before the time was up."""
        return finished.wait(seconds)


CLOCK: Final = Clock()
EX_SOFTWARE: Final = 70


class Attempt(Protocol):
    """What the heartbeat needs to know of a run."""

    ceilings: Ceilings
    claim: Claim
    progress: Progress

    @property
    def is_stopping(self) -> bool: ...

    def end(self, reason: RunInterrupted | ExportError) -> None: ...


class LeaseKeeper(threading.Thread):
    """Renews the lease every HEARTBEAT_SECONDS, reports progress at most every PROGRESS_INTERVAL_SECONDS, ends a run
    that hangs.

    A run has EXPORTS["SHUTDOWN_GRACE_SECONDS"] seconds to come back from what it does once it was told to end, or to
    stop. `tell` gets the request after every write that won, and after no other.
    """

    def __init__(self, attempt: Attempt, tell: Callable[[FileRequest], None], *, clock: Clock = CLOCK) -> None:
        super().__init__(name=f"exports-heart-{attempt.claim.request_id}", daemon=True)
        self._attempt = attempt
        self._tell = tell
        self._clock = clock
        self._finished = threading.Event()
        self._seen = self._written = attempt.progress.now
        self._beat_at = self._moved_at = self._began_at = clock.now()
        self._told_to_stop_at: float | None = None
        # As it was written last; None where it is to be read again.
        self._row: FileRequest | None = None
        # When it was read, and by the database's clock.
        self._read_at = self._began_at
        self._read_progress_at: datetime | None = None

    def stop(self) -> None:
        self._finished.set()
        self.join()

    def run(self) -> None:
        reason: RunInterrupted | ExportError | None = None
        try:
            _feed_watchdog()
            while reason is None and not self._clock.wait(self._finished, config.PROGRESS_INTERVAL_SECONDS):
                _feed_watchdog()
                reason = self._look()
            if reason is not None and not self._comes_back(reason):
                self._leave_behind(reason)
        finally:
            _let_watchdog_sleep()
            connection.close()

    def _look(self) -> RunInterrupted | ExportError | None:
        """Why the run has to end; None while it goes on."""
        progress = self._attempt.progress.now
        if progress != self._seen:
            self._seen, self._moved_at = progress, self._clock.now()
        if (reason := self._overdue(progress)) is not None:
            self._attempt.end(reason)
            return reason
        if self._has_not_stopped():
            return WorkerStopping("The worker was told to stop, and the run did not come back.")
        if progress == self._written and self._clock.now() - self._beat_at < config.HEARTBEAT_SECONDS:
            return None
        return self._beat(progress)

    def _has_not_stopped(self) -> bool:
        """Whether the process was told to stop GRACE seconds ago. Until then the lease is kept."""
        if not self._attempt.is_stopping:
            return False
        now = self._clock.now()
        if self._told_to_stop_at is None:
            self._told_to_stop_at = now
        return now - self._told_to_stop_at > config.SHUTDOWN_GRACE_SECONDS

    def _overdue(self, progress: Snapshot) -> ExportError | None:
        now = self._clock.now()
        runtime = self._attempt.ceilings.runtime
        if runtime is not None and now - self._began_at > runtime:
            return TookTooLong(f"The export took longer than {runtime:,} seconds.")
        if now - self._moved_at > config.STALL_TIMEOUT_SECONDS and progress.phase not in (COUNTING, STORING):
            return Stalled("The export made no progress for EXPORTS['STALL_TIMEOUT_SECONDS'] seconds.")
        return None

    def _beat(self, progress: Snapshot) -> LeaseLost | None:
        try:
            row = self._again(progress) or self._anew(progress)
            if row is None:
                lost = LeaseLost("Another process has moved this request.")
                self._attempt.end(lost)
                return lost
            self._row = row
            self._tell(row)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            log.warning("request %s: heartbeat not written: %s", self._attempt.claim.request_id, type(error).__name__)
            connection.close()
            return None
        self._written, self._beat_at = progress, self._clock.now()
        return None

    def _again(self, progress: Snapshot) -> FileRequest | None:
        """The row after a beat like the one before it, which is most of them: what is known is not asked for.

        Every HEARTBEAT_SECONDS it is, because not all that may be written of a row is a move.
        """
        seen, self._row = self._row, None
        elapsed = self._clock.now() - self._read_at
        is_alike = progress != self._written and progress.phase == self._written.phase
        if seen is None or not is_alike or elapsed >= config.HEARTBEAT_SECONDS:
            return None
        at = self._read_progress_at + timedelta(seconds=elapsed)
        return transitions.renew_lease(
            self._attempt.claim, progress, began_phase=False, moved=True, seen=seen, progressed_at=at
        )

    def _anew(self, progress: Snapshot) -> FileRequest | None:
        """The row after a beat, as the database has it; None where the lease is lost."""
        claim, before = self._attempt.claim, self._written
        began_phase, moved = progress.phase != before.phase, progress != before
        row = transitions.renew_lease(claim, progress, began_phase=began_phase, moved=moved)
        if row is not None and moved:
            self._read_at, self._read_progress_at = self._clock.now(), row.progressed_at
        return row

    def _comes_back(self, reason: RunInterrupted | ExportError) -> bool:
        """Wait for the run to end. One that was told to stop has had its time."""
        return self._clock.wait(
            self._finished, 0 if isinstance(reason, WorkerStopping) else config.SHUTDOWN_GRACE_SECONDS
        )

    def _leave_behind(self, reason: RunInterrupted | ExportError) -> None:
        """The row moves on as if the run had come back, which finds itself fenced if it ever does."""
        claim = self._attempt.claim
        log.error("request %s epoch %d: the run hangs: %s", claim.request_id, claim.epoch, reason)
        try:
            if _moved_on(claim, reason):
                self._tell(FileRequest.objects.get(pk=claim.request_id))
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            # Its lease runs out, and housekeeping moves it on.
            log.warning("request %s: its end is not written: %s", claim.request_id, type(error).__name__)
        if expendable.is_set() and not self._finished.is_set():
            # Where it hangs: files, lines and names of functions, no values.
            faulthandler.dump_traceback()
            os._exit(EX_SOFTWARE)


def _moved_on(claim: Claim, reason: RunInterrupted | ExportError) -> bool:
    if isinstance(reason, WorkerStopping):
        return transitions.release(claim)
    return isinstance(reason, ExportError) and transitions.fail(claim, code=reason.code, detail=str(reason))


def _feed_watchdog() -> None:
    """A thread in C, which needs no Python to run, ends the process once no heart has beaten for so long: then some
    call holds the interpreter for itself, and the lease is lost already."""
    if expendable.is_set():
        faulthandler.dump_traceback_later(config.LEASE_SECONDS + config.SHUTDOWN_GRACE_SECONDS, exit=True)


def _let_watchdog_sleep() -> None:
    if expendable.is_set():
        faulthandler.cancel_dump_traceback_later()
