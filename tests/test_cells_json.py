"""JSON cells: what JSON does not have, what reads back, and the same output with and without orjson."""

from datetime import UTC
from decimal import Decimal
from json import loads

import pytest
from django.utils.functional import lazystr

from exports.tabular.cells.json import to_json_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from tests.cell_values import json_cells, quoted
from tests.written import printed_by

INFINITY = float("inf")


def raw_cells(family: str, *texts: str | None) -> tuple[list[str], Alterations]:
    counted = Alterations()
    return quoted(
        to_json_cells(Column("x", kind=family), RawColumn(texts, family), zone=UTC, alterations=counted)
    ), counted


def parsed(cells: list[str]) -> list[object]:
    """Return the values of JSON as in RFC 8259, without the names that Python accepts for NaN and infinity."""
    return [loads(cell, parse_constant=pytest.fail) for cell in cells]


@pytest.mark.parametrize(("value", "name"), [
    (float("nan"), "NaN"), (INFINITY, "Infinity"), (-INFINITY, "-Infinity"), (Decimal("sNaN"), "NaN"),
    (Decimal("-NaN12"), "NaN"), (Decimal("Infinity"), "Infinity"), (Decimal("-Infinity"), "-Infinity"),
])  # fmt: skip
def test_nan_and_infinite_numbers_become_strings_and_are_counted(value, name):
    counted = Alterations()
    assert json_cells(value, type(value)(1), None, value, counted=counted)[::3] == [f'"{name}"'] * 2
    assert counted == {"not_a_number": 2}


def test_nan_inside_json_becomes_a_string_and_each_cell_counts_once():
    counted = Alterations()
    value = {"a": [float("nan"), (INFINITY,)], "b": {-INFINITY: "NaN"}}
    found = json_cells(value, {"c": 1}, counted=counted)
    assert found == ['{"a": ["NaN", ["Infinity"]], "b": {"-Infinity": "NaN"}}', '{"c": 1}']
    assert counted == {"not_a_number": 1}


def test_nan_in_raw_json_becomes_a_string_unless_it_is_inside_one():
    found, counted = raw_cells("json", '{"NaN": NaN, "a\\"NaN": [-Infinity, "Infinity"]}', '{"n": "NaN"}')
    assert found == ['{"NaN": "NaN", "a\\"NaN": ["-Infinity", "Infinity"]}', '{"n": "NaN"}']
    assert counted == {"not_a_number": 1}


def test_raw_numbers_keep_their_digits_and_nan_becomes_a_string():
    decimals = ["1.10", '"NaN"', "null", '"-Infinity"']
    assert raw_cells("decimal", "1.10", "NaN", None, "-Infinity") == (decimals, {"not_a_number": 2})
    assert raw_cells("float", "1e-05", "inf") == (["1e-05", '"Infinity"'], {"not_a_number": 1})
    assert raw_cells("integer", "1" * 30) == (["1" * 30], {})


@pytest.mark.parametrize(("value", "cell"), [
    ("a\ud800\udfffb", '"a\ufffd\ufffdb"'),
    ({"k\udfff": ["\ud800"]}, '{"k\ufffd": ["\ufffd"]}'),
    (lazystr('"\ud800'), '"\\"\ufffd"'),
])  # fmt: skip
def test_lone_surrogates_are_replaced_and_each_cell_counts_once(value, cell):
    counted = Alterations()
    assert json_cells(value, "😀", None, value, counted=counted) == [cell, '"😀"', "null", cell]
    assert counted == {"surrogate_replaced": 2}


def test_values_that_contain_the_separator_of_the_encoder_are_whole():
    values = [["\x00", "\x00"], {"\x00": ', "\x00", '}, "\x00"]
    assert parsed(json_cells(*values, kind="json")) == values


PROGRAM = r"""
import sys
if sys.argv[1:]:
    sys.modules["orjson"] = None
from datetime import UTC
from random import Random
from exports.tabular.columns import Alterations, Column
from exports.tabular.cells.json import to_json_cells
random, counted = Random(4), Alterations()
characters = [chr(random.randrange(random.choice((0x80, 0x11000)))) for _ in range(20_000)]
floats = [random.random() * 10.0 ** random.randrange(-320, 308) for _ in range(5_000)]
integers = [random.randrange(-2**66, 2**66) for _ in range(100)]
for values in (characters, floats, integers, [5, 2**53 + 1], [float("nan")], [1.5, 1e16], ["\x7f\u2028\x1f"]):
    print(ascii(to_json_cells(Column("x"), values, zone=UTC, alterations=counted)))
print(counted)
"""


def test_the_output_is_the_same_without_orjson():
    output = printed_by(PROGRAM)
    assert output == printed_by(PROGRAM, "without")
    assert "surrogate_replaced" in output
