"""The rows of a sheet as XML (SpreadsheetML, ECMA-376), made one column at a time."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from types import NoneType
from typing import Any, Final, NamedTuple, cast

from xlsxwriter.utility import xl_col_to_name

from exports.tabular.cells.conversion import type_family
from exports.tabular.cells.datetimes import EXCEL_EPOCH, duration_serials, since_midnight
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.numbers import format_numbers
from exports.tabular.cells.raw_columns import NumberColumn, row_count
from exports.tabular.cells.texts import format_decimals
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.interleave import SEPARATOR, interleave
from exports.tabular.writers.xlsx.styles import LONG, MAX_SHOWN_DIGITS

HEADER_ROWS: Final = 1
EPOCH_ORDINAL: Final = EXCEL_EPOCH.toordinal()

# By kind of cell, the XML attribute of its style: ' s="1"', or "" for none.
StyleAttributes = Mapping[str, str]

# Readers take this for an escaped character, so a text is split after "_x" into two runs.
_LOOKS_ESCAPED = re.compile("_x[0-9a-fA-F]{4}_")
_SPLIT_BEFORE = re.compile("(?<=_x)(?=[0-9a-fA-F]{4}_)")


class _CellsXml(NamedTuple):
    """Cells of one kind: the XML between the row's number and each content, the contents, and the XML behind them."""

    opening: str
    contents: Sequence[str]
    closing: str


@dataclass(frozen=True)
class SheetSerializer:
    """Turn batches into the rows of one sheet, below its header. `styles` has one item for each column."""

    columns: tuple[Column, ...]
    zone: tzinfo
    styles: tuple[StyleAttributes, ...]

    def __call__(self, batch: Batch, first: int, alterations: Alterations) -> bytes:
        start = 1 + HEADER_ROWS + first
        rows = _RowsXml(list(map(str, range(start, start + row_count(batch)))))
        for number, (column, styles) in enumerate(zip(self.columns, self.styles, strict=True)):
            cells = to_excel_cells(column, batch[number], zone=self.zone, alterations=alterations)
            rows.add_column(xl_col_to_name(number), cells, styles)
        return rows.to_bytes()


class _RowsXml:
    """Collects the pieces of XML that make up one row, and for those that differ from row to row the texts of all rows.

    `numbers` are the numbers of the rows.
    """

    def __init__(self, numbers: Sequence[str]) -> None:
        self._numbers = numbers
        self._pieces = ['<row r="', "", '">']
        self._texts: dict[int, Sequence[str]] = {1: numbers}

    def add_column(self, name: str, cells: Sequence[object], styles: StyleAttributes) -> None:
        """Add the cells of the column that Excel calls `name`, such as "A". None makes no cell."""
        if isinstance(cells, NumberColumn):
            kinds, has_none = [cells.family], None in cells
        else:
            types = set(map(type, cells))
            kinds, has_none = [type_family(type_) for type_ in types if type_ is not NoneType], NoneType in types
        if not kinds:
            return
        start = f'<c r="{name}'
        if len(kinds) == 1 and not has_none:
            opening, contents, closing = _cells_xml(kinds[0], cells, styles)
            self._add_pieces(start, self._numbers, opening)
            self._add_pieces("", contents, closing)
        elif len(kinds) == 1:
            present: list[Any] = [cell for cell in cells if cell is not None]
            # NumberColumn stay NumberColumn, whose texts need no conversion.
            same = NumberColumn(present, cells.family) if isinstance(cells, NumberColumn) else present
            opening, contents, closing = _cells_xml(kinds[0], same, styles)
            content = iter(contents)
            whole_cells = [
                "" if cell is None else f"{start}{number}{opening}{next(content)}{closing}"
                for number, cell in zip(self._numbers, cells, strict=True)
            ]
            self._add_pieces("", whole_cells, "")
        else:
            self._add_pieces("", self._mixed_cells(start, cells, styles), "")

    def to_bytes(self) -> bytes:
        """Return the rows in UTF-8."""
        self._pieces[-1] += "</row>"
        return interleave(self._pieces, self._texts)

    def _add_pieces(self, opening: str, texts: Sequence[str], closing: str) -> None:
        # Two constants in a row become one piece.
        self._pieces[-1] += opening
        self._texts[len(self._pieces)] = texts
        self._pieces += ["", closing]

    def _mixed_cells(self, start: str, cells: Sequence[object], styles: StyleAttributes) -> list[str]:
        """Return complete cells of several kinds, those of one kind converted together."""
        places_by_kind = defaultdict(list)
        for place, cell in enumerate(cells):
            if cell is not None:
                type_: type = type(cell)
                kind = type_family(type_)
                # Among cells of other kinds, each integer has the style for its length.
                places_by_kind[LONG if kind == "integer" and _is_long(str(cell)) else kind].append(place)
        made = [""] * len(cells)
        for kind, places in places_by_kind.items():
            opening, contents, closing = _cells_xml(kind, [cells[place] for place in places], styles)
            for place, content in zip(places, contents, strict=True):
                made[place] = f"{start}{self._numbers[place]}{opening}{content}{closing}"
        return made


def _cells_xml(kind: str, cells: Sequence[object], styles: StyleAttributes) -> _CellsXml:
    """Return the XML of cells of one kind, none of them None."""
    if kind == "text":
        return _text_cells_xml(cast("Sequence[str]", cells), styles[kind])
    if kind == "boolean":
        return _CellsXml(f'"{styles[kind]} t="b"><v>', ["1" if cell else "0" for cell in cells], "</v></c>")
    contents = cast("Sequence[str]", cells) if isinstance(cells, NumberColumn) else NUMBER_TEXTS[kind](cells)
    if kind == "integer" and max(map(len, contents)) > MAX_SHOWN_DIGITS and any(map(_is_long, contents)):
        kind = LONG
    return _CellsXml(f'"{styles[kind]}><v>', contents, "</v></c>")


def _is_long(integer: str) -> bool:
    return len(integer.lstrip("-")) > MAX_SHOWN_DIGITS


def _text_cells_xml(texts: Sequence[str], style: str) -> _CellsXml:
    # Without this attribute, readers drop white space at either end.
    space = "" if list(map(str.strip, texts)) == texts else ' xml:space="preserve"'
    # One replacement for all texts. None of them contains the separator, since control characters are removed.
    joined = SEPARATOR.join(texts)
    escaped = joined.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if escaped is not joined:
        texts = escaped.split(SEPARATOR)
    if "_x" not in joined or not _LOOKS_ESCAPED.search(joined):
        return _CellsXml(f'"{style} t="inlineStr"><is><t{space}>', texts, "</t></is></c>")
    contents = []
    for text in texts:
        runs = _SPLIT_BEFORE.split(text)
        content = "".join(f"<r><t{space}>{run}</t></r>" for run in runs) if len(runs) > 1 else f"<t{space}>{text}</t>"
        contents.append(content)
    return _CellsXml(f'"{style} t="inlineStr"><is>', contents, "</is></c>")


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
