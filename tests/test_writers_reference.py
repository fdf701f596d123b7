"""CSV, TSV and JSON Lines compared with the reference implementation in tests/reference/cells.py, cell by cell."""

import csv
import io
import json
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.tabular.columns import Column
from exports.tabular.writers import CsvWriter, JsonLinesWriter
from exports.tabular.writers.csv import CsvSerializer
from exports.tabular.writers.pickling import picklable_batch
from exports.tabular.writers.serializer_pool import Findings
from tests.cell_values import NEW_YORK
from tests.reference.cells import csv_cell, json_cell
from tests.test_writers_xlsx_same import tables
from tests.written import written_and_counted


def reference_rows(
    columns: Sequence[Column], values: Sequence[Sequence[object]], cell: Callable
) -> tuple[list[list[object]], Counter[str]]:
    """Return the rows of the reference implementation, and the number of altered cells by kind."""
    counted: Counter[str] = Counter()
    rows = []
    for row in zip(*values, strict=True):
        cells = [cell(value, column.kind) for column, value in zip(columns, row, strict=True)]
        counted.update(change for _, changes in cells for change in changes)
        rows.append([found for found, _ in cells])
    return rows, counted


def rows_of(content: bytes, delimiter: str) -> list[list[str]]:
    text = io.StringIO(content.decode(), newline="")
    return list(csv.reader(text, delimiter=delimiter, strict=True))


@settings(max_examples=300, deadline=None)
@given(
    tables(),
    st.sampled_from([UTC, NEW_YORK]),
    st.sampled_from([(",", "exchange"), (";", "exchange"), ("\t", "exchange"), (";", "spreadsheet")]),
    st.sampled_from(["escape", "raw"]),
)
def test_cells_and_counts_of_csv_equal_the_reference(table, zone: tzinfo, dialect, formulas):
    delimiter, profile = dialect
    decimal = "," if profile == "spreadsheet" else "."
    columns, values = table

    def cell(value: object, kind: str) -> tuple[str, set[str]]:
        return csv_cell(value, kind, zone, formulas=formulas, delimiter=delimiter, profile=profile)

    labels = [[column.label] for column in columns]
    header, changed = reference_rows([Column("a")] * len(columns), labels, cell)
    rows, counted = reference_rows(columns, values, cell)
    options = {"delimiter": delimiter, "formulas": formulas, "bom": False, "profile": profile, "decimal": decimal}
    content, alterations = written_and_counted(CsvWriter, columns, [values], options=options, zone=zone)
    assert rows_of(content, delimiter) == header + rows
    assert alterations == counted + changed
    # What another process would get writes the same.
    serialize = CsvSerializer(
        tuple(column.picklable for column in columns), zone, formulas, delimiter, decimal, profile
    )
    unpickled, batch = pickle.loads(pickle.dumps((serialize, picklable_batch(values))))
    assert content.endswith(unpickled(batch, 0, Findings()))


@settings(max_examples=300, deadline=None)
@given(tables(), st.sampled_from([UTC, NEW_YORK]))
def test_cells_and_counts_of_json_lines_equal_the_reference(table, zone: tzinfo):
    columns, values = table
    columns = [replace(column, name=f"column {number}") for number, column in enumerate(columns)]
    rows, counted = reference_rows(columns, values, lambda value, kind: json_cell(value, kind, zone))
    content, alterations = written_and_counted(JsonLinesWriter, columns, [values], zone=zone)
    names = [column.name for column in columns]
    assert content.endswith(b"\n")
    for line, row in zip(content.decode()[:-1].split("\n"), rows, strict=True):
        found = json.loads(line, parse_float=Decimal, parse_constant=pytest.fail)
        assert list(found) == names
        assert list(map(typed, found.values())) == list(map(typed, row))
    assert alterations == counted


def typed(value: object) -> tuple[bool, object]:
    # Otherwise True would equal 1.
    return isinstance(value, bool), value
