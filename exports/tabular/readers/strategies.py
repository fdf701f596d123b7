"""The strategies from the database to batches: each reads the rows of a plan."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet

from exports.tabular.cells.raw_batches import CopyBatch, CursorBatch
from exports.tabular.cells.sql_csv import SQL_LINE_START, SqlCsvBatch
from exports.tabular.plan import COPY, CURSOR, INSTANCES, Getter, Plan
from exports.tabular.readers import postgresql, sql_csv
from exports.tabular.readers.sqlite_types import converted, fetched

Batch = Sequence[Sequence[Any]]
# So many rows are made into columns at once: the fewer objects there are at a time, the quicker they are made.
PIECE: Final = 100


def read(plan: Plan, size: int) -> Iterator[Batch]:
    """The batches of a plan, of at most `size` rows. Closing it closes what it holds."""
    return STRATEGIES[plan.strategy](plan, size)


def _copied(plan: Plan, size: int) -> Iterator[Batch]:
    connection = connections[plan.queryset.db]
    batch, start = (_of_values, b"") if plan.dialect is None else (_of_lines, SQL_LINE_START)
    options = sql_csv.format_of(plan.dialect)
    with closing(postgresql.copied(connection, plan.sql, plan.params, size, options=options, start=start)) as blocks:
        for rows in blocks:
            yield batch(plan, rows)


def _of_values(plan: Plan, rows: bytes) -> Batch:
    # Within a value a line feed is escaped.
    return CopyBatch(rows, rows.count(b"\n"), plan.width, plan.places, plan.forms)


def _of_lines(plan: Plan, rows: bytes) -> Batch:
    return SqlCsvBatch(rows, rows.count(SQL_LINE_START), plan.forms, plan.dialect.delimiter)


def _fetched(plan: Plan, size: int) -> Iterator[Batch]:
    if not plan.selected:
        yield from _tuples(plan, size)
        return
    connection = connections[plan.queryset.db]
    batch = _of_sqlite if connection.vendor == "sqlite" else _of_postgresql
    with closing(_cursor(plan, connection)) as cursor:
        cursor.execute(plan.sql, plan.params)
        while rows := cursor.fetchmany(size):
            yield batch(plan, list(zip(*rows, strict=True)), connection)


def _cursor(plan: Plan, connection: BaseDatabaseWrapper) -> Any:
    if connection.vendor == "postgresql":
        return postgresql.text_cursor(connection, plan.text_types)
    return connection.cursor()


def _of_sqlite(plan: Plan, values: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> Batch:
    columns = [
        fetched(selected, values[place], connection) for selected, place in zip(plan.chosen, plan.places, strict=True)
    ]
    return CursorBatch([column for column, _ in columns], [form for _, form in columns])


def _of_postgresql(plan: Plan, values: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> Batch:
    columns = [
        values[place] if selected.form else converted(selected, values[place], connection)
        for selected, place in zip(plan.chosen, plan.places, strict=True)
    ]
    return CursorBatch(columns, [form or "value" for form in plan.forms])


def _tuples(plan: Plan, size: int) -> Iterator[Batch]:
    """Rows that the ORM makes, a tuple each."""
    with closing(plan.queryset.iterator(chunk_size=size)) as rows:
        while chunk := list(islice(rows, size)):
            values = list(zip(*chunk, strict=True))
            yield [values[place] for place in plan.places]


def _instances(plan: Plan, size: int) -> Iterator[Batch]:
    with closing(plan.queryset.iterator(chunk_size=_chunk(plan.queryset, size))) as rows:
        while (batch := _columns(plan.getters, islice(rows, size)))[0]:
            yield batch


def _chunk(queryset: QuerySet, size: int) -> int:
    """How many rows are asked for at once: few where asking costs nothing, neither a round trip nor prefetching."""
    is_free = connections[queryset.db].vendor == "sqlite" and not queryset._prefetch_related_lookups
    return min(size, PIECE) if is_free else size


def _columns(getters: Sequence[Getter], rows: Iterator[Model]) -> list[list[object]]:
    columns: list[list[object]] = [[] for _ in getters]
    # What the database has comes first, because a callable may change its instance.
    order = sorted(range(len(getters)), key=lambda place: not isinstance(getters[place], attrgetter))
    while piece := list(islice(rows, PIECE)):
        for place in order:
            columns[place] += map(getters[place], piece)
    return columns


STRATEGIES: Final[dict[str, Callable[[Plan, int], Iterator[Batch]]]] = {
    COPY: _copied,
    CURSOR: _fetched,
    INSTANCES: _instances,
}
