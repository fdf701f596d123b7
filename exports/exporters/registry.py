"""Who handles which file type, and the way from a waiting row to a run."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.db import InterfaceError, OperationalError

from exports.conf import config
from exports.exceptions import ExportError, UnknownFileType, describe_error
from exports.exporters.base import TableExport
from exports.exporters.queryset import QuerySetExport
from exports.exporters.stored_rows import StoredQuerySet, StoredRows
from exports.models import FileRequest

log = logging.getLogger("exports.registry")

handlers: dict[str, Any] = {StoredQuerySet.file_type: StoredQuerySet, StoredRows.file_type: StoredRows}


adapters: list[Callable[[Any], Any]] = []
"""What makes an exporter of a handler that only has `handle(request)`. `contrib.bgfiles` adds its adapter here."""


def adapt(handler: Any) -> Any:
    """Return an exporter for a handler that is none itself. Raise TypeError if no adapter is registered."""
    if not adapters:
        raise TypeError(f"{handler!r} is no export, and exports.contrib.bgfiles is not loaded.")
    return adapters[-1](handler)


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


def exporter_of(request: FileRequest) -> Any:
    """What makes the file of this request. Raises UnknownFileType."""
    handler = find(request.file_type)
    return handler() if _is_export(handler) else adapt(handler)


def is_still_granted(request: FileRequest) -> bool:
    """Whether the exporter still lets the owner of this request have its file; a type that is gone lets nobody."""
    try:
        exporter = exporter_of(request)
    except UnknownFileType:
        return False
    code, _ = answer(request, lambda: exporter.refusal(request))
    return code is None


def is_withdrawn(request: FileRequest) -> bool:
    """Whether an export that knows a rule refuses the owner of this request now; others decide by hand."""
    return _is_export(handlers.get(request.file_type)) and not is_still_granted(request)


def public_seconds(request: FileRequest) -> float | None:
    """How long a link for anyone to this file is good, or None where its export offers none."""
    exporter = handlers.get(request.file_type)
    if not (_is_export(exporter) and exporter.public_links):
        return None
    return (
        config.PUBLIC_LINK_MAX_AGE_SECONDS
        if exporter.public_link_max_age_seconds is None
        else exporter.public_link_max_age_seconds
    )


def own_mail(request: FileRequest) -> Callable[[], object] | None:
    """What sends the mail that the author of this export wrote, or None where ours is sent."""
    return exporter_of(request).own_mail(request)


def answer(request: FileRequest, ask: Callable[[], str | None]) -> tuple[str | None, str]:
    """Why this request is refused, as an error code or None, and a detail for staff. A rule that breaks refuses; one
    whose database is away raises."""
    try:
        return ask(), ""
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.warning("request %s: refused: %s", request.pk, describe_error(error))
        code = error.code if isinstance(error, ExportError) else ExportError.code
        return code, describe_error(error)


def _is_export(handler: Any) -> bool:
    return isinstance(handler, type) and issubclass(handler, TableExport)
