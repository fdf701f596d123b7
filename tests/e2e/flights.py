"""The rows that a file of all flights must have, read from the database by plain SQL, and readers of the files."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import python_calamine

from tests.e2e.stack import Stack
from tests.e2e.visits import ZONE

FLIGHTS = 336_776

# The columns of the export, in its order.
QUERY = """
SELECT f.year, f.month, f.day, f.dep_time, f.sched_dep_time, f.dep_delay, f.arr_time, f.sched_arr_time, f.arr_delay,
       f.dep_delay - f.arr_delay, f.carrier_id, airline.name, f.number, f.tailnum, f.origin_id, f.dest,
       destination.name, f.air_time, f.distance, f.hour, f.minute, f.time_hour
FROM demo_flight f
JOIN demo_airline airline ON airline.carrier = f.carrier_id
LEFT JOIN demo_airport destination ON destination.faa = f.destination_id
ORDER BY f.time_hour, f.id
"""

Row = Sequence[Any]


def flights(stack: Stack) -> Iterator[Row]:
    """Yield the rows of the database; the time in the last column is in the time zone of the user."""
    zone = ZoneInfo(ZONE)
    for *cells, time in stack.rows(QUERY):
        if isinstance(time, str):
            time = datetime.fromisoformat(time).replace(tzinfo=UTC)
        yield [*cells, time.astimezone(zone)]


def as_sheet(row: Row) -> Row:
    """Return a row as Excel stores it: empty text is an empty cell, and times have no zone."""
    return [cell.replace(tzinfo=None) if isinstance(cell, datetime) else None if cell == "" else cell for cell in row]


def as_text(row: Row) -> Row:
    return [cell.isoformat() if isinstance(cell, datetime) else "" if cell is None else str(cell) for cell in row]


def rows_by_calamine(path: Path) -> Iterator[Row]:
    rows = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0).iter_rows()
    next(rows)
    return ([None if cell == "" else cell for cell in row] for row in rows)


def rows_by_openpyxl(path: Path) -> Iterator[Row]:
    with closing(openpyxl.load_workbook(path, read_only=True)) as book:
        rows = book.worksheets[0].iter_rows(values_only=True)
        next(rows)
        yield from rows


def rows_by_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows


def assert_same_rows(actual: Iterable[Row], expected: Iterable[Row]) -> None:
    """Compare every cell of every row, and require one row for each flight."""
    count = 0
    for count, (given, wanted) in enumerate(zip(actual, expected, strict=True), start=1):
        assert list(given) == list(wanted), f"row {count}"
    assert count == FLIGHTS
