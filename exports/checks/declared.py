"""Exports that are declared wrongly, which would otherwise be told to whoever asks for the file."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.numbers import is_at_least, is_positive
from exports.checks.permissions import check_columns
from exports.exporters import QuerySetExport, registry
from exports.exporters.base import TableExport
from exports.exporters.sheets import COUNTS
from exports.tabular import writers


def check_exports(**kwargs: Any) -> Iterable[CheckMessage]:
    for handler in dict.fromkeys(registry.handlers.values()):
        if isinstance(handler, type) and issubclass(handler, TableExport):
            yield from _check_processes(handler)
            yield from _check_ceilings(handler)
        if isinstance(handler, type) and issubclass(handler, QuerySetExport):
            yield from _check_formats(handler)
            yield from _check_count(handler)
            yield from check_columns(handler)


def _check_ceilings(export: type[TableExport]) -> Iterable[CheckMessage]:
    for name, least in (
        ("max_rows", 1),
        ("max_bytes", 1),
        ("max_runtime_seconds", 0),
        ("reuse_within_seconds", 0),
        ("public_link_max_age_seconds", 1),
        ("retention_seconds", 1),
    ):
        value = getattr(export, name, None)
        if value is not None and not is_at_least(least, value):
            hint = f"Give a number from {least} on, or None for what the settings say."
            yield checks.Error(f"{export.__name__}.{name} is {value!r}.", hint=hint, obj=export, id="exports.E015")


def _check_processes(export: type[TableExport]) -> Iterable[CheckMessage]:
    if not is_positive(export.processes):
        yield checks.Error(
            f"{export.__name__}.processes is {export.processes!r}.",
            hint="Give a whole number from 1 on.",
            obj=export,
            id="exports.E009",
        )


def _check_formats(export: type[QuerySetExport]) -> Iterable[CheckMessage]:
    offered = {writer.format for writer in export.offered()}
    for format in export.formats:
        if format not in offered:
            yield _check_format(export.__name__, format)
    if not export.formats:
        hint = "Name at least one of the formats in `formats`."
        yield checks.Error(f"{export.__name__} has no format.", hint=hint, id="exports.E010")


def _check_format(export: str, format: str) -> CheckMessage:
    """Why a declared format is not offered. Where only its library is missing, that may be meant so."""
    if missing := writers.why_missing(format):
        return checks.Info(f"{export} is not offered as {format!r}.", hint=missing, id="exports.I001")
    known = {writer.format: writer.holds_tables for writer in writers.formats()}
    if format not in known:
        hint = f"Known formats: {', '.join(known)}."
        return checks.Error(f"{export}: no format is named {format!r}.", hint=hint, id="exports.E010")
    capable = ", ".join(name for name, holds_tables in known.items() if holds_tables)
    hint = f"get_sheets() gives several tables; formats that hold them: {capable}."
    return checks.Error(f"{export}: {format!r} holds one table.", hint=hint, id="exports.E011")


def _check_count(export: type[QuerySetExport]) -> Iterable[CheckMessage]:
    if export.count not in COUNTS:
        hint = f"Use one of {', '.join(map(repr, COUNTS))}."
        yield checks.Error(f"{export.__name__}.count is {export.count!r}.", hint=hint, id="exports.E012")
