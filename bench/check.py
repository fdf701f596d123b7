"""Read a file back and compare every cell with the database: python -m bench.check FORMAT PATH.

Prints {"rows", "expected_rows", "wrong": {column: number of cells}, "first": {column: first difference}}. The expected
values are those of `values_list`. In XLSX, a float may differ after its 15th digit and a datetime by a millisecond,
because Excel holds no more. In CSV, text that begins like a formula may have an apostrophe before it.
"""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import django

Comparison = Callable[[Any, Any], bool]
MILLISECOND = timedelta(milliseconds=1)


def csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.reader(file)


def sheet_rows(path: Path) -> Iterator[list[Any]]:
    """Yield the header of the first sheet, then the rows of all sheets."""
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(path) as book:
        for number, name in enumerate(book.sheet_names):
            rows = book.get_sheet_by_name(name).iter_rows()
            header = next(rows)
            if number == 0:
                yield header
            yield from rows


def moment_of(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_same_text(cell: str, value: str) -> bool:
    return cell == value or (cell == f"'{value}" and value.startswith("="))


def _is_same_day(cell: date, value: date) -> bool:
    return (cell.date() if isinstance(cell, datetime) else cell) == value


def _is_same_moment(cell: datetime, value: datetime) -> bool:
    return abs(cell - value.replace(tzinfo=None)) <= MILLISECOND


def _is_same_optional(cell: Any, value: int | None) -> bool:
    return cell in ("", None) if value is None else int(cell) == value


CSV: dict[str, Comparison] = {
    "id": lambda cell, value: int(cell) == value,
    "name": _is_same_text,
    "note": _is_same_text,
    "amount": lambda cell, value: Decimal(cell) == value,
    "ratio": lambda cell, value: float(cell) == value,
    "active": lambda cell, value: (cell.lower() in ("true", "t", "1")) is value,
    "day": lambda cell, value: date.fromisoformat(cell) == value,
    "created": lambda cell, value: moment_of(cell) == value,
    "attributes": lambda cell, value: json.loads(cell) == value,
    "owner": _is_same_optional,
}
SHEET: dict[str, Comparison] = {
    "id": lambda cell, value: cell == value,
    "name": str.__eq__,
    "note": str.__eq__,
    "amount": lambda cell, value: math.isclose(cell, value, rel_tol=1e-15),
    "ratio": lambda cell, value: math.isclose(cell, value, rel_tol=1e-15),
    "active": lambda cell, value: cell is value,
    "day": _is_same_day,
    "created": _is_same_moment,
    "attributes": lambda cell, value: json.loads(cell) == value,
    "owner": _is_same_optional,
}
FORMATS = {"csv": (csv_rows, CSV), "xlsx": (sheet_rows, SHEET)}


def compare(
    found: Iterable[list[Any]], expected: Iterable[tuple], comparisons: dict[str, Comparison]
) -> dict[str, Any]:
    """Compare the header, then the rows. Missing and additional rows count in the numbers of rows only."""
    wrong: Counter[str] = Counter()
    first: dict[str, str] = {}
    rows = expected_rows = 0

    def differ(name: str, cell: object, value: object) -> None:
        wrong[name] += 1
        first.setdefault(name, f"{cell!r} instead of {value!r}")

    names, found = list(comparisons), iter(found)
    header = next(found, None)
    if header != names:
        differ("header", header, names)
    for cells, values in zip_longest(found, expected):
        rows += cells is not None
        expected_rows += values is not None
        if cells is None or values is None:
            continue
        if len(cells) != len(names):
            differ("cells in a row", len(cells), len(names))
        for name, cell, value in zip(names, cells, values, strict=False):
            if not _is_same(comparisons[name], cell, value):
                differ(name, cell, value)
    return {"rows": rows, "expected_rows": expected_rows, "wrong": dict(wrong), "first": first}


def _is_same(comparison: Comparison, cell: Any, value: Any) -> bool:
    try:
        return bool(comparison(cell, value))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return False


def main(format: str, path: Path) -> dict[str, Any]:
    django.setup()
    from bench.rows.models import COLUMNS, Row

    read, comparisons = FORMATS[format]
    expected = Row.objects.order_by("pk").values_list(*COLUMNS).iterator(chunk_size=10_000)
    return compare(read(path), expected, comparisons)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
