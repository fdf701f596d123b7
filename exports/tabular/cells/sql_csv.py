"""Lines of CSV that a database wrote. Most of them are the file's lines; the others are told by their characters."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from typing import Any, Final, Self

from exports.tabular.cells.raw_batches import RawBatch, Values, decode_column
from exports.tabular.cells.raw_columns import CSV_READY, RawColumn

# What a line begins with, which no text of PostgreSQL's has, and ends with. What a field begins with that is no cell.
SQL_LINE_START: Final = b"\x00"
SQL_LINE_END: Final = b"\n"
RAW_MARK: Final = "\x01"

NUMERIC_DECODERS: Final = ("integer", "decimal", "postgresql float")
UTC_OFFSET: Final = "+00:00"

# What becomes of the bytes when they are scanned: a formula's first character, what may stand before one and hide it,
# what is suspect wherever it stands. With the rest of a character beyond ASCII, anything may be hidden.
_FORMULA, _BEFORE, _STRANGE, _OTHER = b"=,!a"
_FORMULAS: Final = b"=+-@"
_HIDING: Final = b" \"'`"
_SEPARATORS: Final = b"\x00\n;,"
_CONTINUATIONS: Final = range(0x80, 0xC0)
# The wide forms of formula characters, and what is no character, begin with this one.
_WIDE: Final = 0xEF
_LINE_BREAK_FIRST: Final = re.compile(b'"\n(?![\x00]|\\Z)')


@dataclass(frozen=True)
class Dialect:
    """How lines of CSV are to be written: what stands between their fields, and the zone of their moments."""

    delimiter: str
    zone: tzinfo


class SqlCsvBatch(RawBatch):
    """Rows as lines of CSV: each begins with START and ends with a line feed. `forms` are those of the columns.

    A field is its cell, apart from formulas, or it begins with MARK and is what the database stores. Text and JSON may
    have a formula in it, or begin with MARK by themselves.
    """

    def __init__(self, content: bytes, row_count: int, decoders: Sequence[str], delimiter: str) -> None:
        super().__init__(row_count, decoders)
        self.content, self.delimiter = content, delimiter
        self._fields: Sequence[Values] = ()

    def __getitem__(self, place: Any) -> Any:
        form, fields = self.decoders[place], self.raw(place)
        if form == "text":
            return RawColumn(fields, "text")
        if form != "postgresql jsonb" and RAW_MARK not in "".join(fields):
            return RawColumn(fields, CSV_READY)
        return decode_column(form, [_as_stored(field, form) for field in fields])

    def raw(self, place: int) -> Values:
        if not self._fields:
            lines = self.content[len(SQL_LINE_START) : -len(SQL_LINE_END)].split(SQL_LINE_END + SQL_LINE_START)
            self._fields = list(zip(*(_fields_of(line.decode(), self.delimiter) for line in lines), strict=True))
        return self._fields[place]

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.content, self.row_count, self.decoders, self.delimiter)

    def subset(self, lines: Sequence[bytes]) -> "SqlCsvBatch":
        """A batch of some of the lines."""
        return SqlCsvBatch(b"".join(lines), len(lines), self.decoders, self.delimiter)

    def suspect_slices(self) -> list[slice]:
        """Where in the content the lines are that may not be what is to be written."""
        seen = self.content.translate(_classes(self.delimiter))
        found = [*_all(seen, b"!"), *self._formulas(seen)]
        if self.content.count(SQL_LINE_END) > self.row_count:
            found += [match.start() for match in _LINE_BREAK_FIRST.finditer(self.content)]
        lines = dict(map(self._line_at, sorted(found)))
        return [slice(start, end) for start, end in lines.items()]

    def _line_at(self, place: int) -> tuple[int, int]:
        """Where the line around this place begins and ends."""
        end = self.content.find(SQL_LINE_END + SQL_LINE_START, place)
        return self.content.rfind(SQL_LINE_START, 0, place), len(self.content) if end < 0 else end + len(SQL_LINE_END)

    def _formulas(self, seen: bytes) -> Iterator[int]:
        for place in _all(seen, b",="):
            if not self._is_harmless(place + 1):
                yield place + 1

    def _is_harmless(self, place: int) -> bool:
        """Whether this character of a formula is within a text, or the sign of a number."""
        start = place - 1
        while self.content[start] in _HIDING:
            start -= 1
        if self.content[start] not in _SEPARATORS:
            return self.content[start] < 0x80
        return start == place - 1 and self.decoders[self._column_of(place)] in NUMERIC_DECODERS

    def _column_of(self, place: int) -> int:
        """The column that has a field at this place; the first text or JSON where quotes make it hard to tell."""
        start, end = self._line_at(place)
        before, after = self.content[start:place], self.content[place:end]
        if b'"' not in before:
            return before.count(self.delimiter.encode())
        if b'"' not in after:
            return len(self.decoders) - 1 - after.count(self.delimiter.encode())
        return next(number for number, form in enumerate(self.decoders) if form not in NUMERIC_DECODERS)


def _fields_of(line: str, delimiter: str) -> Sequence[str]:
    """What `csv.reader` gives, which has a limit on the length of a field that is the same for the whole process."""
    if '"' not in line:
        return line.split(delimiter)
    found = _field(delimiter).findall(line + delimiter)
    return [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]


@cache
def _field(delimiter: str) -> re.Pattern[str]:
    return re.compile(f'(?:"([^"]*(?:""[^"]*)*)"|([^"{delimiter}]*)){delimiter}')


def _all(content: bytes, wanted: bytes) -> Iterator[int]:
    find: Callable[..., int] = content.find
    place = find(wanted)
    while place >= 0:
        yield place
        place = find(wanted, place + 1)


@cache
def _classes(delimiter: str) -> bytes:
    """The class of each byte."""
    classes = bytearray([_OTHER]) * 256
    for byte in (*range(0x20), 0x7F, _WIDE):
        classes[byte] = _STRANGE
    for byte in (*_SEPARATORS, *_HIDING, *delimiter.encode(), *_CONTINUATIONS):
        classes[byte] = _BEFORE
    for byte in _FORMULAS:
        classes[byte] = _FORMULA
    return bytes(classes)


def _as_stored(field: str, form: str) -> str | None:
    """What the database stores, by the field of a column that is rendered."""
    if not field:
        return None
    if field.startswith(RAW_MARK):
        return field.removeprefix(RAW_MARK)
    return f"{field.removesuffix(UTC_OFFSET)}+00" if form == "postgresql timestamptz" else field
