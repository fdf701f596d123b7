"""Exports of Arrow streams (get_arrow) of DuckDB, Polars and pyarrow: each type of a field, errors in the middle."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest

from exports import storage
from exports.exporters import Column, QuerySetExport, Sheet
from exports.models import FileRequest, Status, transitions
from exports.tabular.columns import Column as TabularColumn
from exports.tabular.readers.arrow import ArrowRows
from tests.shop.exports import registered
from tests.shop.models import Customer
from tests.shop.runs import use_folders
from tests.test_checks import basic_checks, ids
from tests.test_exporters_rows import lines_of, made
from tests.test_exporters_sheets import sheets_of
from tests.test_readers_explain import output

pytestmark = [pytest.mark.django_db(transaction=True)]

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE = pa.table({"name": ["Ada", "Bob"], "price": [Decimal("1.20"), None], "moment": [MOMENT, None]})
SCHEMA = pa.schema([("name", pa.string())])
VALUES_OF_SQL = "VALUES ('Ada', 1.20::DECIMAL(9,2), TIMESTAMPTZ '2026-03-01 12:00:00+00'), ('Bob', NULL, NULL)"


class Capsule:
    """An engine of which nothing is known but its stream, as a reader of ADBC."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


SOURCES: dict[str, Any] = {
    "table": lambda: TABLE,
    "reader": lambda: TABLE.to_reader(),
    "capsule": Capsule,
    "DuckDB": lambda: duckdb.connect().sql(f"SELECT * FROM ({VALUES_OF_SQL}) AS t(name, price, moment)"),
    "Polars": lambda: polars.from_arrow(TABLE),
    "pandas": lambda: TABLE.to_pandas(),
}


class ArrowExport(QuerySetExport):
    file_type = "arrow"
    title = "Arrow"
    formats = ("csv", "xlsx", "jsonl", "parquet")

    def get_arrow(self, user: Any, criteria: Any) -> Any:
        return TABLE


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    use_folders(settings, tmp_path)


def arrow(stream: Any = lambda: TABLE, *, format: str = "csv", **attributes: Any) -> FileRequest:
    return made(ArrowExport, format=format, get_arrow=stream, **attributes)


@pytest.mark.parametrize("source", SOURCES)
def test_streams_of_every_engine_become_the_same_file(source):
    columns = ["name", "price", "moment"]
    export = arrow(SOURCES[source], columns=columns)
    assert lines_of(export) == ["Name,Price,Moment", "Ada,1.20,2026-03-01T12:00:00+00:00", "Bob,,"]
    has_length = source in ("table", "Polars", "pandas")
    assert export.receipt["rows_asked"] == (2 if has_length else None)
    assert (export.rows_done, export.queue_name) == (2, "large")


def test_columns_are_the_fields_of_the_schema_where_none_are_named():
    assert lines_of(arrow())[0] == "Name,Price,Moment"
    assert lines_of(arrow(columns=["moment"]))[0] == "Moment"


def test_parquet_has_the_types_of_the_fields():
    export = arrow(format="parquet")
    with storage.open_file(export.filehandle.name) as file:
        table = pyarrow.parquet.read_table(pa.BufferReader(file.read()))
    assert table.column("price").to_pylist() == [Decimal("1.20"), None]
    assert [str(field.type) for field in table.schema] == ["string", "decimal128(38, 2)", "timestamp[us, tz=UTC]"]


def test_a_callable_gets_the_row_as_a_dict():
    columns = ["name", Column("shout", source=lambda row: row["name"].upper())]
    assert lines_of(arrow(columns=columns))[1:] == ["Ada,ADA", "Bob,BOB"]


def test_a_sheet_may_be_a_stream():
    Customer.objects.create(name="Cid")
    sheets = [Sheet("A", duckdb.connect().sql("SELECT 1 AS n"), []), Sheet("B", Customer.objects, ["name"])]
    export = made(ArrowExport, get_sheets=lambda: sheets, format="xlsx")
    assert sheets_of(export) == {"A": [("N",), (1,)], "B": [("Full name",), ("Cid",)]}


VALUES = [
    (pa.array([1, None], pa.int8()), [1, None], "integer"),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1], "integer"),
    (pa.array([1.5, float("inf"), None], pa.float64()), [1.5, float("inf"), None], "float"),
    (pa.array([1.5]).cast(pa.float16()), [1.5], "float"),
    (pa.array([True, None]), [True, None], "boolean"),
    (pa.array([Decimal("-1.20")], pa.decimal128(9, 2)), [Decimal("-1.20")], "decimal"),
    (pa.array([Decimal("1200")], pa.decimal128(9, -2)), [Decimal("1200")], "decimal"),
    (pa.array(["a", None], pa.large_string()), ["a", None], "text"),
    (pa.array(["a"], pa.string_view()), ["a"], "text"),
    (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"], "text"),
    (pa.array([date(2026, 3, 1)], pa.date32()), [date(2026, 3, 1)], "date"),
    (pa.array([date(2026, 3, 1)], pa.date64()), [date(2026, 3, 1)], "date"),
    *((pa.array([datetime(2026, 3, 1)], pa.timestamp(unit)), [datetime(2026, 3, 1)], "datetime")
      for unit in ("s", "ms", "us", "ns")),
    *((pa.array([MOMENT], pa.timestamp(unit, "Asia/Tokyo")), [MOMENT], "datetime") for unit in ("s", "ms", "us", "ns")),
    *((pa.array([5], pa.int64()).cast(pa.duration(unit)), [timedelta(**{name: 5})], "duration")
      for unit, name in (("s", "seconds"), ("ms", "milliseconds"), ("us", "microseconds"))),
    (pa.array([time(1, 2)], pa.time32("s")), [time(1, 2)], "time"),
    (pa.array([time(1, 2)], pa.time64("ns")), [time(1, 2)], "time"),
    (pa.array([b"\x01\xff"]), [b"\x01\xff"], ""),
    (pa.array([[MOMENT], None], pa.list_(pa.timestamp("ns", "UTC"))), [[MOMENT], None], ""),
    (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [[1, 2]], ""),
    (pa.array([[1]], pa.large_list(pa.int8())), [[1]], ""),
    (pa.array([{"t": time(1), "w": "x"}], pa.struct([("t", pa.time64("ns")), ("w", pa.string())])),
     [{"t": time(1), "w": "x"}], ""),
    (pa.array([[("a", MOMENT)]], pa.map_(pa.string(), pa.timestamp("ns", "UTC"))), [{"a": MOMENT}], ""),
    (pa.RunEndEncodedArray.from_arrays([1, 3], ["a", None]), ["a", None, None], "text"),
    (pa.nulls(2), [None, None], ""),
]  # fmt: skip


@pytest.mark.parametrize(("array", "values", "kind"), VALUES, ids=[str(array.type) for array, _, _ in VALUES])
def test_values_are_those_that_python_has(array, values, kind):
    rows = ArrowRows.of(pa.table({"x": array}))
    [column] = rows.resolve([TabularColumn("x")])
    [[found]] = rows.batches([column], size=10)
    assert (found, column.kind) == (values, kind)


def test_nested_values_are_json_in_a_file():
    table = pa.table({"l": [[1, None]], "s": [{"at": MOMENT}], "b": [b"\x01\xff"], "f": [float("nan")]})
    [line] = lines_of(arrow(lambda: table, format="jsonl"))
    expected = {"l": [1, None], "s": {"at": "2026-03-01T12:00:00+00:00"}, "b": "01ff", "f": "NaN"}
    assert json.loads(line) == expected


def test_large_record_batches_are_sliced_and_small_ones_left(settings):
    settings.EXPORTS = settings.EXPORTS | {"BATCH_ROWS": 3}
    seen: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for count in (7, 0, 1):
            seen.append(FileRequest.objects.get().rows_done)
            yield pa.record_batch({"name": ["x"] * count}, schema=SCHEMA)

    export = arrow(lambda: pa.RecordBatchReader.from_batches(SCHEMA, batches()))
    assert (export.rows_done, seen[0], len(lines_of(export))) == (8, 0, 9)
    sizes = [len(values) for [values] in ArrowRows.of(pa.table({"x": range(7)})).batches([TabularColumn("x")], size=3)]
    assert sizes == [3, 3, 1]


def test_a_cancel_ends_a_stream_that_has_no_end():
    taken = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        while taken < 1_000_000:
            taken += 1
            if taken == 3:
                transitions.cancel(FileRequest.objects.get())
            yield pa.record_batch({"name": ["x"]}, schema=SCHEMA)

    export = arrow(lambda: pa.RecordBatchReader.from_batches(SCHEMA, batches()))
    assert export.status == Status.CANCELLED
    assert taken < 1_000_000


def test_batches_are_not_read_ahead():
    taken: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            taken.append(number)
            yield pa.record_batch({"name": ["x"]}, schema=SCHEMA)

    rows = ArrowRows.of(pa.RecordBatchReader.from_batches(SCHEMA, batches())).batches([TabularColumn("name")], size=3)
    assert (next(rows), taken) == ([["x"]], [0])


class Failed(Exception):
    """An error of a host."""


def breaking() -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"name": ["x"] * 1000}, schema=SCHEMA)
    raise Failed("secret")


TWICE = pa.table([[1], [2]], names=["n", "n"])
BROKEN = "SELECT if(i > 200000, error('secret'), i) AS n FROM range(300000) AS rows(i)"
NANOSECOND = pa.table({"at": pa.array([1], pa.timestamp("ns"))})
NESTED_KEY = pa.table({"at": pa.array([[({"k": 1}, 1)]], pa.map_(pa.struct([("k", pa.int8())]), pa.int8()))})


@pytest.mark.parametrize(
    ("attributes", "code", "detail"),
    [
        ({"columns": ["nome"]}, "unknown_column", "there is no 'nome' in the Arrow stream. Did you mean 'name' or"),
        ({"stream": lambda: pa.RecordBatchReader.from_batches(SCHEMA, breaking())}, "export_failed", "Failed"),
        ({"stream": lambda: duckdb.connect().sql(BROKEN)}, "export_failed", "OSError"),
        ({"stream": lambda: TWICE}, "export_failed", "Several fields of the Arrow stream have one name: n, n."),
        ({"stream": lambda: [{"n": 1}]}, "export_failed", "get_arrow() returned a list, which has no __arrow_c_str"),
        ({"stream": lambda: NANOSECOND}, "unfit_value", "The field 'at' of type timestamp[ns] has a value"),
        (
            {"stream": lambda: NESTED_KEY},
            "unfit_value",
            "The field 'at' of type map<struct<k: int8>, int8> has",
        ),
        ({"columns": [Column("x", source=lambda row: row["price"] + 1)]}, "export_failed", "column 'x', row 2"),
        ({"max_rows": 1}, "too_many_rows", ""),
    ],
)
def test_what_goes_wrong_fails_the_export_with_the_reason(attributes, code, detail):
    export = arrow(**attributes)
    assert (export.status, export.error_code) == (Status.FAILED, code)
    assert detail in export.error_detail
    assert "secret" not in export.error_detail


def test_a_sensitive_field_of_a_stream_is_refused():
    export = arrow(lambda: pa.table({"name": ["Ada"], "password": ["x"]}))
    assert (export.status, export.error_code) == (Status.FAILED, "sensitive_column")


def test_the_command_explain_names_arrow():
    with registered(ArrowExport):
        assert output("arrow") == "Arrow: rows from Arrow, read in batches.\n"


def test_an_export_has_exactly_one_source():
    with registered(ArrowExport):
        assert "exports.W025" not in ids(basic_checks())
        assert "exports.E018" not in ids(basic_checks())
    twofold = type("Twofold", (ArrowExport,), {"get_rows": lambda *args: []})
    with registered(twofold):
        [found] = [each for each in basic_checks() if each.id == "exports.W025"]
    assert found.msg == "Twofold defines get_rows and get_arrow: only get_arrow is called."
