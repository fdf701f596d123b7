"""What no export can be faster than: reading the rows and dropping them, deflating what a sheet is made of."""

import io
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from bench import ours
from bench.cases import Case
from bench.rows.models import COLUMNS, Row
from bench.values import CHUNK

PIECE = 1 << 20


def query() -> tuple[str, tuple]:
    return Row.objects.order_by("pk").values_list(*COLUMNS).query.sql_with_params()


def fetched(case: Case, path: Path) -> Callable[[], None]:
    """The rows as the driver gives them, from a cursor on the server where there is one."""
    sql, parameters = query()

    def read() -> None:
        # A cursor on the server lives in a transaction; on SQLite there is none.
        with transaction.atomic() if case.database == "postgresql" else nullcontext():
            cursor = connection.chunked_cursor()
            cursor.execute(sql, parameters)
            while cursor.fetchmany(CHUNK):
                pass
            cursor.close()

    return read


def copied(case: Case, path: Path) -> Callable[[], None]:
    sql, _ = query()

    def read() -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)") as copy:
            for _ in copy:
                pass

    return read


def deflated(case: Case, path: Path) -> Callable[[], dict[str, Any]]:
    """A sheet of `rows_read` rows, deflated until `rows` rows have been."""
    sheet = _sheet(case)
    engine, level = case.tool.removeprefix("deflate, ").split()
    new = _engines()[engine]

    def deflate() -> dict[str, Any]:
        stream, size = new(int(level)), 0
        for _ in range(case.rows // case.rows_read):
            for start in range(0, len(sheet), PIECE):
                size += len(stream.compress(sheet[start : start + PIECE]))
        return {"bytes": size + len(stream.flush())}

    return deflate


def _engines() -> dict[str, Callable[[int], Any]]:
    from isal import isal_zlib
    from zlib_ng import zlib_ng

    return {
        "zlib": lambda level: zlib.compressobj(level, zlib.DEFLATED, -15),
        "zlib-ng": lambda level: zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15),
        "isal": lambda level: isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15),
    }


def _sheet(case: Case) -> bytes:
    """The XML of our own sheet."""
    book = io.BytesIO()
    plain = Case(ours.TITLE, "xlsx", case.database, case.rows_read, "", 0)
    with ours.table_of(ours.queryset_of(plain), ours.columns_of(plain)) as rows:
        ours.write_now(rows, book, format="xlsx", options={}, title=ours.TITLE)
    with zipfile.ZipFile(book) as archive:
        return archive.read("xl/worksheets/sheet1.xml")
