"""The rows of a sheet as XML (SpreadsheetML, ECMA-376), made one column at a time."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from operator import attrgetter
from types import NoneType
from typing import Any, Final, NamedTuple, cast

from xlsxwriter.utility import xl_col_to_name

from exports.tabular.cells.conversion import type_family
from exports.tabular.cells.datetimes import EXCEL_EPOCH, duration_serials, since_midnight
from exports.tabular.cells.excel import WITH_FRACTION, to_excel_cells
from exports.tabular.cells.numbers import format_numbers, parse_numbers
from exports.tabular.cells.raw_columns import NumberColumn, row_count
from exports.tabular.cells.texts import format_decimals
from exports.tabular.columns import NUMERIC, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.interleave import SEPARATOR, interleave
from exports.tabular.writers.serializer_pool import Findings
from exports.tabular.writers.xlsx.styles import LINES, LONG, LONG_DECIMAL, MAX_SHOWN_DIGITS, CellStyles
from exports.tabular.writers.xlsx.widths import (
    BOOLEAN_WIDTH,
    GENERAL_WIDTH,
    MAX_HOURS,
    MAX_TEXT_WIDTH,
    number_width,
    text_width,
)

HEADER_ROWS: Final = 1
EPOCH_ORDINAL: Final = EXCEL_EPOCH.toordinal()
# Characters of a decimal or float that is shown with all its digits: 17 and a point.
MAX_LONG_DIGITS: Final = 18

# Readers take this for an escaped character, so a text is split after "_x" into two runs.
_LOOKS_ESCAPED = re.compile("_x[0-9a-fA-F]{4}_")
_SPLIT_BEFORE = re.compile("(?<=_x)(?=[0-9a-fA-F]{4}_)")


class _CellsXml(NamedTuple):
    """Cells of one kind: the XML between the row's number and each content, the contents, and the XML behind them.

    `width` is that of the widest cell in characters.
    """

    opening: str
    contents: Sequence[str]
    closing: str
    width: int


@dataclass(frozen=True)
class SheetSerializer:
    """Turn batches into the rows of one sheet, below its header. `styles` has one item for each column."""

    columns: tuple[Column, ...]
    zone: tzinfo
    styles: tuple[CellStyles, ...]

    def __call__(self, batch: Batch, first: int, findings: Findings) -> bytes:
        start = 1 + HEADER_ROWS + first
        rows = _RowsXml(format_numbers(list(range(start, start + row_count(batch)))))
        for number, (column, styles) in enumerate(zip(self.columns, self.styles, strict=True)):
            cells = to_excel_cells(column, batch[number], zone=self.zone, alterations=findings.alterations)
            width = rows.add_column(xl_col_to_name(number), cells, styles, column.width is not None)
            findings.widths.append(width)
        return rows.to_bytes()


class _RowsXml:
    """Collects the pieces of XML that make up one row, and for those that differ from row to row the texts of all rows.

    `numbers` are the numbers of the rows.
    """

    def __init__(self, numbers: Sequence[str]) -> None:
        self._numbers = numbers
        self._pieces = ['<row r="', "", '">']
        self._texts: dict[int, Sequence[str]] = {1: numbers}

    def add_column(self, name: str, cells: Sequence[object], styles: CellStyles, has_width: bool) -> int:
        """Add the cells of the column that Excel calls `name`, such as "A". None makes no cell.

        Returns the width of the widest cell in characters; if the column has a declared width, the least that numbers
        need: text is readable where it is cut, but a number that does not fit is shown as ####.
        """
        if isinstance(cells, NumberColumn):
            kinds, has_none = [cells.family], None in cells
        else:
            types = set(map(type, cells))
            kinds, has_none = [type_family(type_) for type_ in types if type_ is not NoneType], NoneType in types
        if not kinds:
            return 0
        start = f'<c r="{name}'
        if len(kinds) == 1 and not has_none:
            opening, contents, closing, width = _cells_xml(kinds[0], cells, styles, has_width)
            self._add_pieces(start, self._numbers, opening)
            self._add_pieces("", contents, closing)
        elif len(kinds) == 1:
            present: list[Any] = [cell for cell in cells if cell is not None]
            # NumberColumn stay NumberColumn, whose texts need no conversion.
            same = NumberColumn(present, cells.family) if isinstance(cells, NumberColumn) else present
            opening, contents, closing, width = _cells_xml(kinds[0], same, styles, has_width)
            content = iter(contents)
            whole_cells = [
                "" if cell is None else f"{start}{number}{opening}{next(content)}{closing}"
                for number, cell in zip(self._numbers, cells, strict=True)
            ]
            self._add_pieces("", whole_cells, "")
        else:
            whole_cells, width = self._mixed_cells(start, cells, styles, has_width)
            self._add_pieces("", whole_cells, "")
        return width

    def to_bytes(self) -> bytes:
        """Return the rows in UTF-8."""
        self._pieces[-1] += "</row>"
        return interleave(self._pieces, self._texts)

    def _add_pieces(self, opening: str, texts: Sequence[str], closing: str) -> None:
        # Two constants in a row become one piece.
        self._pieces[-1] += opening
        self._texts[len(self._pieces)] = texts
        self._pieces += ["", closing]

    def _mixed_cells(
        self, start: str, cells: Sequence[object], styles: CellStyles, has_width: bool
    ) -> tuple[list[str], int]:
        """Return complete cells of several kinds, those of one kind converted together, and the greatest width."""
        places_by_kind = defaultdict(list)
        for place, cell in enumerate(cells):
            if cell is not None:
                type_: type = type(cell)
                kind = type_family(type_)
                # Among cells of other kinds, each integer has the style for its length.
                places_by_kind[LONG if kind == "integer" and _is_long(str(cell)) else kind].append(place)
        made, widths = [""] * len(cells), []
        for kind, places in places_by_kind.items():
            same = [cells[place] for place in places]
            opening, contents, closing, width = _cells_xml(kind, same, styles, has_width)
            widths.append(width)
            for place, content in zip(places, contents, strict=True):
                made[place] = f"{start}{self._numbers[place]}{opening}{content}{closing}"
        return made, max(widths)


def _cells_xml(kind: str, cells: Sequence[object], styles: CellStyles, has_width: bool) -> _CellsXml:
    """Return the XML of cells of one kind, none of them None."""
    if kind == "text":
        return _text_cells_xml(cast("Sequence[str]", cells), styles, has_width)
    if kind == "boolean":
        opening = f'"{styles[kind].attribute} t="b"><v>'
        return _CellsXml(opening, ["1" if cell else "0" for cell in cells], "</v></c>", BOOLEAN_WIDTH)
    contents = cast("Sequence[str]", cells) if isinstance(cells, NumberColumn) else NUMBER_TEXTS[kind](cells)
    if kind in NUMERIC or kind == LONG:
        return _number_cells_xml(kind, cells, contents, styles, has_width)
    if kind in MICROSECONDS and not isinstance(cells, NumberColumn) and any(map(MICROSECONDS[kind], cells)):
        kind = f"{kind}{WITH_FRACTION}"
    attribute, number_format = styles[kind]
    return _CellsXml(f'"{attribute}><v>', contents, "</v></c>", number_width(number_format, MAX_HOURS))


def _number_cells_xml(
    kind: str, cells: Sequence[Any], numbers: Sequence[str], styles: CellStyles, has_width: bool
) -> _CellsXml:
    length = digits = max(map(len, numbers))
    has_places = kind in ("decimal", "float")
    # For short numbers, the length is close enough to the digits before the point.
    if has_places and (has_width or length > MAX_SHOWN_DIGITS):
        values = cells if isinstance(cells[0], float) else parse_numbers(numbers)
        digits = max(len(f"{min(values):.0f}"), len(f"{max(values):.0f}"))
    if not styles[kind].number_format and (digits if kind == "float" else length) > MAX_SHOWN_DIGITS:
        if has_places:
            return _long_cells_xml(kind, numbers, styles)
        kind = LONG if any(map(_is_long, numbers)) else kind
    attribute, number_format = styles[kind]
    if number_format:
        width = number_width(number_format, digits)
    elif has_places and has_width:
        # Excel shortens the decimals to the width of the column, all but the first.
        width = min(digits + 2, GENERAL_WIDTH)
    else:
        width = GENERAL_WIDTH if kind == "float" else min(digits, GENERAL_WIDTH)
    return _CellsXml(f'"{attribute}><v>', numbers, "</v></c>", width)


def _is_long(integer: str) -> bool:
    return len(integer.lstrip("-")) > MAX_SHOWN_DIGITS


def _long_cells_xml(kind: str, numbers: Sequence[str], styles: CellStyles) -> _CellsXml:
    """Return decimals or floats, those with all their digits for which Excel's own format has no room."""
    kinds = [_long_kind(kind, number) for number in numbers]
    contents = [f"{styles[each].attribute}><v>{number}" for each, number in zip(kinds, numbers, strict=True)]
    # A format with at least two places adds a zero to a number with one.
    lengths = [1 + len(number) for each, number in zip(kinds, numbers, strict=True) if each != kind]
    return _CellsXml('"', contents, "</v></c>", max([GENERAL_WIDTH, *lengths]))


def _long_kind(kind: str, number: str) -> str:
    """Return LONG, LONG_DECIMAL or the kind itself."""
    shown = number.lstrip("-")
    whole, _, places = shown.partition(".")
    # Longer numbers are mostly zeros, which are shown best with an exponent.
    has_room = len(shown if kind == "decimal" else whole) <= MAX_SHOWN_DIGITS or len(shown) > MAX_LONG_DIGITS
    if has_room or "e" in shown:
        return kind
    return LONG_DECIMAL if places.strip("0") else LONG


def _text_cells_xml(texts: Sequence[str], styles: CellStyles, has_width: bool) -> _CellsXml:
    # Without this attribute, readers drop white space at either end.
    space = "" if list(map(str.strip, texts)) == texts else ' xml:space="preserve"'
    # One replacement for all texts. None of them contains the separator, since control characters are removed.
    joined = SEPARATOR.join(texts)
    longest = max(texts, key=len)
    if "\n" in longest:
        longest = max(joined.replace("\n", SEPARATOR).split(SEPARATOR), key=len)
    width = 0 if has_width else min(text_width(longest[:MAX_TEXT_WIDTH]), MAX_TEXT_WIDTH)
    escaped = joined.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if escaped is not joined:
        texts = escaped.split(SEPARATOR)
    before, after = f"<t{space}>", "</t>"
    if "_x" in joined and _LOOKS_ESCAPED.search(joined):
        texts = ["".join(f"<r>{before}{run}{after}</r>" for run in _SPLIT_BEFORE.split(text)) for text in texts]
        before = after = ""
    plain = f'{styles["text"].attribute} t="inlineStr"><is>{before}'
    if "\n" not in joined:
        return _CellsXml(f'"{plain}', texts, f"{after}</is></c>", width)
    wrapped = f'{styles[LINES].attribute} t="inlineStr"><is>{before}'
    contents = [(wrapped if "\n" in text else plain) + text for text in texts]
    return _CellsXml('"', contents, f"{after}</is></c>", width)


# Any, because each function takes cells of its kind.
NUMBER_TEXTS: Final[Mapping[str, Callable[[Sequence[Any]], Sequence[str]]]] = {
    "integer": format_numbers,
    LONG: format_numbers,
    "float": format_numbers,
    "decimal": format_decimals,
    "datetime": lambda moments: duration_serials([moment - EXCEL_EPOCH for moment in moments]),
    "date": lambda days: format_numbers([day.toordinal() - EPOCH_ORDINAL for day in days]),
    "time": lambda times: duration_serials(list(map(since_midnight, times))),
    "duration": duration_serials,
}
MICROSECONDS: Final[Mapping[str, Callable[[Any], int]]] = {
    "datetime": attrgetter("microsecond"),
    "time": attrgetter("microsecond"),
    "duration": attrgetter("microseconds"),
}
