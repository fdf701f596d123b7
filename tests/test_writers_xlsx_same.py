"""Rows that the XLSX writer writes, and XlsxWriter one cell at a time, give readers the same cells and counts.

Random values are compared in test_fuzz.py.
"""

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from tests.cell_values import NEW_YORK, raw_columns
from tests.reference.xlsx import ReferenceWriter
from tests.written import rows_by_calamine, sheet_xml, written_and_counted

MILLISECOND = timedelta(milliseconds=1)
SIXTEEN_DIGITS = 1e-15


def by_openpyxl(content: bytes) -> list[list[tuple]]:
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    return [[(cell.value, cell.number_format if cell.value is not None else None) for cell in row] for row in sheet]


def are_equal(one: object, other: object) -> bool:
    if isinstance(one, tuple):
        return all(map(are_equal, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return one == pytest.approx(other, rel=SIXTEEN_DIGITS)
    if isinstance(one, date | time | timedelta) and type(other) is not str:
        return abs(moment(one) - moment(other)) <= MILLISECOND
    return type(one) is type(other) and one == other


def moment(value: date | time | timedelta) -> datetime:
    """Return a datetime: readers return midnight as a date, and 24 hours as a time of the next day."""
    if isinstance(value, timedelta):
        return datetime(1899, 12, 30) + min(value, timedelta(days=2_950_000))
    if isinstance(value, time):
        return datetime.combine(date(1899, 12, 30), value)
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def assert_same_cells(one: list[list], other: list[list]) -> None:
    for row, (these, those) in enumerate(zip(one, other, strict=True)):
        for this, that in zip(these, those, strict=True):
            assert are_equal(this, that), (row, this, that)


def assert_same_files(columns: Sequence[Column], batches: Sequence, **given) -> None:
    fast, fast_counted = written_and_counted(XlsxWriter, columns, batches, **given)
    slow, slow_counted = written_and_counted(ReferenceWriter, columns, batches, zone=given.get("zone", UTC))
    ElementTree.fromstring(sheet_xml(fast))
    assert_same_cells(by_openpyxl(fast), by_openpyxl(slow))
    assert_same_cells(rows_by_calamine(fast), rows_by_calamine(slow))
    assert fast_counted == slow_counted


ROWS = [
    ["_x0041_", "<r>&", " lead", "", None, "é😀", "=1+1", "a\x00b\r\n"],
    [1, -(10**14), None, 10**11, 5, 10**16, 7, 8],
    [1.5, -0.0, 1e300, 0.1 + 0.2, None, float("nan"), 2.0, 1e-7],
    [Decimal("1.50"), Decimal("1E+3"), Decimal(7), None, Decimal("1.2345678901234567"), Decimal("NaN"), None, None],
    [True, False, None, True, True, False, True, None],
    [date(2020, 2, 29), date(1899, 1, 1), None, *[date(2013, 1, 1)] * 5],
    [datetime(2020, 1, 1, 12, tzinfo=UTC), *[datetime(2021, 7, 1, 1, 2, 3, 456_789, tzinfo=UTC)] * 7],
    [time(1, 2, 3, 500_000), time(), None, *[time(23, 59, 59, 999_999)] * 5],
    [timedelta(hours=30), timedelta(-1), None, *[timedelta(microseconds=1)] * 5],
    [1, "two", None, 3.5, date(2013, 1, 1), True, Decimal("0.10"), [1, {"a": None}]],
]
KINDS = ["text", "integer", "float", "decimal", "boolean", "date", "datetime", "time", "duration", ""]


@pytest.mark.parametrize("processes", [1, 2])
def test_cells_are_the_same_with_one_process_and_with_two(processes):
    columns = [Column(f"column {number}", kind=kind) for number, kind in enumerate(KINDS)]
    batches = [[values[start : start + 3] for values in ROWS] for start in (0, 3, 6)]
    assert_same_files(columns, batches * 4, zone=NEW_YORK, processes=processes)


def test_sheets_are_the_same_with_one_process_and_with_two():
    columns = [Column(f"column {number}", kind=kind) for number, kind in enumerate(KINDS)]
    files = [written_and_counted(XlsxWriter, columns, [ROWS] * 5, processes=processes)[0] for processes in (1, 2)]
    assert sheet_xml(files[0]) == sheet_xml(files[1])


# Raw columns


@settings(max_examples=200)
@given(raw_columns(), st.sampled_from([UTC, NEW_YORK]))
def test_raw_columns_give_the_same_bytes_as_their_values(column, zone):
    family, values, texts = column
    columns = [Column("a", kind={"utc datetime": "datetime"}.get(family, family))]
    (typed, typed_counted), (raw, raw_counted) = (
        written_and_counted(XlsxWriter, columns, [[cells]], zone=zone) for cells in (values, RawColumn(texts, family))
    )
    assert sheet_xml(raw) == sheet_xml(typed)
    assert raw_counted == typed_counted
