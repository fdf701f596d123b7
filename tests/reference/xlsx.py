"""A slow and simple XLSX writer, by XlsxWriter one cell at a time, to compare the fast one with."""

import re
import tempfile
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, repeat
from types import NoneType
from typing import Final, NamedTuple

from xlsxwriter import Workbook
from xlsxwriter.format import Format

from exports.tabular.columns import NUMERIC, Column
from exports.tabular.writers.base import Batch, Writer
from tests.reference.cells import sheet_cell

KINDS_OF_TYPES: Final = {
    str: "text", bool: "boolean", int: "integer", float: "float", Decimal: "decimal", datetime: "datetime",
    date: "date", time: "time", timedelta: "duration",
}  # fmt: skip
PATTERNS: Final = {
    "date": "yyyy-mm-dd", "datetime": "yyyy-mm-dd hh:mm:ss", "time": "hh:mm:ss", "duration": "[h]:mm:ss",
    "datetime.000": "yyyy-mm-dd hh:mm:ss.000", "time.000": "hh:mm:ss.000", "duration.000": "[h]:mm:ss.000",
    "long": "0", "long places": "0.00##############",
}  # fmt: skip
PLAIN_KINDS: Final = {"long": "integer", "long places": "decimal"}
SHOWN: Final = 11
EPOCH: Final = datetime(1899, 12, 30)
DAY: Final = timedelta(days=1)
SERIALS: Final[dict[type, Callable]] = {
    datetime: lambda moment: days(moment - EPOCH),
    date: lambda day: day.toordinal() - EPOCH.toordinal(),
    time: lambda clock: days(datetime.combine(EPOCH, clock) - EPOCH),
    timedelta: lambda duration: days(duration),
}
OPTIONS: Final = {
    "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
}  # fmt: skip

_MISREAD = re.compile(r"_x[0-9a-fA-F]{4}_|\A<r>")
_SPLIT = re.compile(r"(?<=_x)(?=[0-9a-fA-F]{4}_)|(?<=\A<)(?=r>)")


class Cell(NamedTuple):
    """A value that XlsxWriter takes, and its number format, "" for none."""

    value: object
    pattern: str


class ReferenceWriter(Writer):
    """Write one sheet with the cells, number formats and counts of the real writer; all else differs."""

    format = "xlsx"
    extension = "xlsx"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    label = "Excel"
    takes_raw_columns = True

    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._book = Workbook(self.file, {**OPTIONS, "tmpdir": self._folder.name})
        self._sheet = self._book.add_worksheet()
        self._formats: dict[str, Format | None] = {"": None}
        for number, column in enumerate(self.columns):
            for cell in self._cells(Column(column.label), [column.label]):
                self._put(0, number, cell)

    def add(self, batch: Batch) -> None:
        columns = [self._cells(column, values) for column, values in zip(self.columns, batch, strict=True)]
        for row, cells in enumerate(zip(*columns, strict=True), start=1 + self.rows):
            for number, cell in enumerate(cells):
                self._put(row, number, cell)

    def finish(self) -> None:
        self._book.close()
        self._folder.cleanup()

    def _cells(self, column: Column, values: Sequence[object]) -> list[Cell]:
        made = [sheet_cell(value, column.kind, self.zone) for value in values]
        self.alterations.update(change for _, changes in made for change in changes)
        cells = [cell for cell, _ in made]
        return [Cell(numbered(cell), pattern(column, kind_of(cell, cells))) for cell in cells]

    def _put(self, row: int, column: int, cell: Cell) -> None:
        if cell.value is None:
            return
        if cell.pattern not in self._formats:
            self._formats[cell.pattern] = self._book.add_format({"num_format": cell.pattern})
        style = self._formats[cell.pattern]
        if isinstance(cell.value, str):
            refused = self._put_text(row, column, cell.value, style)
        elif isinstance(cell.value, bool):
            refused = self._sheet.write_boolean(row, column, cell.value, style)
        else:
            refused = self._sheet.write_number(row, column, cell.value, style)
        assert not refused

    def _put_text(self, row: int, column: int, text: str, style: Format | None) -> int:
        """Write text that every reader returns as it is, split into runs where it would be misread."""
        if not _MISREAD.search(text):
            return self._sheet.write_string(row, column, text, style)
        first, *others = _SPLIT.split(text)
        runs = [first, *chain.from_iterable(zip(repeat(Format()), others, strict=False))]
        return self._sheet.write_rich_string(row, column, *runs, *([style] if style else []))


def kind_of(cell: object, column: Sequence[object]) -> str:
    kind = kind_of_type(cell)
    if kind in ("datetime", "time", "duration"):
        # All have the format of those with a fraction.
        same = [each for each in column if kind_of_type(each) == kind]
        return (
            f"{kind}.000"
            if any(each.microseconds if kind == "duration" else each.microsecond for each in same)
            else kind
        )
    if kind == "integer":
        # In a column of integers all have the format of the longest, in a mixed column each has its own.
        alike = column if set(map(type, column)) <= {int, NoneType} else [cell]
        return "long" if any(each is not None and abs(each) >= 10**SHOWN for each in alike) else kind
    return kind_of_number(kind, cell) if kind in ("decimal", "float") else kind


def kind_of_type(cell: object) -> str:
    return next((kind for base, kind in KINDS_OF_TYPES.items() if isinstance(cell, base)), "text")


def kind_of_number(kind: str, number: Decimal | float) -> str:
    """Return another kind for a number that Excel would show with an exponent, or a decimal with fewer places."""
    text = format(abs(number), "f") if kind == "decimal" else repr(abs(number))
    whole, _, places = text.partition(".")
    shown = whole if kind == "float" else text
    if len(shown) <= SHOWN or len(text) > 18 or "e" in text:
        return kind
    return "long places" if set(places) - {"0"} else "long"


def days(duration: timedelta) -> float:
    """Return days, rounded down to milliseconds."""
    return duration // timedelta(milliseconds=1) * timedelta(milliseconds=1) / DAY


def numbered(cell: object) -> object:
    """Return dates, times and durations as the serial numbers of Excel, other cells unchanged."""
    return next((serial(cell) for base, serial in SERIALS.items() if isinstance(cell, base)), cell)


def pattern(column: Column, kind: str) -> str:
    """Return the number format of a cell: that of the column if it fits the kind of the cell, or else of the kind."""
    plain = PLAIN_KINDS.get(kind, kind.removesuffix(".000"))
    fits = column.kind == plain or {column.kind, plain} <= set(NUMERIC)
    if column.format and (fits or (not column.kind and plain != "text")):
        return column.format
    return PATTERNS.get(kind, "")
