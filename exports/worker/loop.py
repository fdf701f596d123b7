"""Find the next due export, claim it and let the runner make its file."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections

from exports import failures, faults
from exports.exceptions import RetryableError
from exports.exporters import permissions, registry
from exports.exporters.base import FileMaker
from exports.models import FileRequest, Status, transitions
from exports.models.locale import locale_of
from exports.queue import base as queue
from exports.realtime import events
from exports.worker import lease, runner, work_dir
from exports.worker import registry as worker_registry
from exports.worker.limits import RunLimits

log = logging.getLogger("exports.worker")


def work(queue_name: str, *, on_ready: Callable[[], None] = lambda: None, may_exit_process: bool = True) -> None:
    """Run the due exports of a queue whenever it is woken, until this process is told to stop.

    `on_ready` is called once the worker listens, to messages and to signals. A run that hangs ends the process, unless
    the process does other work too. Raise UnsafeWorkDir.
    """
    work_dir.ensure_private()
    if may_exit_process:
        lease.may_exit_process.set()
    presence = worker_registry.Presence(worker_registry.WORKER, queue_name)
    queue.listen(
        queue_name,
        WorkerLoop(queue_name).look,
        stop=runner.stopping,
        on_start=runner.sweep_work_dirs,
        on_poll=presence.show,
        on_exit=presence.leave,
        on_ready=on_ready,
    )


def work_once(queue_name: str) -> int:
    """Run the due exports of a queue in a worker of another library, and return how many were handled.

    On SIGTERM the current export is given back, and then happens what the worker itself does. Raise UnsafeWorkDir.
    """
    work_dir.ensure_private()
    runner.sweep_work_dirs()
    with stop_on_sigterm():
        return WorkerLoop(queue_name).run_due()


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """On SIGTERM let the current run return its export to the queue; other handlers of the signal run as well.

    Does nothing outside the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def stop(signum: int, frame: FrameType | None) -> None:
        runner.stopping.set()
        if callable(before):
            before(signum, frame)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class WorkerLoop:
    """Runs the due exports of one queue, or of all queues (None), one after the other."""

    def __init__(self, queue_name: str | None) -> None:
        self._queue_name = queue_name
        self._passed_over: set[UUID] = set()

    def look(self) -> None:
        """Run exports until none is due. Raise RetryableError if one was passed over: it is to be looked for again."""
        self.run_due()
        if self._passed_over:
            raise RetryableError(f"exports passed over: {len(self._passed_over)}")

    def run_due(self) -> int:
        """Run exports until none is due. Return how many were handled."""
        self._passed_over.clear()
        handled = 0
        close_old_connections()
        while (export := self.next_due()) is not None:
            handled += self.run(export)
            close_old_connections()
        return handled

    def next_due(self) -> FileRequest | None:
        """Return the export whose turn it is, or None if none is due or this process may not begin a run.

        It may not once it was told to stop, or while its disk is full: then another host may have room, and
        housekeeping wakes the queue again.
        """
        if runner.stopping.is_set() or not runner.has_room():
            return None
        return FileRequest.objects.exclude(pk__in=self._passed_over).next_due(
            self._queue_name, registry.handlers.keys()
        )

    def run(self, export: FileRequest) -> bool:
        """Dispatch `export`. Return False if there was nothing to do, or if it fails here and is passed over."""
        try:
            return dispatch(export.pk)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            failures.report(log, "request %s: passed over: %s", export.pk, error=error)
            self._passed_over.add(export.pk)
            return False


def dispatch(file_request_id: UUID) -> bool:
    """Claim this export and make its file, in the language and time zone of its owner.

    Returns:
        True if it was handled, even if it was refused or failed. False if there was nothing to do: it is finished, not
        due, or another worker has claimed it.

    Raises:
        FileRequest.DoesNotExist: There is no such export.
        UnknownFileType: No exporter is registered for it. Nothing was claimed.

    """
    export = FileRequest.objects.get(pk=file_request_id)
    if export.finished_at is not None:
        return False
    exporter = registry.exporter_of(export)
    with locale_of(export):
        code, detail = permissions.refusal_of(export, exporter, to_run=True)
        if code is not None:
            if transitions.refuse(export, code=code, detail=detail):
                export.refresh_from_db()
                events.send_state(export)
            return True
        if not claim_and_run(export, exporter):
            return False
        exporter.finish(export)
        if export.status == Status.QUEUED and export.not_before is None:
            # A stopping worker has released it: let another one take it.
            queue.wake(export.queue_name)
        return True


def claim_and_run(
    export: FileRequest,
    exporter: FileMaker,
    *,
    on_change: runner.OnChange = events.send_state,
    stop: threading.Event = runner.stopping,
    clock: lease.Clock = lease.CLOCK,
) -> bool:
    """Claim a due export and make its file. Return False if another worker has claimed it, or if it is not due."""
    claim = transitions.claim(
        export,
        owner=f"{worker_registry.process_name()}:{threading.get_ident()}",
        extension=exporter.extension(export),
        runtime=RunLimits.of(exporter).runtime,
    )
    if claim is None:
        return False
    faults.point("after_claim")
    export.refresh_from_db()
    runner.notify(on_change, export)
    runner.run(export, claim, exporter, on_change=on_change, stop=stop, clock=clock)
    return True
