"""Lines of CSV that PostgreSQL wrote. Most go into the file as they are; a scan of their bytes finds the others."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from typing import Any, Final, Self

from exports.tabular.cells.raw_batches import RawBatch, decode_column
from exports.tabular.cells.raw_columns import CSV_READY, RawColumn, Values

# What each line starts with (no text of PostgreSQL contains it) and ends with.
SQL_LINE_START: Final = b"\x00"
SQL_LINE_END: Final = b"\n"
# Starts a field that is not a CSV cell yet: what follows is the database's own text.
RAW_MARK: Final = "\x01"

NUMERIC_DECODERS: Final = ("integer", "decimal", "postgresql float")

# Classes of bytes, each named by a byte: a formula's first character; a separator, or what may hide a formula after it;
# what is suspect anywhere; all others. Continuation bytes of UTF-8 may be those of a character that hides a formula.
_FORMULA, _BEFORE_FORMULA, _SUSPECT, _OTHER = b"=,!a"
_FORMULA_BYTES: Final = b"=+-@"
_HIDING_BYTES: Final = b" \"'`"
_SEPARATOR_BYTES: Final = b"\x00\n;,"
_CONTINUATION_BYTES: Final = range(0x80, 0xC0)
# First byte of the wide forms of formula characters, and of U+FFFE and U+FFFF.
_WIDE_FORM_BYTE: Final = 0xEF
_FIELD_STARTING_WITH_LINE_FEED: Final = re.compile(b'"\n(?![\x00]|\\Z)')


@dataclass(frozen=True)
class Dialect:
    """How PostgreSQL should write lines of CSV: the delimiter of their fields, and the zone of their datetimes."""

    delimiter: str
    zone: tzinfo


class SqlCsvBatch(RawBatch):
    """Rows as lines of CSV, each between SQL_LINE_START and SQL_LINE_END.

    A field is a finished cell except for formulas, or it starts with RAW_MARK and is what the database stores. In text
    and JSON a field may contain a formula, or start with that character by itself.
    """

    def __init__(self, content: bytes, row_count: int, decoders: Sequence[str], delimiter: str) -> None:
        super().__init__(row_count, decoders)
        self.content, self.delimiter = content, delimiter
        self._fields: Sequence[Values] = ()

    # Any: see RawBatch.
    def __getitem__(self, index: Any) -> Any:
        decoder, fields = self.decoders[index], self.raw(index)
        if decoder == "text":
            return RawColumn(fields, "text")
        if decoder != "postgresql jsonb" and RAW_MARK not in "".join(fields):
            return RawColumn(fields, CSV_READY)
        return decode_column(decoder, [_database_text(field, decoder) for field in fields])

    def raw(self, index: int) -> Values:
        if not self._fields:
            lines = self.content[len(SQL_LINE_START) : -len(SQL_LINE_END)].split(SQL_LINE_END + SQL_LINE_START)
            self._fields = list(zip(*(_split_line(line.decode(), self.delimiter) for line in lines), strict=True))
        return self._fields[index]

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.content, self.row_count, self.decoders, self.delimiter)

    def subset(self, lines: Sequence[bytes]) -> "SqlCsvBatch":
        """Return a batch of some of the lines."""
        return SqlCsvBatch(b"".join(lines), len(lines), self.decoders, self.delimiter)

    def suspect_slices(self) -> list[slice]:
        """Return the parts of the content, each one line, that may differ from what the file should contain."""
        classes = self.content.translate(_byte_classes(self.delimiter))
        found = [*_find_all(classes, b"!")]
        found += [index + 1 for index in _find_all(classes, b",=") if not self._is_harmless(index + 1)]
        if self.content.count(SQL_LINE_END) > self.row_count:
            found += [match.start() for match in _FIELD_STARTING_WITH_LINE_FEED.finditer(self.content)]
        lines = dict(map(self._line_around, sorted(found)))
        return [slice(start, end) for start, end in lines.items()]

    def _line_around(self, index: int) -> tuple[int, int]:
        """Return where the line around this byte starts and ends."""
        end = self.content.find(SQL_LINE_END + SQL_LINE_START, index)
        start = self.content.rfind(SQL_LINE_START, 0, index)
        return start, len(self.content) if end < 0 else end + len(SQL_LINE_END)

    def _is_harmless(self, index: int) -> bool:
        """Return True if the formula character at this byte is within a text, or the sign of a number."""
        start = index - 1
        while self.content[start] in _HIDING_BYTES:
            start -= 1
        if self.content[start] not in _SEPARATOR_BYTES:
            return self.content[start] < 0x80
        return start == index - 1 and self.decoders[self._column_at(index)] in NUMERIC_DECODERS

    def _column_at(self, index: int) -> int:
        """Return the column whose field is at this byte. If quotes hide that, return the first one that has text."""
        start, end = self._line_around(index)
        before, after = self.content[start:index], self.content[index:end]
        if b'"' not in before:
            return before.count(self.delimiter.encode())
        if b'"' not in after:
            return len(self.decoders) - 1 - after.count(self.delimiter.encode())
        return next(number for number, decoder in enumerate(self.decoders) if decoder not in NUMERIC_DECODERS)


def _split_line(line: str, delimiter: str) -> Sequence[str]:
    # Not csv.reader: its limit on the length of a field is one setting for the whole process.
    if '"' not in line:
        return line.split(delimiter)
    fields = _field_pattern(delimiter).findall(line + delimiter)
    return [quoted.replace('""', '"') if quoted else plain for quoted, plain in fields]


@cache
def _field_pattern(delimiter: str) -> re.Pattern[str]:
    return re.compile(f'(?:"([^"]*(?:""[^"]*)*)"|([^"{delimiter}]*)){delimiter}')


def _find_all(content: bytes, wanted: bytes) -> Iterator[int]:
    find: Callable[[bytes, int], int] = content.find
    index = find(wanted, 0)
    while index >= 0:
        yield index
        index = find(wanted, index + 1)


@cache
def _byte_classes(delimiter: str) -> bytes:
    """Return the table for `bytes.translate` that gives each byte its class."""
    classes = bytearray([_OTHER]) * 256
    for byte in (*range(0x20), 0x7F, _WIDE_FORM_BYTE):
        classes[byte] = _SUSPECT
    for byte in (*_SEPARATOR_BYTES, *_HIDING_BYTES, *delimiter.encode(), *_CONTINUATION_BYTES):
        classes[byte] = _BEFORE_FORMULA
    for byte in _FORMULA_BYTES:
        classes[byte] = _FORMULA
    return bytes(classes)


def _database_text(field: str, decoder: str) -> str | None:
    """Return the text that the database stores, given the field it wrote; None is NULL."""
    if not field:
        return None
    if field.startswith(RAW_MARK):
        return field.removeprefix(RAW_MARK)
    return f"{field.removesuffix('+00:00')}+00" if decoder == "postgresql timestamptz" else field
