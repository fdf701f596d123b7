"""Parquet files, read back by pyarrow: values of every type in columns of every kind, row groups, a missing library."""

import errno
import gc
import io
import math
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from exports.exceptions import DuplicateColumn, UnfitValue
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import ParquetWriter
from exports.tabular.writers.arrow_columns import POOL, arrow_column
from tests.cell_values import HOSTILE, RAW_VALUES
from tests.cell_values import read_back as plain
from tests.written import printed_by, written

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)
FIRST, LAST = -(2**63), 2**63 - 1


class Size(Enum):
    SMALL = 1


written_parquet = partial(written, ParquetWriter)


def table(columns, *batches, **given) -> pa.Table:
    return parquet.read_table(io.BytesIO(written_parquet(columns, *batches, **given)))


def column(kind: str, values, *, zone=UTC, places: int | None = None, counted: Alterations | None = None) -> pa.Array:
    """The values of a column as they are in the file."""
    found = table([Column("x", kind=kind, places=places)], [values], zone=zone, alterations=counted)
    return found.column("x").combine_chunks()


# Types


@pytest.mark.parametrize(("kind", "type_", "value"), [
    ("integer", pa.int64(), LAST), ("float", pa.float64(), 0.1), ("boolean", pa.bool_(), True),
    ("date", pa.date32(), date(1, 1, 1)),
    ("datetime", pa.timestamp("us", "UTC"), NOON.replace(microsecond=1)),
    ("datetime", pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999_999)),
    ("time", pa.time64("us"), time(23, 59, 59, 999_999)),
    ("duration", pa.duration("us"), timedelta(-3, microseconds=1)),
    ("text", pa.string(), ""),
])  # fmt: skip
def test_each_kind_has_its_type_and_none_is_null(kind, type_, value):
    found = column(kind, [None, value])
    assert (found.type, found.to_pylist()) == (type_, [None, value])


@pytest.mark.parametrize(("kind", "value", "text"), [
    ("", 5, "5"), ("", {"a": [1, None]}, '{"a": [1, null]}'), ("", b"\x00\xff", "00ff"), ("", Size.SMALL, "1"),
    ("text", datetime(2013, 1, 2, 3), "2013-01-02T03:00:00"),
    ("uuid", UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
    ("json", {"a": "é"}, '{"a": "é"}'), ("json", "abc", '"abc"'), ("json", 1.5, "1.5"),
    ("decimal", Decimal("1E+3"), "1000"),
])  # fmt: skip
def test_kinds_without_a_parquet_type_become_text(kind, value, text):
    found = column(kind, [value, None])
    assert (found.type, found.to_pylist()) == (pa.string(), [text, None])


def test_decimals_have_the_places_of_their_column_and_38_digits():
    values = [Decimal("1.5"), None, Decimal("-0.010"), Decimal("9" * 36 + ".99")]
    found = column("decimal", values, places=2)
    assert (found.type, found.to_pylist()) == (pa.decimal128(38, 2), values)


def test_formulas_are_not_escaped():
    counted = Alterations()
    assert column("text", ["=1+1", "\t@x"], counted=counted).to_pylist() == ["=1+1", "\t@x"]
    assert counted == {}


def test_fields_have_the_names_of_the_columns_and_their_labels_as_metadata():
    found = table([Column("a", "Name"), Column("b\ud800")], [[1], [2]])
    assert found.column_names == ["a", "b\ufffd"]
    assert [field.metadata[b"label"].decode() for field in found.schema] == ["Name", "b\ufffd"]


def test_two_columns_of_the_same_name_are_refused():
    with pytest.raises(DuplicateColumn, match="Two columns have the name 'a'"):
        ParquetWriter(io.BytesIO(), [Column("a"), Column("b"), Column("a")])


# Moments and datetimes


def test_aware_datetimes_are_in_the_time_zone_of_the_export():
    found = column("datetime", [NOON], zone=BERLIN)
    assert found.type == pa.timestamp("us", "Europe/Berlin")
    assert str(found[0].as_py()) == "2013-07-01 14:00:00+02:00"


@pytest.mark.parametrize(("zone", "name"), [
    (UTC, "UTC"), (timezone(timedelta(0)), "UTC"),
    (timezone(timedelta(hours=-3, minutes=-30), "home"), "-03:30"),
    (timezone(timedelta(seconds=90)), "UTC"),
])  # fmt: skip
def test_a_time_zone_without_a_key_is_named_by_its_offset(zone, name):
    assert column("datetime", [NOON], zone=zone).type == pa.timestamp("us", name)


@pytest.mark.parametrize(("values", "zone"), [
    ([None, NOON], "UTC"), ([None, datetime(2013, 1, 1)], None), (RawColumn([None], "utc datetime"), "UTC"),
    (RawColumn([None], "datetime"), None), ([None], "UTC"),
])  # fmt: skip
def test_the_first_value_decides_if_datetimes_are_aware(values, zone):
    found = column("datetime", values)
    assert (found.type, len(found)) == (pa.timestamp("us", zone), len(values))


def test_rows_without_a_value_wait_for_the_first_value():
    batches = [[[None, None]], [[None]], [[datetime(2013, 1, 1)]]]
    found = table([Column("at", kind="datetime")], *batches).column("at")
    assert (found.type, found.to_pylist()) == (pa.timestamp("us"), [None] * 3 + [datetime(2013, 1, 1)])


def test_datetimes_are_aware_if_the_first_row_group_has_no_value(monkeypatch):
    monkeypatch.setattr("exports.tabular.writers.parquet.GROUP_ROWS", 2)
    counted = Alterations()
    batches = [[[None, None]], [[datetime(2013, 1, 1), None]], [RawColumn(["2013-01-02 00:00:00"], "datetime")]]
    found = table([Column("at", kind="datetime")], *batches, zone=BERLIN, alterations=counted).column("at")
    days = [datetime(2013, 1, day, tzinfo=BERLIN) for day in (1, 2)]
    assert found.to_pylist() == [None, None, days[0], None, days[1]]
    assert counted == {"zone_assumed": 2}


def test_a_naive_datetime_among_aware_ones_is_local_time_and_counted():
    counted = Alterations()
    local = datetime(2013, 10, 27, 2, 30, fold=1)
    found = column("datetime", [NOON, local, None], zone=BERLIN, counted=counted)
    assert found.to_pylist() == [NOON, local.replace(tzinfo=BERLIN), None]
    assert counted == {"zone_assumed": 1}


def test_an_aware_datetime_among_naive_ones_is_refused():
    with pytest.raises(UnfitValue, match="'x' has a datetime with a zone among some without"):
        column("datetime", [datetime(2013, 1, 1), NOON])


# What does not fit


@pytest.mark.parametrize(("kind", "value", "same"), [
    ("integer", True, 1), ("integer", Decimal("3.00"), 3), ("integer", Size.SMALL, 1), ("float", Decimal("0.1"), 0.1),
    ("float", Fraction(1, 4), 0.25), ("boolean", 1, True), ("decimal", 7, Decimal("7.00")),
    ("decimal", Decimal("1.5" + "0" * 60), Decimal("1.50")),
    ("decimal", Decimal("1E+30"), Decimal("1E+30")),
    ("decimal", Decimal("0E-99"), Decimal("0.00")),
])  # fmt: skip
def test_an_equal_value_of_another_type_is_converted(kind, value, same):
    assert column(kind, [value, None], places=2).to_pylist() == [same, None]


@pytest.mark.parametrize(("kind", "value", "what"), [
    ("integer", LAST + 1, "a number beyond 64 bits"),
    ("integer", float("nan"), "a number beyond 64 bits"),
    ("integer", 1.5, "a number that is not whole"), ("integer", "5", "a value of type str"),
    ("decimal", Decimal("1.005"), "a number of more than 2 decimal places, or 38 digits in all"),
    ("decimal", Decimal("0." + "0" * 40 + "1"), "a number of more than 2 decimal places"),
    ("decimal", Decimal(10) ** 36, "a number of more than 2 decimal places, or 38 digits in all"),
    ("decimal", "1.00", "a value of type str"),
    ("float", 2**53 + 1, "a number with more digits than a float"),
    ("float", Decimal("0.12345678901234567890"), "a number with more digits than a float"),
    ("float", "1.5", "a value of type str"), ("boolean", 2, "a value of type int"),
    ("date", datetime(2013, 1, 1, 5), "a value of type datetime"),
    ("datetime", date(2013, 1, 1), "a value of type date"),
    ("time", time(5, tzinfo=UTC), "a time of day with a time zone"),
    ("time", timedelta(1), "a value of type timedelta"),
    ("duration", timedelta.max, "a duration of more than 292,000 years"),
    ("duration", 5, "a value of type int"),
])  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_with_the_name_of_its_column(kind, value, what):
    declared = [Column("x", "Amount", kind=kind, places=2)]
    with pytest.raises(UnfitValue, match=f"^Column 'Amount' has {what}.*, which a column of type ") as caught:
        table(declared, [[None, value]])
    assert f" {value}" not in str(caught.value)


@pytest.mark.parametrize(("kind", "family", "text", "what"), [
    ("integer", "integer", str(LAST + 1), "a number beyond 64 bits"),
    ("integer", "decimal", "1.5", "a number that is not whole"),
    ("integer", "text", "\ud800", "a value of type str"),
    ("decimal", "decimal", "1.005", "a number of more than 2 decimal places"),
    ("decimal", "decimal", "9" * 39, "a number of more than 2 decimal places, or 38 digits"),
    ("date", "date", "infinity", "a date that Python does not have"),
    ("datetime", "utc datetime", "0044-03-15 05:00:00 BC", "a utc datetime that Python does not have"),
    ("time", "time", "24:00:00", "a time that Python does not have"),
    ("date", "utc datetime", "2013-01-01 05:00:00", "a value of type datetime"),
])  # fmt: skip
def test_a_raw_text_that_does_not_fit_is_refused_as_its_value_is(kind, family, text, what):
    with pytest.raises(UnfitValue, match=f"^Column 'x' has {what}"):
        column(kind, RawColumn([None, text], family), places=2)


@pytest.mark.parametrize("values", [
    [Decimal("NaN"), Decimal("1.50"), Decimal("-Infinity"), Decimal("sNaN"), float("nan"), None],
    RawColumn(["NaN", "1.50", "-Infinity", "sNaN", "NaN", None], "decimal"),
])  # fmt: skip
def test_nan_and_infinity_are_left_out_of_decimals_and_counted(values):
    counted = Alterations()
    assert column("decimal", values, places=2, counted=counted).to_pylist() == [None, Decimal("1.50"), *[None] * 4]
    assert counted == {"number_left_out": 4}


EXPONENTS = [f"{digits}E{power}" for power in range(-80, 40) for digits in ("0", "1", "-7", "12345678901234567")]
ZEROS = [f"{digits}{'0' * power}" for power in range(40) for digits in ("1", "-7", "0.", "-0.00", "1.2")]


@pytest.mark.parametrize("places", [0, 2, 10, 37, 38])
@pytest.mark.parametrize("given", [lambda text: [Decimal(text)], lambda text: RawColumn([text], "decimal")])
def test_a_decimal_is_exact_or_refused(places, given):
    decimals = arrow_column(Column("x", kind="decimal", places=places), zone=UTC, alterations=Alterations())
    found = {}
    for text in (*EXPONENTS, *ZEROS):
        with suppress(UnfitValue):
            [found[text]] = decimals.array(given(text)).to_pylist()
    assert {text: number for text, number in found.items() if number != Decimal(text)} == {}
    assert len(found) > 100


def test_floats_keep_nan_and_infinity():
    found = column("float", [float("nan"), float("inf"), Decimal("sNaN"), Decimal("-Infinity"), 1]).to_pylist()
    assert list(map(repr, found)) == ["nan", "inf", "nan", "-inf", "1.0"]


def test_no_value_of_a_refused_batch_is_written():
    file = io.BytesIO()
    with ParquetWriter(file, [Column("a", kind="text"), Column("b", kind="integer")]) as writer:
        with pytest.raises(UnfitValue):
            writer.write([["x"], ["y"]])
        writer.write([["z"], [1]])
    assert parquet.read_table(file).to_pylist() == [{"a": "z", "b": 1}]


# Random


def same(value: object) -> object:
    """Equal to itself when it is read back."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return plain(value) if isinstance(value, str) else value


# Values that Parquet holds: 64 bits, 38 digits, and years that Python has in each of the time zones below.
FITTING = {
    "integer": st.integers(FIRST, LAST),
    "decimal": st.decimals(-(10**30), 10**30, places=3),
    "utc datetime": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    "text": HOSTILE,
    "uuid": st.uuids().map(str),
}


@st.composite
def columns(draw) -> tuple[Column, list, RawColumn]:
    family = draw(st.sampled_from(sorted({*RAW_VALUES} - {"json"})))
    values, text_of = RAW_VALUES[family]
    values = FITTING.get(family, values)
    typed = [draw(values), *draw(st.lists(values | st.none(), max_size=20))]
    texts = RawColumn([None if value is None else text_of(value) for value in typed], family)
    return Column("x", kind=family.removeprefix("utc "), places=3), typed, texts


@given(columns(), st.sampled_from([UTC, BERLIN, timezone(timedelta(hours=5, minutes=45))]))
def test_values_and_raw_texts_read_back_equal(made, zone):
    declared, typed, texts = made
    counted, expected = Alterations(), Alterations()
    first = table([declared], [typed], zone=zone, alterations=counted)
    second = table([declared], [texts], zone=zone, alterations=expected)
    assert [list(map(same, each.column("x").to_pylist())) for each in (first, second)] == [list(map(same, typed))] * 2
    assert (first.schema, counted) == (second.schema, expected)


# The file


@pytest.mark.parametrize("compression", ParquetWriter.choices["compression"])
def test_the_file_is_compressed_as_chosen(compression):
    content = written_parquet([Column("x")], [["a" * 9_999]], options={"compression": compression})
    found = parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).compression
    assert found == {"zstd": "ZSTD", "snappy": "SNAPPY", "none": "UNCOMPRESSED"}[compression]
    assert (len(content) < 5_000) == (compression != "none")


def groups_of(content: bytes) -> list[int]:
    metadata = parquet.ParquetFile(io.BytesIO(content)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def test_a_row_group_has_about_100_000_rows():
    batches = [[range(60_000)], [range(60_000)], [range(99_999)], [range(2)]]
    assert groups_of(written_parquet([Column("x", kind="integer")], *batches)) == [120_000, 100_001]


def test_long_texts_make_smaller_row_groups():
    text = "x" * 2**20
    assert groups_of(written_parquet([Column("x")], *[[[text] * 20]] * 7)) == [80, 60]


def test_an_export_of_no_rows_has_its_columns():
    found = table([Column("a", kind="integer"), Column("b", kind="datetime")])
    assert (found.num_rows, found.schema.types) == (0, [pa.int64(), pa.timestamp("us", "UTC")])


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("exports.tabular.writers.parquet.GROUP_ROWS", 10_000)
    held = []
    with ParquetWriter(io.BytesIO(), [Column("a", kind="integer"), Column("b")]) as writer:
        for first in range(0, 200_000, 2_000):
            numbers = range(first, first + 2_000)
            writer.write([numbers, [f"text {number}" for number in numbers]])
            held.append(POOL.bytes_allocated())
    # Arrow's buffers grow in steps.
    assert max(held[50:]) < 1.5 * max(held[:50])


def test_discarding_leaves_the_file_as_it_is_and_frees_the_memory():
    held, file = POOL.bytes_allocated(), io.BytesIO()
    writer = ParquetWriter(file, [Column("x", kind="integer")])
    writer.write([range(100_000)])
    writer.write([range(99_999)])
    size = len(file.getvalue())
    writer.discard()
    writer.discard()
    del writer
    gc.collect()
    assert (len(file.getvalue()), file.closed) == (size, False)
    # What an earlier test has left may have been freed as well.
    assert POOL.bytes_allocated() <= held


@pytest.mark.parametrize("room", [0, 1_000, 500_000])
def test_a_full_disk_raises_oserror(room):
    class Full(io.BytesIO):
        def write(self, content):
            if self.tell() + len(content) > room:
                raise OSError(errno.ENOSPC, "No room")
            return super().write(content)

    batches = [[list(map(str, range(first, first + 50_000)))] for first in range(0, 150_000, 50_000)]
    with pytest.raises(OSError, match="No room") as caught:
        written_parquet([Column("x")], *batches, file=Full(), options={"compression": "none"})
    assert caught.value.errno == errno.ENOSPC


# Without pyarrow


def test_without_pyarrow_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['pyarrow'] = sys.modules['orjson'] = None\n"
        "from exports.tabular import writers\nfrom exports.exceptions import UnknownFormat\n"
        "print(*(writer.format for writer in writers.formats()))\n"
        "try:\n    writers.get('parquet')\nexcept UnknownFormat as error:\n    print(error)\n"
    )
    assert printed_by(program).splitlines() == [
        "csv tsv xlsx jsonl",
        "The format 'parquet' needs pyarrow: pip install 'django-live-exports[parquet]'. "
        "Known formats: csv, jsonl, tsv, xlsx.",
    ]


def test_pyarrow_is_imported_only_when_a_file_is_begun():
    program = (
        "import io, sys\nfrom exports.tabular import writers\nfrom exports.tabular.columns import Column\n"
        "writer = writers.get('parquet')\nprint('pyarrow' in sys.modules)\n"
        "writer(io.BytesIO(), [Column('x')]).close()\nprint('pyarrow' in sys.modules)\n"
    )
    assert printed_by(program).split() == ["False", "True"]
