"""All ways in which the rows of a queryset come to a writer."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.test import override_settings

from exports.exceptions import UnstorableQuerySet
from exports.exporters import stored_querysets
from exports.exporters.base import tables_of
from exports.exporters.sheets import Sheet
from exports.exporters.stored_rows import table_of_rows
from exports.exporters.tagged_json import from_json, to_json
from exports.tabular import writers
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.readers import django_internals
from exports.tabular.readers.resolve import is_callable
from exports.tabular.writers.pickling import picklable_batch


@dataclass(frozen=True)
class Way:
    """Rows as they were read in one way: the columns, the batches, and the rows that were counted before."""

    name: str
    columns: Sequence[Column]
    batches: Sequence[Any]
    count: int | None


def ways(
    queryset: QuerySet,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    *,
    size: int,
    zone: tzinfo,
    csv_options: Mapping[str, Any],
    misses_rows: bool,
    registry: Any,
) -> Iterator[Way]:
    """Yield every way; `rows` are the values of all columns, `size` is that of a batch."""
    plain = [column for column in columns if not is_callable(column)]
    dialect = writers.get("csv").dialect(csv_options, zone)
    exports = {**settings.EXPORTS, "BATCH_ROWS": size}
    with override_settings(EXPORTS={**exports, "STATEMENT_TIMEOUT_SECONDS": None}):
        instances = read("instances", queryset, columns)
        yield instances
        fastest = read("the fastest way", queryset, plain)
        yield fastest
        yield pickled(fastest)
        if dialect and connection.vendor == "postgresql":
            yield read("lines of CSV", queryset, plain, dialect)
        if not misses_rows:
            # Where a row is missing, this way finds out only that it has too few.
            with patch.object(django_internals, "CHECKED_VERSIONS", ()):
                yield read("values of the ORM", queryset, plain)
        with suppress(UnstorableQuerySet), patch.object(stored_querysets, "apps", registry):
            yield read("stored queryset", stored_querysets.load(stored_querysets.dump(queryset)), plain)
        yield from ways_of_rows(instances.columns, rows)
    if connection.vendor == "postgresql":
        with override_settings(EXPORTS={**exports, "STATEMENT_TIMEOUT_SECONDS": 60}):
            yield read("cursor", queryset, plain)


def read(name: str, rows: QuerySet | Sequence[Any], columns: Sequence[Column], dialect: Dialect | None = None) -> Way:
    with tables_of([Sheet("", rows, columns)], dialect=dialect) as [table]:
        return Way(name, table.columns, list(table.batches), table.total.rows)


def pickled(way: Way) -> Way:
    batches = [pickle.loads(pickle.dumps(picklable_batch(batch))) for batch in way.batches]
    return replace(way, name=f"{way.name}, in another process", batches=batches)


def ways_of_rows(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Iterator[Way]:
    """Yield the ways of rows that are no queryset."""
    names = [column.name for column in columns]
    named = [replace(column, source=None, display=False) for column in columns]
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    from_dicts = read("dicts", dicts, named)
    yield from_dicts
    yield pickled(from_dicts)
    yield read("tuples", list(map(tuple, rows)), named)
    # A value that cannot be stored is refused.
    with suppress(TypeError):
        stored = [to_json(row) for row in dicts]
        table = table_of_rows(map(from_json, stored), names, len(stored))
        yield Way("stored rows", table.columns, list(table.batches), table.total.rows)
