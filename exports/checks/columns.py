"""Check the columns of exports against their querysets, by calling the hooks of a project without asking a database."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.http import QueryDict
from django.utils import timezone
from django.utils.choices import flatten_choices

from exports.checks.registration import WouldAskDatabase, check_each
from exports.exceptions import DeclarationError, UnknownColumn
from exports.exporters import Column, QuerySetExport, Sheet
from exports.failures import describe_error
from exports.models.request import AnyUser
from exports.tabular.columns import as_columns
from exports.tabular.writers.jsonl import JsonLinesWriter
from exports.tabular.writers.parquet import ParquetWriter
from exports.tabular.writers.xlsx.xlsxwriter_internals import format_properties, why_no_format

# Raised by what is wrong for every user and all criteria.
BUGS = (FieldError, FieldDoesNotExist, NameError, ImportError, DeclarationError)


@check_each(QuerySetExport)
def check_columns(export: type[QuerySetExport]) -> Iterator[CheckMessage]:
    """Report columns that the rows of their queryset do not have, and styles that XlsxWriter does not have."""
    if (export.tables, export.produce) != (QuerySetExport.tables, QuerySetExport.produce):
        # It may have no queryset.
        return
    sources = export.sources()
    # A subclass may replace the source that it inherits, and then defines it alone.
    own = next((own for each in export.__mro__ if (own := [name for name in sources if name in vars(each)])), [])
    if own != sources[-1:] and not export.has_sheets():
        message = f"{export.__name__} defines {' and '.join(sources)}: only {sources[-1]} is called."
        hint = "Define one of get_queryset, get_rows and get_arrow."
        yield checks.Warning(message, hint=hint, obj=export, id="exports.W025")
    if export.columns_need_database:
        return
    try:
        sheets = sample_sheets(export())
    except BUGS:
        raise
    except Exception as error:
        message = f"The columns of {export.__name__} are not checked: {describe_error(error, with_message=True)}"
        hint = (
            "The check calls get_form, get_queryset and get_columns for a superuser who is not saved, with an empty "
            "form or made-up values of its required fields. Let them work without a query, or silence this message."
        )
        yield checks.Info(message, hint=hint, obj=export, id="exports.I002")
        return
    for sheet in sheets:
        yield from _check_sheet(export, sheet)


def _check_sheet(export: type[QuerySetExport], sheet: Sheet) -> Iterator[CheckMessage]:
    name = export.__name__
    if not sheet.columns and "get_arrow" not in export.sources():
        hint = "Set `columns`, or define get_columns(user, criteria)."
        yield checks.Error(f"{name} has no columns.", hint=hint, obj=export, id="exports.E018")
    by_name = [each.label for each in export.offered() if issubclass(each, JsonLinesWriter | ParquetWriter)]
    for path, count in Counter(column.name for column in sheet.columns).items():
        if by_name and count > 1:
            hint = f"Give each a name, and the path as its source: Column(..., source={path!r})."
            message = f"{name}: {count} columns have the name {path!r}, which {' and '.join(by_name)} cannot hold."
            yield checks.Error(message, hint=hint, obj=export, id="exports.E019")
    for column in sheet.columns:
        try:
            sheet.resolve([column])
        except UnknownColumn as error:
            hint = "Correct the column's name, or its source: a path, an expression or a callable."
            yield checks.Error(f"{name}: {error}", hint=hint, obj=export, id="exports.E019")
        for attribute in ("style", "header_style"):
            yield from _check_style(export, column, attribute, getattr(column, attribute))


def _check_style(
    export: type[QuerySetExport], column: Column, attribute: str, properties: Mapping[str, object]
) -> Iterator[CheckMessage]:
    if why := why_no_format(properties):
        known = format_properties()
        close = [match for name in properties if name not in known for match in get_close_matches(str(name), known, 1)]
        hint = f"Did you mean {' and '.join(map(repr, close))}?" if close else f"XlsxWriter has: {', '.join(known)}."
        message = f"{export.__name__}: the {attribute} of column {column.name!r} cannot be used. {why}"
        yield checks.Error(message, hint=hint, obj=export, id="exports.E020")


def sample_sheets(exporter: QuerySetExport) -> Sequence[Sheet]:
    """Return the sheets for a superuser who is not saved, and for criteria as empty as the form allows."""
    user: AnyUser = get_user_model()()
    # A project's model of users may have no such fields.
    vars(user).update(is_active=True, is_superuser=True)
    if user.pk is None:
        user.pk = 0
    if exporter.is_read_by_worker():
        # Rows that are made in the worker, perhaps by asking other services.
        return [Sheet("", (), as_columns(exporter.get_columns(user, {})))]
    form = exporter.get_form(QueryDict(), user)
    try:
        is_valid = form.is_valid()
    except WouldAskDatabase:
        is_valid = False
    criteria = form.cleaned_data if is_valid else {name: _sample(each) for name, each in form.fields.items()}
    return exporter.get_sheets(user, criteria)


def _sample(field: forms.Field) -> object:
    """Return a value that this field of a form may have once it is cleaned."""
    # Any: only some fields have them.
    choices: Any = getattr(field, "choices", ())
    queryset: Any = getattr(field, "queryset", None)
    match field:
        case forms.ModelMultipleChoiceField():
            return queryset.none()
        case forms.ModelChoiceField():
            return queryset.model(pk=0)
        case forms.ChoiceField():
            values = [value for value, _ in flatten_choices(choices) if value not in ("", None)]
            return field.clean(values[:1] if isinstance(field, forms.MultipleChoiceField) else values[0])
        case forms.DateTimeField():
            return timezone.now()
        case forms.DateField():
            return timezone.now().date()
    for text in ("", "1", "12:00", "text@example.com", "https://example.com"):
        try:
            return field.clean(text)
        except ValidationError:
            pass
    return None
