"""Rows of a queryset, as batches of columns.

The rows are those of the queryset: the choice of columns and the order never add, drop or merge one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from operator import attrgetter

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import connections, models, transaction
from django.db.models import F, QuerySet
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.text import capfirst

from exports.cells import Column
from exports.exceptions import UnknownColumn

AnyField = models.Field | ForeignObjectRel
Read = Callable[[list], list[Sequence[object]]]

# In this order: a DateTimeField is a DateField. Automatic and foreign keys have the kind of what they hold.
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
    """The same columns with what they left open: the kind, the header (from verbose_name) and the places of decimals.

    Raises UnknownColumn, with the names that come close, for a path that leads nowhere, to many values a row, or that
    the rows of this queryset do not have.
    """
    return [_resolved(queryset, column) for column in columns]


def count(queryset: QuerySet) -> int:
    """How many rows `batches` gives: slices, distinct and unions count."""
    return queryset.count()


def batches(queryset: QuerySet, columns: Sequence[Column], *, size: int = 2000) -> Iterator[list[Sequence[object]]]:
    """The rows in batches of at most `size`, each a list with one sequence of values for each column.

    The order is the queryset's, with the primary key to decide between equals, so that it is the same every time; a
    slice or a union without an order has the database's. The rows are read as tuples, or as model instances where a
    column's source is a callable (called once a row; prefetch_related works) or where tuples would merge rows. The path
    of a related object is joined, not queried row by row, except in a union.

    The rows are those of one moment, see `snapshot`; on PostgreSQL this thread cannot write to that database until the
    generator is finished or closed. Raises UnknownColumn.
    """
    rows, read = _plan(queryset, columns)
    with snapshot(queryset.db), closing(rows.iterator(chunk_size=size)) as iterator:
        while chunk := list(islice(iterator, size)):
            yield read(chunk)


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Within it, PostgreSQL reads one moment: a transaction that is REPEATABLE READ, READ ONLY.

    Inside a transaction of the caller's it just reads. So it does elsewhere: on SQLite one open SELECT is a snapshot
    already, and a transaction could hold the only lock for writing.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


# The declared columns


def _resolved(queryset: QuerySet, column: Column) -> Column:
    if _is_callable(column):
        _check_instances(queryset, column)
        return _completed(column)
    if _is_expression(column):
        return _completed(column, kind=_kind(_output_field(queryset, column, column.source)))
    return _resolved_path(queryset, column)


def _resolved_path(queryset: QuerySet, column: Column) -> Column:
    path = _path(column)
    if _has_values(queryset) and path not in _value_names(queryset):
        raise _unknown(column, path, f"the values of this {queryset.model.__name__} queryset", _value_names(queryset))
    fields, rest = _walk(queryset, column)
    if rest:
        return _completed(column, kind=_kind_of_rest(queryset, column, path))
    return _completed(column, kind=_kind(fields[-1]), header=_header(fields), format=_format(fields[-1]))


def _completed(column: Column, *, kind: str = "", header: str = "", format: str = "") -> Column:
    header = header or column.name.replace("__", " ").replace("_", " ")
    return replace(
        column,
        kind=column.kind or kind,
        header=str(column.header or capfirst(header)),
        format=column.format or (format if column.kind in ("", kind) else ""),
    )


def _path(column: Column) -> str:
    return column.name if column.source is None else str(column.source)


def _is_expression(column: Column) -> bool:
    return hasattr(column.source, "resolve_expression")


def _is_callable(column: Column) -> bool:
    return callable(column.source) and not _is_expression(column)


def _has_values(queryset: QuerySet) -> bool:
    """Whether the queryset gives values() or the like, not instances."""
    return not queryset.query.default_cols


def _value_names(queryset: QuerySet) -> list[str]:
    query = queryset.query
    return [*query.extra_select, *query.values_select, *query.annotation_select]


def _check_instances(queryset: QuerySet, column: Column) -> None:
    if _has_values(queryset):
        raise UnknownColumn(f"Column {column.name!r} is made from an instance, but this queryset gives values.")


def _walk(queryset: QuerySet, column: Column) -> tuple[list[AnyField], list[str]]:
    """The fields along the path, and the names after the last field: transforms, keys of JSON, an annotation."""
    names = _path(column).split("__")
    fields: list[AnyField] = []
    model = queryset.model
    while names and model is not None:
        found = _field(model, names[0])
        if found is None:
            _check_rest(queryset, column, model, names)
            break
        fields.append(found)
        model = _next_model(column, found)
        names = names[1:]
    return fields, names


def _field(model: type[models.Model], name: str) -> AnyField | None:
    try:
        return model._meta.pk if name == "pk" else model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _next_model(column: Column, field: AnyField) -> type[models.Model] | None:
    if field.one_to_many or field.many_to_many:
        raise UnknownColumn(
            f"Column {column.name!r} goes through {field.name!r}, which has many values a row. "
            "Give it an aggregate or a callable as its source."
        )
    return field.related_model


def _check_rest(queryset: QuerySet, column: Column, model: type[models.Model], names: list[str]) -> None:
    """A name that is no field may still be an annotation or a transform: the database layer knows."""
    path = _path(column)
    if path in queryset.query.extra_select or path in queryset.query.annotations:
        return
    try:
        queryset.query.chain().resolve_ref(path)
    except FieldError as error:
        known = [*_field_names(model), *queryset.query.annotations]
        raise _unknown(column, names[0], model.__name__, known) from error


def _field_names(model: type[models.Model]) -> list[str]:
    names = {name for field in model._meta.get_fields() for name in (field.name, getattr(field, "attname", None))}
    return sorted(filter(None, names))


def _unknown(column: Column, name: str, owner: str, known: Collection[str]) -> UnknownColumn:
    close = get_close_matches(name, known, n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known names: {', '.join(known)}."
    return UnknownColumn(f"Column {column.name!r}: {owner} has no {name!r}. {hint}")


def _output_field(queryset: QuerySet, column: Column, expression: object) -> models.Field:
    if queryset.query.combinator:
        raise UnknownColumn(f"Column {column.name!r}: a union cannot compute expressions.")
    try:
        return queryset.annotate(**{"export": expression}).query.annotations["export"].output_field
    except FieldError as error:
        raise UnknownColumn(f"Column {column.name!r}: {error}") from error


def _kind_of_rest(queryset: QuerySet, column: Column, path: str) -> str:
    if queryset.query.combinator or path in queryset.query.extra_select:
        return ""
    kind = _kind(_output_field(queryset, column, F(path)))
    # The value at a key of a JSON field is of any type.
    return "" if kind == "json" else kind


def _kind(field: AnyField) -> str:
    if field.is_relation:
        return _kind(_target(field))
    return next((kind for base, kind in KINDS_OF_FIELDS if isinstance(_content(field), base)), "")


def _target(field: AnyField) -> models.Field:
    """What a relation holds: the column that it refers to, or the primary key of the object behind it."""
    return field.related_model._meta.pk if isinstance(field, ForeignObjectRel) else field.target_field


def _content(field: models.Field) -> models.Field:
    return field.output_field if isinstance(field, models.GeneratedField) else field


def _header(fields: Sequence[AnyField]) -> str:
    return " ".join(str(_named(field).verbose_name) for field in fields)


def _named(field: AnyField) -> models.Field | models.options.Options:
    return field.related_model._meta if isinstance(field, ForeignObjectRel) else field


def _format(field: AnyField) -> str:
    places = getattr(field, "decimal_places", None)
    return "" if places is None else f"0.{'0' * places}".rstrip(".")
