"""Other tools, each used as its documentation recommends, with values that make the same cells as ours.

Every function takes the case and the path, imports and prepares, and returns the function that is timed. To find cells
that still differ, call `bench/run --check-peers`.
"""

import csv
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from itertools import islice
from pathlib import Path

from django.db import connection

from bench.cases import Case
from bench.rows.models import COLUMNS, Row
from bench.values import CHUNK, held, import_arrow, naive, query, queryset_of, tuples

Write = Callable[[], None]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# CSV


def values_list_csv(case: Case, path: Path) -> Write:
    """Write formatted rows of `values_list` with csv.writer, the usual way. The file is the same as ours."""

    def write() -> None:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(map(_formatted, tuples(case)))

    return write


def _formatted(row: tuple) -> tuple:
    key, name, note, amount, ratio, active, day, created, attributes, owner = row
    moment = created.astimezone(UTC).isoformat()
    truth = "true" if active else "false"
    return key, _safe(name), _safe(note), amount, ratio, truth, day.isoformat(), moment, to_json(attributes), owner


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def psql_copy(case: Case, path: Path) -> Write:
    """Let PostgreSQL write CSV itself, without any rules for cells."""
    from tests.servers import as_unprivileged_user, postgres_program

    settings = connection.settings_dict
    sql, _ = query()
    command = [postgres_program("psql"), "-h", settings["HOST"], "-U", settings["USER"], "-d", settings["NAME"]]
    command += ["-q", "-c", f"COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)"]

    def write() -> None:
        with path.open("wb") as file:
            subprocess.run(command, check=True, stdout=file, **as_unprivileged_user())

    return write


def import_export_csv(case: Case, path: Path) -> Write:
    resource = _resource()

    def write() -> None:
        dataset = resource.export(queryset_of(case))
        path.write_text(dataset.export("csv"), newline="", encoding="utf-8")

    return write


def import_export_xlsx(case: Case, path: Path) -> Write:
    resource = _resource()

    def write() -> None:
        dataset = resource.export(queryset_of(case), force_native_type=True)
        path.write_bytes(dataset.export("xlsx"))

    return write


def _resource() -> object:
    from import_export import resources

    class RowResource(resources.ModelResource):
        class Meta:
            model = Row
            fields = export_order = COLUMNS

    return RowResource()


# XLSX, streamed


def values_list_xlsxwriter(case: Case, path: Path) -> Write:
    """Use constant_memory and the method for each type, which is faster than `write` and `write_row`: the usual way."""
    import xlsxwriter  # noqa: F401

    return lambda: _write_xlsxwriter(path, tuples(case))


def xlsxwriter_alone(case: Case, path: Path) -> Write:
    import xlsxwriter  # noqa: F401

    rows = held(case)
    return lambda: _write_xlsxwriter(path, rows())


def _write_xlsxwriter(path: Path, rows: Iterable[tuple]) -> None:
    import xlsxwriter

    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    sheet = book.add_worksheet("Rows")
    sheet.write_row(0, 0, COLUMNS)
    date, moment = (book.add_format({"num_format": each}) for each in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"))
    for number, row in enumerate(rows, start=1):
        key, name, note, amount, ratio, active, day, created, attributes, owner = row
        sheet.write_number(number, 0, key)
        sheet.write_string(number, 1, name)
        sheet.write_string(number, 2, note)
        sheet.write_number(number, 3, amount)
        sheet.write_number(number, 4, ratio)
        sheet.write_boolean(number, 5, active)
        sheet.write_datetime(number, 6, day, date)
        sheet.write_datetime(number, 7, created.astimezone(UTC).replace(tzinfo=None), moment)
        sheet.write_string(number, 8, to_json(attributes))
        if owner is not None:
            sheet.write_number(number, 9, owner)
    book.close()


def rustpy(case: Case, path: Path) -> Write:
    return _rustpy(path, lambda: tuples(case))


def rustpy_alone(case: Case, path: Path) -> Write:
    return _rustpy(path, held(case))


def _rustpy(path: Path, rows: Callable[[], Iterator[tuple]]) -> Write:
    """Write records from a generator, for which it documents constant memory."""
    from rustpy_xlsxwriter import write_worksheet

    return lambda: write_worksheet(map(_record, rows()), str(path), sheet_name="Rows")


def _record(row: tuple) -> dict[str, object]:
    return dict(zip(COLUMNS, _plain(row), strict=True))


def _plain(row: tuple) -> tuple:
    """Return types that every spreadsheet library knows: decimals as floats, JSON as text."""
    key, name, note, amount, ratio, active, day, created, attributes, owner = naive(row)
    return key, name, note, float(amount), ratio, active, day, created, to_json(attributes), owner


def openpyxl(case: Case, path: Path) -> Write:
    return _openpyxl(path, lambda: tuples(case))


def openpyxl_alone(case: Case, path: Path) -> Write:
    return _openpyxl(path, held(case))


def _openpyxl(path: Path, rows: Callable[[], Iterator[tuple]]) -> Write:
    """Use the write-only mode. A text that starts with "=" is a formula unless its cell is marked as text."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    def write() -> None:
        book = Workbook(write_only=True)
        sheet = book.create_sheet("Rows")
        sheet.append(COLUMNS)
        for row in map(_plain, rows()):
            if row[2].startswith("="):
                note = WriteOnlyCell(sheet, row[2])
                note.data_type = "s"
                row = (*row[:2], note, *row[3:])
            sheet.append(row)
        book.save(path)

    return write


# XLSX from rows that are all in memory


def pandas(case: Case, path: Path) -> Write:
    """Write a list of dicts by a data frame and `to_excel`."""
    import pandas
    import xlsxwriter  # noqa: F401

    options = {"options": {"strings_to_formulas": False, "strings_to_urls": False}}

    def write() -> None:
        frame = pandas.DataFrame(list(queryset_of(case).values(*COLUMNS)))
        frame["created"] = frame["created"].dt.tz_localize(None)
        frame["attributes"] = frame["attributes"].map(to_json)
        frame["amount"] = frame["amount"].astype(float)
        frame["day"] = pandas.to_datetime(frame["day"])
        frame.to_excel(path, index=False, engine="xlsxwriter", engine_kwargs=options)

    return write


def pyexcelerate(case: Case, path: Path) -> Write:
    from pyexcelerate import Workbook

    def write() -> None:
        book = Workbook()
        book.new_sheet("Rows", data=[list(COLUMNS), *map(list, map(_plain, tuples(case)))])
        book.save(str(path))

    return write


def polars(case: Case, path: Path) -> Write:
    import polars
    import xlsxwriter  # noqa: F401

    types = (polars.Int64, polars.String, polars.String, polars.Float64, polars.Float64, polars.Boolean, polars.Date)
    schema = dict(zip(COLUMNS, (*types, polars.Datetime("us"), polars.String, polars.Int64), strict=True))

    def write() -> None:
        frame = polars.DataFrame(list(map(_plain, tuples(case))), schema=schema, orient="row")
        frame.write_excel(path, worksheet="Rows")

    return write


# JSON Lines and Parquet


def values_orjson(case: Case, path: Path) -> Write:
    import orjson

    def write() -> None:
        with path.open("wb") as file:
            for row in queryset_of(case).values(*COLUMNS).iterator(chunk_size=CHUNK):
                file.write(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE))

    return write


def values_list_pyarrow(case: Case, path: Path) -> Write:
    """Write record batches of 10,000 rows."""
    import_arrow()
    import pyarrow
    from pyarrow import parquet

    schema = arrow_schema()

    def write() -> None:
        with parquet.ParquetWriter(path, schema) as writer:
            for chunk in _chunks(tuples(case), 10_000):
                *columns, attributes, owners = zip(*chunk, strict=True)
                columns += [list(map(to_json, attributes)), owners]
                arrays = [pyarrow.array(each, field.type) for each, field in zip(columns, schema, strict=True)]
                writer.write_batch(pyarrow.record_batch(arrays, schema=schema))

    return write


def arrow_schema() -> object:
    import pyarrow as arrow

    types = (arrow.int64(), arrow.string(), arrow.string(), arrow.decimal128(10, 2), arrow.float64(), arrow.bool_())
    types += (arrow.date32(), arrow.timestamp("us", "UTC"), arrow.string(), arrow.int64())
    return arrow.schema(list(zip(COLUMNS, types, strict=True)))


def _chunks(rows: Iterator[tuple], size: int) -> Iterator[list[tuple]]:
    while chunk := list(islice(rows, size)):
        yield chunk
