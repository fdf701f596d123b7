"""Find the next due export, claim it and run it."""

import logging
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections

from exports.exceptions import describe_error
from exports.exporters import registry
from exports.models import FileRequest, Status, transitions
from exports.queue import base as queue
from exports.realtime import events
from exports.worker import runner

log = logging.getLogger("exports.worker")


def dispatch(file_request_id: UUID) -> bool:
    """Claim this request and make its file, in the language and time zone of whoever asked for it.

    Returns False when there was nothing to do: it is finished, not due, or somebody else has it. Raises
    FileRequest.DoesNotExist, and UnknownFileType, before anything is claimed.
    """
    request = FileRequest.objects.get(pk=file_request_id)
    if request.finished_at is not None:
        return False
    exporter = registry.exporter_of(request)
    with runner.locale_of(request):
        return _refused(request, exporter) or _claimed(request, exporter)


class Look:
    """One look at the queue, or of all (None). What cannot be made now is passed over until the next
    look."""

    def __init__(self, queue_name: str | None) -> None:
        self._queue_name = queue_name
        self._passed_over: set[UUID] = set()

    def next(self) -> FileRequest | None:
        """The request whose turn it is, or None when none is due, this process was told to stop, or its disk is full:
        then another host may have room, and housekeeping rings for it."""
        if runner.stopping.is_set() or not runner.has_room():
            return None
        return FileRequest.objects.exclude(pk__in=self._passed_over).next_due(
            self._queue_name, registry.handlers.keys()
        )

    def make(self, request: FileRequest) -> bool:
        """Dispatch it. Returns False when there was nothing to do, or it has to wait for the next look."""
        try:
            return dispatch(request.pk)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            log.warning("request %s: passed over: %s", request.pk, describe_error(error))
            self._passed_over.add(request.pk)
            return False


def work_off(queue_name: str) -> int:
    """Dispatch the due requests of a queue, one after the other, until none is due. Returns how many were handled."""
    look, handled = Look(queue_name), 0
    close_old_connections()
    while (request := look.next()) is not None:
        handled += look.make(request)
        close_old_connections()
    return handled


def _refused(request: FileRequest, exporter: Any) -> bool:
    """End a request whose owner may not have it any more, or whose criteria do not hold any more."""
    code, detail = registry.answer(request, lambda: _refusal(request, exporter))
    if code is None:
        return False
    if transitions.refuse(request, code=code, detail=detail):
        _publish(request)
    return True


def _refusal(request: FileRequest, exporter: Any) -> str | None:
    # Raises where the format is gone: what is not going to be made is not claimed either.
    exporter.extension(request)
    return exporter.refusal(request)


def _claimed(request: FileRequest, exporter: Any) -> bool:
    if not runner.take(request, exporter, on_change=events.publish):
        return False
    exporter.finish(request)
    if request.status == Status.QUEUED and request.not_before is None:
        queue.wake(request.queue_name)
    return True


def _publish(request: FileRequest) -> None:
    request.refresh_from_db()
    events.publish(request)
