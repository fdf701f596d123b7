"""The rows as the ORM gives them, for the peers and for reading back."""

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
    """Typed values in the order of COLUMNS, streamed; `label` in place of `name` where the case has a callable."""
    queryset = queryset_of(case)
    if case.variant != CALLABLE:
        return queryset.values_list(*COLUMNS).iterator(chunk_size=CHUNK)
    others = COLUMNS[2:]
    return (
        (row.id, row.label(), *(getattr(row, name) for name in others)) for row in queryset.iterator(chunk_size=CHUNK)
    )


def held(case: Case) -> Callable[[], Iterator[tuple]]:
    """The rows of a case that writes from memory: `rows_read` of them, again and again until there are `rows`."""
    rows = list(Row.objects.order_by("pk").values_list(*COLUMNS))
    return lambda: chain.from_iterable(repeat(rows, case.rows // len(rows)))


def import_arrow() -> None:
    """Import pyarrow and all that its first array imports: where pandas is installed, that too."""
    import pyarrow.parquet

    pyarrow.array([None])


def query() -> tuple[str, tuple]:
    """The SQL of the rows, and its parameters."""
    return Row.objects.order_by("pk").values_list(*COLUMNS).query.sql_with_params()


def naive(row: tuple) -> tuple:
    """The row with a moment that spreadsheets know: UTC, without saying so."""
    return (*row[:7], row[7].astimezone(UTC).replace(tzinfo=None), *row[8:])
