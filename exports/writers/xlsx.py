"""XLSX by XlsxWriter, one row in memory at a time, with its temporary files in the folder it is given."""

import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from inspect import unwrap
from itertools import chain, repeat
from pathlib import Path
from types import NoneType
from typing import BinaryIO, ClassVar, Final

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet

from exports.cells import NUMERIC, Column, to_sheet
from exports.exceptions import LostCells
from exports.writers.base import Batch, CountedFile, Writer

# Excel's specifications and limits.
MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384
MAX_WIDTH: Final = 255
NAME_UNITS: Final = 31
RESERVED_NAME: Final = "history"

KINDS_OF_TYPES: Final = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "float",
    Decimal: "decimal",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "duration",
}
PATTERNS: Final = {
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
    "time": "hh:mm:ss",
    "duration": "[h]:mm:ss",
}
# Excel shows longer integers with an exponent unless they have a format; others go without, as they write faster.
SHOWN_DIGITS: Final = 11
LONG_INTEGER: Final = "0"
WIDTHS: Final = {"text": 20, "date": 11, "datetime": 19, "json": 40, "uuid": 37}
WIDTH: Final = 12
WIDEST_HEADER: Final = 50
FILTER_ARROW: Final = 3

# Excel's serial numbers count days from here; true of every day from 1 March 1900 on.
EPOCH: Final = datetime(1899, 12, 30)
DAY: Final = timedelta(days=1)
SERIALS: Final[dict[type, Callable]] = {
    datetime: lambda moment: (moment - EPOCH) / DAY,
    date: lambda day: day.toordinal() - EPOCH.toordinal(),
    time: lambda clock: timedelta(0, clock.hour * 3600 + clock.minute * 60 + clock.second, clock.microsecond) / DAY,
    timedelta: lambda duration: duration / DAY,
}

SAMPLES: Final = 8
SAMPLE_BYTES: Final = 65_536
OTHER_PARTS_BYTES: Final = 6_000

# What XlsxWriter or a reader takes for an escape or for a rich string, and where to part it so that none does.
_MISREAD = re.compile(r"_x[0-9a-fA-F]{4}_|\A<r>")
_PARTING = re.compile(r"(?<=_x)(?=[0-9a-fA-F]{4}_)|(?<=\A<)(?=r>)")
_NOT_IN_NAMES = re.compile("[\\[\\]:*?/\\\\\x00-\x20\x7f\ufffe\uffff\ud800-\udfff]+")

# Without the reading of "A1", which costs time at each cell.
write_boolean, write_number, write_string = map(
    unwrap, (Worksheet.write_boolean, Worksheet.write_number, Worksheet.write_string)
)

Put = Callable[[Worksheet, int, int, object, Format | None], int]
PreparedColumn = tuple[Put, Format | None, Sequence[object]]


class XlsxWriter(Writer):
    """A bold, frozen header with a filter on each sheet; a new sheet where one is full.

    Text is never a formula or a link. What Excel cannot hold exactly is text and counted (`cells.sheet`).
    """

    format = "xlsx"
    extension = "xlsx"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    label = "Excel"
    finishing_share = 0.2
    max_columns = MAX_COLUMNS
    # Rows of a sheet, its header included.
    max_rows: ClassVar[int] = MAX_ROWS

    _book: Workbook | None = None
    _folder: Path | None = None

    def begin(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="xlsx-", dir=self.work_dir))
        self._out = CountedFile(self.file, self.on_bytes)
        self._book = _workbook(self._out, self._folder)
        self._book.set_properties({"title": self._text(self.title)})
        self._formats: dict[str, Format | None] = {"": None}
        self._bold = self._book.add_format({"bold": True})
        self._labels = [self._text(column.label) for column in self.columns]
        self._start_sheet()

    def add(self, batch: Batch) -> None:
        columns = [self._prepared(column, values) for column, values in zip(self.columns, batch, strict=True)]
        start, rows = 0, len(batch[0])
        while start < rows:
            if self._row == self.max_rows:
                self._end_sheet()
                self._start_sheet()
            stop = min(rows, start + self.max_rows - self._row)
            self._write_rows([(put, style, cells[start:stop]) for put, style, cells in columns])
            start = stop

    def finish(self) -> None:
        self._end_sheet()
        self._out.expected = _expected_bytes(self._folder)
        try:
            self._book.close()
        except FileCreateError as error:
            # XlsxWriter wraps the OSError of a full disk.
            raise error.args[0] from error
        shutil.rmtree(self._folder, ignore_errors=True)

    def discard(self) -> None:
        super().discard()
        if self._book is not None:
            self._out.is_discarded = True
            for sheet in self._book.worksheets():
                # On a full disk the last flush fails too, and the file is closed all the same.
                with suppress(OSError):
                    sheet.row_data_fh.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _text(self, text: str) -> str:
        [fitting] = to_sheet(Column(text), [text], zone=self.zone, alterations=self.alterations)
        return fitting or ""

    def _prepared(self, column: Column, values: Sequence[object]) -> PreparedColumn:
        """How the cells of a column are put, decided once where all have one type."""
        cells = to_sheet(column, values, zone=self.zone, alterations=self.alterations)
        types = set(map(type, cells)) - {NoneType}
        if len(types) > 1:
            return self._put_by_type(column), None, cells
        type_ = types.pop() if types else str
        return _put_of(type_, cells), self._style(column, type_, cells), _numbered(type_, cells)

    def _put_by_type(self, column: Column) -> Put:
        def put(sheet: Worksheet, row: int, number: int, cell: object, _: Format | None) -> int:
            type_ = type(cell)
            [value] = _numbered(type_, [cell])
            return _put_of(type_, [cell])(sheet, row, number, value, self._style(column, type_, [cell]))

        return put

    def _style(self, column: Column, type_: type, cells: Sequence[object]) -> Format | None:
        pattern = _pattern(column, KINDS_OF_TYPES[type_])
        if not pattern and type_ is int and _has_long(cells):
            pattern = LONG_INTEGER
        if pattern not in self._formats:
            self._formats[pattern] = self._book.add_format({"num_format": pattern})
        return self._formats[pattern]

    def _write_rows(self, columns: Sequence[PreparedColumn]) -> None:
        puts = [(number, put, style) for number, (put, style, _) in enumerate(columns)]
        sheet = self._sheet
        for row, cells in enumerate(zip(*(cells for *_, cells in columns), strict=True), start=self._row):
            for (number, put, style), cell in zip(puts, cells, strict=True):
                if cell is not None and put(sheet, row, number, cell, style):
                    self._refuse(number)
        self._row += len(columns[0][2])

    def _refuse(self, number: int) -> None:
        raise LostCells(f"Excel's limits do not allow a cell of column {self.columns[number].label!r}.")

    def _start_sheet(self) -> None:
        taken = [sheet.name for sheet in self._book.worksheets()]
        self._sheet = self._book.add_worksheet(sheet_name(self.title, taken))
        self._sheet.freeze_panes(1, 0)
        for number, (column, label) in enumerate(zip(self.columns, self._labels, strict=True)):
            self._sheet.set_column(number, number, _width(column, label))
            if label and _write_text(self._sheet, 0, number, label, self._bold):
                self._refuse(number)
        self._row = 1

    def _end_sheet(self) -> None:
        last_row, last_column = self._row - 1, len(self.columns) - 1
        self._sheet.autofilter(0, 0, last_row, last_column)
        # No green corners on text made of digits.
        self._sheet.ignore_errors({"number_stored_as_text": xl_range(0, 0, last_row, last_column)})


def sheet_name(title: str, taken: Collection[str]) -> str:
    """A free name that Excel allows: the title, numbered from the second sheet on, or "Sheet 1".

    At most 31 UTF-16 units, none of []:*?/\\ and no control character, no apostrophe at either end, not "History", and
    no other sheet's name in any case.
    """
    used = {name.lower() for name in taken}
    base = _name_part(title, NAME_UNITS)
    if base and base.lower() not in {RESERVED_NAME, *used}:
        return base
    numbers = range(len(taken) + 1, len(taken) + NAME_UNITS)
    names = (f"{_name_part(title, NAME_UNITS - len(f' {n}')) or 'Sheet'} {n}" for n in numbers)
    return next(name for name in names if name.lower() not in used)


def _name_part(title: str, units: int) -> str:
    allowed = _NOT_IN_NAMES.sub(" ", title).strip(" '")
    return allowed.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore").strip(" '")


def _workbook(file: CountedFile, folder: Path) -> Workbook:
    options = {
        "constant_memory": True,
        "tmpdir": str(folder),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        # Only used where a part has 2 GiB or more.
        "use_zip64": True,
    }
    return Workbook(file, options)


def _pattern(column: Column, kind: str) -> str:
    """The number format of a cell: the column's own where it fits the kind of the cell, else the kind's."""
    fits = column.kind == kind or {column.kind, kind} <= set(NUMERIC)
    if column.format and (fits or (not column.kind and kind != "text")):
        return column.format
    return PATTERNS.get(kind, "")


def _has_long(integers: Sequence[int | None]) -> bool:
    sizes = [integer for integer in integers if integer is not None]
    return max(sizes) >= 10**SHOWN_DIGITS or min(sizes) <= -(10**SHOWN_DIGITS)


def _width(column: Column, label: str) -> float:
    if column.width is not None:
        return min(column.width, MAX_WIDTH)
    return max(WIDTHS.get(column.kind, WIDTH), min(len(label) + FILTER_ARROW, WIDEST_HEADER))


def _numbered(type_: type, cells: Sequence[object]) -> Sequence[object]:
    """Dates, times and durations as Excel's serial numbers, other cells as they are."""
    serial = SERIALS.get(type_)
    return cells if serial is None else [None if cell is None else serial(cell) for cell in cells]


def _put_of(type_: type, cells: Sequence[object]) -> Put:
    if type_ is bool:
        return write_boolean
    if type_ is not str:
        return write_number
    joined = " ".join(filter(None, cells))
    return _write_text if "_x" in joined or "<r>" in joined else write_string


def _write_text(sheet: Worksheet, row: int, column: int, text: str, style: Format | None) -> int:
    """Text that every reader gives back as it is, parted into runs where it would be misread."""
    if not _MISREAD.search(text):
        return write_string(sheet, row, column, text, style)
    first, *others = _PARTING.split(text)
    runs = [first, *chain.from_iterable(zip(repeat(Format()), others, strict=False))]
    return sheet.write_rich_string(row, column, *runs, *([style] if style else []))


def _expected_bytes(folder: Path) -> int:
    return OTHER_PARTS_BYTES + sum(map(_compressed_bytes, folder.iterdir()))


def _compressed_bytes(path: Path) -> int:
    """An estimate from samples spread over the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        samples = b"".join(_read_at(file, size * number // SAMPLES) for number in range(SAMPLES))
    return size * len(zlib.compress(samples)) // len(samples) if samples else 0


def _read_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(SAMPLE_BYTES)
