"""Check the declarations of registered exporters, so that a mistake is found at startup and not by a user."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.checks import CheckMessage
from django.core.validators import slug_re

from exports.checks.numbers import NumberRule
from exports.checks.registration import check_each, register, registered_classes
from exports.conf import config
from exports.exceptions import BadOption
from exports.exporters import DelegatedExport, QuerySetExport, registry
from exports.exporters.base import TableExport
from exports.exporters.sheets import COUNTS
from exports.models import FileRequest
from exports.tabular import writers
from exports.tabular.columns import as_columns

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


@check_each(TableExport)
def check_numbers(export: type[TableExport]) -> Iterator[CheckMessage]:
    """Report numbers of exporters that cannot work."""
    for rule in NUMBERS:
        for attribute in rule.names:
            if not rule.accepts(value := getattr(export, attribute, None)):
                message = f"{export.__name__}.{attribute} is {value!r}."
                yield checks.Error(message, hint=rule.hint(attribute, value), obj=export, id=rule.id)


@check_each(QuerySetExport)
def check_exports(export: type[QuerySetExport]) -> Iterator[CheckMessage]:
    """Report formats and counts of exporters that cannot work."""
    name, known = export.__name__, {writer.format: writer.holds_tables for writer in writers.formats()}
    if not export.formats or isinstance(export.formats, str):
        hint = "Name at least one format in `formats`, a list or a tuple."
        yield checks.Error(f"{name}.formats is {export.formats!r}.", hint=hint, obj=export, id="exports.E010")
        return
    offered = {writer.format for writer in export.offered()}
    for format in (each for each in export.formats if each not in offered):
        # A missing library may be intended: the format then is not offered.
        if missing := writers.why_missing(format):
            yield checks.Info(f"{name} is not offered as {format!r}.", hint=missing, obj=export, id="exports.I001")
        elif format not in known:
            hint = f"Known formats: {', '.join(known)}."
            yield checks.Error(f"{name}: there is no format {format!r}.", hint=hint, obj=export, id="exports.E010")
        else:
            capable = ", ".join(each for each, holds_tables in known.items() if holds_tables)
            hint = f"get_sheets() returns several tables; formats that hold them: {capable}."
            yield checks.Error(f"{name}: {format!r} holds one table.", hint=hint, obj=export, id="exports.E011")
    if export.count not in COUNTS:
        hint = f"Use one of {', '.join(map(repr, COUNTS))}."
        yield checks.Error(f"{name}.count is {export.count!r}.", hint=hint, obj=export, id="exports.E012")
    queues = config.QUEUES
    # Other values of the setting have their own messages.
    are_names = isinstance(queues, list | tuple) and all(isinstance(queue, str) for queue in queues)
    if are_names and export.queue_name not in (None, "", *queues):
        hint = f"Use one of EXPORTS['QUEUES']: {', '.join(map(repr, queues))}. No worker serves another queue."
        message = f"{name}.queue_name is {export.queue_name!r}."
        yield checks.Error(message, hint=hint, obj=export, id="exports.E028")


@check_each(DelegatedExport)
def check_delegated(export: type[DelegatedExport]) -> Iterator[CheckMessage]:
    """Report exports of engines that cannot work, or whose texts a spreadsheet might run."""
    name = export.__name__
    if not export.target_root:
        hint = "Set an absolute path that workers and engine share, or a URL such as 's3://bucket/exports'."
        yield checks.Error(f"{name}.target_root is empty.", hint=hint, obj=export, id="exports.E062")
    if as_columns(export.columns):
        hint = "Leave `columns` out: `start` says what the engine writes, and for whom."
        yield checks.Error(f"{name}.columns has no effect.", hint=hint, obj=export, id="exports.E062")
    if not export.for_machines and {"csv", "tsv"} & set(export.formats):
        hint = "The engine does not escape formulas. Set `for_machines = True` if only programs read the files."
        yield checks.Error(f"{name} offers CSV or TSV to people.", hint=hint, obj=export, id="exports.E062")


@check_each(QuerySetExport)
def check_options(export: type[QuerySetExport]) -> Iterator[CheckMessage]:
    """Report options that an exporter sets or offers and a format does not have."""
    name, known = export.__name__, [writer.format for writer in writers.formats()]
    for format in {**export.default_options, **export.form_options}:
        if format not in known and not writers.why_missing(format):
            message = f"{name} has options for {format!r}, which is no format."
            hint = "Name formats in `default_options` and `form_options`."
            yield checks.Error(message, hint=hint, obj=export, id="exports.E017")
    for writer in export.offered():
        hint = f"{writer.label} has the options: {', '.join(writer.choices) or 'none'}."
        try:
            export().clean_options(writer, {})
        except BadOption as error:
            yield checks.Error(f"{name}.default_options: {error}", hint=hint, obj=export, id="exports.E017")
        options = export.form_options.get(writer.format, ())
        if isinstance(options, str):
            message = f"{name}.form_options: {options!r} is text, not a list."
            yield checks.Error(message, hint=hint, obj=export, id="exports.E017")
            continue
        for option in options:
            if option not in writer.choices:
                message = f"{name}.form_options: {writer.label} has no option {option!r}."
                yield checks.Error(message, hint=hint, obj=export, id="exports.E017")


@check_each(QuerySetExport)
def check_permissions(export: type[QuerySetExport]) -> Iterator[CheckMessage]:
    """Warn about an export without a permission rule, and about permissions that no model has.

    An export that overrides `has_column_permission` decides about its columns itself.
    """
    # What each permission is for, and who else has it.
    required: dict[str, tuple[str, str]] = {}
    if export.has_column_permission is QuerySetExport.has_column_permission:
        for column in as_columns(export.columns):
            required[column.permission] = (f" of the column {column.name!r}", "get the column")
    if export.has_permission is QuerySetExport.has_permission:
        required[export.permission] = ("", "may export it")
        if not export.permission:
            hint = "Set `permission`, or define has_permission(user, criteria), which may return True."
            message = f"{export.__name__} has no permission rule: every user who can sign in may export it."
            yield checks.Warning(message, hint=hint, obj=export, id="exports.W022")
    required.pop("", None)
    if not required:
        return
    known = set()
    for model in apps.get_models():
        meta = model._meta
        codenames = [get_permission_codename(action, meta) for action in meta.default_permissions]
        codenames += [codename for codename, _ in meta.permissions]
        known |= {f"{meta.app_label}.{codename}" for codename in codenames}
    for permission, (place, gain) in required.items():
        if permission not in known:
            close = get_close_matches(permission, known, n=3)
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else 'Write "app.codename".'
            message = f"{export.__name__}: no model has the permission {permission!r}{place}. Only superusers {gain}."
            yield checks.Warning(message, hint=hint, obj=export, id="exports.W020")


@register()
def check_file_types() -> Iterator[CheckMessage]:
    """Report file types that no row or URL can hold, and those that two classes share."""
    max_length = FileRequest._meta.get_field("file_type").max_length or 0
    for file_type, handler in registry.handlers.items():
        is_exporter = handler in registered_classes(QuerySetExport)
        pattern = slug_re if is_exporter else re.compile(".+", re.DOTALL)
        if not isinstance(file_type, str) or not pattern.match(file_type) or len(file_type) > max_length:
            hint = f"Use at most {max_length} characters: letters, digits, hyphens and underscores."
            message = f"{_name_of(handler)} is registered for the file type {file_type!r}."
            yield checks.Error(message, hint=hint, obj=handler, id="exports.E021")
    for file_type, before in registry.replaced:
        after = registry.handlers.get(file_type, before)
        # A class that replaces its own base does so on purpose, and a module may be imported again.
        is_meant = isinstance(before, type) and isinstance(after, type) and issubclass(after, before)
        if not is_meant and _name_of(before) != _name_of(after):
            message = f"{_name_of(after)} has replaced {_name_of(before)}: both are registered for {file_type!r}."
            hint = "Give each its own `file_type`, or derive the one that replaces the other from it."
            yield checks.Error(message, hint=hint, obj=after, id="exports.E022")


def _name_of(handler: registry.Handler) -> str:
    """Return the name of a class or a module, and that of an instance's class."""
    named = handler if hasattr(handler, "__name__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}" if isinstance(named, type) else str(named.__name__)
