"""Who handles which file type, and the way from a waiting row to a run."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, close_old_connections
from django.utils.module_loading import import_string

from exports import events, runner
from exports.conf import config
from exports.exceptions import UnknownFileType
from exports.models import FileRequest, Status, moves
from exports.patterns.base import Handled
from exports.patterns.queryset import QuerySetExport
from exports.patterns.stored import StoredQuerySet, StoredRows
from exports.patterns.table import TableExport

log = logging.getLogger("exports.registry")

handlers: dict[str, Any] = {StoredQuerySet.file_type: StoredQuerySet, StoredRows.file_type: StoredRows}


def register(handler_class: type, file_types: Iterable[str] | None = None) -> type:
    """Let `handler_class` make the files of these types, its own `file_type` by default. Returns it, for decorating.

    It is a QuerySetExport, or anything with `handle(request)`: a pattern, a class of your own, a module.
    """
    for file_type in file_types or [handler_class.file_type]:
        handlers[file_type] = handler_class
    return handler_class


def find(file_type: str) -> Any:
    """What is registered for a file type. Raises UnknownFileType, a KeyError, which names the known ones."""
    if file_type not in handlers:
        known = ", ".join(sorted(handlers)) or "none"
        raise UnknownFileType(f"No exporter is registered for {file_type!r}. Registered: {known}.")
    return handlers[file_type]


def find_export(file_type: str) -> QuerySetExport:
    """The export that the doors offer under this type. Raises UnknownFileType for a handler that has no form."""
    handler = find(file_type)
    if not (_is_export(handler) and issubclass(handler, QuerySetExport)):
        raise UnknownFileType(f"{file_type!r} is made by a handler of its own; ask for it where its view is.")
    return handler()


def exporter_of(request: FileRequest) -> TableExport | Handled:
    """What makes the file of this request. Raises UnknownFileType."""
    handler = find(request.file_type)
    return handler() if _is_export(handler) else Handled(handler)


def dispatch(file_request_id: UUID) -> bool:
    """Claim this request and make its file, in the language and time zone of whoever asked for it.

    Returns False when there was nothing to do: it is finished, not due, or somebody else has it. Raises
    FileRequest.DoesNotExist, and UnknownFileType, before anything is claimed.
    """
    request = FileRequest.objects.get(pk=file_request_id)
    exporter = exporter_of(request)
    if request.finished_at is not None:
        return False
    with runner.locale_of(request):
        return _refused(request, exporter) or _claimed(request, exporter)


def work_off(lane: str) -> int:
    """Dispatch the due requests of a lane, one after the other, until none is due. Returns how many were handled."""
    handled = 0
    while not runner.stopping.is_set():
        close_old_connections()
        request = FileRequest.objects.next_due(lane, handlers.keys())
        if request is None:
            break
        handled += dispatch(request.pk)
    close_old_connections()
    return handled


def ring(lane: str) -> None:
    """Ring the bell of a lane, where one is configured; in cron mode there is none."""
    if config.DOORBELL:
        import_string(config.DOORBELL)(lane)


def is_still_granted(request: FileRequest) -> bool:
    """Whether the exporter still lets the owner of this request have its file; a type that is gone lets nobody."""
    try:
        return exporter_of(request).refusal(request) is None
    except UnknownFileType:
        return False


def own_mail(request: FileRequest) -> Callable[[], object] | None:
    """What sends the mail that the author of this export wrote, or None where ours is sent."""
    exporter = exporter_of(request)
    return partial(exporter.send_mail, request) if isinstance(exporter, Handled) else None


def _refused(request: FileRequest, exporter: TableExport | Handled) -> bool:
    """End a request whose owner may not have it any more, or whose criteria do not hold any more."""
    code, detail = _refusal(request, exporter)
    if code is None:
        return False
    if moves.refuse(request, code=code, detail=detail):
        _publish(request)
    return True


def _refusal(request: FileRequest, exporter: TableExport | Handled) -> tuple[str | None, str]:
    """Why this request may not run: an error code, and a detail for staff. An exporter that breaks ends its request,
    not the queue behind it."""
    try:
        exporter.extension(request)
        return exporter.refusal(request), ""
    except DatabaseError:
        raise
    except Exception as error:
        log.warning("request %s: refused: %s", request.pk, runner.describe(error))
        return getattr(error, "code", "export_failed"), runner.describe(error)


def _claimed(request: FileRequest, exporter: TableExport | Handled) -> bool:
    if not runner.take(request, exporter, on_change=events.publish):
        return False
    if request.status == Status.QUEUED and request.not_before is None:
        ring(request.lane)
    return True


def _is_export(handler: Any) -> bool:
    return isinstance(handler, type) and issubclass(handler, TableExport)


def _publish(request: FileRequest) -> None:
    request.refresh_from_db()
    events.publish(request)
