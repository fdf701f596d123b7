"""Declared columns against the model: what a column left open is filled in, what leads nowhere is named."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models
from django.db.models import F, QuerySet
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.text import capfirst

from exports.exceptions import UnknownColumn
from exports.tabular.columns import Column

AnyField = models.Field | ForeignObjectRel
Model = type[models.Model]

# In this order: a DateTimeField is a DateField.
KINDS_OF_FIELDS = (
    (models.BooleanField, "boolean"),
    (models.DecimalField, "decimal"),
    (models.FloatField, "float"),
    (models.IntegerField, "integer"),
    (models.DateTimeField, "datetime"),
    (models.DateField, "date"),
    (models.TimeField, "time"),
    (models.DurationField, "duration"),
    (models.JSONField, "json"),
    (models.UUIDField, "uuid"),
    ((models.CharField, models.TextField, models.GenericIPAddressField, models.FileField), "text"),
)


def resolve(queryset: QuerySet, columns: Sequence[Column]) -> list[Column]:
    """The same columns with what they left open: kind, header (from verbose_name) and the decimal places of a number.

    A path through relations has the names of them all as its header: "Customer name". A relation has the kind of its
    key, a field with choices that of its stored value.

    Raises UnknownColumn, with the names that come close, for a path that leads nowhere, that has many values a row, or
    that this queryset's rows do not have.
    """
    return [_resolved(queryset, column) for column in columns]


def path_of(column: Column) -> str:
    return column.name if column.source is None else str(column.source)


def is_expression(column: Column) -> bool:
    return hasattr(column.source, "resolve_expression")


def is_callable(column: Column) -> bool:
    return callable(column.source) and not is_expression(column)


def has_values(queryset: QuerySet) -> bool:
    """Whether the rows are values() or the like, not instances."""
    return not queryset.query.default_cols


def value_names(queryset: QuerySet) -> list[str]:
    """The names of the values of each row of a values() queryset, in order."""
    query = queryset.query
    return [*query.extra_select, *query.values_select, *query.annotation_select]


def free_alias(queryset: QuerySet, number: int = 0) -> str:
    """A name for an annotation that the model and the queryset do not have."""
    taken = {*_field_names(queryset.model), *queryset.query.annotations, *queryset.query.extra}
    alias = f"export_{number}"
    while alias in taken:
        alias = f"x{alias}"
    return alias


def _resolved(queryset: QuerySet, column: Column) -> Column:
    if is_callable(column):
        return _resolved_callable(queryset, column)
    if has_values(queryset):
        return _resolved_value(queryset, column)
    if is_expression(column):
        return _completed(column, kind=_kind(_output_field(queryset, column, column.source)))
    return _resolved_path(queryset, column)


def _resolved_callable(queryset: QuerySet, column: Column) -> Column:
    if has_values(queryset):
        raise UnknownColumn(f"Column {column.name!r} is made from a model instance, but this queryset gives values.")
    return _completed(column)


def _resolved_value(queryset: QuerySet, column: Column) -> Column:
    names = value_names(queryset)
    if is_expression(column) or path_of(column) not in names:
        raise _unknown(column, path_of(column), "values of this queryset", names)
    return _resolved_path(queryset, column)


def _resolved_path(queryset: QuerySet, column: Column) -> Column:
    if path_of(column) in queryset.query.extra_select:
        return _completed(column)
    fields = _fields(queryset.model, column)
    if len(fields) == len(path_of(column).split("__")):
        return _completed(column, kind=_kind(fields[-1]), header=_header(fields), places=_places(fields[-1]))
    kind = _kind(_computed_field(queryset, column, fields))
    # What stands at a key of a JSON field has any type.
    return _completed(column, kind="" if kind == "json" else kind)


def _completed(column: Column, *, kind: str = "", header: str = "", places: int | None = None) -> Column:
    if column.kind not in ("", kind):
        places = None
    return replace(
        column,
        kind=column.kind or kind,
        header=str(column.header or capfirst(header or _spoken(column.name))),
        format=column.format or ("" if places is None else f"{0:.{places}f}"),
        places=places if column.places is None else column.places,
    )


def _spoken(name: str) -> str:
    return " ".join(filter(None, name.split("_")))


def _fields(model: Model | None, column: Column) -> list[AnyField]:
    """The fields along the path, as far as its names are fields; transforms and annotations are not."""
    fields: list[AnyField] = []
    for name in path_of(column).split("__"):
        field = _field(model, name)
        if field is None:
            break
        _check_single(column, field)
        fields.append(field)
        model = field.related_model
    return fields


def _field(model: Model | None, name: str) -> AnyField | None:
    try:
        return model and (model._meta.pk if name == "pk" else model._meta.get_field(name))
    except FieldDoesNotExist:
        return None


def _check_single(column: Column, field: AnyField) -> None:
    if field.one_to_many or field.many_to_many:
        raise UnknownColumn(
            f"Column {column.name!r}: {field.name!r} has many values for each row. "
            "Use an aggregate or a callable as the source."
        )


def _computed_field(queryset: QuerySet, column: Column, fields: Sequence[AnyField]) -> models.Field:
    """The output field of a path that is an annotation, or that ends in transforms or keys of JSON."""
    path = path_of(column)
    if path in queryset.query.annotations:
        return queryset.query.annotations[path].output_field
    owner = fields[-1].related_model if fields else queryset.model
    lost = path.split("__")[len(fields)]
    if queryset.query.combinator:
        raise _unknown(column, lost, queryset.model.__name__, _field_names(queryset.model))
    try:
        return _annotation(queryset, F(path)).output_field
    except FieldError as error:
        known = _field_names(owner) if owner else []
        owned_by = owner.__name__ if owner else path_of(column).rpartition(f"__{lost}")[0]
        raise _unknown(column, lost, owned_by, [*known, *([] if fields else queryset.query.annotations)]) from error


def _output_field(queryset: QuerySet, column: Column, expression: object) -> models.Field:
    if queryset.query.combinator:
        raise UnknownColumn(f"Column {column.name!r}: expressions cannot be computed over a union.")
    try:
        return _annotation(queryset, expression).output_field
    except FieldError as error:
        raise UnknownColumn(f"Column {column.name!r}: {error}") from error


def _annotation(queryset: QuerySet, expression: object) -> models.Expression:
    alias = free_alias(queryset)
    return queryset.annotate(**{alias: expression}).query.annotations[alias]


def _unknown(column: Column, name: str, owner: str, known: Collection[str]) -> UnknownColumn:
    close = get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(known) or 'nothing'}."
    return UnknownColumn(f"Column {column.name!r}: there is no {name!r} in {owner}. {hint}")


def _field_names(model: Model) -> list[str]:
    names = {name for field in model._meta.get_fields() for name in (field.name, getattr(field, "attname", None))}
    return sorted(filter(None, names))


def _kind(field: AnyField) -> str:
    content = _content(field)
    return next((kind for base, kind in KINDS_OF_FIELDS if isinstance(content, base)), "")


def _content(field: AnyField) -> AnyField:
    """What the column really holds: of a relation the key that it refers to, of a generated field its result."""
    if isinstance(field, ForeignObjectRel):
        return _content(field.related_model._meta.pk)
    if isinstance(field, models.ForeignKey):
        return _content(field.target_field)
    return _content(field.output_field) if isinstance(field, models.GeneratedField) else field


def _header(fields: Sequence[AnyField]) -> str:
    names = (field.related_model._meta if isinstance(field, ForeignObjectRel) else field for field in fields)
    return " ".join(str(named.verbose_name) for named in names)


def _places(field: AnyField) -> int | None:
    return field.decimal_places if isinstance(field, models.DecimalField) else None
