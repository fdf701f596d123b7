"""Who handles which file type, and the way from a waiting row to a run."""

import logging
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections
from django.utils.module_loading import import_string

from exports import events, runner
from exports.conf import config
from exports.exceptions import ExportError, UnknownFileType
from exports.models import FileRequest, Status, moves
from exports.patterns.handled import Handled
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
    if not has_form(file_type):
        raise UnknownFileType(f"{file_type!r} is made by a handler of its own; ask for it where its view is.")
    return find(file_type)()


def has_form(file_type: str) -> bool:
    """Whether the doors offer it. Raises UnknownFileType."""
    handler = find(file_type)
    return _is_export(handler) and issubclass(handler, QuerySetExport)


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
    if request.finished_at is not None:
        return False
    exporter = exporter_of(request)
    with runner.locale_of(request):
        return _refused(request, exporter) or _claimed(request, exporter)


class Look:
    """One look at the queue of a lane, or of all (None). What cannot be made now is passed over until the next look."""

    def __init__(self, lane: str | None) -> None:
        self._lane = lane
        self._passed_over: set[UUID] = set()

    def next(self) -> FileRequest | None:
        """The request whose turn it is, or None when none is due, this process was told to stop, or its disk is full:
        then another host may have room, and housekeeping rings for it."""
        if runner.stopping.is_set() or not runner.has_room():
            return None
        return FileRequest.objects.exclude(pk__in=self._passed_over).next_due(self._lane, handlers.keys())

    def make(self, request: FileRequest) -> bool:
        """Dispatch it. Returns False when there was nothing to do, or it has to wait for the next look."""
        try:
            return dispatch(request.pk)
        except (DatabaseError, InterfaceError, FileRequest.DoesNotExist) as error:
            log.warning("request %s: passed over: %s", request.pk, runner.describe(error))
            self._passed_over.add(request.pk)
            return False


def work_off(lane: str) -> int:
    """Dispatch the due requests of a lane, one after the other, until none is due. Returns how many were handled."""
    look, handled = Look(lane), 0
    close_old_connections()
    while (request := look.next()) is not None:
        handled += look.make(request)
        close_old_connections()
    return handled


def ring(lane: str) -> None:
    """Ring the bell of a lane, where one is configured; in cron mode there is none. Housekeeping rings again for a bell
    that is broken."""
    if not config.DOORBELL:
        return
    try:
        import_string(config.DOORBELL)(lane)
    except Exception as error:
        log.warning("bell of lane %s not rung: %s", lane, runner.describe(error))


def is_still_granted(request: FileRequest) -> bool:
    """Whether the exporter still lets the owner of this request have its file; a type that is gone lets nobody."""
    try:
        exporter = exporter_of(request)
    except UnknownFileType:
        return False
    code, _ = _answer(request, lambda: exporter.refusal(request))
    return code is None


def is_withdrawn(request: FileRequest) -> bool:
    """Whether an export that knows a rule refuses the owner of this request now; others decide by hand."""
    return _is_export(handlers.get(request.file_type)) and not is_still_granted(request)


def public_seconds(request: FileRequest) -> float | None:
    """How long a link for anyone to this file is good, or None where its export offers none."""
    exporter = handlers.get(request.file_type)
    if not (_is_export(exporter) and exporter.public_links):
        return None
    return config.PUBLIC_LINK_MAX_AGE if exporter.public_link_max_age is None else exporter.public_link_max_age


def own_mail(request: FileRequest) -> Callable[[], object] | None:
    """What sends the mail that the author of this export wrote, or None where ours is sent."""
    exporter = exporter_of(request)
    return exporter.own_mail(request) if isinstance(exporter, Handled) else None


def _refused(request: FileRequest, exporter: TableExport | Handled) -> bool:
    """End a request whose owner may not have it any more, or whose criteria do not hold any more."""
    code, detail = _answer(request, lambda: _refusal(request, exporter))
    if code is None:
        return False
    if moves.refuse(request, code=code, detail=detail):
        _publish(request)
    return True


def _refusal(request: FileRequest, exporter: TableExport | Handled) -> str | None:
    # Raises where the format is gone: what is not going to be made is not claimed either.
    exporter.extension(request)
    return exporter.refusal(request)


def _answer(request: FileRequest, ask: Callable[[], str | None]) -> tuple[str | None, str]:
    """Why this request is refused, as an error code or None, and a detail for staff. A rule that breaks refuses; one
    whose database is away raises."""
    try:
        return ask(), ""
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.warning("request %s: refused: %s", request.pk, runner.describe(error))
        code = error.code if isinstance(error, ExportError) else ExportError.code
        return code, runner.describe(error)


def _claimed(request: FileRequest, exporter: TableExport | Handled) -> bool:
    if not runner.take(request, exporter, on_change=events.publish):
        return False
    if isinstance(exporter, Handled):
        exporter.finish(request)
    if request.status == Status.QUEUED and request.not_before is None:
        ring(request.lane)
    return True


def _is_export(handler: Any) -> bool:
    return isinstance(handler, type) and issubclass(handler, TableExport)


def _publish(request: FileRequest) -> None:
    request.refresh_from_db()
    events.publish(request)
