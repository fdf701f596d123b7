"""Which exporter or handler makes the files of which file type."""

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, TypeVar

from exports.exceptions import UnknownFileType
from exports.exporters.base import Exporter, TableExport
from exports.exporters.queryset import QuerySetExport
from exports.exporters.stored_rows import StoredQuerySet, StoredRows
from exports.models import FileRequest

# A handler is a class, an instance or a module: dj-bgfiles asks for nothing but `handle(request)`.
Handler = Any
HandlerT = TypeVar("HandlerT")

handlers: dict[str, Handler] = {StoredQuerySet.file_type: StoredQuerySet, StoredRows.file_type: StoredRows}
"""The registered exporters and handlers, by file type."""

replaced: list[tuple[str, Handler]] = []
"""What another registration of the same file type has replaced, for the system check."""

adapters: list[Callable[[Handler], Exporter]] = []
"""Functions that make an exporter of a handler with nothing but `handle(request)`; `contrib.bgfiles` adds its own."""


def register(handler_class: HandlerT, file_types: Iterable[str] | None = None) -> HandlerT:
    """Register what makes the files of these types. Usable as a decorator.

    Args:
        handler_class: A QuerySetExport, or anything with `handle(request)`: a pattern, another class, a module.
        file_types: The file types; by default the `file_type` of `handler_class`.

    Returns:
        `handler_class`, unchanged.

    """
    own_type: Any = handler_class
    for file_type in file_types or [own_type.file_type]:
        if handlers.get(file_type, handler_class) is not handler_class:
            replaced.append((file_type, handlers[file_type]))
        handlers[file_type] = handler_class
    return handler_class


def find(file_type: str) -> Handler:
    """Return what is registered for a file type. Raise UnknownFileType, a KeyError, which lists the known types."""
    if file_type not in handlers:
        known = ", ".join(sorted(handlers)) or "none"
        raise UnknownFileType(f"No exporter is registered for {file_type!r}. Registered: {known}.")
    return handlers[file_type]


def find_exporter(file_type: str) -> QuerySetExport:
    """Return the exporter that users can request under this type. Raise UnknownFileType if it has no form."""
    handler = find(file_type)
    if not (is_exporter(handler) and issubclass(handler, QuerySetExport)):
        raise UnknownFileType(f"{file_type!r} has a handler without a form; request it in the view that offers it.")
    return handler()


def has_form(file_type: str) -> bool:
    """Return True if users can request this type through a form. Raise UnknownFileType."""
    find(file_type)
    return is_offered(file_type)


def is_offered(file_type: str) -> bool:
    """Return True if users can request this type through a form that is registered now."""
    handler = handlers.get(file_type)
    return is_exporter(handler) and issubclass(handler, QuerySetExport)


def is_repeatable(export: FileRequest) -> bool:
    """Return True if the export can be requested again: by its form, or under the permission that it was stored with.

    Any other was allowed by a view of the project, which would not be asked.
    """
    return is_offered(export.file_type) or (bool(export.permission) and export.file_type in handlers)


def exporter_of(export: FileRequest) -> Exporter:
    """Return what makes the file of `export`. Raise UnknownFileType."""
    handler = find(export.file_type)
    if is_exporter(handler):
        return handler()
    if not adapters:
        raise TypeError(f"{handler!r} is no exporter, and exports.contrib.bgfiles is not loaded.")
    return adapters[-1](handler)


def is_exporter(handler: Handler) -> TypeGuard[type[TableExport]]:
    """Return True for an exporter class, False for a handler that needs an adapter, and for None."""
    return isinstance(handler, type) and issubclass(handler, TableExport)
