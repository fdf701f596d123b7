"""Batches as a database handed them over: each form makes what Python's own reading of the values makes."""

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

COPIED = b"1\tAnn\tt\n2\t\\N\tf\n3\ta\\tb\\\\N\t\\N\n"


@pytest.fixture
def batch() -> CopyBatch:
    return CopyBatch(COPIED, 3, 3, [2, 0, 1, 1], ["postgresql boolean", "integer", "text", "string"])


def test_a_copied_batch_has_its_columns_in_the_order_asked_for(batch):
    assert (len(batch), row_count(batch)) == (4, 3)
    assert [list(column) for column in batch] == [
        [True, False, None],
        ["1", "2", "3"],
        *[["Ann", None, "a\tb\\N"]] * 2,
    ]
    assert (batch[1].family, type(batch[3])) == ("integer", list)
    with pytest.raises(IndexError):
        batch[4]


def test_a_batch_pickles_as_what_was_handed_over(batch):
    list(batch)
    pickled = pickle.dumps(batch)
    assert len(pickled) < 300
    assert list(map(list, pickle.loads(pickled))) == list(map(list, batch))
    fetched = CursorBatch([(1, None), ("a", "b")], ["sqlite duration", "value"])
    assert list(map(list, pickle.loads(pickle.dumps(fetched)))) == [[timedelta(0, 0, 1), None], ["a", "b"]]


ESCAPES = str.maketrans({"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"})


@given(st.lists(st.none() | st.text('\\Nbt\b\f\n\r\t\v"é'), min_size=1))
def test_escapes_are_undone_and_nulls_found(values):
    escaped = ["\\N" if value is None else value.translate(ESCAPES) for value in values]
    assert list(unescape_column(escaped)) == values


@given(st.lists(st.none() | st.floats(), min_size=1))
def test_floats_of_postgresql_are_written_as_python_writes_them(values):
    made = decode_column("postgresql float", [None if value is None else as_postgresql(value) for value in values])
    assert list(made) == [None if value is None else repr(value) for value in values]


def as_postgresql(value: float) -> str:
    """The shortest digits, with an exponent from 1e+15 on and without a needless ".0"."""
    if value != value or abs(value) == float("inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    text = repr(value).removesuffix(".0")
    return f"{Decimal(text):e}".replace("E", "e") if abs(value) >= 1e15 else text


def test_moments_lose_their_offset():
    assert list(decode_column("postgresql timestamptz", ["2013-01-02 03:04:05+00", None, "2013-01-02 03:04:05.6+00"])) == [
        "2013-01-02 03:04:05", None, "2013-01-02 03:04:05.6",
    ]  # fmt: skip
    assert list(decode_column("postgresql timestamptz", ["infinity", "2013-01-02 03:04:05+00", "0044-03-15 12:00:00+00 BC"])) == [
        "infinity", "2013-01-02 03:04:05", "0044-03-15 12:00:00 BC",
    ]  # fmt: skip
    local = ["2013-01-02 03:04:05+05:30", "2013-01-02 03:04:05.25-06", "1880-01-02 03:04:05+00:53:28"]
    assert decode_column("postgresql local timestamptz", local) == [
        "2013-01-02 03:04:05",
        "2013-01-02 03:04:05.25",
        "1880-01-02 03:04:05",
    ]


def test_whole_numbers_out_of_numerics_lose_their_fraction():
    assert decode_column("numeric as integer", ["3", "12345678901234567890"]) == ["3", "12345678901234567890"]
    assert decode_column("numeric as integer", ["3.6667", "-3.6667", None]) == [3, -3, None]


@given(st.lists(st.floats(-1e16, 1e16) | st.integers(-(10**9), 10**9) | st.floats(-99, 99), min_size=1, max_size=5))
def test_decimals_that_are_kept_as_floats_are_rounded_as_django_rounds_them(values):
    context = Context(prec=15)
    expected = [
        context.create_decimal_from_float(value).quantize(Decimal("0.01"), context=Context(prec=20)) for value in values
    ]
    assert list(map(str, decode_column("sqlite decimal:2:20", values))) == list(map(str, expected))


@given(st.lists(st.uuids(), min_size=1))
def test_hyphens_are_put_into_uuids(values):
    texts = [value.hex for value in values]
    assert are_hex_uuids(texts)
    assert decode_column("sqlite uuid", texts) == list(map(str, values))
    assert not are_hex_uuids([*texts, UUID(int=10).hex.upper()])
    assert not are_hex_uuids(["0" * 31])


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('ab ,:"{}[]\\1.e-\ue000é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a1."\\ :'), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(NESTED, min_size=1, max_size=5),
    st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_json_is_what_dumps_gives_of_what_it_holds(values, style):
    texts = [json.dumps(value, **style) for value in values]
    made = decode_json(texts)
    assert parse_json_values(texts) == values
    if isinstance(made, RawColumn):
        assert list(made) == [json.dumps(value, ensure_ascii=False) for value in values]
    else:
        assert made == values


@pytest.mark.parametrize("text", ['{"a": 1.50}', '{"a": 1E5}', '{"a": -0}', "[-0]", "[1, 1e2]", "[ 1]", '{"a":  1}'])
def test_json_that_is_not_canonical_is_written_anew(text):
    assert decode_json([text, "[]"]) == [json.dumps(json.loads(text)), "[]"]
    assert decode_json(["[]", text]) == ["[]", json.dumps(json.loads(text))]


def test_canonical_json_is_passed_on():
    texts = ['{"size": 12, "tag": "x y", "list": [1, 2]}', "{}"]
    assert decode_json(texts) == texts
    assert decode_column("postgresql jsonb", [*texts, None]) == [*texts, None]


@pytest.mark.parametrize("texts", [["[1", "2]"], ["{", "}"], ['"a', 'b"'], ["1,2", "[3"], ["never"]])
def test_what_is_no_json_stays_a_string(texts):
    assert parse_json_values(texts) == texts


def test_a_number_alone_has_a_type_of_its_own():
    assert decode_json(["5", "null", '"x"', "[1]"]) == [5, None, "x", [1]]


def test_columns_of_nothing_stay_so():
    for form in DECODERS:
        arguments = ":2:9" if form == "sqlite decimal" else ""
        assert list(decode_column(form + arguments, [None, None])) == [None, None]
