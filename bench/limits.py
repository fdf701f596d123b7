"""What no export can be faster than: reading the rows without using them, compressing the XML of a sheet."""

import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.db import connection, transaction

from bench.cases import Case
from bench.values import CHUNK, query

PIECE = 1 << 20


def fetched(case: Case, path: Path) -> Callable[[], None]:
    """Fetch the rows from a server-side cursor, or on SQLite from a usual one."""
    sql, parameters = query()

    def read() -> None:
        # A server-side cursor needs a transaction.
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
    """Compress a sheet of `rows_read` rows again and again until it was `rows` rows."""
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
    """Return the XML of a sheet that this project writes."""
    from bench import ours

    with TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.xlsx"
        ours.table(Case("", "xlsx", case.source, case.rows_read, "", 0), path)()
        with zipfile.ZipFile(path) as archive:
            return archive.read("xl/worksheets/sheet1.xml")
