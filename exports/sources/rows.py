"""The rows, read in batches, in an order that is the same every time, all of one moment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from operator import attrgetter

from django.core.exceptions import FieldDoesNotExist
from django.db import connections, transaction
from django.db.models import F, Model, QuerySet

from exports.cells import Column
from exports.sources.columns import (
    free_alias,
    has_values,
    is_callable,
    is_expression,
    path_of,
    resolve,
    value_names,
)

Batch = list[Sequence[object]]
Transpose = Callable[[list], Batch]


def count(queryset: QuerySet) -> int:
    """How many rows `batches` gives: slices, distinct and unions are taken into account."""
    return queryset.count()


def batches(queryset: QuerySet, columns: Sequence[Column], *, size: int = 2000) -> Iterator[Batch]:
    """The rows in batches of at most `size`, each a list with one sequence of values for each column.

    The order is the queryset's, with the primary key to decide between equals; rows of values() without an order are
    sorted by all their values. A slice or a union keeps the order that the database gives it.

    The rows are read as tuples, or as instances where a source is a callable (called once a row; prefetch_related
    works) or where tuples would merge rows. Related objects on a path are joined, except in a union.

    All rows are of one moment (`snapshot`), so on PostgreSQL this thread cannot write to that database until the
    generator has ended or is closed. Raises UnknownColumn at the first row.
    """
    rows, transpose = _plan(_ordered(queryset), resolve(queryset, columns))
    with snapshot(queryset.db), closing(rows.iterator(chunk_size=size)) as iterator:
        while chunk := list(islice(iterator, size)):
            yield transpose(chunk)


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Within it, PostgreSQL reads one moment: a transaction that is REPEATABLE READ, READ ONLY.

    Inside a transaction of the caller's it just reads, and so it does elsewhere: on SQLite one open SELECT is a
    snapshot already, and a transaction might hold the only lock for writing.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _ordered(queryset: QuerySet) -> QuerySet:
    query = queryset.query
    if query.is_sliced or query.combinator or query.extra_order_by:
        return queryset
    if has_values(queryset):
        return queryset if queryset.ordered else queryset.order_by(*value_names(queryset))
    return queryset.order_by(*_order(queryset), "pk")


def _order(queryset: QuerySet) -> Sequence[object]:
    if not queryset.ordered:
        return queryset.query.distinct_fields
    return queryset.query.order_by or queryset.model._meta.ordering


def _plan(queryset: QuerySet, columns: Sequence[Column]) -> tuple[QuerySet, Transpose]:
    if has_values(queryset):
        return _as_values(queryset, columns)
    if any(map(is_callable, columns)) or _merges_tuples(queryset):
        return _as_instances(queryset, columns)
    return _as_tuples(queryset, columns)


def _merges_tuples(queryset: QuerySet) -> bool:
    """Whether rows that are equal in the chosen columns would become one row."""
    query = queryset.query
    return bool(query.combinator) or (query.is_sliced and query.distinct)


def _as_values(queryset: QuerySet, columns: Sequence[Column]) -> tuple[QuerySet, Transpose]:
    # All of the queryset's own values are read: fewer would change its groups, or what it finds distinct.
    names = value_names(queryset)
    places = [names.index(path_of(column)) for column in columns]

    def transpose(chunk: list[tuple]) -> Batch:
        values = list(zip(*chunk, strict=True))
        return [values[place] for place in places]

    return queryset.values_list(*names).prefetch_related(None), transpose


def _as_tuples(queryset: QuerySet, columns: Sequence[Column]) -> tuple[QuerySet, Transpose]:
    aliases = _aliases(queryset, columns)
    expressions = {
        alias: _expression(column) for alias, column in aliases if is_expression(column) or _is_hidden(queryset, column)
    }
    names = [alias if alias in expressions else path_of(column) for alias, column in aliases]
    rows = queryset.annotate(**expressions).values_list(*names).prefetch_related(None)
    return rows, lambda chunk: list(zip(*chunk, strict=True))


def _as_instances(queryset: QuerySet, columns: Sequence[Column]) -> tuple[QuerySet, Transpose]:
    aliases = _aliases(queryset, columns)
    # Every path is an annotation, so that neither a relation nor a deferred field costs a query for each row.
    expressions = {alias: _expression(column) for alias, column in aliases if _can_be_annotation(queryset, column)}
    getters = [attrgetter(alias) if alias in expressions else _getter(queryset, column) for alias, column in aliases]
    return queryset.annotate(**expressions) if expressions else queryset, lambda chunk: [
        [getter(row) for row in chunk] for getter in getters
    ]


def _aliases(queryset: QuerySet, columns: Sequence[Column]) -> list[tuple[str, Column]]:
    return [(free_alias(queryset, number), column) for number, column in enumerate(columns)]


def _expression(column: Column) -> object:
    return column.source if is_expression(column) else F(path_of(column))


def _is_hidden(queryset: QuerySet, column: Column) -> bool:
    """Whether the path is an alias(), which can be read only as an annotation."""
    query = queryset.query
    return path_of(column) in query.annotations and path_of(column) not in query.annotation_select


def _can_be_annotation(queryset: QuerySet, column: Column) -> bool:
    query = queryset.query
    return not (query.combinator or is_callable(column) or path_of(column) in query.extra_select)


def _getter(queryset: QuerySet, column: Column) -> Callable[[Model], object]:
    if is_callable(column):
        return column.source
    *relations, name = path_of(column).split("__")
    return lambda row: _followed(row, relations, name)


def _followed(row: Model | None, relations: Sequence[str], name: str) -> object:
    for relation in relations:
        row = getattr(row, relation, None)
    return None if row is None else getattr(row, _attribute(row, name))


def _attribute(row: Model, name: str) -> str:
    """Of a foreign key the attribute with the key, so that the related object is not read."""
    try:
        return getattr(row._meta.get_field(name), "attname", name)
    except FieldDoesNotExist:
        return name
