"""Check the declarations of registered exporters, so that a mistake is found at startup and not by a user."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.numbers import NumberRule
from exports.exceptions import BadOption
from exports.exporters import QuerySetExport, registry
from exports.exporters.base import TableExport
from exports.exporters.sheets import COUNTS
from exports.tabular import writers

DEFAULT = "the value of the settings"
NUMBERS = (
    NumberRule(("processes",), 1, "exports.E009", whole=True),
    NumberRule(
        ("max_rows", "max_bytes", "public_link_max_age_seconds", "retention_seconds"),
        1,
        "exports.E015",
        none_means=DEFAULT,
    ),
    NumberRule(("max_runtime_seconds", "reuse_within_seconds"), 0, "exports.E015", none_means=DEFAULT),
)

T = TypeVar("T")


def registered_classes(base: type[T]) -> list[type[T]]:
    """Return each registered handler class derived from `base`, once."""
    handlers = dict.fromkeys(registry.handlers.values())
    return [handler for handler in handlers if isinstance(handler, type) and issubclass(handler, base)]


@checks.register("exports")
def check_exports(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report numbers, formats and counts of exporters that cannot work."""
    for table_export in registered_classes(TableExport):
        for rule in NUMBERS:
            for attribute in rule.names:
                if not rule.accepts(value := getattr(table_export, attribute, None)):
                    message = f"{table_export.__name__}.{attribute} is {value!r}."
                    yield checks.Error(message, hint=rule.hint, obj=table_export, id=rule.id)
    known = {writer.format: writer.holds_tables for writer in writers.formats()}
    for export in registered_classes(QuerySetExport):
        name = export.__name__
        if not export.formats:
            hint = "Name at least one format in `formats`."
            yield checks.Error(f"{name} has no format.", hint=hint, id="exports.E010")
        offered = {writer.format for writer in export.offered()}
        for format in (each for each in export.formats if each not in offered):
            # A missing library may be intended: the format then is not offered.
            if missing := writers.why_missing(format):
                yield checks.Info(f"{name} is not offered as {format!r}.", hint=missing, id="exports.I001")
            elif format not in known:
                hint = f"Known formats: {', '.join(known)}."
                yield checks.Error(f"{name}: there is no format {format!r}.", hint=hint, id="exports.E010")
            else:
                capable = ", ".join(each for each, holds_tables in known.items() if holds_tables)
                hint = f"get_sheets() returns several tables; formats that hold them: {capable}."
                yield checks.Error(f"{name}: {format!r} holds one table.", hint=hint, id="exports.E011")
        if export.count not in COUNTS:
            hint = f"Use one of {', '.join(map(repr, COUNTS))}."
            yield checks.Error(f"{name}.count is {export.count!r}.", hint=hint, id="exports.E012")


@checks.register("exports")
def check_options(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report options that an exporter sets or offers and a format does not have."""
    for export in registered_classes(QuerySetExport):
        for format in {**export.default_options, **export.form_options}:
            if format not in {writer.format for writer in writers.formats()} and not writers.why_missing(format):
                message = f"{export.__name__} has options for {format!r}, which is no format."
                hint = "Name formats in `default_options` and `form_options`."
                yield checks.Error(message, hint=hint, obj=export, id="exports.E017")
        for writer in export.offered():
            hint = f"{writer.label} has the options: {', '.join(writer.choices) or 'none'}."
            try:
                export().clean_options(writer, {})
            except BadOption as error:
                message = f"{export.__name__}.default_options: {error}"
                yield checks.Error(message, hint=hint, obj=export, id="exports.E017")
            for option in export.form_options.get(writer.format, ()):
                if option not in writer.choices:
                    message = f"{export.__name__}.form_options: {writer.label} has no option {option!r}."
                    yield checks.Error(message, hint=hint, obj=export, id="exports.E017")


@checks.register("exports")
def check_column_permissions(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about column permissions that no model has, unless the export decides about its columns itself."""
    known = set()
    for model in apps.get_models():
        meta = model._meta
        codenames = [get_permission_codename(action, meta) for action in meta.default_permissions]
        codenames += [codename for codename, _ in meta.permissions]
        known |= {f"{meta.app_label}.{codename}" for codename in codenames}
    for export in registered_classes(QuerySetExport):
        if export.has_column_permission is not QuerySetExport.has_column_permission:
            continue
        for permission, column in {each.permission: each.name for each in export.columns if each.permission}.items():
            if permission not in known:
                close = get_close_matches(permission, known, n=3)
                hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else 'Write "app.codename".'
                message = (
                    f"{export.__name__}: no model has the permission {permission!r} of the column {column!r}. "
                    "Only superusers get the column."
                )
                yield checks.Warning(message, hint=hint, obj=export, id="exports.W020")
