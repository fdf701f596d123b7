"""The cell of each type of value in CSV, JSON and Excel; columns of several types; columns that stay text."""

import json
import math
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from types import MappingProxyType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import models
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.range import Range

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.json import UnquotedStrings, to_json_cells
from exports.tabular.cells.raw_columns import NumberColumn, RawColumn, slice_column
from exports.tabular.columns import ALTERATIONS, KINDS, Alterations, Column
from tests.cell_values import NEW_YORK, ZONES, comparable, csv_cells, excel_cells, json_cells, quoted, raw_columns

SAME = object()


class Color(Enum):
    RED = "red"
    FORMULA = "=1"


class Size(models.TextChoices):
    SMALL = "s", "Small"


class Rank(IntEnum):
    FIRST = -1


class LoudInt(int):
    def __str__(self) -> str:
        return "=loud"


@pytest.mark.parametrize(("value", "csv", "json_", "excel"), [
    (None, "", "null", None), ("", "", '""', None), ("null", "null", '"null"', SAME),
    ('a"b\\c\n', 'a"b\\c\n', '"a\\"b\\\\c\\n"', SAME),
    ("=1+1", "'=1+1", '"=1+1"', SAME), (True, "true", "true", SAME), (False, "false", "false", SAME),
    (-7, "-7", "-7", SAME),
    (10**40, "1" + "0" * 40, "1" + "0" * 40, "1" + "0" * 40),
    (LoudInt(5), "5", "5", 5), (Decimal("-12.50"), "-12.50", "-12.50", SAME), (Decimal("1E+3"), "1000", "1000", SAME),
    (Decimal("0E+5"), "0", "0", SAME),
    (Decimal("1E-8"), "0.00000001", "0.00000001", SAME),
    (Decimal("NaN"), "NaN", '"NaN"', "NaN"), (0.1, "0.1", "0.1", SAME), (1e300, "1e+300", "1e+300", SAME),
    (1e-07, "1e-07", "1e-07", SAME), (1e16, "1e+16", "1e+16", SAME), (-0.0, "-0.0", "-0.0", SAME),
    (-math.inf, "-inf", '"-Infinity"', "-inf"), (Fraction(1, 4), "0.25", "0.25", 0.25),
    (date(2013, 1, 2), "2013-01-02", '"2013-01-02"', SAME),
    (datetime(2013, 1, 2, 3, 4), "2013-01-02T03:04:00", '"2013-01-02T03:04:00"', SAME),
    (
        datetime(2013, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC),
        "2013-01-02T03:04:05.060000+00:00",
        '"2013-01-02T03:04:05.060000+00:00"',
        datetime(2013, 1, 2, 3, 4, 5, 60_000),
    ),
    (time(3, 4), "03:04:00", '"03:04:00"', SAME),
    (time(3, 4, tzinfo=UTC), "03:04:00+00:00", '"03:04:00+00:00"', "03:04:00+00:00"),
    (timedelta(hours=26, minutes=3, seconds=4), "26:03:04", '"26:03:04"', SAME),
    (timedelta(seconds=-90), "-00:01:30", '"-00:01:30"', "-00:01:30"),
    (timedelta(milliseconds=5), "00:00:00.005000", '"00:00:00.005000"', SAME),
    (UUID(int=10), str(UUID(int=10)), f'"{UUID(int=10)}"', str(UUID(int=10))),
    (b"\x00\xff", "00ff", '"00ff"', "00ff"), (memoryview(b"=1"), "3d31", '"3d31"', "3d31"),
    ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}', '{"a": [1, null, "é"]}', '{"a": [1, null, "é"]}'),
    (("x", Decimal("1.50")), '["x", 1.50]', '["x", 1.50]', '["x", 1.50]'),
    ({1: {2.5: True}}, '{"1": {"2.5": true}}', '{"1": {"2.5": true}}', '{"1": {"2.5": true}}'),
    ({(1, "b"): 1}, '{"[1, \\"b\\"]": 1}', '{"[1, \\"b\\"]": 1}', '{"[1, \\"b\\"]": 1}'),
    (MappingProxyType({}), "{}", "{}", "{}"), (Color.RED, "red", '"red"', "red"), (Color.FORMULA, "'=1", '"=1"', "=1"),
    (Size.SMALL, "s", '"s"', "s"), (Rank.FIRST, "-1", "-1", -1),
    (lazystr('la"ter'), 'la"ter', '"la\\"ter"', 'la"ter'),
    (gettext_lazy("Yes"), "Yes", '"Yes"', "Yes"), (mark_safe("<b>"), "<b>", '"<b>"', "<b>"),
])  # fmt: skip
def test_each_value_has_the_cell_of_its_type(value, csv, json_, excel):
    assert csv_cells(value) == [csv]
    assert json_cells(value) == [json_]
    assert json_cells(None, value, None) == ["null", json_, "null"]
    json.loads(json_, parse_constant=pytest.fail)
    counted = Alterations()
    [cell] = excel_cells(value, counted=counted)
    if excel is SAME:
        assert (cell, type(cell), counted) == (value, type(value), {})
    else:
        assert (cell, type(cell)) == (excel, type(excel))


MIXED = [None, "=1", -1, Decimal("-1.5"), -0.5, True, date(2013, 1, 2), timedelta(-1), {"a": 1}, UUID(int=1), Color.RED]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_any_kind_takes_values_of_every_type(kind):
    if kind != "json":
        assert csv_cells(*MIXED, kind=kind) == csv_cells(*MIXED) == [csv_cells(value)[0] for value in MIXED]
    assert json_cells(*MIXED, kind=kind) == [json_cells(value)[0] for value in MIXED]
    assert excel_cells(*MIXED, kind=kind)[2:5] == [-1, Decimal("-1.5"), -0.5]


def test_strings_in_a_json_column_are_json_and_other_values_keep_their_type():
    values = ["abc", 5, None, {"b": "é"}, True]
    assert csv_cells(*values, kind="json") == ['"abc"', "5", "", '{"b": "é"}', "true"]
    assert json_cells(*values, kind="json") == ['"abc"', "5", "null", '{"b": "é"}', "true"]


def test_a_value_that_contains_itself_becomes_its_text():
    endless: list[object] = [1]
    endless.append(endless)
    assert csv_cells(endless) == ["[1, [...]]"]
    assert json_cells(endless, [2]) == ['"[1, [...]]"', "[2]"]


NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)


def test_values_within_lists_and_dicts_follow_the_same_rules_at_every_depth():
    values = [NOON, timedelta(hours=26), b"\xff", Color.RED, Decimal("1.50"), Decimal("1E+3"), date(2013, 1, 2), {5}]
    text = '["2013-07-01T08:00:00-04:00", "26:00:00", "ff", "red", 1.50, 1000, "2013-01-02", [5]]'
    nested, nested_text = (
        {"a": [values], NOON: {date(2013, 1, 2): Decimal(2)}},
        (f'{{"a": [{text}], "2013-07-01T08:00:00-04:00": {{"2013-01-02": 2}}}}'),
    )
    for cells in (csv_cells, json_cells, excel_cells):
        assert cells(values, nested, zone=NEW_YORK) == [text, nested_text]


@pytest.mark.parametrize(("value", "text"), [
    (Range(1, 5), "[1,5)"), (Range(None, Decimal("1.50"), "(]"), "(,1.50]"), (Range(empty=True), "empty"),
    (Range(NOON, None), "[2013-07-01T08:00:00-04:00,)"), (Range(date.min, date.max), "[0001-01-01,9999-12-31)"),
])  # fmt: skip
def test_a_range_is_written_as_postgresql_writes_it_with_the_texts_of_its_bounds(value, text):
    for cells in (csv_cells, excel_cells):
        assert cells(value, [value], zone=NEW_YORK) == [text, f'["{text}"]']
    assert json_cells(value, [value], zone=NEW_YORK) == [f'"{text}"', f'["{text}"]']


def test_nan_within_json_is_a_string_and_counted_in_every_format():
    raw = RawColumn(['{"a": NaN, "b": "NaN"}'], "json")
    for convert in (to_csv_cells, to_excel_cells, to_json_cells):
        for values in (raw, [{"a": math.nan, "b": "NaN"}], [{"a": Decimal("sNaN"), "b": "NaN"}]):
            counted = Alterations()
            assert convert(Column("x"), values, zone=UTC, alterations=counted) == ['{"a": "NaN", "b": "NaN"}']
            assert counted == {"not_a_number": 1}


# Datetimes


def test_aware_datetimes_are_shown_in_the_zone_and_naive_ones_stay():
    values = [
        datetime(2013, 7, 1, 12, tzinfo=UTC),
        datetime(2013, 1, 1, 12, tzinfo=timezone(timedelta(hours=1))),
        datetime(2013, 1, 1, 12),
    ]
    expected = ["2013-07-01T08:00:00-04:00", "2013-01-01T06:00:00-05:00", "2013-01-01T12:00:00"]
    assert csv_cells(*values, zone=NEW_YORK) == expected
    assert json_cells(*values, zone=NEW_YORK) == [f'"{text}"' for text in expected]
    local = [datetime(2013, 7, 1, 8), datetime(2013, 1, 1, 6), datetime(2013, 1, 1, 12)]
    assert excel_cells(*values, zone=NEW_YORK) == local


def test_a_datetime_whose_local_year_is_10000_keeps_its_own_zone():
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    assert csv_cells(last, zone=ZoneInfo("Asia/Tokyo")) == ["9999-12-31T23:30:00+00:00"]


def test_the_offset_distinguishes_the_hours_when_a_clock_goes_back():
    first = datetime(2013, 11, 3, 5, 30, tzinfo=UTC)
    assert csv_cells(first, first + timedelta(hours=1), zone=NEW_YORK) == [
        "2013-11-03T01:30:00-04:00",
        "2013-11-03T01:30:00-05:00",
    ]


@pytest.mark.parametrize("values", [
    [datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold) for fold in (0, 1)],
    [datetime(2013, 1, 1, 12, tzinfo=UTC), datetime(2013, 1, 1, 13, tzinfo=UTC)],
    [datetime(2013, 1, 1, 12, tzinfo=UTC), datetime(2013, 1, 1, 12)],
    [Decimal("1.0"), Decimal("1.00")], [0.0, -0.0],
    [time(1, tzinfo=UTC), time(2, tzinfo=timezone(timedelta(hours=1)))],
    [1, True, 2, None],
])  # fmt: skip
def test_equal_values_that_repeat_keep_their_own_texts(values):
    alone = [csv_cells(value, zone=NEW_YORK)[0] for value in values]
    assert csv_cells(*values * 200, zone=NEW_YORK) == alone * 200


# Columns that stay text


@given(raw_columns(), st.sampled_from(ZONES))
def test_a_raw_column_has_the_cells_of_its_values(column, zone):
    family, values, texts = column
    declared = Column("x", kind="json" if family == "json" else "")
    for convert, comparison in ((to_csv_cells, list), (to_json_cells, quoted), (to_excel_cells, comparable)):
        counted, expected = Alterations(), Alterations()
        cells = convert(declared, RawColumn(texts, family), zone=zone, alterations=counted)
        cells_of_values = convert(declared, values, zone=zone, alterations=expected)
        assert comparison(cells) == comparison(cells_of_values)
        assert isinstance(cells, UnquotedStrings) == isinstance(cells_of_values, UnquotedStrings)
        assert counted == expected


def test_raw_json_of_several_types_has_the_cells_of_its_values():
    for texts, values in ((["[1]", "5", '"x"', "true"], [[1], 5, "x", True]), (['"x"', "[1]"], ["x", [1]])):
        for convert in (to_csv_cells, to_excel_cells):
            column = RawColumn(texts, "json")
            cells = convert(Column("x", kind="json"), column, zone=UTC, alterations=Alterations())
            assert cells == convert(Column("x", kind="json"), values, zone=UTC, alterations=Alterations())


def test_a_raw_column_without_values_has_empty_cells():
    assert csv_cells() == []
    for texts, cells in (([], []), ([None, None], [None, None])):
        column = RawColumn(texts, "utc datetime")
        assert to_excel_cells(Column("x"), column, zone=UTC, alterations=Alterations()) == cells


@pytest.mark.parametrize("column", [RawColumn(["a", None, "b"], "text"), NumberColumn(["1", None, "2"], "integer")])
def test_pickling_and_slicing_keep_the_family_of_a_column(column):
    same = pickle.loads(pickle.dumps(column))
    assert (type(same), same, same.family) == (type(column), column, column.family)
    last = slice_column(column, 1, 3)
    assert (type(last), last, last.family) == (type(column), column[1:], column.family)
    assert slice_column((1, 2, 3), 0, 2) == (1, 2)


# Declared columns


def test_a_column_of_unknown_kind_raises_when_declared():
    with pytest.raises(ValueError, match=r"Column 'x': the kind 'number' is none of text, integer"):
        Column("x", kind="number")


def test_a_column_is_labelled_by_its_header_or_its_name():
    assert (Column("a").label, Column("a", "A").label, Column("a", gettext_lazy("Yes")).label) == ("a", "A", "Yes")


def test_a_receipt_has_a_sentence_for_each_alteration_that_occurred():
    counted = Alterations()
    csv_cells("=1", "=2", counted=counted)
    assert counted.sentences() == [f"{ALTERATIONS['formula_escaped']} Cells: 2."]
    counted = Alterations({"hour_repeated +02:00": 1})
    assert counted.sentences() == [f"{ALTERATIONS['hour_repeated']} Offset: +02:00. Cells: 1."]


def test_of_several_types_the_first_value_decides_which_error_ends_the_column():
    def refuse(self: object) -> str:
        raise TypeError(type(self).__name__)

    values = [type(f"Type{number}", (), {"__str__": refuse})() for number in range(8)]
    for ordered in (values, values[::-1], values[3:]):
        with pytest.raises(TypeError, match=type(ordered[0]).__name__):
            csv_cells(*ordered)
