"""Arrays and ranges of PostgreSQL in a file of every format, by every strategy that reads them."""

import io
import json
from typing import Any

import pyarrow.parquet
import pytest
from django.contrib.postgres.fields import ArrayField, DateTimeRangeField, DecimalRangeField
from django.db import connection, models
from django.db.models.expressions import RawSQL
from django.utils import timezone
from openpyxl import load_workbook

from exports.exporters.base import table_of, write_now
from exports.tabular.columns import Column
from tests.shop.models import Customer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

TIMES = ["2013-07-01T08:00:00-04:00", None]
COLUMNS = [
    Column("times", source=RawSQL(
        "ARRAY['2013-07-01 12:00+00'::timestamptz, NULL]", [], output_field=ArrayField(models.DateTimeField())
    )),
    Column("sums", source=RawSQL(
        "ARRAY[[1.50, 2.00]]::numeric[]", [], output_field=ArrayField(ArrayField(models.DecimalField()))
    )),
    Column("period", source=RawSQL(
        "tstzrange('2013-07-01 12:00+00', NULL)", [], output_field=DateTimeRangeField()
    )),
    Column("prices", source=RawSQL(
        "ARRAY[numrange(1.50, 2), numrange(1, 1)]", [], output_field=ArrayField(DecimalRangeField())
    )),
]  # fmt: skip
TEXTS = [
    '["2013-07-01T08:00:00-04:00", null]', "[[1.50, 2.00]]", "[2013-07-01T08:00:00-04:00,)", '["[1.50,2)", "empty"]',
]  # fmt: skip


def made(format: str, columns: list[Column]) -> Any:
    """Return the first row of a file in New York: texts, or what a parser of JSON finds."""
    file = io.BytesIO()
    with timezone.override("America/New_York"), table_of(Customer.objects.all(), columns) as table:
        write_now(table, file, format=format, options={}, title="nested")
    file.seek(0)
    if format == "xlsx":
        return [cell.value for cell in load_workbook(file).active[2]]
    if format == "parquet":
        return list(pyarrow.parquet.read_table(file).to_pylist()[0].values())
    line = file.getvalue().decode("utf-8-sig").splitlines()[-1]
    return list(json.loads(line).values()) if format == "jsonl" else line.split("\t")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has neither arrays nor ranges")
@pytest.mark.parametrize("strategy", ["cursor", "instances"])
@pytest.mark.parametrize("format", ["tsv", "xlsx", "jsonl", "parquet"])
def test_arrays_and_ranges_are_written_by_the_rules_of_their_values(format: str, strategy: str) -> None:
    Customer.objects.create(name="Ada")
    callable_column = [Column("name", source=lambda customer: customer.name)] if strategy == "instances" else []
    found = made(format, [*COLUMNS, *callable_column])[: len(COLUMNS)]
    if format == "jsonl":
        assert found == [TIMES, [[1.5, 2.0]], TEXTS[2], ["[1.50,2)", "empty"]]
    elif format == "tsv":
        assert found == ['"' + text.replace('"', '""') + '"' if '"' in text else text for text in TEXTS]
    else:
        assert found == TEXTS
