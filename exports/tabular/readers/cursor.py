"""The strategy "cursor": rows of a database cursor or of values_list(), turned into columns a batch at a time."""

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.plan import Plan
from exports.tabular.readers import psycopg_internals
from exports.tabular.readers.django_internals import apply_converters
from exports.tabular.readers.rows import Batch
from exports.tabular.readers.sqlite_types import checked_column


def read(plan: Plan, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows."""
    if not plan.selected:
        yield from _read_tuples(plan, size)
        return
    connection = connections[plan.queryset.db]
    is_sqlite = connection.vendor == "sqlite"
    cursor = connection.cursor() if is_sqlite else psycopg_internals.text_cursor(connection, plan.text_oids)
    make_batch = _sqlite_batch if is_sqlite else _postgresql_batch
    with closing(cursor):
        cursor.execute(plan.sql, plan.params)
        while rows := cursor.fetchmany(size):
            yield make_batch(plan, list(zip(*rows, strict=True)), connection)


def _read_tuples(plan: Plan, size: int) -> Generator[Batch, None, None]:
    iterator: Any = plan.queryset.iterator(chunk_size=size)  # Any: a generator, which the stubs do not say.
    with closing(iterator) as rows:
        while chunk := list(islice(rows, size)):
            values = list(zip(*chunk, strict=True))
            yield [values[place] for place in plan.places]


def _sqlite_batch(plan: Plan, values: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> Batch:
    chosen = zip(plan.chosen, plan.places, strict=True)
    columns = [checked_column(selected, values[place], connection) for selected, place in chosen]
    return CursorBatch([column for column, _ in columns], [decoder for _, decoder in columns])


def _postgresql_batch(plan: Plan, values: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper) -> Batch:
    columns = [
        values[place]
        if selected.decoder
        else apply_converters(selected.expression, selected.converters, values[place], connection)
        for selected, place in zip(plan.chosen, plan.places, strict=True)
    ]
    return CursorBatch(columns, [decoder or "value" for decoder in plan.decoders])
