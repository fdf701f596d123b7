"""Excel's limits: values that Excel cannot hold exactly become text, or are cut, and are counted."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import ALTERATIONS, Alterations, Column
from tests.cell_values import NEW_YORK, excel_cells


@pytest.mark.parametrize("value", [
    "tab\tand\nline", 0, -(10**15) + 1, Decimal("123456789012.345"), Decimal("0E-10"), date(1900, 3, 1),
    datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59, 59), time(23, 59, 59, 999_000), timedelta(),
    timedelta(days=400, milliseconds=1), "x" * 32_767, "x" + "😀" * 16_383, "é" * 20_000,
])  # fmt: skip
def test_values_within_the_limits_are_not_changed(value):
    counted = Alterations()
    [cell] = excel_cells(value, counted=counted)
    assert (cell, type(cell), counted) == (value, type(value), {})


@pytest.mark.parametrize(("value", "cell", "alteration"), [
    (10**15, "1000000000000000", "number_as_text"),
    (-(10**18), "-1000000000000000000", "number_as_text"),
    (Decimal("1234567890.123456"), "1234567890.123456", "number_as_text"),
    (Decimal("1E+400"), "1" + "0" * 400, "number_as_text"),
    (Decimal("1E-320"), "0." + "0" * 319 + "1", "number_as_text"),
    (Decimal("1E+1000"), "1E+1000", "number_as_text"),
    (1.5e308, "1.5e+308", "number_as_text"), (5e-324, "5e-324", "number_as_text"), (math.nan, "nan", "not_a_number"),
    (-math.inf, "-inf", "not_a_number"), (Decimal("NaN"), "NaN", "not_a_number"),
    (Decimal("-Infinity"), "-Infinity", "not_a_number"),
    (date(1900, 2, 28), "1900-02-28", "date_as_text"),
    (datetime(1900, 2, 28, 23, 59, 59), "1900-02-28T23:59:59", "date_as_text"),
    (datetime(1899, 1, 1, tzinfo=UTC), "1899-01-01T00:00:00+00:00", "date_as_text"),
    (time(3, 4, tzinfo=UTC), "03:04:00+00:00", "time_as_text"),
    (timedelta(minutes=-1), "-00:01:00", "duration_as_text"),
    (timedelta(days=2_958_466), "71003184:00:00", "duration_as_text"),
    ("a\x00b\x7f\ufffe", "ab", "control_removed"), ("\ud800", "\ufffd", "surrogate_replaced"),
    ("a\r\nb\rc", "a\nb\nc", "line_break_changed"), ("x" * 32_768, "x" * 32_767, "text_cut"),
    ("😀" * 16_384, "😀" * 16_383, "text_cut"),
    ("x" + "😀" * 16_384, "x" + "😀" * 16_383, "text_cut"),
])  # fmt: skip
def test_values_beyond_the_limits_are_altered_and_counted(value, cell, alteration):
    counted = Alterations()
    assert excel_cells(value, counted=counted) == [cell]
    assert counted == {alteration: 1}
    assert alteration in ALTERATIONS


def test_a_long_number_of_few_digits_stays_a_number():
    assert excel_cells(Decimal("1.500000000000000000"), Decimal("1E+20")) == [Decimal("1.5"), Decimal("1E+20")]


def test_the_local_date_decides_whether_a_datetime_is_in_excels_calendar():
    value = datetime(1900, 3, 1, 2, tzinfo=UTC)
    assert excel_cells(value) == [datetime(1900, 3, 1, 2)]
    assert excel_cells(value, zone=NEW_YORK) == ["1900-02-28T21:00:00-05:00"]


def test_only_the_values_beyond_the_limits_become_text():
    for fit, unfit in ((time(3), time(3, tzinfo=UTC)), (timedelta(1), timedelta(-1)), (1.5, math.inf), (1, 10**20)):
        first, second = excel_cells(fit, unfit)
        assert (first, type(second)) == (fit, str)


@pytest.mark.parametrize(("family", "texts", "cells"), [
    ("integer", ["5", "1" * 20], [5, "1" * 20]),
    ("decimal", ["1.50", "1" * 20], [Decimal("1.50"), "1" * 20]),
    ("decimal", ["1.50", "NaN"], [Decimal("1.50"), "NaN"]),
    ("float", ["1.5", "2.5"], ["1.5", "2.5"]), ("float", ["1.5", "inf"], [1.5, "inf"]),
    ("date", ["2013-01-01", "1900-01-01"], [date(2013, 1, 1), "1900-01-01"]),
    ("datetime", ["2013-01-01 00:00:00", "1900-01-01 00:00:00"], [datetime(2013, 1, 1), "1900-01-01T00:00:00"]),
])  # fmt: skip
def test_raw_columns_beyond_the_limits_have_the_cells_of_their_values(family, texts, cells):
    column = RawColumn(texts, family)
    assert to_excel_cells(Column("x"), column, zone=UTC, alterations=Alterations()) == cells


@pytest.mark.parametrize(("family", "text", "valid", "cell"), [
    ("utc datetime", "2013-01-01 00:61:00", "2013-01-01 00:00:00", datetime(2013, 1, 1)),
    ("date", "12013-01-01", "2013-01-01", date(2013, 1, 1)),
    ("time", "24:00:00", "03:04:05", time(3, 4, 5)),
])  # fmt: skip
def test_dates_of_a_database_that_python_does_not_have_stay_text(family, text, valid, cell):
    counted = Alterations()
    column = RawColumn([text, valid], family)
    assert to_excel_cells(Column("x"), column, zone=UTC, alterations=counted) == [text, cell]
    assert counted == {"date_as_text": 1}
