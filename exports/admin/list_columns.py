"""The columns of a changelist as columns of an export."""

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from html import unescape
from typing import Any, Final, cast
from uuid import UUID

from django.contrib.admin.utils import get_fields_from_path, label_for_field, lookup_field
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.core.validators import EMPTY_VALUES
from django.db.models import Field, Model
from django.db.models.constants import LOOKUP_SEP
from django.utils.html import strip_tags
from django.utils.text import capfirst

from exports.admin.base import ModelAdmin
from exports.exporters.sensitive import is_sensitive_column
from exports.tabular.columns import Column

# The changelist shows it for a missing value unless the project says otherwise; a cell stays empty then.
DJANGO_EMPTY: Final = "-"
# Values that stay what they are, so that a spreadsheet can compute with them; all others become text.
TYPED: Final = (bool, int, float, Decimal, date, time, timedelta, UUID)

# Any: an entry of list_display is a name or a callable.
Entry = Any


def columns_of(model_admin: ModelAdmin, entries: Sequence[Entry], *, named: Sequence[str]) -> list[Column]:
    """Return the columns for entries of `list_display`, or Columns, each name once.

    Those that EXPORTS["SENSITIVE_FIELDS"] protects are left out unless they are `named`.
    """
    columns: dict[str, Column] = {}
    for entry in entries:
        column = entry if isinstance(entry, Column) else _column(model_admin, entry)
        if column.name in named or not is_sensitive_column(column):
            columns.setdefault(column.name, column)
    return list(columns.values())


def field_names(model: type[Model]) -> list[str]:
    """Return the names of all fields of a model that hold one value."""
    return [field.name for field in model._meta.concrete_fields]


def _column(model_admin: ModelAdmin, entry: Entry) -> Column:
    empty = _text(model_admin.get_empty_value_display())
    if empty == DJANGO_EMPTY and isinstance(entry, str):
        field = _field(model_admin, entry)
        if field is not None:
            has_labels = bool(field.flatchoices) and LOOKUP_SEP not in entry
            return Column(entry, display=has_labels or (field.is_relation and entry.rpartition("__")[2] == field.name))
    label, attribute = label_for_field(entry, model_admin.model, model_admin, return_attr=True)
    name = entry if isinstance(entry, str) else getattr(entry, "__name__", str(label))
    find: Callable[[Model], tuple[Any, Any, Any]] = partial(lookup_field, entry, model_admin=model_admin)
    is_of_model = isinstance(entry, str) and entry != "__str__" and not hasattr(model_admin, entry)
    if callable(attribute) and not is_of_model:
        # Looked up once, and not for each row.
        find = _calling(attribute)
    source = partial(_value, find, "" if empty == DJANGO_EMPTY else empty)
    kind = "boolean" if getattr(attribute, "boolean", False) else ""
    header = capfirst(" ".join(str(label).split()))
    return Column(name, header, kind=kind, source=source)


def _field(model_admin: ModelAdmin, entry: str) -> "Field[Any, Any] | None":
    """Return the field whose column in the database the changelist shows under this name, or None."""
    model = model_admin.model
    try:
        fields = get_fields_from_path(model, entry) if LOOKUP_SEP in entry else [model._meta.get_field(entry)]
    except FieldDoesNotExist:
        return None
    # The admin looks for methods only if there is no such field, and for paths last of all.
    if LOOKUP_SEP in entry and (hasattr(model_admin, entry) or hasattr(model, entry)):
        return None
    if not all(isinstance(field, Field) and (field.concrete or field.is_relation) for field in fields):
        return None
    last = cast("Field[Any, Any]", fields[-1])
    return None if last.many_to_many or not last.concrete else last


def _calling(function: Callable[[Model], object]) -> Callable[[Model], tuple[None, Any, object]]:
    """Return a function like `lookup_field` for a column that this one makes."""
    return lambda row: (None, function, function(row))


def _value(find: Callable[[Model], tuple[Any, Any, Any]], empty: str, row: Model) -> object:
    """Return what the changelist shows for a row, as a value: a number or a date stays one, HTML becomes text."""
    try:
        field, attribute, value = find(row)
    except ObjectDoesNotExist:
        return empty or None
    described = attribute.fget if isinstance(attribute, property) else attribute
    empty = _text(getattr(described, "empty_value_display", empty))
    if value in EMPTY_VALUES:
        return empty or None
    if getattr(described, "boolean", False):
        return bool(value)
    if choices := getattr(field, "flatchoices", None):
        return str(dict(choices).get(value, value))
    if isinstance(value, TYPED):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return _text(value)


def _text(value: object) -> str:
    return unescape(strip_tags(str(value))) if hasattr(value, "__html__") else str(value)
