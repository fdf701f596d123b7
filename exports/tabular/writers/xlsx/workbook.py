"""All of a workbook but its rows, as XlsxWriter builds it: the authority on styles, sheets and every other part."""

import io
import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet, convert_range_args

from exports.exceptions import LostCells
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.frame import Frame, probes, read_frame
from exports.tabular.writers.xlsx.styles import Properties, header_properties, key_of

# Excel's specifications and limits.
MAX_WIDTH: Final = 255
NAME_UNITS: Final = 31
RESERVED_NAME: Final = "history"

WIDTHS: Final = {"text": 20, "date": 11, "datetime": 19, "json": 40, "uuid": 37}
WIDTH: Final = 12
WIDEST_HEADER: Final = 50
FILTER_ARROW: Final = 3

OPTIONS: Final = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}

SHARED: Final = "xl/sharedStrings.xml"

# What XlsxWriter or a reader takes for an escape or for a rich string, and where to part it so that none does.
_MISREAD = re.compile(r"_x[0-9a-fA-F]{4}_|\A<r>")
_PARTING = re.compile(r"(?<=_x)(?=[0-9a-fA-F]{4}_)|(?<=\A<)(?=r>)")
_SHARED_STRING = re.compile("<si>(.*?)</si>", re.DOTALL)
_TAG = re.compile("<[^>]*>")
_SHARED_CELL = re.compile(r'(<c [^>]*)t="s"><v>(\d+)</v></c>')
_NOT_IN_NAMES = re.compile("[\\[\\]:*?/\\\\\x00-\x20\x7f\ufffe\uffff\ud800-\udfff]+")


@dataclass
class Sheet:
    """A sheet as it was asked for. `labels` stand above the columns; `rows` below them were written so far."""

    name: str
    title: str
    columns: Sequence[Column]
    labels: Sequence[str]
    rows: int = 0


@dataclass(frozen=True)
class SheetDesign:
    """A sheet as a `design` hook gets it, to style it by XlsxWriter's own `workbook` and `worksheet`.

    The hook is called for each sheet each time that the workbook is built: before the rows, when `rows` is 1, and after
    them. It must do the same each time, but for what reaches from the header to the last row. `rows` counts those below
    the header, which is row 0, and is 1 where there are none. They are not the hook's to write.
    """

    workbook: Workbook
    worksheet: Worksheet
    columns: Sequence[Column]
    rows: int
    title: str


Design = Callable[[SheetDesign], None]


@dataclass(frozen=True)
class Book:
    """The frames of the sheets that were asked for with the paths of their parts, and all other parts by path.

    `size` is about what all of it takes in an archive, in bytes.
    """

    frames: Sequence[Frame]
    paths: Sequence[str]
    parts: Mapping[str, bytes]
    size: int


def build(title: str, sheets: Sequence[Sheet], design: Design | None) -> Book:
    """A workbook of these sheets with their present rows.

    Raises LostCells where Excel's limits do not allow a header; ValueError for a style that XlsxWriter does not know,
    and where the hook wrote below the header.
    """
    content = io.BytesIO()
    book = Workbook(content, OPTIONS)
    book.set_properties({"title": title})
    worksheets = [_SheetMaker(book, sheet).make(design) for sheet in sheets]
    book.close()
    with zipfile.ZipFile(content) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    paths = [_path(book, worksheet) for worksheet in worksheets]
    shared = parts.get(SHARED, b"").decode()
    xmls = [_with_inline(parts.pop(path).decode(), shared) for path in paths]
    frames = [read_frame(xml, sheet.columns, sheet.rows) for xml, sheet in zip(xmls, sheets, strict=True)]
    return Book(frames, paths, parts, len(content.getvalue()))


def _path(book: Workbook, worksheet: Worksheet) -> str:
    """The hook may have added sheets of its own."""
    grids = [sheet for sheet in book.worksheets() if not sheet.is_chartsheet]
    return f"xl/worksheets/sheet{grids.index(worksheet) + 1}.xml"


def _with_inline(xml: str, shared: str) -> str:
    """A sheet whose text holds itself what openpyxl would change among the shared strings: it deletes "x005F_"."""
    if "x005F_" not in _TAG.sub("", shared):
        return xml
    strings = _SHARED_STRING.findall(shared)
    return _SHARED_CELL.sub(lambda cell: f'{cell[1]}t="inlineStr"><is>{strings[int(cell[2])]}</is></c>', xml)


class _LongWorksheet(Worksheet):
    """XlsxWriter visits every cell of a table and remembers it; of these rows it is shown the first one only."""

    @convert_range_args
    def add_table(
        self, first_row: int, first_col: int, last_row: int, last_col: int, options: dict[str, Any] | None = None
    ) -> int:
        shown = min(last_row, first_row + 1)
        refused = super().add_table(first_row, first_col, shown, last_col, options)
        if not refused and shown < last_row:
            whole = xl_range(first_row, first_col, last_row, last_col)
            ranges = {name for name in ("range", "a_range", "autofilter") if self.tables[-1].get(name)}
            self.tables[-1].update(dict.fromkeys(ranges, whole))
        return refused


class _SheetMaker:
    """Makes one sheet of a workbook: header, widths, probes, and what the hook does."""

    def __init__(self, book: Workbook, sheet: Sheet) -> None:
        self._book = book
        self._sheet = sheet
        self._worksheet = book.add_worksheet(sheet.name, _LongWorksheet)
        self._formats: dict[str, Format] = {}

    def make(self, design: Design | None) -> Worksheet:
        worksheet, whole = self._worksheet, (0, 0, self._sheet.rows, len(self._sheet.columns) - 1)
        worksheet.freeze_panes(1, 0)
        # No green corners on text made of digits.
        worksheet.ignore_errors({"number_stored_as_text": xl_range(*whole)})
        for number, column in enumerate(self._sheet.columns):
            self._write_header(number, column)
            self._write_probes(number, column)
        if design is not None:
            design(self._for_hook())
        # Excel has either in a sheet.
        if not worksheet.tables and not worksheet.autofilter_ref:
            worksheet.autofilter(*whole)
        return worksheet

    def _for_hook(self) -> SheetDesign:
        sheet = self._sheet
        return SheetDesign(self._book, self._worksheet, sheet.columns, max(1, sheet.rows), sheet.title)

    def _write_header(self, number: int, column: Column) -> None:
        label = self._sheet.labels[number]
        style = self._format(column, header_properties(column))
        self._worksheet.set_column(number, number, _width(column, label))
        if _write_text(self._worksheet, number, label, style):
            raise LostCells(f"Excel's limits do not allow the header of column {column.label!r}.")

    def _write_probes(self, number: int, column: Column) -> None:
        for row, properties in enumerate(probes(column), start=1):
            self._worksheet.write_blank(row, number, None, self._format(column, properties))

    def _format(self, column: Column, properties: Properties) -> Format:
        key = key_of(properties)
        if key not in self._formats:
            self._formats[key] = self._new_format(column, properties)
        return self._formats[key]

    def _new_format(self, column: Column, properties: Properties) -> Format:
        try:
            return self._book.add_format(dict(properties))
        except AttributeError as error:
            raise ValueError(f"Column {column.label!r} has a style that XlsxWriter does not know: {error}.") from None


def _width(column: Column, label: str) -> float:
    if column.width is not None:
        return min(column.width, MAX_WIDTH)
    return max(WIDTHS.get(column.kind, WIDTH), min(len(label) + FILTER_ARROW, WIDEST_HEADER))


def _write_text(worksheet: Worksheet, number: int, text: str, style: Format) -> int:
    """A header that every reader gives back as it is, parted into runs where it would be misread."""
    if not text:
        return worksheet.write_blank(0, number, None, style)
    if not _MISREAD.search(text):
        return worksheet.write_string(0, number, text, style)
    first, *others = _PARTING.split(text)
    runs = [first, *chain.from_iterable(zip(repeat(Format()), others, strict=False))]
    return worksheet.write_rich_string(0, number, *runs, style)


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
