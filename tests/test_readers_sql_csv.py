"""Lines of CSV that PostgreSQL writes make the same file as the values do."""

import csv
import io
import pickle
from collections.abc import Sequence
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exports.exceptions import FormulaRejected
from exports.tabular.cells.formula_escape import FORMULA_STARTS
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.cells.sql_csv import Dialect, SqlCsvBatch
from exports.tabular.columns import Alterations, Column
from exports.tabular.readers import explain, querysets, resolve
from exports.tabular.writers import CsvWriter
from exports.tabular.writers.csv import CsvSerializer
from exports.tabular.writers.serializer_pool import Findings
from tests.shop.databases import needs_postgres
from tests.shop.every_field import rows, save
from tests.shop.models import EveryField

FIELDS = ["small", "big", "price", "share", "weight", "flag", "day", "moment", "text", "name", "reference", "details"]
COLUMNS = (
    Column("id"), Column("text"), Column("amount"), Column("note"), Column("details", kind="json"), Column("size"),
)  # fmt: skip
# One of the two text columns keeps its formulas, whatever the file's option is.
ONE_RAW = (*COLUMNS[:3], Column("note", formulas="raw"), *COLUMNS[4:])
DECODERS = ("integer", "text", "decimal", "text", "postgresql jsonb", "integer")

hostile = st.sampled_from(
    [*FORMULA_STARTS.replace("\\", ""), *" \t\r\n\x0b\u00a0\u200b\"'`;,-|x\x01\x02\x7f\ufeff\ufffe", "é-", "5"]
)
words = st.sampled_from(
    ["", "a", "late", "a - b", "New York-Boston", "1,5", "-5", "-5,5", '"', "\n=1", "\x01x", "a\n", "\uff1d1"]
)
texts = words | st.lists(hostile, max_size=6).map("".join)
numbers = st.integers(-99, 99).map(str) | st.just("")
json_texts = st.sampled_from(["", '{"a": -5}', "[-1, 2]", '{"a": "=1", "b": "\\"-"}', "[]", "{}", '["x;-y"]'])
csv_rows = st.tuples(numbers, texts, numbers, texts, json_texts, numbers)


def lines_of_postgresql(found: Sequence[Sequence[str]], delimiter: str) -> SqlCsvBatch:
    """The rows as COPY writes them, with quotes where they are needed."""
    content = io.StringIO()
    for row in found:
        content.write("\x00")
        csv.writer(content, delimiter=delimiter, lineterminator="\n").writerow(row)
    return SqlCsvBatch(content.getvalue().encode(), len(found), DECODERS, delimiter)


def written(
    batch: Sequence[Any], delimiter: str, formulas: str, columns: tuple[Column, ...]
) -> tuple[bytes | str, Alterations]:
    serialise, found = CsvSerializer(columns, UTC, formulas, delimiter), Findings()
    try:
        return serialise(batch, 0, found), found.alterations
    except FormulaRejected as error:
        return str(error), Alterations()


@settings(max_examples=400, deadline=None)
@given(
    st.lists(csv_rows, min_size=1, max_size=30),
    st.sampled_from(",;"),
    st.sampled_from(["escape", "raw", "reject"]),
    st.sampled_from([COLUMNS, ONE_RAW]),
)
@example([("-1", "a", "-5", "b", "{}", "-1")] * 9 + [("1", "-A1", "", "", "", "")], ",", "escape", COLUMNS)
@example([("1", "", "", '\n"', "", "")] + [("1", "a", "2", "b", "[]", "3")] * 9, ",", "escape", COLUMNS)
@example([("1", "a", "2", 'b",', "[]", "3")] * 9 + [("1", "x", "2", "+A1", "[]", "3")], ";", "escape", COLUMNS)
@example([("1", "a", "2", "b", "[]", "3")] * 9 + [("1", "=1", "2", "=1", "[]", "3")], ",", "escape", ONE_RAW)
def test_lines_of_the_database_become_the_same_file_as_values(found, delimiter, formulas, columns):
    values = [list(column) for column in zip(*found, strict=True)]
    families = ("integer", "text", "decimal", "text", "json", "integer")
    typed = [
        RawColumn([text or None for text in column], family) for column, family in zip(values, families, strict=True)
    ]
    batch = lines_of_postgresql(found, delimiter)
    expected, counted = written(typed, delimiter, formulas, columns)
    if isinstance(expected, bytes):
        assert written(batch, delimiter, formulas, columns) == (expected, counted)
        assert written(pickle.loads(pickle.dumps(batch)), delimiter, formulas, columns) == (expected, counted)
    else:
        assert written(batch, delimiter, formulas, columns)[0].startswith("Column")


@pytest.mark.parametrize("options", [{"delimiter": "\t"}, {"delimiter": "\t", "bom": False}])
def test_tab_separated_lines_are_written_by_python(options):
    assert CsvWriter.dialect(options, UTC) is None
    assert CsvWriter.dialect({"delimiter": ";"}, UTC) == Dialect(";", UTC)


@pytest.mark.parametrize("options", [{"profile": "spreadsheet"}, {"delimiter": ";", "decimal": ","}])
def test_lines_for_a_spreadsheet_are_written_by_python(options):
    assert CsvWriter.dialect(options, UTC) is None


def file_of(names: Sequence[str], options: dict[str, Any], dialect: Dialect | None) -> tuple[bytes, Alterations, set]:
    queryset, file, counted, kinds = EveryField.objects.all(), io.BytesIO(), Alterations(), set()
    declared = resolve.resolve(queryset, [Column(name) for name in names])
    with CsvWriter(file, declared, options=options, alterations=counted) as writer:
        for batch in querysets.batches(queryset, declared, size=7, dialect=dialect):
            kinds.add(type(batch).__name__)
            writer.write(batch)
    return file.getvalue(), counted, kinds


@pytest.mark.both_databases
@pytest.mark.django_db
@needs_postgres
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(rows, min_size=1, max_size=12), st.sampled_from(",;"), st.sampled_from(["escape", "raw"]))
def test_postgresql_writes_the_same_file_as_python(rows, delimiter, formulas):
    save(rows)
    options = {"delimiter": delimiter, "formulas": formulas}
    made, counted, kinds = file_of(FIELDS, options, Dialect(delimiter, UTC))
    assert kinds == {"SqlCsvBatch"}
    expected, expected_counts, others = file_of(FIELDS, options, None)
    assert others == {"CopyBatch"}
    assert (made, counted) == (expected, expected_counts)


@pytest.mark.both_databases
@pytest.mark.django_db
@needs_postgres
@pytest.mark.parametrize(("names", "zone", "reason"), [
    (["moment", "name"], ZoneInfo("Europe/Berlin"), "Column 'moment': its times are shown in Europe/Berlin."),
    (["name"], UTC, "In a single column, an empty field must differ from an empty line."),
    (["name", "address"], UTC, "Column 'address': Python writes values of its type differently."),
])  # fmt: skip
def test_columns_that_python_must_write_are_named(names, zone, reason):
    save([{"name": "x"}])
    dialect = Dialect(",", zone)
    assert file_of(names, {}, dialect)[2] == {"CopyBatch"}
    explained = explain.explain(EveryField.objects.all(), [Column(name) for name in names], dialect)
    assert explained.obstacles == [reason]


@pytest.mark.both_databases
@pytest.mark.django_db
@needs_postgres
def test_values_outside_pythons_range_are_the_same_in_lines():
    save([{"name": "x"}])
    with connection.cursor() as cursor:
        for moment in ("infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "20000-01-01 00:00:00.5+00"):
            cursor.execute(
                "INSERT INTO shop_everyfield (name, moment, day, weight, price) "
                "VALUES ('y', %s, '-infinity', 'NaN', 'NaN')",
                [moment],
            )
    names = ["name", "moment", "day", "weight", "price"]
    made, counted, kinds = file_of(names, {}, Dialect(",", UTC))
    assert kinds == {"SqlCsvBatch"}
    assert (made, counted) == file_of(names, {}, None)[:2]
