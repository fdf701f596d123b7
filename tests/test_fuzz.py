"""Random models, querysets and columns: whatever way the rows are read, each format has the cells of the reference.

FUZZ_SEED chooses other examples than the usual ones, FUZZ_CASES how many.
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from itertools import chain
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings as django_settings
from django.db import connection, models
from django.db.models import functions
from django.db.utils import DatabaseError, NotSupportedError
from django.core.exceptions import FieldError
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, note, reject, seed, settings
from hypothesis import strategies as st
import datetime, decimal

from exports.exceptions import ExportError, FormulaRejected, UnfitValue, UnstorableQuerySet
from exports.exporters import stored_querysets
from exports.exporters.base import table_of
from exports.exporters.stored_rows import table_of_rows
from exports.exporters.tagged_json import from_json, to_json
from exports.tabular import writers
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.cells.sql_csv import Dialect, SqlCsvBatch
from exports.tabular.columns import Column
from exports.tabular.readers import django_internals
from exports.tabular.writers.pickling import picklable_batch
from tests.cell_values import ZONES
from tests.fuzz.files import FORMATS, Rejected, expected_column, found_columns
from tests.fuzz.models import tables
from tests.fuzz.querysets import Case, cases
from tests.reference.parquet import Unfit
from tests.reference.rows import rows_of
from tests.written import written_and_counted

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.django_db(transaction=True),
    # A failing example may be long.
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

SEED, CASES = int(os.environ.get("FUZZ_SEED", "1")), int(os.environ.get("FUZZ_CASES", "60"))
CASES_IN_A_TEST = 20
# To shrink an example takes minutes.
PHASES = [Phase.generate, Phase.shrink] if "FUZZ_SHRINK" in os.environ else [Phase.generate]


@dataclass(frozen=True)
class Way:
    """Rows as they were read in one way: the columns, the batches, and the count that was taken before."""

    name: str
    columns: Sequence[Column]
    batches: Sequence[Any]
    count: int | None


@pytest.mark.parametrize("number", range(CASES // CASES_IN_A_TEST))
def test_every_way_gives_the_rows_and_cells_of_the_reference(number):
    @seed(SEED * 1_000_000 + number)
    @settings(
        max_examples=CASES_IN_A_TEST,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
        report_multiple_bugs=False,
    )
    @given(
        cases(),
        st.sampled_from(ZONES),
        st.sampled_from(",;\t"),
        st.sampled_from(["escape", "escape", "raw", "reject"]),
        st.integers(1, 7) | st.just(500),
    )
    def check_cases(case, zone, delimiter, formulas, size):
        with tables(case.world) as made:
            check(case, made, zone, delimiter, formulas, size)

    try:
        check_cases()
    except BaseException as error:
        database = ".venv/bin/python -m tests.servers " if connection.vendor == "postgresql" else ""
        error.add_note(
            f"Repeat: FUZZ_SHRINK=1 FUZZ_SEED={SEED} FUZZ_CASES={CASES} {database}.venv/bin/python -m pytest 'tests/test_fuzz.py' -k '[{number}]'"
        )
        raise


def check(case: Case, made: SimpleNamespace, zone: tzinfo, delimiter: str, formulas: str, size: int) -> None:
    names = {**vars(models), **vars(functions), **vars(datetime), **vars(decimal), **vars(made), "Column": Column}
    queryset = eval(case.queryset, names)
    columns = [eval(column, names) for column in case.columns]
    keys = [row["pk"] for row in case.world.rows]
    for number, (kind, number_format, values) in enumerate(case.calculated):
        by_key = dict(zip(keys, values * case.world.repeated, strict=True))
        columns.append(
            Column(
                f"calculated {number}",
                kind=kind,
                format=number_format,
                source=lambda row, by_key=by_key: by_key[row.pk],
            )
        )
    sources = [column.name if column.source is None else column.source for column in columns]
    try:
        expected = rows_of(queryset.all(), sources)
    except (DatabaseError, FieldError, TypeError) as error:
        note(f"Django: {error}")
        reject()
    for way in ways(queryset, columns, size, Dialect(delimiter, zone), made, case.world.misses_rows):
        check_way(way, columns, expected, zone, delimiter, formulas)


def ways(
    queryset, columns: Sequence[Column], size: int, dialect: Dialect, made: SimpleNamespace, misses_rows: bool
) -> Iterator[Way]:
    exact = {**django_settings.EXPORTS, "BATCH_ROWS": size, "STATEMENT_TIMEOUT_SECONDS": None}
    plain = [
        column for column in columns if not callable(column.source) or hasattr(column.source, "resolve_expression")
    ]
    with override_settings(EXPORTS=exact):
        yield read("with callables", queryset, columns)
        yield (fastest := read("fastest", queryset, plain))
        others = [pickle.loads(pickle.dumps(picklable_batch(batch))) for batch in fastest.batches]
        yield replace(fastest, name="in another process", batches=others)
        if connection.vendor == "postgresql":
            yield read("lines of CSV", queryset, plain, dialect)
        if not misses_rows:
            with patch.object(django_internals, "CHECKED_VERSIONS", ()):
                yield read("by the ORM", queryset, plain)
        with patch.object(stored_querysets, "apps", made.apps):
            try:
                yield read("stored queryset", stored_querysets.load(stored_querysets.dump(queryset)), plain)
            except UnstorableQuerySet:
                pass
    if connection.vendor == "postgresql":
        with override_settings(EXPORTS={**exact, "STATEMENT_TIMEOUT_SECONDS": 60}):
            yield read("cursor", queryset, plain)


def read(name: str, queryset, columns: Sequence[Column], dialect: Dialect | None = None) -> Way:
    with table_of(queryset, columns, dialect=dialect) as table:
        return Way(name, table.columns, list(table.batches), table.total.rows)


def check_way(
    way: Way, columns: Sequence[Column], rows: Sequence[Sequence[Any]], zone: tzinfo, delimiter: str, formulas: str
) -> None:
    names = [column.name for column in columns]
    places = [names.index(column.name) for column in way.columns]
    assert (way.count, sum(map(row_count, way.batches))) == (len(rows), len(rows)), (
        f"{way.name}: {way.count}, {sum(map(row_count, way.batches))} {len(rows)}"
    )
    values = [[row[place] for row in rows] for place in places]
    if not hasattr(way, "expected"):
        pass
    is_csv = any(isinstance(batch, SqlCsvBatch) for batch in way.batches)
    for format in ("csv",) if is_csv else FORMATS:
        separator = "\t" if format == "tsv" else delimiter
        options = {"csv": {"delimiter": delimiter, "formulas": formulas}, "tsv": {"formulas": formulas}}.get(format, {})
        try:
            columns_and_counts = [
                expected_column(format, column, cells, zone, formulas, separator)
                for column, cells in zip(way.columns, values, strict=True)
            ]
        except (Unfit, Rejected) as refusal:
            with pytest.raises({Unfit: UnfitValue, Rejected: FormulaRejected}[type(refusal)]):
                written_and_counted(writers.get(format), way.columns, way.batches, options=options, zone=zone)
            continue
        content, alterations = written_and_counted(
            writers.get(format), way.columns, way.batches, options=options, zone=zone
        )
        found = found_columns(format, content, separator, len(way.columns))
        if format == "jsonl" and not rows:
            assert not content
            continue
        for column, (cells, _), cells_found in zip(way.columns, columns_and_counts, found, strict=True):
            for place, (one, other) in enumerate(zip(cells, cells_found, strict=True)):
                are_nan = one != one and other != other
                assert one == other or are_nan, (
                    f"{format}, {way.name}, row {place}: {other!r} in place of {one!r}; {column}"
                )
        assert alterations == sum((counted for _, counted in columns_and_counts), start=type(alterations)()), (
            f"{format} {way.name}"
        )
