"""Rows of a sheet as XML (SpreadsheetML, ECMA-376), a column at a time."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from types import NoneType
from typing import Final, NamedTuple

from xlsxwriter.utility import xl_col_to_name

from exports.tabular.cells.conversion import type_family
from exports.tabular.cells.csv import format_decimals
from exports.tabular.cells.datetimes import EXCEL_EPOCH, duration_serials, since_midnight
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.numbers import format_numbers
from exports.tabular.cells.raw_columns import NumberColumn, row_count
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.lines import interleaved
from exports.tabular.writers.xlsx.frame import Styles
from exports.tabular.writers.xlsx.styles import LONG, SHOWN_DIGITS

HEADER_ROWS: Final = 1
# No cell has it, since control characters are removed.
SEPARATOR: Final = "\x00"

# What readers take for an escaped character, and where to part it so that they do not.
_MISREAD = re.compile("_x[0-9a-fA-F]{4}_")
_PARTING = re.compile("(?<=_x)(?=[0-9a-fA-F]{4}_)")


class _Cells(NamedTuple):
    """Cells of one kind and style: what stands between the row's number and each text, the texts, what stands after."""

    opening: str
    texts: Sequence[str]
    closing: str


@dataclass(frozen=True)
class SheetRows:
    """Serialises the rows of one sheet, below its header. Needs nothing but itself, so that any process can do it."""

    columns: tuple[Column, ...]
    zone: tzinfo
    styles: tuple[Styles, ...]

    def __call__(self, batch: Batch | bytes, first: int, alterations: Alterations) -> bytes:
        """The rows of a batch, whose first one is data row `first` of the sheet, from 0. Bytes go as they are."""
        if isinstance(batch, bytes):
            return batch
        start = 1 + HEADER_ROWS + first
        rows = _Rows(list(map(str, range(start, start + row_count(batch)))))
        for number, (column, styles) in enumerate(zip(self.columns, self.styles, strict=True)):
            cells = to_excel_cells(column, batch[number], zone=self.zone, alterations=alterations)
            rows.add(xl_col_to_name(number), cells, styles)
        return rows.xml()


class _Rows:
    """Rows in the making: the pieces of one row, and at the places that differ from row to row the texts of all."""

    def __init__(self, numbers: Sequence[str]) -> None:
        self._numbers = numbers
        self._pieces = ['<row r="', "", '">']
        self._texts = {1: numbers}

    def add(self, name: str, cells: Sequence[object], styles: Styles) -> None:
        """Add the column of this name ("A"). None is no cell at all."""
        kinds, is_whole = _kinds(cells)
        if len(kinds) == 1 and is_whole:
            opening, texts, closing = _content(kinds[0], cells, styles)
            self._add(f'<c r="{name}', self._numbers, opening)
            self._add("", texts, closing)
        elif len(kinds) == 1:
            self._add("", self._present(name, cells, kinds[0], styles), "")
        elif kinds:
            self._add("", self._mixed(name, cells, styles), "")

    def xml(self) -> bytes:
        self._pieces[-1] += "</row>"
        return interleaved(self._pieces, self._texts)

    def _add(self, opening: str, texts: Sequence[str], closing: str) -> None:
        # Neighbouring constants are one piece.
        self._pieces[-1] += opening
        self._texts[len(self._pieces)] = texts
        self._pieces += ["", closing]

    def _present(self, name: str, cells: Sequence[object], kind: str, styles: Styles) -> list[str]:
        """Each cell of the one kind as a whole, nothing where there is none."""
        present = [cell for cell in cells if cell is not None]
        opening, texts, closing = _content(kind, _like(cells, present), styles)
        text, start = iter(texts), f'<c r="{name}'
        return [
            "" if cell is None else f"{start}{number}{opening}{next(text)}{closing}"
            for number, cell in zip(self._numbers, cells, strict=True)
        ]

    def _mixed(self, name: str, cells: Sequence[object], styles: Styles) -> list[str]:
        """Each cell as a whole, made together with the others of its kind."""
        made = [""] * len(cells)
        for kind, places in _places(cells).items():
            opening, texts, closing = _content(kind, [cells[place] for place in places], styles)
            for place, text in zip(places, texts, strict=True):
                made[place] = f'<c r="{name}{self._numbers[place]}{opening}{text}{closing}'
        return made


def _kinds(cells: Sequence[object]) -> tuple[list[str], bool]:
    """The kinds of a column's cells, and whether each row has one."""
    if isinstance(cells, NumberColumn):
        return [cells.family], None not in cells
    types = set(map(type, cells))
    return [type_family(type_) for type_ in types if type_ is not NoneType], NoneType not in types


def _places(cells: Sequence[object]) -> dict[str, list[int]]:
    """Where the cells of each kind are; each integer is long or not by itself."""
    places = defaultdict(list)
    for place, cell in enumerate(cells):
        if cell is not None:
            places[_kind(cell)].append(place)
    return places


def _kind(cell: object) -> str:
    kind = type_family(type(cell))
    return LONG if kind == "integer" and _is_long(str(cell)) else kind


def _like(cells: Sequence[object], some: list) -> Sequence[object]:
    return NumberColumn(some, cells.family) if isinstance(cells, NumberColumn) else some


def _content(kind: str, cells: Sequence[object], styles: Styles) -> _Cells:
    """Cells of one kind, none of them None."""
    if kind == "text":
        return _text_cells(cells, styles[kind])
    if kind == "boolean":
        return _Cells(f'"{styles[kind]} t="b"><v>', ["1" if cell else "0" for cell in cells], "</v></c>")
    texts = cells if isinstance(cells, NumberColumn) else RENDER[kind](cells)
    if kind == "integer" and max(map(len, texts)) > SHOWN_DIGITS and any(map(_is_long, texts)):
        kind = LONG
    return _Cells(f'"{styles[kind]}><v>', texts, "</v></c>")


def _is_long(integer: str) -> bool:
    return len(integer.lstrip("-")) > SHOWN_DIGITS


def _text_cells(texts: list[str], style: str) -> _Cells:
    # White space at either end is lost without.
    space = "" if list(map(str.strip, texts)) == texts else ' xml:space="preserve"'
    joined = SEPARATOR.join(texts)
    escaped = _escaped(joined)
    if escaped is not joined:
        texts = escaped.split(SEPARATOR)
    if "_x" in joined and _MISREAD.search(joined):
        return _Cells(f'"{style} t="inlineStr"><is>', [_runs(text, space) for text in texts], "</is></c>")
    return _Cells(f'"{style} t="inlineStr"><is><t{space}>', texts, "</t></is></c>")


def _escaped(text: str) -> str:
    """Text for XML; the same object where nothing is to be escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _runs(text: str, space: str) -> str:
    """A text, parted into runs where readers would misread it."""
    first, *others = _PARTING.split(text)
    if not others:
        return f"<t{space}>{first}</t>"
    return "".join(f"<r><t{space}>{run}</t></r>" for run in (first, *others))


def _days(days: Sequence[date]) -> list[str]:
    start = EXCEL_EPOCH.toordinal()
    return format_numbers([day.toordinal() - start for day in days])


RENDER: Final[dict[str, Callable[[Sequence], Sequence[str]]]] = {
    "integer": format_numbers,
    LONG: format_numbers,
    "float": format_numbers,
    "decimal": format_decimals,
    "datetime": lambda moments: duration_serials([moment - EXCEL_EPOCH for moment in moments]),
    "date": _days,
    "time": lambda times: duration_serials(list(map(since_midnight, times))),
    "duration": duration_serials,
}
