"""Datetimes as text: moved to another zone, and as the serial numbers of a spreadsheet."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.datetimes import (
    EXCEL_EPOCH,
    ONE_DAY,
    date_serials,
    duration_serials,
    format_utc_datetimes,
    utc_datetimes_since_epoch,
)
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from tests.cell_values import ZONES, database_text


@pytest.mark.parametrize(
    "text", ["infinity", "-infinity", "10000-01-01 00:00:00", "0044-03-15 05:00:00 BC", "0044-03-15 05:00:00.123 BC"]
)
@pytest.mark.parametrize("family", ["utc datetime", "datetime"])
def test_datetimes_that_python_does_not_have_stay_as_the_database_wrote_them(family, text):
    column, expected = RawColumn([text, "2013-01-01 00:00:00"], family), datetime(2013, 1, 1)
    first, second = to_csv_cells(Column("x"), column, zone=UTC, alterations=(counted := Alterations()))
    assert (first, second[:19], counted) == (text, expected.isoformat(), {})
    assert to_excel_cells(Column("x"), column, zone=UTC, alterations=counted) == [text, expected]
    assert counted == {"date_as_text": 1}


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_datetimes_around_a_clock_change_are_those_of_the_zone(zone: tzinfo):
    start = datetime(2013, 3, 10, tzinfo=UTC)
    values = [start + timedelta(minutes=13 * step, microseconds=step) for step in range(5_000)]
    expected = [value.astimezone(zone).isoformat() for value in values]
    assert format_utc_datetimes(list(map(database_text, values)), zone) == expected


def test_more_hours_than_the_cache_holds_are_formatted():
    hours = [datetime(1950, 1, 1) + timedelta(hours=step) for step in range(70_000)]
    assert format_utc_datetimes(list(map(database_text, hours)), ZONES[2])[-1] == "1957-12-26T16:00:00+01:00"


def test_more_days_than_the_cache_holds_have_serial_numbers():
    days = [str(date(2013, 1, 1) + timedelta(days=step)) for step in range(11_000)]
    assert date_serials(days) == [str(41275 + step) for step in range(11_000)]


def test_serial_numbers_have_all_the_digits_of_a_float():
    values = [datetime(2013, 1, 1, 5, 59, 59, 999_000), datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59, 59, 1000)]
    serials = duration_serials(utc_datetimes_since_epoch(list(map(str, values)), UTC))
    assert [float(serial) for serial in serials] == [(value - EXCEL_EPOCH) / ONE_DAY for value in values]
    assert duration_serials([timedelta(0), timedelta(hours=36)]) == ["0.0", "1.5"]


@pytest.mark.parametrize(
    "zone", [ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kolkata")], ids=str
)
@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("convert", [to_excel_cells, partial(to_csv_cells, profile="spreadsheet")])
def test_every_time_in_the_hour_that_is_repeated_is_counted_by_its_offset(zone: tzinfo, as_text, convert):
    values = [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(minutes=10 * step) for step in range(6 * 24 * 365)]
    local = [value.astimezone(zone) for value in values]
    cells = Counter(value.replace(tzinfo=None) for value in local)
    expected = Counter(
        f"hour_repeated {value.isoformat()[-6:]}" for value in local if cells[value.replace(tzinfo=None)] > 1
    )
    column = RawColumn(map(database_text, values), "utc datetime") if as_text else values
    convert(Column("x"), column, zone=zone, alterations=(counted := Alterations()))
    assert counted == expected


@pytest.mark.parametrize("as_text", [False, True])
def test_a_moment_that_is_in_the_year_10000_of_the_zone_is_text_with_its_offset(as_text):
    moment = datetime.max.replace(tzinfo=UTC)
    column = RawColumn([str(datetime.max)], "utc datetime") if as_text else [moment]
    assert to_excel_cells(Column("x"), column, zone=ZONES[2], alterations=(counted := Alterations())) == [
        moment.isoformat()
    ]
    assert counted == {"date_as_text": 1}
