"""Find the next due export, claim it and let the runner make its file."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from exports import failures, faults
from exports.exporters import registry
from exports.exporters.base import Exporter, FileMaker
from exports.filenames import extension_of
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

    def leave() -> None:
        presence.leave()
        # The thread that has made the files ends, and Django closes only the connections of the main one.
        connections.close_all()

    queue.listen(
        queue_name,
        WorkerLoop(queue_name).run_due,
        stop=runner.stopping,
        on_start=runner.sweep_work_dirs,
        on_poll=presence.show,
        on_exit=leave,
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

    def run_due(self) -> int:
        """Run exports until none is due. Return how many were handled."""
        handled = 0
        close_old_connections()
        while self.run_next() is not None:
            handled += 1
            close_old_connections()
        # Housekeeping may run on another host, which does not see what a killed process left on this one.
        runner.sweep_work_dirs()
        return handled

    def run_next(self) -> FileRequest | None:
        """Claim the export whose turn it is, run it and return it. None if none is due or this process may not begin.

        It may not once it was told to stop, or while its disk is full: then another host may have room, and
        housekeeping wakes the queue again.
        """
        if runner.stopping.is_set() or not runner.has_room():
            return None
        claimed = transitions.claim_first(
            self._queue_name,
            registry.handlers.keys(),
            owner=_owner(),
            attempt=lambda export: _attempt(export, registry.exporter_of),
        )
        if claimed is None:
            return None
        export, claim = claimed
        try:
            try:
                exporter = registry.exporter_of(export)
            except Exception as error:
                # The row says why it could not begin; the queue goes on with the next one.
                export.refresh_from_db()
                if runner.record_failure(export, claim, error):
                    export.refresh_from_db()
                    runner.notify(events.send_state, export)
            else:
                run_claimed(export, claim, exporter)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            # Housekeeping puts it back into the queue when its lease expires.
            failures.report(log, "request %s: abandoned: %s", export.pk, error=error)
        return export


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
    claim = claim_export(export, exporter)
    if claim is None:
        return False
    run_claimed(export, claim, exporter)
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
    claim = claim_export(export, exporter)
    if claim is None:
        return False
    faults.point("after_claim")
    export.refresh_from_db()
    runner.notify(on_change, export)
    runner.run(export, claim, exporter, on_change=on_change, stop=stop, clock=clock)
    return True


def claim_export(export: FileRequest, exporter: FileMaker) -> transitions.Claim | None:
    """Claim a due export for this thread. None if another worker has claimed it, or if it is not due."""
    extension, runtime = _attempt(export, lambda export: exporter)
    return transitions.claim(export, owner=_owner(), extension=extension, runtime=runtime)


def _attempt(export: FileRequest, exporter_of: Callable[[FileRequest], FileMaker]) -> transitions.Attempt:
    try:
        exporter = exporter_of(export)
        return transitions.Attempt(extension_of(f"file.{exporter.extension(export)}"), RunLimits.of(exporter).runtime)
    except Exception as error:
        # The run asks again and fails for the same reason, which is then on the row.
        failures.report(log, "request %s: %s", export.pk, error=error)
        return transitions.Attempt("bin", None)


def run_claimed(
    export: FileRequest,
    claim: transitions.Claim,
    exporter: Exporter,
    *,
    on_change: runner.OnChange = events.send_state,
) -> None:
    """Run a claimed export in the language and time zone of its owner."""
    faults.point("after_claim")
    export.refresh_from_db()
    with locale_of(export):
        runner.notify(on_change, export)
        runner.run(export, claim, exporter, on_change=on_change)
        exporter.finish(export)
    if export.status == Status.QUEUED and export.not_before is None:
        # A stopping worker has released it: let another one take it.
        queue.wake(export.queue_name)


def _owner() -> str:
    return f"{worker_registry.process_name()}:{threading.get_ident()}"
