"""Who handles which file type, and the way from a waiting row to a run."""

import logging
import zoneinfo
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DatabaseError, close_old_connections
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from exports import events, runner
from exports.conf import config
from exports.exceptions import UnknownFileType
from exports.models import FileRequest, Status, moves

if TYPE_CHECKING:
    from exports.patterns.queryset import QuerySetExport

log = logging.getLogger("exports.registry")

handlers: dict[str, Any] = {}


def register(handler_class: type, file_types: Iterable[str] | None = None) -> type:
    """Let `handler_class` make the files of these types, its own `file_type` by default. Returns it, for decorating."""
    for file_type in file_types or [handler_class.file_type]:
        handlers[file_type] = handler_class
    return handler_class


def find(file_type: str) -> "QuerySetExport":
    """The exporter of a file type. Raises UnknownFileType, a KeyError, which names the known ones."""
    if file_type not in handlers:
        known = ", ".join(sorted(handlers)) or "none"
        raise UnknownFileType(f"No exporter is registered for {file_type!r}. Registered: {known}.")
    return handlers[file_type]()


def dispatch(file_request_id: UUID) -> bool:
    """Claim this request and make its file, in the language and time zone of whoever asked for it.

    Returns False when there was nothing to do: it is finished, not due, or somebody else has it. Raises
    FileRequest.DoesNotExist, and UnknownFileType, before anything is claimed.
    """
    request = FileRequest.objects.get(pk=file_request_id)
    exporter = find(request.file_type)
    if request.finished_at is not None:
        return False
    with locale_of(request):
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
        return find(request.file_type).refusal(request) is None
    except UnknownFileType:
        return False


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


def _refused(request: FileRequest, exporter: "QuerySetExport") -> bool:
    """End a request whose owner may not have it any more, or whose criteria do not hold any more."""
    code, detail = _refusal(request, exporter)
    if code is None:
        return False
    if moves.refuse(request, code=code, detail=detail):
        _publish(request)
    return True


def _refusal(request: FileRequest, exporter: "QuerySetExport") -> tuple[str | None, str]:
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


def _claimed(request: FileRequest, exporter: "QuerySetExport") -> bool:
    claim = moves.claim(request, owner=runner.owner_name(), extension=exporter.extension(request))
    if claim is None:
        return False
    _publish(request)
    runner.run(request, claim, exporter, on_change=events.publish)
    if request.status == Status.QUEUED and request.not_before is None:
        ring(request.lane)
    return True


def _publish(request: FileRequest) -> None:
    request.refresh_from_db()
    events.publish(request)
