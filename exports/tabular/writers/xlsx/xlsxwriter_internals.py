"""All that relies on the internals of XlsxWriter: the XML that it writes, and attributes that it does not document.

Checked against XlsxWriter 3.3.1; requirements.txt allows its series only. The XML is compared with what is expected
each time that a workbook is begun. Where it differs, UnknownXlsxWriter is raised before any row is written.

To check a new version: change CHECKED_VERSION and run the tests, which compare all cells with those that XlsxWriter
writes itself (tests/test_writers_xlsx_same.py).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import zip_longest
from typing import Any, Final

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet, convert_range_args

from exports.exceptions import UnsupportedLibrary
from exports.tabular.cells.excel import UNFIT
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.styles import (
    COLUMN_KINDS,
    CellStyle,
    CellStyles,
    Properties,
    cell_properties,
    properties_key,
)
from exports.tabular.writers.xlsx.widths import BUILT_IN_FORMAT

CHECKED_VERSION: Final = "3.3.1"

# Methods of a worksheet that return a code other than 0 where they write nothing.
REFUSABLE: Final = (
    "add_sparkline", "add_table", "conditional_format", "data_validation", "insert_chart", "insert_image",
    "merge_range", "set_column", "set_row", "write_comment",
)  # fmt: skip

SHARED_STRINGS: Final = "xl/sharedStrings.xml"
SHEET_DATA: Final = b"<sheetData>"

_DIMENSION = re.compile(r'<dimension ref="([A-Z]+\d+):([A-Z]+)\d+"')
_DEFAULT_HEIGHT = re.compile(r'<sheetFormatPr [^>]*?defaultRowHeight="([^"]*)"')
_ROW = re.compile(r'<row r="(\d+)"([^>]*?)(?:/>|>(.*?)</row>)', re.DOTALL)
_PROBES = re.compile(r'(?:<c r="[A-Z]+\d+" s="\d+"/>)*')
_STYLE = re.compile(r' s="\d+"')
_COLUMN_STYLE = re.compile(r'<col min="(\d+)" max="(\d+)"[^>]*? style="(\d+)"')
_SHARED_STRING = re.compile("<si>(.*?)</si>", re.DOTALL)
_SHARED_CELL = re.compile(r'(<c [^>]*)t="s"><v>(\d+)</v></c>')
_TAG = re.compile("<[^>]*>")


class UnknownXlsxWriter(UnsupportedLibrary):
    """XlsxWriter writes other XML than this module expects."""

    def __init__(self) -> None:
        super().__init__(
            f"XLSX files need XlsxWriter {CHECKED_VERSION}. XlsxWriter {xlsxwriter.__version__}, which is installed, "
            "writes sheets in another way. Install a version that django-live-exports allows."
        )


class RowsBelowHeader(ValueError):
    """Below the header stands more than the probe rows."""


@dataclass(frozen=True)
class SheetTemplate:
    """A sheet without its rows: the XML before them, header included, the XML after them, and the styles by column."""

    head: bytes
    tail: bytes
    styles: Sequence[CellStyles]

    def padded_head(self, size: int) -> bytes:
        """Return the head with blanks up to this size, at a place where XML allows them."""
        return self.head.replace(SHEET_DATA, b" " * (size - len(self.head)) + SHEET_DATA, 1)


def format_properties() -> list[str]:
    """Return the names of the properties that a format may have."""
    return [name.removeprefix("set_") for name in vars(Format) if name.startswith("set_")]


def why_no_format(properties: Mapping[str, object]) -> str:
    """Return why a format cannot have these properties, as a sentence, or ""."""
    if unknown := sorted(map(repr, properties.keys() - format_properties())):
        return f"XlsxWriter's formats have no {' and no '.join(unknown)}."
    try:
        Format(dict(properties))
    except Exception as error:
        return f"{type(error).__name__}: {error}."
    return ""


def probe_styles(column: Column) -> list[Properties]:
    """Return the different styles that cells of a column may have.

    The caller writes an empty cell with each of them below the header, from the first row on. `read_template` finds the
    numbers of the styles there.
    """
    return list({properties_key(style): style for style in cell_properties(column).values() if style}.values())


def read_template(xml: str, columns: Sequence[Column], rows: int) -> SheetTemplate:
    """Take a sheet with a header and probe rows apart, to become one of `rows` rows below the header.

    Raises RowsBelowHeader where below the header stands anything but the probes, and UnknownXlsxWriter.
    """
    header, *probe_rows = _ROW.finditer(xml, _find(_ROW, xml).start())
    first, last_letters = _find(_DIMENSION, xml).groups()
    last = f"{last_letters}{1 + rows}"
    cells = first if first == last else f"{first}:{last}"
    head = _DIMENSION.sub(f'<dimension ref="{cells}"', xml[: header.end()])
    # What XlsxWriter's `set_column` gives to cells without a style.
    defaults = [""] * len(columns)
    for first_number, last_number, style in _COLUMN_STYLE.findall(xml[: header.start()]):
        for index in range(int(first_number) - 1, min(int(last_number), len(columns))):
            defaults[index] = f' s="{style}"'
    found = _probed_styles(xml, probe_rows, [probe_styles(column) for column in columns])
    styles = [_cell_styles(*each) for each in zip(columns, found, defaults, strict=True)]
    return SheetTemplate(head.encode(), xml[probe_rows[-1].end() :].encode(), styles)


def _probed_styles(
    xml: str, rows: Sequence[re.Match[str]], probes: Sequence[Sequence[Properties]]
) -> list[dict[str, str]]:
    """Return for each column the style attributes in its probes, by the key of their properties."""
    # Attributes of a row that a hook did not touch: the span of its cells and the height that all rows have. The last
    # one stands in every row of a sheet that has data bars or sparklines.
    height = re.escape(_find(_DEFAULT_HEIGHT, xml)[1])
    untouched = re.compile(f'(?: spans="[^"]*")?(?: ht="{height}" customHeight="1")?(?: x14ac:dyDescent="[^"]*")?')
    found: list[dict[str, str]] = [{} for _ in probes]
    for place, (row, number) in enumerate(zip_longest(rows, range(2, 2 + max(map(len, probes))))):
        if not row or row[1] != str(number) or not untouched.fullmatch(row[2]) or not _PROBES.fullmatch(row[3] or ""):
            raise RowsBelowHeader
        probed = [index for index, styles in enumerate(probes) if place < len(styles)]
        attributes = _STYLE.findall(row[3])
        if len(attributes) != len(probed):
            raise RowsBelowHeader
        for index, attribute in zip(probed, attributes, strict=True):
            found[index][properties_key(probes[index][place])] = attribute
    return found


def _cell_styles(column: Column, by_key: Mapping[str, str], default: str) -> CellStyles:
    """Return the styles of a column, from the style attributes by the key of their properties.

    `default` is for cells without properties, and for those that differ from them by a format of ours only.
    """
    properties, styles = cell_properties(column), {}
    for kind, each in properties.items():
        is_plain = not properties[COLUMN_KINDS.get(kind, kind)]
        attribute = default if default and is_plain else by_key.get(properties_key(each), "")
        number_format = each.get("num_format", "")
        styles[kind] = CellStyle(attribute, number_format if isinstance(number_format, str) else BUILT_IN_FORMAT)
    return styles


def _find(pattern: re.Pattern[str], xml: str) -> re.Match[str]:
    match = pattern.search(xml)
    if match is None:
        raise UnknownXlsxWriter
    return match


def with_inline_strings(xml: str, parts: Mapping[str, bytes]) -> str:
    """Return a sheet that holds its texts itself, where openpyxl would change one among the shared strings.

    openpyxl 3.1 deletes "x005F_" from shared strings, from inline strings it does not.
    """
    shared = parts.get(SHARED_STRINGS, b"").decode()
    if "x005F_" not in _TAG.sub("", shared):
        return xml
    strings = _SHARED_STRING.findall(shared)
    return _SHARED_CELL.sub(lambda cell: f'{cell[1]}t="inlineStr"><is>{strings[int(cell[2])]}</is></c>', xml)


def sheet_path(book: xlsxwriter.Workbook, worksheet: Worksheet) -> str:
    """Return the path of a worksheet in the archive. A hook may have added worksheets and chartsheets."""
    grids = [sheet for sheet in book.worksheets() if not sheet.is_chartsheet]
    return f"xl/worksheets/sheet{grids.index(worksheet) + 1}.xml"


def has_filter(worksheet: Worksheet) -> bool:
    """Return True if the sheet has a filter or a table, which has its own; Excel allows either in a sheet."""
    return bool(worksheet.tables or worksheet.autofilter_ref)


class StrictWorksheet(Worksheet):  # type: ignore[misc]  # XlsxWriter has no types.
    """A worksheet for `design` hooks: tables may have a million rows, and what cannot be written raises ValueError.

    XlsxWriter visits every cell of a table and keeps it in memory; here it sees the first row only. What XlsxWriter
    refuses it leaves out, with a code and mostly a warning; and Excel removes tables because of their headers.
    """

    @convert_range_args  # type: ignore[untyped-decorator]  # The same.
    def add_table(
        self, first_row: int, first_col: int, last_row: int, last_col: int, options: dict[str, Any] | None = None
    ) -> int:
        columns = (options or {}).get("columns", ())
        headers = [str(column["header"]) for column in columns if column and column.get("header")]
        names = Counter(header.lower() for header in headers)
        for header in headers:
            if names[header.lower()] > 1 or UNFIT.search(header):
                raise ValueError(
                    f"The header {header!r} of a table occurs twice, or has characters that Excel changes. The labels "
                    "of `sheet.columns` are made for tables."
                )
        shown = min(last_row, first_row + 1)
        refused: int = super().add_table(first_row, first_col, shown, last_col, options)
        if not refused and shown < last_row:
            whole = xl_range(first_row, first_col, last_row, last_col)
            ranges = {name for name in ("range", "a_range", "autofilter") if self.tables[-1].get(name)}
            self.tables[-1].update(dict.fromkeys(ranges, whole))
        return refused


def _raising(method: Callable[..., int | None]) -> Callable[..., int | None]:
    @wraps(method)
    def call(*given: Any, **named: Any) -> int | None:
        refused = method(*given, **named)
        if refused:
            arguments = ", ".join(map(repr, given[1:]))
            raise ValueError(f"XlsxWriter refused {method.__name__}({arguments}) in a `design` hook (see its warning).")
        return refused

    return call


for _name in REFUSABLE:
    setattr(StrictWorksheet, _name, _raising(getattr(StrictWorksheet, _name)))
