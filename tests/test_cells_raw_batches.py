"""Batches as a database delivered them: each decoder gives what Python's own reading of the values gives."""

import json
import pickle
from datetime import timedelta
from decimal import Context, Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.cells.raw_batches import (
    DECODERS,
    CopyBatch,
    CursorBatch,
    are_hex_uuids,
    decode_column,
    unescape_column,
)
from exports.tabular.cells.raw_columns import RawColumn, row_count
from exports.tabular.cells.raw_json import decode_json, parse_json_values

CONTENT = b"1\tAnn\tt\n2\t\\N\tf\n3\ta\\tb\\\\N\t\\N\n"


@pytest.fixture
def batch() -> CopyBatch:
    return CopyBatch(CONTENT, 3, 3, [2, 0, 1, 1], ["postgresql boolean", "integer", "text", "string"])


def test_a_copy_batch_has_its_columns_in_the_order_asked_for(batch):
    assert (len(batch), row_count(batch)) == (4, 3)
    assert [list(column) for column in batch] == [[True, False, None], ["1", "2", "3"], *[["Ann", None, "a\tb\\N"]] * 2]
    assert (batch[1].family, type(batch[3])) == ("integer", list)
    with pytest.raises(IndexError):
        batch[4]


def test_pickling_keeps_a_batch_undecoded(batch):
    list(batch)
    pickled = pickle.dumps(batch)
    assert len(pickled) < 300
    assert list(map(list, pickle.loads(pickled))) == list(map(list, batch))
    fetched = CursorBatch([(1, None), ("a", "b")], ["sqlite duration", "value"])
    assert list(map(list, pickle.loads(pickle.dumps(fetched)))) == [[timedelta(0, 0, 1), None], ["a", "b"]]


ESCAPES = str.maketrans({"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"})


@given(st.lists(st.none() | st.text('\\Nbt\b\f\n\r\t\v"é'), min_size=1))
def test_escapes_and_nulls_of_copy_are_decoded(values):
    escaped = ["\\N" if value is None else value.translate(ESCAPES) for value in values]
    assert list(unescape_column(escaped)) == values


@given(st.lists(st.none() | st.floats(), min_size=1))
def test_floats_of_postgresql_are_written_as_python_writes_them(values):
    texts = [None if value is None else as_postgresql(value) for value in values]
    expected = [None if value is None else repr(value) for value in values]
    assert list(decode_column("postgresql float", texts)) == expected


def as_postgresql(value: float) -> str:
    """Return the shortest digits, with an exponent from 1e+15 on and without ".0"."""
    if value != value or abs(value) == float("inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    text = repr(value).removesuffix(".0")
    return f"{Decimal(text):e}".replace("E", "e") if abs(value) >= 1e15 else text


@pytest.mark.parametrize(("decoder", "texts", "expected"), [
    (
        "postgresql timestamptz",
        ["2013-01-02 03:04:05+00", None, "2013-01-02 03:04:05.6+00"],
        ["2013-01-02 03:04:05", None, "2013-01-02 03:04:05.6"],
    ),
    (
        "postgresql timestamptz",
        ["infinity", "2013-01-02 03:04:05+00", "0044-03-15 12:00:00+00 BC"],
        ["infinity", "2013-01-02 03:04:05", "0044-03-15 12:00:00 BC"],
    ),
    (
        "postgresql local timestamptz",
        ["2013-01-02 03:04:05+05:30", "2013-01-02 03:04:05.25-06", "1880-01-02 03:04:05+00:53:28"],
        ["2013-01-02 03:04:05", "2013-01-02 03:04:05.25", "1880-01-02 03:04:05"],
    ),
    ("numeric as integer", ["3", "12345678901234567890"], ["3", "12345678901234567890"]),
    ("numeric as integer", ["3.6667", "-3.6667", None], [3, -3, None]),
    ("numeric as float", ["3.5", None], [3.5, None]),
    ("sqlite decimal:2:20", [1.5, 2, 0.25], ["1.50", "2.00", "0.25"]),
    ("sqlite decimal:0:20", [1.0, 2], ["1", "2"]),
    ("sqlite decimal:2:20", [1.005, None], [Decimal("1.00"), None]),
    ("sqlite boolean", [1, 0, None], [True, False, None]),
    ("sqlite boolean", [1, 0.0, 2, "x"], [True, False, 2, "x"]),
])  # fmt: skip
def test_values_of_a_database_are_decoded(decoder, texts, expected):
    assert list(decode_column(decoder, texts)) == expected


@given(st.lists(st.floats(-1e16, 1e16) | st.integers(-(10**9), 10**9) | st.floats(-99, 99), min_size=1, max_size=5))
def test_decimals_that_sqlite_stores_as_floats_are_rounded_as_django_rounds_them(values):
    context = Context(prec=15)
    expected = [
        context.create_decimal_from_float(value).quantize(Decimal("0.01"), context=Context(prec=20)) for value in values
    ]
    assert list(map(str, decode_column("sqlite decimal:2:20", values))) == list(map(str, expected))


@given(st.lists(st.uuids(), min_size=1))
def test_uuids_of_sqlite_get_their_hyphens(values):
    texts = [value.hex for value in values]
    assert are_hex_uuids(texts)
    assert decode_column("sqlite uuid", texts) == list(map(str, values))
    assert not are_hex_uuids([*texts, UUID(int=10).hex.upper()])
    assert not are_hex_uuids(["0" * 31])


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_leaves_nulls_in_place(decoder):
    arguments = ":2:9" if decoder == "sqlite decimal" else ""
    assert list(decode_column(decoder + arguments, [None, None])) == [None, None]


# JSON


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('ab ,:"{}[]\\1.e-\ue000é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a1."\\ :'), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(NESTED, min_size=1, max_size=5),
    st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_json_of_any_style_becomes_canonical_json(values, style):
    texts = [json.dumps(value, **style) for value in values]
    column = decode_json(texts)
    assert parse_json_values(texts) == values
    if isinstance(column, RawColumn):
        assert list(column) == [json.dumps(value, ensure_ascii=False) for value in values]
    else:
        assert column == values


@pytest.mark.parametrize("text", ['{"a": 1.50}', '{"a": 1E5}', '{"a": -0}', "[-0]", "[1, 1e2]", "[ 1]", '{"a":  1}'])
def test_json_that_is_not_canonical_is_encoded_again(text):
    assert decode_json([text, "[]"]) == [json.dumps(json.loads(text)), "[]"]
    assert decode_json(["[]", text]) == ["[]", json.dumps(json.loads(text))]


def test_canonical_json_is_passed_on():
    texts = ['{"size": 12, "tag": "x y", "list": [1, 2]}', "{}"]
    assert decode_json(texts) == texts
    assert decode_column("postgresql jsonb", [*texts, None]) == [*texts, None]


@pytest.mark.parametrize("texts", [["[1", "2]"], ["{", "}"], ['"a', 'b"'], ["1,2", "[3"], ["never"]])
def test_text_that_is_not_json_stays_a_string(texts):
    assert parse_json_values(texts) == texts


def test_json_values_of_several_types_keep_their_types():
    assert decode_json(["5", "null", '"x"', "[1]"]) == [5, None, "x", [1]]
    assert decode_json([b"5", '"x"']) == [5, "x"]
