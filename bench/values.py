"""The rows as the ORM returns them, for other tools and for reading back."""

from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import chain, repeat

from django.db.models import QuerySet

from bench.cases import CALLABLE, CUSTOM_FIELD, CUSTOM_FIELDS, Case
from bench.rows.models import COLUMNS, Row, RowOfCustomFields, RowWithCustomField, TenColumns

CHUNK = 2_000
MODELS = {CUSTOM_FIELD: RowWithCustomField, CUSTOM_FIELDS: RowOfCustomFields}


def queryset_of(case: Case) -> QuerySet[TenColumns]:
    return MODELS.get(case.variant, Row).objects.order_by("pk")


def tuples(case: Case) -> Iterator[tuple]:
    """Stream typed values in the order of COLUMNS, with `label` instead of `name` for a case with a callable."""
    queryset = queryset_of(case)
    if case.variant != CALLABLE:
        return queryset.values_list(*COLUMNS).iterator(chunk_size=CHUNK)
    others = COLUMNS[2:]
    return (
        (row.id, row.label(), *(getattr(row, name) for name in others)) for row in queryset.iterator(chunk_size=CHUNK)
    )


def held(case: Case) -> Callable[[], Iterator[tuple]]:
    """Return a function that yields `rows` rows from memory, repeating the `rows_read` that are read once."""
    rows = list(Row.objects.order_by("pk").values_list(*COLUMNS))
    return lambda: chain.from_iterable(repeat(rows, case.rows // len(rows)))


def import_arrow() -> None:
    """Import pyarrow and what its first array imports: pandas, if it is installed."""
    import pyarrow.parquet

    pyarrow.array([None])


def query() -> tuple[str, tuple]:
    """Return the SQL of the rows and its parameters."""
    return Row.objects.order_by("pk").values_list(*COLUMNS).query.sql_with_params()


def naive(row: tuple) -> tuple:
    """Return the row with its datetime in UTC and naive, as spreadsheets need it."""
    return (*row[:7], row[7].astimezone(UTC).replace(tzinfo=None), *row[8:])
