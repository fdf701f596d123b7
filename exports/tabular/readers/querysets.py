"""The rows, read in batches, in an order that is the same every time, all of one moment."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from exports.conf import config
from exports.exceptions import QueryTooSlow
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.plan import Plan, plan_of
from exports.tabular.readers import postgresql, sql_csv
from exports.tabular.readers.resolve import has_values, value_names
from exports.tabular.readers.strategies import Batch, read


def count(queryset: QuerySet) -> int:
    """How many rows `batches` gives: slices, distinct and unions are taken into account."""
    return queryset.count()


def estimate(queryset: QuerySet) -> int | None:
    """About how many rows `batches` gives, as PostgreSQL's planner thinks; None on other databases."""
    if connections[queryset.db].vendor != "postgresql":
        return None
    plan = queryset.explain(format="json")
    return json.loads(plan)[0]["Plan"]["Plan Rows"] if plan else 0


def batches(
    queryset: QuerySet, columns: Sequence[Column], *, size: int = 500, dialect: Dialect | None = None
) -> Iterator[Batch]:
    """The rows in batches of at most `size`, each a sequence of columns: of values, or RawColumn of `tabular.cells`.

    The order is the queryset's, with the primary key to decide between equals; rows of values() without an order are
    sorted by all their values. A slice or a union keeps the order that the database gives it.

    The rows come by the fastest strategy that gives what the ORM would (docs/read-strategies.md; `plan` says which): as
    COPY's text, as tuples, or as instances where a source is a callable (called once a row; prefetch_related works) or
    where tuples would merge rows. Related objects on a path are joined, except in a union. A batch may make its columns
    when they are asked for: ask for each one once. With a `dialect` it may be a SqlCsvBatch, where PostgreSQL can
    write the lines of CSV by itself.

    All rows are of one moment (`snapshot`), so on PostgreSQL this thread cannot write to that database until the
    generator has ended or is closed, and on the strategy "copy" it cannot read from it either. Raises UnknownColumn at
    the first row.
    """
    alias = queryset.db
    quick = postgresql.quick_moments(connections[alias])
    with snapshot(alias), quick, closing(read(plan(queryset.using(alias), columns, dialect), size)) as found:
        yield from found


def plan(queryset: QuerySet, columns: Sequence[Column], dialect: Dialect | None = None) -> Plan:
    """How `batches` would read these rows. Raises UnknownColumn."""
    found = plan_of(_ordered(queryset), columns)
    return found if dialect is None else sql_csv.rendered(found, dialect)


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Within it, all reading is of one moment; inside a transaction of the caller's it just reads.

    PostgreSQL has a transaction for it, REPEATABLE READ and READ ONLY, in which no statement takes longer than EXPORTS
    ["STATEMENT_TIMEOUT_SECONDS"] seconds: raises QueryTooSlow. SQLite's might hold the only lock for writing,
    but there a SELECT that is still open keeps the moment for all others of its connection.
    """
    connection = connections[alias]
    if connection.in_atomic_block or connection.vendor not in _MOMENTS:
        yield
        return
    with _MOMENTS[connection.vendor](connection):
        yield


@contextmanager
def _moment_of_postgresql(connection: BaseDatabaseWrapper) -> Iterator[None]:
    try:
        with transaction.atomic(using=connection.alias):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if config.STATEMENT_TIMEOUT_SECONDS:
                postgresql.bound_statements(connection, round(config.STATEMENT_TIMEOUT_SECONDS * 1000))
            yield
    except OperationalError as error:
        if postgresql.is_cancelled(error):
            raise QueryTooSlow(
                "The database ended the query. EXPORTS['STATEMENT_TIMEOUT_SECONDS'] bounds it."
            ) from error
        raise


@contextmanager
def _moment_of_sqlite(connection: BaseDatabaseWrapper) -> Iterator[None]:
    with connection.cursor() as cursor:
        # Of at least two rows one is read, so that it stays open.
        cursor.execute("SELECT 1 FROM sqlite_master LIMIT 2")
        yield


_MOMENTS: Final = {"postgresql": _moment_of_postgresql, "sqlite": _moment_of_sqlite}


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
