"""Text in CSV that a spreadsheet could run as a formula."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.exceptions import FormulaRejected
from exports.tabular.columns import Alterations, Column
from tests.cell_values import FORMULA_STARTS, HOSTILE, INVISIBLE, csv_cells


@pytest.mark.parametrize("start", [*FORMULA_STARTS, "\t", "\r", "\n"])
def test_text_that_starts_like_a_formula_gets_an_apostrophe(start):
    assert csv_cells(f"{start}A1", "safe", None) == [f"'{start}A1", "safe", ""]


@pytest.mark.parametrize("hidden", [" ", "\u00a0", "\u3000", "\ufeff", "\u200b", "\u2060", '"', "'", '  "\u200b '])
def test_spaces_quotes_and_invisible_characters_do_not_hide_a_formula(hidden):
    assert csv_cells(f"{hidden}=1+1") == [f"'{hidden}=1+1"]


@pytest.mark.parametrize("separator", ["\r", "\n", "\r\n", ";", "\t"])
@pytest.mark.parametrize("between", ["", " ", '"', ' "', "\ufeff", "x;"])
@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_a_formula_after_a_separator_inside_a_text_gets_an_apostrophe(separator, between, start):
    assert csv_cells(f"a{separator}{between}{start}A1") == [f"a{separator}{between}'{start}A1"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_comma_is_a_separator_in_files_with_another_delimiter(delimiter):
    assert csv_cells("a, =1", "a,b", delimiter=delimiter) == ["a, '=1", "a,b"]
    assert csv_cells("a, =1", delimiter=",") == ["a, =1"]


@pytest.mark.parametrize(
    "text", ["a-b", "a = b", "New York - JFK", "a, -b", "x;y", "two\nlines", "a\tb", "5 + 5", "e@f"]
)
def test_harmless_text_is_not_changed(text):
    counted = Alterations()
    assert csv_cells(text, kind="text", counted=counted) == [text]
    assert counted == {}


# Whole, and in lists.
NUMBERS = ("-5", " - 5.25", "+1.234,5", "-1 000", "-2.5e-7", "-5 %", "-5 \u20ac", "52.5,-13.4", "52.5, -13.4", "a;-5;b")
NUMBERS_IN_JSON = ("[1, -5, -6]", '{"a":[0,-1]}')
PHONE_NUMBERS = ("+49 (30) 1234-56", "+1-202-555-0100", "tel;+49 30/123456;x")


@pytest.mark.parametrize("text", [*NUMBERS, *NUMBERS_IN_JSON, *PHONE_NUMBERS, "-", "+", "--", "a;-"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_text_that_is_a_number_a_sign_or_a_phone_number_is_not_changed(text, delimiter):
    counted = Alterations()
    assert csv_cells(text, kind="text", delimiter=delimiter, counted=counted) == [text]
    assert csv_cells(text, kind="text", delimiter=delimiter, formulas="reject") == [text]
    assert counted == {}


@pytest.mark.parametrize("text", ["-5+A1", "+5-3", "--5", "-5x", "-5e", "+49 30 x", "+(1)", "=5", "-5\n", "-5;-A1"])
def test_text_that_only_starts_like_a_number_gets_an_apostrophe(text):
    assert csv_cells(text)[0].startswith("'" + text[:3])


@pytest.mark.parametrize("text", ["a;-5,=1", "a;-5\t-A1", "a,-5;HYPERLINK(1)", 'a;"-5"', "a;-5&A1]", "a,-5e,"])
def test_a_number_within_a_text_must_end_at_the_separator_before_it(text):
    assert "'" in csv_cells(text, delimiter=";")[0]


def test_a_column_may_have_its_own_mode():
    assert csv_cells("=1", "a;-A1", formulas_of_column="raw") == ["=1", "a;-A1"]
    assert csv_cells("=1", formulas="raw", formulas_of_column="escape") == ["'=1"]
    with pytest.raises(ValueError, match="Column 'key': formulas='none' is none of escape, raw, reject"):
        Column("key", formulas="none")


def test_json_is_escaped_like_text():
    assert csv_cells({"a": ";=1"}, "=x", kind="json") == ['{"a": ";\'=1"}', '\'"=x"']
    assert csv_cells(-5, kind="json") == ["-5"]


def test_control_characters_are_deleted_before_formulas_are_escaped():
    counted = Alterations()
    texts = ["\x00=1", "\x00-5", "a\x1bb", "\x7f\ufffe\uffff", "tab\tstays"]
    assert csv_cells(*texts, counted=counted) == ["'=1", "-5", "ab", "", "tab\tstays"]
    assert counted == {"control_removed": 4, "formula_escaped": 1}


def test_lone_surrogates_become_replacement_characters():
    counted = Alterations()
    assert csv_cells("a\ud800b", "😀", counted=counted) == ["a\ufffdb", "😀"]
    assert counted == {"surrogate_replaced": 1}


def test_raw_mode_replaces_surrogates_and_nothing_else():
    counted = Alterations()
    texts = ["=1", "a\x00", "\t;=1", "\udfff="]
    assert csv_cells(*texts, formulas="raw", counted=counted) == ["=1", "a\x00", "\t;=1", "\ufffd="]
    assert counted == {"surrogate_replaced": 1}


def test_reject_mode_names_the_column_but_does_not_quote_the_text():
    assert csv_cells("fine", -1, formulas="reject") == ["fine", "-1"]
    with pytest.raises(FormulaRejected, match=r"Column 'x' has text .* would run as a formula\. Correct it") as caught:
        csv_cells("fine", "=SECRET", formulas="reject")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("run", ["\n", ";", " ", "\r\n", "\t", ' "', "\u200b", "=", "-;", "-,", "+1", ",-5", ";-5\t"])
def test_long_runs_of_hostile_characters_take_linear_time(run):
    # Quadratic time would be minutes.
    for delimiter in ",;":
        csv_cells(run * 200_000, "x", delimiter=delimiter)
        csv_cells("x" + run * 200_000 + "=1", "x", delimiter=delimiter)
        csv_cells(f"+1{run * 200_000};-1{run * 200_000}x", delimiter=delimiter)


@settings(max_examples=500)
@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_no_text_is_a_formula_if_the_reader_splits_at_a_comma_semicolon_or_tab(texts: list[str]):
    for delimiter, commas in ((",", ""), (";", ","), ("\t", ",")):
        for cell in csv_cells(*texts, kind="text", delimiter=delimiter):
            for separators in ("\r\n", "\r\n;", "\r\n\t", "\r\n;\t"):
                fields = re.split(f"[{separators + commas}]", cell)
                starts = [field for field in fields if field.lstrip(INVISIBLE).startswith(tuple(FORMULA_STARTS))]
                # What is left has no letter, so no function and no reference.
                assert not any(re.search(r"[^\d+., ()/\]}:-]", field) for field in starts)
