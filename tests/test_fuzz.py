"""Random models, querysets and columns: whatever way the rows are read, each format has the cells of the reference.

FUZZ_CASES is the number of examples, FUZZ_SEED chooses others than usual, and with FUZZ_SHRINK a failing one is shrunk.
"""

import datetime
import decimal
import os
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import DatabaseError, connection, models
from django.db.models import functions
from hypothesis import HealthCheck, Phase, given, reject, seed, settings

from exports.exceptions import FormulaRejected, UnfitValue
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.cells.sql_csv import SqlCsvBatch
from exports.tabular.columns import Alterations, Column
from tests.fuzz.files import WRITERS, Expected, Rejected, found_columns
from tests.fuzz.models import Size, tables
from tests.fuzz.querysets import Case, cases
from tests.fuzz.ways import Way, ways
from tests.reference.parquet import Unfit
from tests.reference.rows import rows_of
from tests.written import written_and_counted

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.django_db(transaction=True),
    # A failing example may be long.
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

SEED, CASES = int(os.environ.get("FUZZ_SEED", "13")), int(os.environ.get("FUZZ_CASES", "60"))
CASES_OF_TEST = 20
# Shrinking takes minutes.
PHASES = [Phase.generate, Phase.shrink] if "FUZZ_SHRINK" in os.environ else [Phase.generate]
REPEAT = "Repeat this: FUZZ_SHRINK=1 FUZZ_SEED={} FUZZ_CASES={} {}.venv/bin/python -m pytest tests/test_fuzz.py -k [{}]"


@pytest.mark.parametrize("number", range(CASES // CASES_OF_TEST))
def test_every_way_gives_the_rows_and_cells_of_the_reference(number):
    @seed(SEED * 1_000_000 + number)
    @settings(
        max_examples=CASES_OF_TEST,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
        report_multiple_bugs=False,
    )
    @given(cases())
    def check_cases(case: Case) -> None:
        with tables(case.world) as made:
            check(case, made)

    try:
        check_cases()
    except BaseException as error:
        server = ".venv/bin/python -m tests.servers " if connection.vendor == "postgresql" else ""
        error.add_note(REPEAT.format(SEED, CASES, server, number))
        raise


def check(case: Case, made: SimpleNamespace) -> None:
    names = {**vars(models), **vars(functions), **vars(datetime), **vars(decimal), **vars(made), "Column": Column}
    queryset = eval(case.queryset, names)
    columns = [eval(column, names) for column in case.columns]
    columns += [calculated.column(number, case.world.keys) for number, calculated in enumerate(case.calculated)]
    try:
        rows = rows_of(queryset.all(), list(map(source_of, columns)))
        queryset.count()
    except (DatabaseError, FieldError, TypeError):
        # Django cannot read or count this queryset.
        reject()
    expected = Expected(case.zone, case.csv_options)
    places = {column.name: place for place, column in enumerate(columns)}
    every_way = ways(
        queryset,
        columns,
        rows,
        size=case.size,
        zone=case.zone,
        csv_options=case.csv_options,
        misses_rows=case.world.misses_rows,
        registry=made.apps,
    )
    for way in every_way:
        values = [[row[places[column.name]] for row in rows] for column in way.columns]
        check_way(way, values, expected)


def source_of(column: Column) -> Any:
    if column.display:
        return lambda row: dict(Size.choices).get(getattr(row, column.source))
    return column.name if column.source is None else column.source


def check_way(way: Way, values: list[list[Any]], expected: Expected) -> None:
    rows = len(values[0])
    assert (way.count, sum(map(row_count, way.batches))) == (rows, rows), way.name
    formats = ["csv"] if any(isinstance(batch, SqlCsvBatch) for batch in way.batches) else WRITERS
    for format in formats:
        options = expected.options(format)
        writer, given = WRITERS[format], {"options": options, "zone": expected.zone}
        try:
            columns = [expected.column(format, *pair) for pair in zip(way.columns, values, strict=True)]
        except (Unfit, Rejected) as refusal:
            with pytest.raises({Unfit: UnfitValue, Rejected: FormulaRejected}[type(refusal)]):
                written_and_counted(writer, way.columns, way.batches, **given)
            continue
        content, alterations = written_and_counted(writer, way.columns, way.batches, **given)
        found = found_columns(format, content, options, len(columns))
        if format == "jsonl" and not rows:
            assert not content
            continue
        for column, (cells, _), found_cells in zip(way.columns, columns, found, strict=True):
            for row, (cell, found_cell) in enumerate(zip(cells, found_cells, strict=True)):
                are_nan = cell != cell and found_cell != found_cell
                assert are_nan or found_cell == cell, f"{format}, {way.name}, {column}, row {row}"
        assert alterations == sum((counted for _, counted in columns), start=Alterations()), f"{format}, {way.name}"
