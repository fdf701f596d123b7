"""Cells of spreadsheets: exact in Excel, or text and counted."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.columns import ALTERATIONS, KINDS, Alterations, Column

NEW_YORK = ZoneInfo("America/New_York")
CELL_TYPES = {type(None), str, bool, int, float, Decimal, datetime, date, time, timedelta}


class Answer(Enum):
    FORTY_TWO = 42


def sheet(*values: object, kind: str = "", zone=UTC, counted: Alterations | None = None) -> list[object]:
    alterations = Alterations() if counted is None else counted
    return to_excel_cells(Column("x", kind=kind), values, zone=zone, alterations=alterations)


def altered(value: object) -> tuple[object, str]:
    """The cell of a value that Excel cannot hold, and the kind it was counted under."""
    counted = Alterations()
    [cell] = sheet(value, counted=counted)
    [(kind, cells)] = counted.items()
    assert (cells, kind in ALTERATIONS) == (1, True)
    return cell, kind


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        "=1+1",
        "tab\tand\nline",
        True,
        0,
        -(10**15) + 1,
        Decimal("123456789012.345"),
        Decimal("0E-10"),
        -0.5,
        1e300,
        date(1900, 3, 1),
        datetime(1900, 3, 1),
        datetime(9999, 12, 31, 23, 59, 59),
        time(23, 59, 59, 999),
        timedelta(),
        timedelta(days=400, microseconds=1),
    ],
)
def test_what_excel_holds_stays_as_it_is(value):
    counted = Alterations()
    [cell] = sheet(value, counted=counted)
    assert (cell, type(cell), counted) == (value, type(value), {})


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("", None),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x01", "01"),
        ({"a": "é"}, '{"a": "é"}'),
        (Answer.FORTY_TWO, 42),
        (Fraction(1, 2), 0.5),
        (mark_safe("<b>"), "<b>"),
    ],
)
def test_other_values_become_cells_that_excel_has(value, cell):
    [found] = sheet(value)
    assert (found, type(found)) == (cell, type(cell))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (10**15, "1000000000000000"),
        (-(10**18), "-1000000000000000000"),
        (Decimal("1234567890.123456"), "1234567890.123456"),
        (Decimal("1E+400"), "1" + "0" * 400),
        (Decimal("1E-320"), "0." + "0" * 319 + "1"),
        (1.5e308, "1.5e+308"),
        (5e-324, "5e-324"),
    ],
)
def test_a_number_that_excel_would_change_is_text(value, cell):
    assert altered(value) == (cell, "number_as_text")


def test_a_long_number_of_few_digits_stays_a_number():
    assert sheet(Decimal("1.500000000000000000")) == [Decimal("1.5")]
    assert sheet(Decimal("1E+20")) == [Decimal("1E+20")]


@pytest.mark.parametrize(
    ("value", "cell"),
    [(math.nan, "nan"), (-math.inf, "-inf"), (Decimal("NaN"), "NaN"), (Decimal("-Infinity"), "-Infinity")],
)
def test_what_is_no_number_is_text(value, cell):
    assert altered(value) == (cell, "not_a_number")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (date(1900, 2, 28), "1900-02-28"),
        (datetime(1900, 2, 28, 23, 59, 59), "1900-02-28T23:59:59"),
        (datetime(1899, 1, 1, tzinfo=UTC), "1899-01-01T00:00:00+00:00"),
    ],
)
def test_a_date_before_march_1900_is_text(value, cell):
    assert altered(value) == (cell, "date_as_text")


def test_the_zone_decides_on_which_side_of_the_calendar_a_moment_falls():
    moment = datetime(1900, 3, 1, 2, tzinfo=UTC)
    assert sheet(moment) == [datetime(1900, 3, 1, 2)]
    assert sheet(moment, zone=NEW_YORK) == ["1900-02-28T21:00:00-05:00"]


def test_an_aware_moment_becomes_the_local_time_of_the_zone():
    moment = datetime(2013, 7, 1, 12, tzinfo=UTC)
    assert sheet(moment, datetime(2013, 7, 1, 12), zone=NEW_YORK) == [datetime(2013, 7, 1, 8), datetime(2013, 7, 1, 12)]


def test_a_time_with_a_zone_of_its_own_is_text():
    assert altered(time(3, 4, tzinfo=UTC)) == ("03:04:00+00:00", "time_as_text")


@pytest.mark.parametrize(
    ("value", "cell"),
    [(timedelta(minutes=-1), "-00:01:00"), (timedelta(days=2_958_466), "71003184:00:00")],
)
def test_a_duration_that_excel_cannot_show_is_text(value, cell):
    assert altered(value) == (cell, "duration_as_text")


@pytest.mark.parametrize(
    ("value", "cell", "kind"),
    [
        ("a\x00b\x7f\ufffe", "ab", "control_removed"),
        ("\ud800", "\ufffd", "surrogate_replaced"),
        ("a\r\nb\rc", "a\nb\nc", "line_break_changed"),
        ("x" * 32_768, "x" * 32_767, "text_cut"),
        ("😀" * 16_384, "😀" * 16_383, "text_cut"),
        ("x" + "😀" * 16_384, "x" + "😀" * 16_383, "text_cut"),
    ],
)
def test_text_that_a_cell_cannot_hold_is_changed_and_counted(value, cell, kind):
    assert altered(value) == (cell, kind)


def test_text_of_exactly_32767_units_is_not_cut():
    counted = Alterations()
    longest = ["x" * 32_767, "x" + "😀" * 16_383, "é" * 20_000]
    assert sheet(*longest, counted=counted) == longest
    assert counted == {}


def test_a_column_of_several_types_keeps_each():
    values = [None, 1, "a\x00", Decimal("2.5"), 10**20, True, date(2013, 1, 1), "", 1.5]
    counted = Alterations()
    cells = sheet(*values, kind="integer", counted=counted)
    assert cells == [None, 1, "a", Decimal("2.5"), "1" + "0" * 20, True, date(2013, 1, 1), None, 1.5]
    assert counted == {"control_removed": 1, "number_as_text": 1}


VALUES = st.one_of(
    st.none(), st.text(), st.integers(), st.floats(), st.decimals(), st.booleans(), st.datetimes(),
    st.datetimes(timezones=st.timezones()), st.dates(), st.times(), st.timedeltas(), st.uuids(), st.binary(),
    st.dictionaries(st.text(), st.text()), st.text(st.characters(categories=["Cs", "Cc", "Cn"])),
)  # fmt: skip


@given(st.lists(VALUES, max_size=6), st.sampled_from(("", *KINDS)))
def test_any_value_of_any_kind_is_a_cell_that_excel_has(values: list[Any], kind: str):
    cells = sheet(*values, kind=kind, zone=NEW_YORK)
    assert len(cells) == len(values)
    assert {type(cell) for cell in cells} <= CELL_TYPES


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_cell_has_no_more_digits_than_excel_keeps(value):
    [cell] = sheet(value)
    if type(cell) is str:
        assert Decimal(cell) == value
    else:
        assert Decimal(f"{cell:.15G}") == value
