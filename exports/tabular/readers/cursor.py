"""The strategy "cursor": rows of a database cursor or of values_list(), turned into columns a batch at a time."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

from django.db import connections

from exports.tabular.cells.error_places import note_cell
from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.plan import Plan
from exports.tabular.readers import psycopg_internals
from exports.tabular.readers.django_internals import apply_converters
from exports.tabular.readers.rows import Batch
from exports.tabular.readers.sqlite_types import checked_column


def read(plan: Plan, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows, as the database returned them."""
    if not plan.selected:
        yield from read_by_orm(plan, size)
        return
    connection = connections[plan.queryset.db]
    is_sqlite = connection.vendor == "sqlite"
    cursor = connection.cursor() if is_sqlite else psycopg_internals.text_cursor(connection, plan.text_oids)
    chosen = list(zip(plan.columns, plan.selected_by_column, plan.decoders, plan.positions, strict=True))
    rows_done = 0
    with closing(cursor):
        cursor.execute(plan.sql, plan.params)
        while rows := cursor.fetchmany(size):
            values = list(zip(*rows, strict=True))
            columns, decoders = [], []
            for column, selected, decoder, place in chosen:
                found: Sequence[Any] = values[place]
                try:
                    if is_sqlite:
                        found, decoder = checked_column(selected, found, connection)
                    elif not decoder:
                        found = apply_converters(selected.expression, selected.converters, found, connection)
                except Exception as error:
                    convert = partial(apply_converters, selected.expression, selected.converters, connection=connection)
                    note_cell(error, column, found, convert, rows_done)
                    raise
                columns.append(found)
                decoders.append(decoder or "value")
            yield CursorBatch(columns, decoders)
            rows_done += len(rows)


def read_by_orm(plan: Plan, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows, as the ORM converts them."""
    iterator: Any = plan.queryset.iterator(chunk_size=size)  # Any: a generator, which the stubs do not say.
    with closing(iterator) as rows:
        while chunk := list(islice(rows, size)):
            values = list(zip(*chunk, strict=True))
            yield [values[place] for place in plan.positions]
