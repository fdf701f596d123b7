"""Cells of text files: how each type is rendered, and the guard against formulas."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import models
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.exceptions import FormulaRejected
from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.columns import ALTERATIONS, KINDS, Alterations, Column

NEW_YORK = ZoneInfo("America/New_York")
STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"
HIDING = '\ufeff\u200b \u00a0\x85"'
HOSTILE = st.text(
    st.sampled_from(STARTS + HIDING + ";\t\r\n'a,1\x00\x07\x7f\ud800\ufffeé😀") | st.characters(), max_size=12
)


class Color(Enum):
    RED = "red"
    FORMULA = "=1"


class Size(models.TextChoices):
    SMALL = "s", "Small"


class Rank(IntEnum):
    FIRST = -1


class Whole(int):
    def __str__(self) -> str:
        return "=whole"


def text(*values: object, kind: str = "", zone=UTC, counted: Alterations | None = None, **how: str) -> list[str]:
    alterations = Alterations() if counted is None else counted
    return to_csv_cells(Column("x", kind=kind), values, zone=zone, alterations=alterations, **how)


def escaped(value: str) -> str:
    return text(value)[0]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("", ""),
        ("plain", "plain"),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (10**40, "1" + "0" * 40),
        (Decimal("-12.50"), "-12.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("NaN"), "NaN"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (float("-inf"), "-inf"),
        (Fraction(1, 4), "0.25"),
        (date(2013, 1, 2), "2013-01-02"),
        (datetime(2013, 1, 2, 3, 4), "2013-01-02T03:04:00"),
        (datetime(2013, 1, 2, 3, 4, 5, 60, tzinfo=UTC), "2013-01-02T03:04:05.000060+00:00"),
        (time(3, 4), "03:04:00"),
        (time(3, 4, tzinfo=UTC), "03:04:00+00:00"),
        (timedelta(hours=26, minutes=3, seconds=4), "26:03:04"),
        (timedelta(seconds=-90), "-00:01:30"),
        (timedelta(microseconds=5), "00:00:00.000005"),
        (UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        (b"\x00\xff", "00ff"),
        (memoryview(b"=1"), "3d31"),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        (("x", Decimal("1.5")), '["x", "1.5"]'),
        ({("not", "json"): 1}, "{('not', 'json'): 1}"),
        (Color.RED, "red"),
        (Color.FORMULA, "'=1"),
        (Size.SMALL, "s"),
        (Rank.FIRST, "-1"),
        (Whole(5), "5"),
        (lazystr("later"), "later"),
        (gettext_lazy("Yes"), "Yes"),
        (mark_safe("<b>"), "<b>"),
    ],
)
def test_a_value_is_rendered_by_its_type(value, cell):
    assert text(value) == [cell]


def test_every_kind_takes_values_of_every_type():
    values = [
        None,
        "=1",
        -1,
        Decimal("-1.5"),
        -0.5,
        True,
        date(2013, 1, 2),
        timedelta(-1),
        {"a": 1},
        UUID(int=1),
        Color.RED,
    ]
    cells = text(*values)
    for kind in set(KINDS) - {"json"}:
        assert text(*values, kind=kind) == cells


def test_a_string_in_an_integer_column_is_guarded_and_the_integers_are_not():
    counted = Alterations()
    assert text(-1, "-1", None, "abc", kind="integer", counted=counted) == ["-1", "'-1", "", "abc"]
    assert counted == {"formula_escaped": 1}


def test_a_string_of_a_json_column_is_json():
    assert text("a", 1, None, {"b": "é"}, kind="json") == ['"a"', "1", "", '{"b": "é"}']


def test_a_value_that_holds_itself_is_still_text():
    wake: list[object] = []
    wake.append(wake)
    assert text(wake) == ["[[...]]"]


def test_aware_moments_are_shown_in_the_zone_with_their_offset_and_naive_ones_stay():
    summer = datetime(2013, 7, 1, 12, tzinfo=UTC)
    winter = datetime(2013, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    naive = datetime(2013, 1, 1, 12)
    assert text(summer, winter, naive, zone=NEW_YORK) == [
        "2013-07-01T08:00:00-04:00",
        "2013-01-01T06:00:00-05:00",
        "2013-01-01T12:00:00",
    ]


def test_a_moment_that_the_zone_would_move_out_of_the_calendar_keeps_its_own():
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    assert text(last, zone=ZoneInfo("Asia/Tokyo")) == ["9999-12-31T23:30:00+00:00"]


def test_the_hours_of_a_clock_that_goes_back_are_told_apart():
    first = datetime(2013, 11, 3, 5, 30, tzinfo=UTC)
    assert text(first, first + timedelta(hours=1), zone=NEW_YORK) == [
        "2013-11-03T01:30:00-04:00",
        "2013-11-03T01:30:00-05:00",
    ]


def test_values_that_repeat_are_each_rendered_as_if_alone():
    twice_shown = [datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold) for fold in (0, 1)]
    same = datetime(2013, 1, 1, 12, tzinfo=UTC)
    for values in (
        twice_shown,
        [same, same + timedelta(hours=1)],
        [same, same.replace(tzinfo=None)],
        [Decimal("1.0"), Decimal("1.00")],
        [0.0, -0.0],
        [time(1, tzinfo=UTC), time(2, tzinfo=timezone(timedelta(hours=1)))],
        [1, True, 2, None],
        [date(2013, 1, 1), date(2013, 1, 2)],
    ):
        alone = [text(value, zone=NEW_YORK)[0] for value in values]
        assert text(*values * 200, zone=NEW_YORK) == alone * 200


def test_an_unknown_kind_is_refused_at_the_declaration():
    with pytest.raises(ValueError, match=r"Column 'x': the kind 'number' is none of text, integer"):
        Column("x", kind="number")


def test_a_column_is_labelled_by_its_header_or_its_name():
    assert (Column("a").label, Column("a", "A").label, Column("a", gettext_lazy("Yes")).label) == ("a", "A", "Yes")


# The guard


@pytest.mark.parametrize("start", STARTS)
def test_text_that_starts_like_a_formula_gets_an_apostrophe(start):
    assert text(f"{start}1", "safe", None) == [f"'{start}1", "safe", ""]


@pytest.mark.parametrize("start", ["\t", "\r", "\n"])
def test_text_that_starts_with_a_separator_gets_an_apostrophe(start):
    assert escaped(f"{start}x") == f"'{start}x"


@pytest.mark.parametrize("hidden", [" ", "\u00a0", "\u3000", "\ufeff", "\u200b", "\u2060", '"', "'", '  "\u200b '])
def test_what_may_hide_a_formula_does_not(hidden):
    assert escaped(f"{hidden}=1+1") == f"'{hidden}=1+1"


@pytest.mark.parametrize("separator", ["\r", "\n", "\r\n", ";", "\t"])
@pytest.mark.parametrize("between", ["", " ", '"', ' "', "\ufeff", "x;"])
@pytest.mark.parametrize("start", STARTS)
def test_a_formula_after_an_inner_separator_gets_an_apostrophe(separator, between, start):
    assert escaped(f"a{separator}{between}{start}1") == f"a{separator}{between}'{start}1"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_comma_separates_too_where_the_file_has_no_quotes_around_it(delimiter):
    assert text("a, =1", "a,b", delimiter=delimiter) == ["a, '=1", "a,b"]
    assert text("a, =1", delimiter=",") == ["a, =1"]


@pytest.mark.parametrize(
    "value", ["a-b", "a = b", "New York - JFK", "a, -b", "x;y", "two\nlines", "a\tb", "5 + 5", "e@f"]
)
def test_harmless_text_is_not_touched(value):
    counted = Alterations()
    assert text(value, kind="text", counted=counted) == [value]
    assert counted == {}


def test_typed_values_are_exempt_by_type_not_by_looks():
    values = [-5, Decimal("-5"), -5.0, timedelta(hours=-1)]
    assert text(*values) == ["-5", "-5", "-5.0", "-01:00:00"]
    assert text(*map(str, values)) == ["'-5", "'-5", "'-5.0", "'-1 day, 23:00:00"]


def test_json_is_text_and_guarded():
    assert text({"a": ";=1"}, "=x", kind="json") == ['{"a": ";\'=1"}', '\'"=x"']
    assert text(-5, kind="json") == ["-5"]


@given(st.lists(HOSTILE, min_size=1, max_size=9), st.sampled_from([",", ";"]))
def test_a_column_is_guarded_as_each_of_its_texts_alone(texts, delimiter):
    counted, alone = Alterations(), Alterations()
    cells = text(*texts, delimiter=delimiter, counted=counted)
    assert cells == [cell for each in texts for cell in text(each, delimiter=delimiter, counted=alone)]
    assert counted == alone


@given(st.lists(st.floats() | st.floats(-1e6, 1e6), max_size=20) | st.lists(st.integers(), max_size=20))
def test_many_numbers_at_once_are_written_as_python_writes_each(numbers):
    assert text(*numbers) == list(map(repr, numbers))


def test_control_characters_are_deleted_before_the_guard_looks():
    counted = Alterations()
    assert text("\x00=1", "a\x1bb", "\x7f\ufffe\uffff", "tab\tstays", counted=counted) == [
        "'=1",
        "ab",
        "",
        "tab\tstays",
    ]
    assert counted == {"control_removed": 3, "formula_escaped": 1}


def test_lone_surrogates_become_replacement_characters():
    counted = Alterations()
    assert text("a\ud800b", "😀", counted=counted) == ["a\ufffdb", "😀"]
    assert counted == {"surrogate_replaced": 1}


def test_raw_text_is_not_touched_except_that_it_can_be_encoded():
    counted = Alterations()
    assert text("=1", "a\x00", "\t;=1", "\udfff=", formulas="raw", counted=counted) == [
        "=1",
        "a\x00",
        "\t;=1",
        "\ufffd=",
    ]
    assert counted == {"surrogate_replaced": 1}


def test_reject_names_the_column_and_what_to_do_but_not_the_text():
    assert text("fine", -1, formulas="reject") == ["fine", "-1"]
    with pytest.raises(FormulaRejected, match=r"Column 'x' has text .* would run as a formula\. Correct it") as caught:
        text("fine", "=SECRET", formulas="reject")
    assert "SECRET" not in str(caught.value)


def test_a_cell_counts_once_however_much_of_it_changed():
    counted = Alterations()
    text("=1;=2\n=3\x00\x01", counted=counted)
    assert counted == {"formula_escaped": 1, "control_removed": 1}


@pytest.mark.parametrize("run", ["\n", ";", " ", "\r\n", "\t", ' "', "\u200b", "=", "-;"])
def test_hostile_runs_cost_linear_time(run):
    # A quadratic guard would take minutes.
    text(run * 200_000, "x")
    text("x" + run * 200_000 + "=1", "x")


def leaks(cell: str, separators: str) -> list[str]:
    """The fields that a spreadsheet sees in a cell when it splits at any of the separators, and would run."""
    fields = re.split(f"[{separators}]", cell)
    return [field for field in fields if field.lstrip(HIDING).startswith(tuple(STARTS))]


@settings(max_examples=500)
@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_no_hostile_text_is_run_whatever_it_is_split_at(values: Sequence[str]):
    for delimiter, commas in ((",", ""), (";", ","), ("\t", ",")):
        for cell in text(*values, kind="text", delimiter=delimiter):
            for separators in ("\r\n", "\r\n;", "\r\n\t", "\r\n;\t"):
                assert leaks(cell, separators + commas) == []


@given(st.lists(HOSTILE | st.none(), min_size=1, max_size=5))
def test_a_column_is_guarded_like_its_cells_one_by_one(values: list[str | None]):
    one_by_one, together = Alterations(), Alterations()
    cells = [text(value, counted=one_by_one)[0] for value in values]
    assert text(*values, counted=together) == cells
    assert together == one_by_one


@given(HOSTILE)
def test_the_guard_only_deletes_controls_and_adds_apostrophes(value):
    kept = "".join(c for c in value if c in "\t\r\n" or not (c < " " or c in "\x7f\ufffe\uffff"))
    plain = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in kept)
    assert escaped(value).replace("'", "") == plain.replace("'", "")


@given(st.lists(st.one_of(st.none(), HOSTILE, st.integers(), st.floats(), st.decimals(), st.booleans(), st.datetimes(),
    st.datetimes(timezones=st.timezones()), st.dates(), st.times(), st.timedeltas(), st.uuids(), st.binary(),
    st.dictionaries(HOSTILE, HOSTILE)), max_size=6), st.sampled_from(("", *KINDS)))  # fmt: skip
def test_any_value_of_any_kind_is_text_that_can_be_encoded(values, kind):
    cells = text(*values, kind=kind, zone=NEW_YORK)
    assert len(cells) == len(values)
    assert all(type(cell) is str and cell.encode() is not None for cell in cells)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_reads_back_equal_and_has_no_exponent(value):
    [cell] = text(value)
    assert Decimal(cell) == value
    assert "e" not in cell.lower()


@given(st.floats(allow_nan=False))
def test_a_float_reads_back_equal(value):
    assert float(text(value)[0]) == value


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones()))
def test_an_aware_moment_reads_back_as_the_same_moment(value):
    assert datetime.fromisoformat(text(value, zone=NEW_YORK)[0]) == value.astimezone(UTC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON)
def test_json_reads_back_equal_in_raw_mode(value):
    [cell] = text(value, kind="json", formulas="raw")
    assert (None if cell == "" else json.loads(cell)) == value


def test_the_receipt_has_a_sentence_for_what_was_altered_and_none_for_what_was_not():
    counted = Alterations()
    text("=1", "=2", counted=counted)
    assert counted.sentences() == [f"{ALTERATIONS['formula_escaped']} Cells: 2."]
