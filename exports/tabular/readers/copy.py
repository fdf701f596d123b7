"""The strategy "copy": PostgreSQL's COPY, whose text is cut into columns without a Python object for each value."""

from collections.abc import Generator
from contextlib import closing

from django.db import connections

from exports.tabular.cells.raw_batches import CopyBatch
from exports.tabular.cells.sql_csv import SQL_LINE_START, SqlCsvBatch
from exports.tabular.plan import Plan
from exports.tabular.readers import psycopg_internals, sql_csv
from exports.tabular.readers.rows import Batch


def read(plan: Plan, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows: lines of CSV where the plan has a dialect, else values."""
    connection, dialect = connections[plan.queryset.db], plan.dialect
    options, row_start = ("", b"") if dialect is None else (sql_csv.copy_options(dialect), SQL_LINE_START)
    copied = psycopg_internals.copy_rows(connection, plan.sql, plan.params, size, options=options, row_start=row_start)
    with closing(copied) as blocks:
        for block in blocks:
            if dialect is None:
                # Within a value, COPY escapes a line feed.
                yield CopyBatch(block, block.count(b"\n"), plan.width, plan.positions, plan.decoders)
            else:
                yield SqlCsvBatch(block, block.count(SQL_LINE_START), plan.decoders, dialect.delimiter)
