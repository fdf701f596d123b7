"""Hostile rows, written by the XLSX writer and by XlsxWriter one cell at a time, give the same cells and counts."""

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from xml.etree import ElementTree

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from tests import cell_values
from tests.cell_values import NEW_YORK, raw_columns
from tests.reference.xlsx import ReferenceWriter
from tests.written import rows_by_calamine, sheet_xml, written_and_counted

MILLISECOND = timedelta(milliseconds=1)
SIXTEEN_DIGITS = 1e-15


class Colour(Enum):
    RED = "red"
    ONE = 1


HOSTILE = cell_values.HOSTILE | st.text(st.sampled_from("_x0041F<>r/&;t") | st.characters(), max_size=12)
VALUES = {
    "text": HOSTILE,
    "integer": st.integers() | st.integers(-(10**13), 10**13),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.decimals(),
    "float": st.floats(),
    "boolean": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    "time": st.times() | st.times(timezones=st.just(timezone(timedelta(hours=2)))),
    "duration": st.timedeltas(),
    "uuid": st.uuids(),
    "json": st.dictionaries(HOSTILE, st.lists(st.integers()), max_size=3) | st.lists(HOSTILE, max_size=2),
}
OTHERS = st.sampled_from(Colour) | st.binary(max_size=5)
# Values of all types within lists and dictionaries.
LEAVES = st.one_of(*VALUES.values(), OTHERS, st.none())
VALUES["json"] |= st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=4).map(
    lambda value: [value]
)
VALUES["json"] |= st.dictionaries(st.one_of(HOSTILE, st.dates(), st.decimals(allow_nan=False)), LEAVES, max_size=2)


# Values of classes derived from Python's types, as libraries have them.
Day, Clock, Span, Price = (type(f"My{base.__name__}", (base,), {}) for base in (date, time, timedelta, Decimal))
DERIVED = st.sampled_from(
    [Day(2013, 1, 2), Day(1900, 1, 1), Clock(3, 4), Span(hours=30), Span(-1), Price("1.5"), Price("1.234567890123456")]
)


@st.composite
def a_column(draw: st.DrawFn, rows: int) -> tuple[Column, list[object]]:
    """Draw a column of one kind or of any values, with or without None."""
    kind = draw(st.sampled_from(list(VALUES)))
    values = st.one_of(*VALUES.values(), OTHERS, DERIVED, st.none()) if draw(st.integers(0, 3)) == 0 else VALUES[kind]
    values = values | st.none() if draw(st.booleans()) else values
    column = Column(
        "a",
        header=draw(HOSTILE),
        kind=draw(st.sampled_from(["", kind, "text"])),
        format=draw(st.sampled_from(["", "0.00"])),
    )
    return column, draw(st.lists(values, min_size=rows, max_size=rows))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[object]]]:
    rows = draw(st.integers(1, 8))
    columns = draw(st.lists(a_column(rows), min_size=1, max_size=4))
    return [column for column, _ in columns], [values for _, values in columns]


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


@settings(max_examples=120)
@given(tables(), st.sampled_from([UTC, NEW_YORK]))
def test_cells_and_counts_are_those_of_xlsxwriter(table, zone):
    columns, values = table
    # Readers leave out empty rows at the end.
    end = [["end"] for _ in columns]
    assert_same_files(columns, [values, end], zone=zone)


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
