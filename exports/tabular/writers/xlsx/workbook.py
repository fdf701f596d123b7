"""The parts of a workbook without its rows, built by XlsxWriter: styles, sheets, pictures, properties and all else."""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Final

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet

from exports.exceptions import DeclarationError, LostCells
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx import xlsxwriter_internals as internals
from exports.tabular.writers.xlsx.styles import Properties, header_properties, properties_key
from exports.tabular.writers.xlsx.widths import MAX_TEXT_WIDTH, text_width

# Excel's specifications and limits.
MAX_WIDTH: Final = 255
MIN_WIDTH: Final = 8
MAX_NAME_UNITS: Final = 31
RESERVED_NAME: Final = "history"

# Room beside the widest cell, and for the arrow of the filter beside the header.
MARGIN: Final = 1
FILTER_ARROW_WIDTH: Final = 3
USUAL_FONT_SIZE: Final = 11

OPTIONS: Final = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}

# XlsxWriter takes "<r>" at the beginning for a rich string, and readers take "_x0041_" for an escaped character. Such a
# text is split into runs, where neither does.
_MISREAD = re.compile(r"_x[0-9a-fA-F]{4}_|\A<r>")
_SPLIT_MISREAD = re.compile(r"(?<=_x)(?=[0-9a-fA-F]{4}_)|(?<=\A<)(?=r>)")
_NOT_IN_NAMES = re.compile("[\\[\\]:*?/\\\\\x00-\x20\x7f\ufffe\uffff\ud800-\udfff]+")


@dataclass
class XlsxSheet:
    """A sheet with its columns, the labels above them, and what was written below the labels so far.

    `rows` counts the rows; `widths` are those of the widest cells in characters, by column.
    """

    name: str
    title: str
    columns: Sequence[Column]
    labels: Sequence[str]
    rows: int = 0
    widths: Sequence[float] = ()

    def __post_init__(self) -> None:
        self.widths = self.widths or [0] * len(self.columns)


@dataclass(frozen=True)
class SheetDesign:
    """What a `design` hook gets: XlsxWriter's `workbook` and `worksheet` to style a sheet with.

    The hook is called for each sheet each time that the workbook is built: before the rows, when `rows` is 1, and after
    them. It must do the same each time, except for what reaches from the header to the last row. The header is row 0.
    `rows` counts the rows below it, and is 1 where there are none. The hook must not write to these rows. The labels of
    `columns` are headers for a table: as cells can hold them, none empty, and none twice, not even in another case.
    """

    workbook: Workbook
    worksheet: Worksheet
    columns: Sequence[Column]
    rows: int
    title: str


Design = Callable[[SheetDesign], None]


@dataclass(frozen=True)
class WorkbookParts:
    """A workbook without rows: a template and a path in the archive for each sheet, and all other parts by path.

    `size` is the approximate number of bytes that they take in an archive.
    """

    templates: Sequence[internals.SheetTemplate]
    paths: Sequence[str]
    others: Mapping[str, bytes]
    size: int


def build_parts(title: str, sheets: Sequence[XlsxSheet], design: Design | None) -> WorkbookParts:
    """Return the parts of a workbook that has these sheets with their current numbers of rows.

    Raises LostCells for a header outside Excel's limits; DeclarationError for a style that XlsxWriter does not know,
    and if the hook wrote below the header; UnknownXlsxWriter.
    """
    content = io.BytesIO()
    book = Workbook(content, OPTIONS)
    book.set_properties({"title": title})
    formats = _Formats(book)
    worksheets = [_add_worksheet(book, sheet, formats, design) for sheet in sheets]
    book.close()
    with zipfile.ZipFile(content) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    paths = [internals.sheet_path(book, worksheet) for worksheet in worksheets]
    xmls = [internals.with_inline_strings(parts.pop(path).decode(), parts) for path in paths]
    try:
        templates = [
            internals.read_template(xml, sheet.columns, sheet.rows) for xml, sheet in zip(xmls, sheets, strict=True)
        ]
    except internals.RowsBelowHeader:
        if design is None:
            raise internals.UnknownXlsxWriter from None
        raise DeclarationError(
            "A `design` hook wrote or formatted rows below the header. Only the export writes these: give a column a "
            "`style` or a `format`, or add conditional formats."
        ) from None
    return WorkbookParts(templates, paths, parts, len(content.getvalue()))


class _Formats:
    """The formats of a workbook, one for equal properties."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        self._formats: dict[str, Format] = {}

    def get(self, column: Column, properties: Properties) -> Format:
        """Return the format. Raises DeclarationError for a property or a value that XlsxWriter refuses."""
        key = properties_key(properties)
        if key not in self._formats:
            if why := internals.why_no_format(properties):
                raise DeclarationError(f"Column {column.label!r} has a style that cannot be used. {why}")
            self._formats[key] = self._book.add_format(dict(properties))
        return self._formats[key]


def _add_worksheet(book: Workbook, sheet: XlsxSheet, formats: _Formats, design: Design | None) -> Worksheet:
    """Add a worksheet with its header, the probes for the styles, and what the hook does."""
    worksheet = book.add_worksheet(sheet.name, internals.StrictWorksheet)
    cells = (0, 0, sheet.rows, len(sheet.columns) - 1)
    worksheet.freeze_panes(1, 0)
    # Excel would mark text made of digits by a green corner.
    worksheet.ignore_errors({"number_stored_as_text": xl_range(*cells)})
    for number, (column, label, width) in enumerate(zip(sheet.columns, sheet.labels, sheet.widths, strict=True)):
        if _write_header(worksheet, number, label, formats.get(column, header_properties(column))):
            raise LostCells(f"Excel's limits do not allow the header of column {column.label!r}.")
        font_size = column.style.get("font_size", USUAL_FONT_SIZE)
        if isinstance(font_size, int | float):
            width *= max(1, font_size / USUAL_FONT_SIZE)
        usual = max(MIN_WIDTH, min(text_width(label) + FILTER_ARROW_WIDTH, MAX_TEXT_WIDTH))
        # Numbers that do not fit would be shown as ####.
        fitting = max(usual if column.width is None else column.width, width + MARGIN)
        worksheet.set_column(number, number, min(fitting, MAX_WIDTH))
        for row, properties in enumerate(internals.probe_styles(column), start=1):
            worksheet.write_blank(row, number, None, formats.get(column, properties))
    if design is not None:
        columns = _with_table_labels(sheet.columns, sheet.labels)
        design(SheetDesign(book, worksheet, columns, max(1, sheet.rows), sheet.title))
    if not internals.has_filter(worksheet):
        worksheet.autofilter(*cells)
    return worksheet


def _with_table_labels(columns: Sequence[Column], labels: Sequence[str]) -> list[Column]:
    taken: Counter[str] = Counter()
    made = []
    for column, label in zip(columns, labels, strict=True):
        unique = first = label or "Column"
        while unique.lower() in taken:
            taken[first.lower()] += 1
            unique = f"{first} {taken[first.lower()]}"
        taken[unique.lower()] += 1
        made.append(column if unique == column.label else replace(column, header=unique))
    return made


def _write_header(worksheet: Worksheet, number: int, text: str, style: Format) -> int:
    """Write a text that every reader returns as it is. Returns XlsxWriter's code, which is not 0 if it refused."""
    refused: int
    if not text:
        refused = worksheet.write_blank(0, number, None, style)
    elif not _MISREAD.search(text):
        refused = worksheet.write_string(0, number, text, style)
    else:
        first, *others = _SPLIT_MISREAD.split(text)
        runs = [first, *chain.from_iterable(zip(repeat(Format()), others, strict=False))]
        refused = worksheet.write_rich_string(0, number, *runs, style)
    return refused


def sheet_name(title: str, taken: Collection[str]) -> str:
    r"""Return a free name that Excel allows: the title, with a number from the second sheet on, or "Sheet 1".

    Excel allows at most 31 UTF-16 units, none of []:*?/\ and no control character, no apostrophe at either end, not
    "History", and no name that differs from another one by case only.
    """
    used = {name.lower() for name in taken}
    base = _allowed_name(title, MAX_NAME_UNITS)
    if base and base.lower() not in {RESERVED_NAME, *used}:
        return base
    numbers = range(len(taken) + 1, len(taken) + MAX_NAME_UNITS)
    names = (f"{_allowed_name(title, MAX_NAME_UNITS - len(f' {n}')) or 'Sheet'} {n}" for n in numbers)
    return next(name for name in names if name.lower() not in used)


def _allowed_name(title: str, units: int) -> str:
    allowed = _NOT_IN_NAMES.sub(" ", title).strip(" '")
    return allowed.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore").strip(" '")
