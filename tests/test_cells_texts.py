"""Columns that are text already: the same cells and alterations as the values that they stand for."""

import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.cells.csv import format_json, to_csv_cells
from exports.tabular.cells.datetimes import (
    EXCEL_EPOCH,
    ONE_DAY,
    duration_serials,
    format_utc_datetimes,
    since_midnight,
    utc_datetime_serials,
)
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import NumberColumn, RawColumn, row_count, slice_column
from exports.tabular.columns import Alterations, Column

ZONES = [
    UTC,
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("America/New_York"),
    timezone(timedelta(0, 90)),
]
FRACTION = st.sampled_from([0, 500_000, 120, 999_999]) | st.integers(0, 999_999)


def database_text(moment: datetime) -> str:
    """As databases write it: a blank in the middle, no zeros at the end of the fraction."""
    text = moment.replace(tzinfo=None).isoformat(" ")
    return text.rstrip("0") if moment.microsecond else text


def clock_text(clock: time) -> str:
    return clock.isoformat().rstrip("0") if clock.microsecond else clock.isoformat()


naive = st.builds(lambda moment, fraction: moment.replace(microsecond=fraction), st.datetimes(), FRACTION)
COLUMNS = {
    "integer": (st.integers() | st.integers(-(10**16), 10**16), str),
    "decimal": (
        st.decimals(places=2, allow_nan=False, allow_infinity=False) | st.decimals(-1000, 1000, places=3),
        lambda number: format(number, "f"),
    ),
    "float": (st.floats(), repr),
    "date": (st.dates() | st.dates(date(1899, 12, 1), date(1900, 4, 1)), date.isoformat),
    "datetime": (naive, database_text),
    "utc datetime": (naive.map(lambda moment: moment.replace(tzinfo=UTC)), database_text),
    "time": (st.times(), clock_text),
    "uuid": (st.uuids(), str),
    "text": (st.text(), str),
    "json": (
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).filter(
            lambda value: value is not None
        ),
        lambda value: format_json([value])[0],
    ),
}


@st.composite
def columns(draw) -> tuple[str, list, list]:
    family = draw(st.sampled_from(sorted(COLUMNS)))
    values, render = COLUMNS[family]
    typed = draw(st.lists(values | st.none(), min_size=1, max_size=80))
    return family, typed, [None if value is None else render(value) for value in typed]


def shown(cells: list) -> list:
    """Cells to compare: a number by its size, whether it is one of Python's or the text of one."""
    if isinstance(cells, NumberColumn):
        return [None if cell is None else number(Decimal(cell)) for cell in cells]
    return [number(cell) for cell in cells]


# What each type of cell is in days.
SERIALS = {
    datetime: lambda moment: (moment - EXCEL_EPOCH) / ONE_DAY,
    date: lambda day: day.toordinal() - EXCEL_EPOCH.toordinal(),
    time: lambda clock: since_midnight(clock) / ONE_DAY,
}


def number(cell: object) -> object:
    if type(cell) in SERIALS:
        cell = SERIALS[type(cell)](cell)
    return (
        pytest.approx(float(cell), rel=1e-15, abs=1e-11)
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)
        else cell
    )


@given(columns(), st.sampled_from(ZONES))
def test_texts_give_the_cells_of_text_files_that_their_values_give(column, zone):
    family, typed, texts = column
    kind = Column("x", kind="json" if family == "json" else "")
    counted, expected = Alterations(), Alterations()
    cells = to_csv_cells(kind, RawColumn(texts, family), zone=zone, alterations=counted)
    assert cells == to_csv_cells(kind, typed, zone=zone, alterations=expected)
    assert counted == expected


@given(columns(), st.sampled_from(ZONES))
def test_texts_give_the_cells_of_spreadsheets_that_their_values_give(column, zone):
    family, typed, texts = column
    kind = Column("x", kind="json" if family == "json" else "")
    counted, expected = Alterations(), Alterations()
    cells = to_excel_cells(kind, RawColumn(texts, family), zone=zone, alterations=counted)
    assert shown(cells) == shown(to_excel_cells(kind, typed, zone=zone, alterations=expected))
    assert counted == expected


@pytest.mark.parametrize(
    "text", ["infinity", "-infinity", "10000-01-01 00:00:00", "0044-03-15 05:00:00 BC", "0044-03-15 05:00:00.123 BC"]
)
@pytest.mark.parametrize("family", ["utc datetime", "datetime"])
def test_a_time_that_python_cannot_hold_stays_the_text_that_it_is(family, text):
    counted = Alterations()
    texts = RawColumn([text, "2013-01-01 00:00:00"], family)
    first, second = to_csv_cells(Column("x"), texts, zone=UTC, alterations=counted)
    assert (first, second[:19]) == (text, "2013-01-01T00:00:00")
    assert counted == {}
    cells = to_excel_cells(Column("x"), texts, zone=UTC, alterations=counted)
    assert cells == [text, datetime(2013, 1, 1)]
    assert counted == {"date_as_text": 1}


def test_a_day_that_python_cannot_hold_is_text_in_a_spreadsheet_and_counted():
    counted = Alterations()
    cells = to_excel_cells(Column("x"), RawColumn(["12013-01-01", "2013-01-01"], "date"), zone=UTC, alterations=counted)
    assert cells == ["12013-01-01", date(2013, 1, 1)]
    assert counted == {"date_as_text": 1}


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_moments_around_a_change_of_the_clock_are_as_the_zone_has_them(zone: tzinfo):
    start = datetime(2013, 3, 10, tzinfo=UTC)
    moments = [start + timedelta(minutes=13 * step, microseconds=step) for step in range(5_000)]
    local = [moment.astimezone(zone) for moment in moments]
    assert format_utc_datetimes(list(map(database_text, moments)), zone) == [moment.isoformat() for moment in local]


def test_hours_are_forgotten_before_they_fill_the_memory():
    hours = [datetime(1950, 1, 1) + timedelta(hours=step) for step in range(70_000)]
    assert format_utc_datetimes(list(map(database_text, hours)), ZONES[1])[-1] == "1957-12-26T16:00:00+01:00"


def test_serial_numbers_have_all_the_digits_of_a_float():
    moments = [datetime(2013, 1, 1, 5, 59, 59, 999_999), datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59, 59, 1)]
    texts = utc_datetime_serials(list(map(str, moments)), UTC)
    assert [float(text) for text in texts] == [(moment - EXCEL_EPOCH) / ONE_DAY for moment in moments]
    assert duration_serials([timedelta(0), timedelta(hours=36)]) == ["0.0", "1.5"]


def test_numbers_and_texts_survive_pickling_and_parting():
    for column in (RawColumn(["a", None, "b"], "text"), NumberColumn(["1", None, "2"], "integer")):
        same = pickle.loads(pickle.dumps(column))
        assert (type(same), same, same.family) == (type(column), column, column.family)
        last = slice_column(column, 1, 3)
        assert (type(last), last, last.family) == (type(column), column[1:], column.family)
    assert slice_column((1, 2, 3), 0, 2) == (1, 2)


def test_a_batch_that_knows_its_rows_is_not_asked_for_its_columns():
    class Lazy(list):
        row_count = 3

    assert row_count(Lazy()) == 3
    assert row_count([[1, 2], [3, 4]]) == 2


def test_an_empty_column_has_no_cells():
    assert to_csv_cells(Column("x"), RawColumn([], "text"), zone=UTC, alterations=Alterations()) == []
    assert to_excel_cells(
        Column("x"), RawColumn([None, None], "utc datetime"), zone=UTC, alterations=Alterations()
    ) == [None, None]


def test_uuids_and_numbers_are_not_copied_for_text_files():
    texts = RawColumn([str(UUID(int=5))], "uuid")
    assert to_csv_cells(Column("x"), texts, zone=UTC, alterations=Alterations()) is texts
