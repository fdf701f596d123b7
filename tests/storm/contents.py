"""The expected content of a file of parcels, from the rows of the table alone, without code of the app."""

import csv
import hashlib
import io
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from python_calamine import load_workbook

HEADER = ("Number", "Name", "Price", "Day")

ParcelRow = tuple[int, str, Decimal, date]


def difference(content: bytes, format: str, rows: Sequence[ParcelRow]) -> str:
    """Return the first difference between the file and these rows, or ''."""
    return _csv_difference(content, rows) if format == "csv" else _xlsx_difference(content, rows)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def csv_of(rows: Sequence[ParcelRow]) -> bytes:
    """Return the rows as CSV (RFC 4180) with a UTF-8 BOM."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows((number, name, f"{price:.2f}", day.isoformat()) for number, name, price, day in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _csv_difference(content: bytes, rows: Sequence[ParcelRow]) -> str:
    expected = csv_of(rows)
    if sha256_of(content) == sha256_of(expected):
        return ""
    at = next((at for at, pair in enumerate(zip(content, expected, strict=False)) if pair[0] != pair[1]), "its end")
    return f"{len(content)} bytes, not the {len(expected)} of the table; they differ at {at}"


def _xlsx_difference(content: bytes, rows: Sequence[ParcelRow]) -> str:
    try:
        found = load_workbook(io.BytesIO(content)).get_sheet_by_index(0).to_python()
    except Exception as error:
        return f"no workbook: {type(error).__name__}"
    if tuple(found[0]) != HEADER:
        return f"header {found[0]}"
    cells = [_plain(row) for row in found[1:]]
    expected = [(number, name, f"{price:.2f}", day) for number, name, price, day in rows]
    if len(cells) != len(expected):
        return f"{len(cells)} rows, not the {len(expected)} of the table"
    at = next((at for at, pair in enumerate(zip(cells, expected, strict=True)) if pair[0] != pair[1]), None)
    return "" if at is None else f"row {at} is {cells[at]}, not {expected[at]}"


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    number, name, price, day = row
    return int(number), name, f"{price:.2f}", day
