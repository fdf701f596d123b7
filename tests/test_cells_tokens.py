"""JSON of a column: each type as RFC 8259 has it, the same with and without orjson, typed or as texts."""

import json
import math
import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.cells.json import UnquotedStrings, to_json_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import KINDS, Alterations, Column
from tests.test_cells_texts import ZONES, columns

ROOT = Path(__file__).resolve().parent.parent
NEW_YORK = ZoneInfo("America/New_York")
INFINITY = float("inf")
HOSTILE = st.text(st.sampled_from('"\\\n\r\t\x00\x1f\x7f\u2028\ud800\udfff😀é,{}[]:') | st.characters(), max_size=8)
KEYS = st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE | st.decimals() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


class Color(Enum):
    RED = "red"
    NOTHING = None


class Rank(IntEnum):
    FIRST = -1


class Whole(int):
    def __str__(self) -> str:
        return "whole"


def tokens(*values: object, kind: str = "", zone=UTC, counted: Alterations | None = None) -> list[str]:
    """The JSON of each value, quotes included."""
    alterations = Alterations() if counted is None else counted
    found = to_json_cells(Column("x", kind=kind), list(values), zone=zone, alterations=alterations)
    return [f'"{inside}"' for inside in found] if isinstance(found, UnquotedStrings) else found


def texts(family: str, *given: str | None) -> tuple[list[str], Alterations]:
    counted = Alterations()
    found = to_json_cells(Column("x", kind=family), RawColumn(given, family), zone=UTC, alterations=counted)
    return ([f'"{inside}"' for inside in found] if isinstance(found, UnquotedStrings) else found), counted


def strict(token: str) -> object:
    """JSON read as RFC 8259 has it."""

    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(token, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (None, "null"),
        ("", '""'),
        ("null", '"null"'),
        ('a"b\\c\n', '"a\\"b\\\\c\\n"'),
        ("=1+1", '"=1+1"'),
        (True, "true"),
        (-7, "-7"),
        (10**40, "1" + "0" * 40),
        (Whole(5), "5"),
        (Decimal("-12.50"), "-12.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0E+5"), "0"),
        (Decimal("1E-8"), "0.00000001"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (1e-07, "1e-07"),
        (1e16, "1e+16"),
        (-0.0, "-0.0"),
        (Fraction(1, 4), "0.25"),
        (date(2013, 1, 2), '"2013-01-02"'),
        (datetime(2013, 1, 2, 3, 4), '"2013-01-02T03:04:00"'),
        (datetime(2013, 1, 2, 3, 4, 5, 60, tzinfo=UTC), '"2013-01-02T03:04:05.000060+00:00"'),
        (time(3, 4), '"03:04:00"'),
        (timedelta(hours=26, seconds=4), '"26:00:04"'),
        (UUID(int=10), '"00000000-0000-0000-0000-00000000000a"'),
        (b"\x00\xff", '"00ff"'),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        (("x", Decimal("1.5")), '["x", "1.5"]'),
        ({1: {2.5: True}}, '{"1": {"2.5": true}}'),
        ({("not", "json"): 1}, "\"{('not', 'json'): 1}\""),
        (MappingProxyType({}), "{}"),
        (Color.RED, '"red"'),
        (Rank.FIRST, "-1"),
        (lazystr('la"ter'), '"la\\"ter"'),
    ],
)
def test_a_value_is_json_by_its_type(value, token):
    assert tokens(value) == [token]
    assert tokens(None, value, None) == ["null", token, "null"]
    strict(token)


def test_a_moment_is_shown_in_the_zone_that_was_asked_for():
    assert tokens(datetime(2013, 1, 1, 10, tzinfo=UTC), zone=NEW_YORK) == ['"2013-01-01T05:00:00-05:00"']


def test_the_strings_of_a_json_column_are_json_and_each_value_is_of_its_type():
    assert tokens("abc", 5, None, {"a": 1}, True, kind="json") == ['"abc"', "5", "null", '{"a": 1}', "true"]


def test_every_kind_takes_values_of_every_type():
    values = [None, 'a"', -1, Decimal("-1.5"), 0.5, True, date(2013, 1, 2), timedelta(-1), {"a": 1}, Color.RED]
    for kind in KINDS:
        assert tokens(*values, kind=kind) == [
            "null", '"a\\""', "-1", "-1.5", "0.5", "true", '"2013-01-02"', '"-24:00:00"', '{"a": 1}', '"red"',
        ]  # fmt: skip


def test_strings_come_without_their_quotes_where_there_is_nothing_else():
    for values in (["a", 'b"'], [date(2013, 1, 1)], RawColumn(["a"], "text"), RawColumn(["2013-01-01"], "date")):
        assert isinstance(to_json_cells(Column("x"), values, zone=UTC, alterations=Alterations()), UnquotedStrings)
    for values in (["a", None], ["a", 1], [1, 2], [], RawColumn(["a", None], "text"), RawColumn(["1"], "integer")):
        assert not isinstance(to_json_cells(Column("x"), values, zone=UTC, alterations=Alterations()), UnquotedStrings)


# What JSON does not have


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (float("nan"), "NaN"),
        (INFINITY, "Infinity"),
        (-INFINITY, "-Infinity"),
        (Decimal("sNaN"), "NaN"),
        (Decimal("-NaN12"), "NaN"),
        (Decimal("Infinity"), "Infinity"),
        (Decimal("-Infinity"), "-Infinity"),
    ],
)
def test_what_is_no_number_is_its_name_and_counted(value, name):
    counted = Alterations()
    assert tokens(value, type(value)(1), None, value, counted=counted)[::3] == [f'"{name}"'] * 2
    assert counted == {"not_a_number": 2}


def test_nan_within_json_is_its_name_and_each_cell_is_counted_once():
    counted = Alterations()
    value = {"a": [float("nan"), (INFINITY,)], "b": {-INFINITY: "NaN"}}
    found = tokens(value, {"c": 1}, counted=counted)
    assert found == ['{"a": ["NaN", ["Infinity"]], "b": {"-Infinity": "NaN"}}', '{"c": 1}']
    assert counted == {"not_a_number": 1}


def test_nan_within_texts_of_json_is_its_name_unless_it_is_within_a_string():
    found, counted = texts("json", '{"NaN": NaN, "a\\"NaN": [-Infinity, "Infinity"]}', '{"n": "NaN"}')
    assert found == ['{"NaN": "NaN", "a\\"NaN": ["-Infinity", "Infinity"]}', '{"n": "NaN"}']
    assert counted == {"not_a_number": 1}


def test_numbers_as_texts_keep_their_digits_and_names_are_quoted():
    assert texts("decimal", "1.10", "NaN", None, "-Infinity") == (
        ["1.10", '"NaN"', "null", '"-Infinity"'],
        {"not_a_number": 2},
    )
    assert texts("float", "1e-05", "inf") == (["1e-05", '"Infinity"'], {"not_a_number": 1})
    assert texts("integer", "1" * 30) == (["1" * 30], {})


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("a\ud800\udfffb", '"a\ufffd\ufffdb"'),
        ({"k\udfff": ["\ud800"]}, '{"k\ufffd": ["\ufffd"]}'),
        (lazystr('"\ud800'), '"\\"\ufffd"'),
    ],
)
def test_a_lone_surrogate_is_replaced_and_its_cell_counted_once(value, token):
    counted = Alterations()
    assert tokens(value, "😀", None, value, counted=counted) == [token, '"😀"', "null", token]
    assert counted == {"surrogate_replaced": 2}


def test_a_value_that_holds_itself_is_its_text():
    endless: list[object] = [1]
    endless.append(endless)
    assert tokens(endless, [2]) == ['"[1, [...]]"', "[2]"]


def test_a_value_that_holds_what_stands_between_values_is_whole():
    values = [["\x00", "\x00"], {"\x00": ', "\x00", '}, "\x00"]
    assert list(map(strict, tokens(*values, kind="json"))) == values


# Random


def plain(value: object) -> object:
    """What a value reads back as."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"n": "NaN", "i": "Infinity", "-": "-Infinity"}[str(value)[0]]
    if isinstance(value, str | date | Decimal):
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in str(value))
    if isinstance(value, dict):
        return {name(key): plain(item) for key, item in value.items()}
    return list(map(plain, value)) if isinstance(value, list) else value


def name(key: object) -> str:
    """What the key of a dict is called in JSON."""
    named = plain(key)
    return named if isinstance(named, str) else json.dumps(named)


@given(st.lists(HOSTILE | st.none(), max_size=6))
def test_any_text_reads_back(values):
    assert list(map(strict, tokens(*values))) == list(map(plain, values))


@given(st.lists(st.lists(JSON, max_size=3) | st.none(), max_size=4))
def test_any_json_reads_back(values):
    assert list(map(strict, tokens(*values, kind="json"))) == list(map(plain, values))


@given(st.lists(st.floats() | st.none(), max_size=20))
def test_any_float_reads_back(values):
    found = tokens(*values)
    assert list(map(strict, found)) == list(map(plain, values))
    finite = [(value, token) for value, token in zip(values, found, strict=True) if token[0] not in '"n']
    assert [token for _, token in finite] == [repr(value) for value, _ in finite]


@given(st.lists(st.integers() | st.none(), max_size=6), st.lists(st.decimals() | st.none(), max_size=6))
def test_any_integer_and_decimal_keeps_its_digits(integers, decimals):
    assert list(map(strict, tokens(*integers))) == integers
    for value, token in zip(decimals, tokens(*decimals), strict=True):
        strict(token)
        if value is not None and value.is_finite():
            assert (Decimal(token), "E" in token) == (value, False)


@given(columns(), st.sampled_from(ZONES))
def test_texts_give_the_tokens_that_their_values_give(column, zone):
    family, typed, given_texts = column
    kind = Column("x", kind="json" if family == "json" else "")
    counted, expected = Alterations(), Alterations()
    found = to_json_cells(kind, RawColumn(given_texts, family), zone=zone, alterations=counted)
    same = to_json_cells(kind, typed, zone=zone, alterations=expected)
    assert [isinstance(found, UnquotedStrings), *found] == [isinstance(same, UnquotedStrings), *same]
    assert counted == expected


def test_without_orjson_the_bytes_are_the_same():
    program = (
        "import sys\nif sys.argv[1:]:\n    sys.modules['orjson'] = None\n"
        "from datetime import UTC\nfrom random import Random\n"
        "from exports.tabular.columns import Alterations, Column\nfrom exports.tabular.cells.json import to_json_cells\n"
        "random, counted = Random(4), Alterations()\n"
        "ends = [random.choice((0x80, 0x11000)) for _ in range(20_000)]\n"
        "characters = [chr(random.randrange(end)) for end in ends]\n"
        "floats = [random.random() * 10.0 ** random.randrange(-320, 308) for _ in range(5_000)]\n"
        "integers = [random.randrange(-2**66, 2**66) for _ in range(100)]\n"
        "columns = [characters, floats, integers, [5, 2**53 + 1], [float('nan')], [1.5, 1e16], ['\\x7f\\u2028\\x1f']]\n"
        "for values in columns:\n"
        "    print(ascii(to_json_cells(Column('x'), values, zone=UTC, alterations=counted)))\nprint(counted)\n"
    )
    with_it, without = (
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout
        for arguments in ([], ["without"])
    )  # fmt: skip
    assert with_it == without
    assert "surrogate_replaced" in with_it
