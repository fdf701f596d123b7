"""Complete declared columns from the model, and refuse columns that the rows of a queryset do not have."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models
from django.db.models import F, QuerySet
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.text import capfirst

from exports.exceptions import UnknownColumn
from exports.tabular.columns import Column
from exports.tabular.readers import django_internals

# Any: the Python type of a field's values does not matter here.
AnyField: TypeAlias = "models.Field[Any, Any] | ForeignObjectRel"
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


def resolve(queryset: QuerySet[Any], columns: Sequence[Column]) -> list[Column]:
    """Return the columns with their kind, header (from verbose_name) and decimal places where these are not declared.

    The header of a path through relations has all their names: "Customer name". A column with `display` is text, a
    field with choices has the kind of its stored value.

    Raises UnknownColumn, with similar names, for a path that does not exist, that has many values a row, or that is not
    among the values of this queryset; and for a relation unless the column says what to show of it.
    """
    return [_resolve(queryset, column) for column in columns]


# Any: the stubs do not say which fields have choices, a target or an attname.
def display_field(queryset: QuerySet[Any], column: Column) -> Any:
    """Return the relation or the field with choices that a column displays, None for a column without `display`."""
    if not column.display:
        return None
    fields = [] if path_of(column) in queryset.query.annotations else _fields(queryset, column)
    last: Any = fields[-1] if len(fields) == len(path_of(column).split("__")) else None
    if last is None or not (last.is_relation or last.flatchoices):
        raise UnknownColumn(f"Column {column.name!r}: display=True is for relations and for fields with choices.")
    return last


def resolve_for_rows(columns: Sequence[Column]) -> list[Column]:
    """Return the columns of rows that are no queryset, with their headers. Raises UnknownColumn for expressions."""
    for column in columns:
        if column.display:
            raise UnknownColumn(f"Column {column.name!r}: display=True is for rows of a model.")
        if is_expression(column):
            raise UnknownColumn(
                f"Column {column.name!r}: its source is an expression, which a database computes, and these rows come "
                "from Python. Use a callable, which takes the row."
            )
    return [_complete(column) for column in columns]


def path_of(column: Column) -> str:
    """Return the ORM path of a column."""
    return column.name if column.source is None else str(column.source)


def is_expression(column: Column) -> bool:
    """Return True if the source is a Django expression."""
    return hasattr(column.source, "resolve_expression")


def is_callable(column: Column) -> bool:
    """Return True if the source is a callable that takes a model instance."""
    return callable(column.source) and not is_expression(column)


def has_values(queryset: QuerySet[Any]) -> bool:
    """Return True if the rows are values() or values_list(), not instances."""
    return not queryset.query.default_cols


def value_names(queryset: QuerySet[Any]) -> list[str]:
    """Return the names of the values in each row of a values() queryset, in order."""
    query = queryset.query
    return [*query.extra_select, *query.values_select, *query.annotation_select]


def free_alias(queryset: QuerySet[Any], number: int = 0) -> str:
    """Return a name for an annotation that neither the model nor the queryset uses."""
    taken = {*_field_names(queryset.model), *queryset.query.annotations, *queryset.query.extra}
    alias = f"export_{number}"
    while alias in taken:
        alias = f"x{alias}"
    return alias


def _resolve(queryset: QuerySet[Any], column: Column) -> Column:
    path = path_of(column)
    if has_values(queryset):
        if is_callable(column):
            raise UnknownColumn(
                f"Column {column.name!r} is made from a model instance, but this queryset gives values."
            )
        names = value_names(queryset)
        if is_expression(column) or path not in names:
            raise unknown_column(column, path, "values of this queryset", names)
    if is_callable(column) or path in queryset.query.extra_select:
        return _complete(column)
    if is_expression(column):
        if queryset.query.combinator:
            raise UnknownColumn(f"Column {column.name!r}: expressions cannot be computed over a union.")
        try:
            return _complete(column, kind=_kind(_output_field(queryset, column, column.source)))
        except FieldError as error:
            raise UnknownColumn(f"Column {column.name!r}: {error}") from error
    displayed = display_field(queryset, column)
    fields = _fields(queryset, column)
    if len(fields) == len(path.split("__")):
        last: Any = fields[-1]
        if last.is_relation and not displayed:
            if path.split("__")[-1] == last.name and not has_values(queryset):
                raise _ambiguous_relation(column, last)
            fields.append(key_of(last))
        places = last.decimal_places if isinstance(last, models.DecimalField) else None
        named = (field.related_model._meta if isinstance(field, ForeignObjectRel) else field for field in fields)
        header = " ".join(str(each.verbose_name) for each in named)
        return _complete(column, kind="text" if displayed else _kind(last), header=header, places=places)
    kind = _kind(_computed_field(queryset, column, fields))
    # A key of a JSON field may hold any type.
    return _complete(column, kind="" if kind == "json" else kind)


def _complete(column: Column, *, kind: str = "", header: str = "", places: int | None = None) -> Column:
    if column.kind not in ("", kind):
        places = None
    words = " ".join(filter(None, column.name.split("_")))
    return replace(
        column,
        kind=column.kind or kind,
        header=str(column.header or capfirst(header or words)),
        format=column.format or ("" if places is None else f"{0:.{places}f}"),
        places=places if column.places is None else column.places,
    )


def _fields(queryset: QuerySet[Any], column: Column) -> list[AnyField]:
    """Return the fields along the path, up to the first name that is not a field."""
    fields: list[AnyField] = []
    model: Model | None = queryset.model
    for name in path_of(column).split("__"):
        if model is None:
            break
        try:
            field: Any = model._meta.pk if name == "pk" else model._meta.get_field(name)
        except FieldDoesNotExist:
            break
        if field.is_relation and field.related_model is None:
            raise UnknownColumn(
                f"Column {column.name!r}: {field.name!r} leads to objects of any model. Use a callable as the source."
            )
        # The rows of values() are as many as its joins make.
        if (field.one_to_many or field.many_to_many) and not has_values(queryset):
            raise UnknownColumn(
                f"Column {column.name!r}: {field.name!r} has many values for each row. "
                "Use an aggregate or a callable as the source."
            )
        fields.append(field)
        model = field.related_model
    return fields


def _computed_field(queryset: QuerySet[Any], column: Column, fields: Sequence[AnyField]) -> AnyField:
    """Return the output field of a path that is an annotation, or that ends in transforms or keys of JSON."""
    path, query = path_of(column), queryset.query
    if path in query.annotations:
        return query.annotations[path].output_field
    unknown = path.split("__")[len(fields)]
    if query.combinator:
        raise unknown_column(column, unknown, queryset.model.__name__, _field_names(queryset.model))
    try:
        return _output_field(queryset, column, F(path))
    except FieldError as error:
        if not fields:
            names = [*_field_names(queryset.model), *query.annotations]
            raise unknown_column(column, unknown, queryset.model.__name__, names) from error
        owner: Any = fields[-1].related_model
        owner_name = owner.__name__ if owner else path.rpartition(f"__{unknown}")[0]
        raise unknown_column(column, unknown, owner_name, _field_names(owner) if owner else []) from error


def key_of(relation: Any) -> "models.Field[Any, Any]":
    """Return the field of the related model whose values a relation has."""
    field: models.Field[Any, Any] = getattr(relation, "target_field", None) or relation.related_model._meta.pk
    return field


def _ambiguous_relation(column: Column, relation: Any) -> UnknownColumn:
    path, model = path_of(column), relation.related_model
    stem = path.removesuffix(relation.name)
    key = f"{stem}{relation.attname}" if hasattr(relation, "attname") else f"{path}__{model._meta.pk.name}"
    plain = [field.name for field in model._meta.concrete_fields if not (field.primary_key or field.is_relation)]
    example = f"{path}__{(plain or ['pk'])[0]}"
    return UnknownColumn(
        f"Column {column.name!r} is a relation. Say what to export: display=True for str() of the {model.__name__}, "
        f"{key!r} for its key, or a path to one of its fields, such as {example!r}."
    )


def _output_field(queryset: QuerySet[Any], column: Column, expression: Any) -> AnyField:
    # Any: expressions have no common type in Django.
    alias = free_alias(queryset)
    query = queryset.annotate(**{alias: expression}).query
    annotation = query.annotations[alias]
    if not annotation.contains_aggregate and django_internals.adds_rows(queryset.query, query):
        raise UnknownColumn(
            f"Column {column.name!r}: its source has many values for each row. Use an aggregate or a Subquery."
        )
    field: AnyField = annotation.output_field
    return field


def unknown_column(column: Column, name: str, owner: str, known: Collection[str]) -> UnknownColumn:
    """Return the error for a column whose source asks `owner` for a `name` that is not among the `known` ones."""
    close = get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(known) or 'nothing'}."
    return UnknownColumn(f"Column {column.name!r}: there is no {name!r} in {owner}. {hint}")


def _field_names(model: Model) -> list[str]:
    names = {name for field in model._meta.get_fields() for name in (field.name, getattr(field, "attname", None))}
    return sorted(filter(None, names))


def _kind(field: "AnyField | None") -> str:
    # The values of a relation are keys of the related model, those of a generated field its result.
    if isinstance(field, ForeignObjectRel):
        return _kind(field.related_model._meta.pk)
    if isinstance(field, models.ForeignKey):
        return _kind(field.target_field)
    if isinstance(field, models.GeneratedField):
        return _kind(field.output_field)
    return next((kind for base, kind in KINDS_OF_FIELDS if isinstance(field, base)), "")
