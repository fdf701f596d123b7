"""What stands around the rows of a sheet, and the numbers of its styles, read off the XML that XlsxWriter wrote.

Below the header stand probe rows: empty cells with each style that their column may need.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.styles import Properties, key_of, properties_of

DATA: Final = "<sheetData>"
# A head may grow by so much until the rows are written: by its dimension, or by being the sheet that is shown first.
ROOM: Final = 256

_DIMENSION = re.compile(r'<dimension ref="([A-Z]+\d+):([A-Z]+)\d+"')
_DEFAULT_HEIGHT = re.compile(r'<sheetFormatPr [^>]*?defaultRowHeight="([^"]*)"')
_ROW = re.compile(r'<row r="(\d+)"([^>]*?)(?:/>|>(.*?)</row>)', re.DOTALL)
_PROBES = re.compile(r'(?:<c r="[A-Z]+\d+" s="\d+"/>)*')
_STYLE = re.compile(r' s="\d+"')
_COLUMNS = re.compile(r'<col min="(\d+)" max="(\d+)"[^>]*? style="(\d+)"')

# By kind of cell, the attribute that says its style: ' s="1"', or nothing.
Styles = Mapping[str, str]


@dataclass(frozen=True)
class Frame:
    """The XML before the rows, header included, and after them; the styles of each column."""

    head: bytes
    tail: bytes
    styles: Sequence[Styles]

    def padded(self, size: int) -> bytes:
        """The head with so many bytes, by blanks where XML allows them. Raises ValueError where it is longer."""
        if len(self.head) > size:
            raise inconstant()
        return self.head.replace(DATA.encode(), b" " * (size - len(self.head)) + DATA.encode(), 1)


def probes(column: Column) -> list[Properties]:
    """The different styles that cells of a column may have, one for each probe row from the first on."""
    return list({key_of(style): style for style in properties_of(column).values() if style}.values())


def read_frame(xml: str, columns: Sequence[Column], rows: int) -> Frame:
    """Raises ValueError where below the header stands more than the probes. `rows` are those to come."""
    header, *probe_rows = _ROW.finditer(xml)
    asked = [probes(column) for column in columns]
    numbers = zip_longest(*_numbers(xml, probe_rows, asked))
    of_columns = _of_columns(xml[: header.start()], len(columns))
    styles = [_styles(*of_column) for of_column in zip(columns, asked, numbers, of_columns, strict=True)]
    head = _with_dimension(xml[: header.end()], 1 + rows)
    return Frame(head.encode(), xml[probe_rows[-1].end() :].encode(), styles)


def _numbers(
    xml: str, rows: Sequence[re.Match[str]], asked: Sequence[Sequence[Properties]]
) -> Iterator[list[str | None]]:
    """The style numbers of each probe row, one for each column, None where a column has fewer probes."""
    plain = _plain_attributes(xml)
    expected = range(2, 2 + max(map(len, asked)))
    for place, (row, number) in enumerate(zip_longest(rows, expected)):
        has_probe = [place < len(styles) for styles in asked]
        if row is None or row[1] != str(number) or not plain.fullmatch(row[2]) or not _PROBES.fullmatch(row[3] or ""):
            raise _written_below()
        found = _STYLE.findall(row[3])
        if len(found) != sum(has_probe):
            raise _written_below()
        numbers = iter(found)
        yield [next(numbers) if has else None for has in has_probe]


def _plain_attributes(xml: str) -> re.Pattern[str]:
    """Attributes of a row that has nothing of its own: its cells' span, and the height that all rows have."""
    height = re.escape(_DEFAULT_HEIGHT.search(xml)[1])
    # The last one stands in every row of a sheet that has data bars or sparklines.
    return re.compile(f'(?: spans="[^"]*")?(?: ht="{height}" customHeight="1")?(?: x14ac:dyDescent="[^"]*")?')


def _of_columns(xml: str, columns: int) -> list[str]:
    """The style that each column gives to cells without one of their own, as XlsxWriter's `set_column` has it."""
    styles = [""] * columns
    for first, last, style in _COLUMNS.findall(xml):
        for place in range(int(first) - 1, min(int(last), columns)):
            styles[place] = f' s="{style}"'
    return styles


def _styles(column: Column, asked: Sequence[Properties], numbers: Sequence[str | None], otherwise: str) -> Styles:
    by_key = dict(zip(map(key_of, asked), numbers, strict=False))
    return {kind: by_key.get(key_of(properties), otherwise) for kind, properties in properties_of(column).items()}


def _with_dimension(head: str, last_row: int) -> str:
    first, last_letters = _DIMENSION.search(head).groups()
    last = f"{last_letters}{last_row}"
    return _DIMENSION.sub(f'<dimension ref="{first}"' if first == last else f'<dimension ref="{first}:{last}"', head)


def inconstant() -> ValueError:
    return ValueError("A `design` hook did something else after the rows than before. It must do the same each time.")


def _written_below() -> ValueError:
    return ValueError(
        "A `design` hook wrote or formatted rows below the header. Those are the export's: give a column a `style` or "
        "a `format`, or add conditional formats."
    )
