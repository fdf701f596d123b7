"""Batches as a database delivered them. A column is decoded when it is asked for, so another process can do it."""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Context, Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Self

from exports.tabular.cells.numbers import format_numbers
from exports.tabular.cells.plain_values import Labels, with_labels
from exports.tabular.cells.raw_columns import RawColumn, Values, restore_nulls
from exports.tabular.cells.raw_json import decode_json, decode_jsonb, parse_json_values

# COPY's text format: the mark of NULL, and what its escapes stand for.
COPY_NULL: Final = "\\N"
_COPY_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_COPY_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_UTC_OFFSET: Final = re.compile(r"[+-]\d\d(:\d\d){0,2}")
_SQLITE_BOOLEANS: Final = {0: False, 1: True, None: None}

# A decimal with this many digits survives being stored as a binary float.
FLOAT_SAFE_DIGITS: Final = 15
_decimal_from_float: Final = Context(prec=FLOAT_SAFE_DIGITS).create_decimal_from_float

_UUID_LINE: Final = b"00000000-0000-0000-0000-000000000000\n"
_UUID_DIGIT_POSITIONS: Final = [index for index, character in enumerate(_UUID_LINE) if character == ord("0")]
_HEX_DIGITS: Final = b"0123456789abcdef"


class RawBatch(Sequence[Values]):
    """Rows as a database delivered them. `decoders` names the decoder of each column, see DECODERS.

    `batch[index]` decodes the column each time, so ask once. Pickling keeps the undecoded rows. `labels` are what to
    show in place of the values of some columns, by index.
    """

    labels: Mapping[int, Labels] = MappingProxyType({})

    def __init__(self, row_count: int, decoders: Sequence[str]) -> None:
        self.row_count = row_count
        self.decoders = tuple(decoders)

    def __len__(self) -> int:
        return len(self.decoders)

    # Any: Sequence declares slices of columns too, which no batch supports.
    def __getitem__(self, index: Any) -> Any:
        values = decode_column(self.decoders[index], self.raw(index))
        return with_labels(values, self.labels[index]) if index in self.labels else values

    @abstractmethod
    def raw(self, index: int) -> Values:
        """Return a column as it was delivered; None is NULL."""


class CursorBatch(RawBatch):
    """Columns of rows that a cursor fetched."""

    def __init__(self, columns: Sequence[Values], decoders: Sequence[str]) -> None:
        super().__init__(len(columns[0]) if columns else 0, decoders)
        self._columns = columns

    def raw(self, index: int) -> Values:
        return self._columns[index]

    def replace_values(self, replace: Callable[[Values], Values]) -> Self:
        """Return a batch with `replace` applied to the columns of Python values; undecoded columns stay."""
        columns = [
            replace(column) if decoder == "value" else column
            for column, decoder in zip(self._columns, self.decoders, strict=True)
        ]
        replaced = type(self)(columns, self.decoders)
        replaced.labels = self.labels
        return replaced

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...], dict[str, object]]:
        return type(self), (self._columns, self.decoders), {"labels": dict(self.labels)}


class CopyBatch(RawBatch):
    """Rows in COPY's text format with `width` values each. `positions` are those of the columns among the values."""

    def __init__(
        self, content: bytes, row_count: int, width: int, positions: Sequence[int], decoders: Sequence[str]
    ) -> None:
        super().__init__(row_count, decoders)
        self._content, self._width, self._positions = content, width, tuple(positions)
        self._values: list[str] = []

    def raw(self, index: int) -> Values:
        if not self._values:
            self._values = self._content.decode().replace("\n", "\t").split("\t")
            # The last line ends with a line feed, after which nothing follows.
            self._values.pop()
        column = self._values[self._positions[index] :: self._width]
        return unescape_column(column) if b"\\" in self._content else column

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...], dict[str, object]]:
        arguments = (self._content, self.row_count, self._width, self._positions, self.decoders)
        return type(self), arguments, {"labels": dict(self.labels)}


def decode_column(decoder: str, raw: Values) -> Values:
    """Return the values or the RawColumn of a column. `decoder` is a key of DECODERS with arguments after ":"."""
    name, *arguments = decoder.split(":")
    return DECODERS[name](raw, *arguments)


def unescape_column(column: Sequence[str]) -> Sequence[str | None]:
    """Return the texts of a column in COPY's text format; None is NULL."""
    backslashes = "".join(column).count("\\")
    if not backslashes:
        return column
    if backslashes == column.count(COPY_NULL):
        return [None if text == COPY_NULL else text for text in column]
    return [None if text == COPY_NULL else _unescape(text) if "\\" in text else text for text in column]


def are_hex_uuids(texts: Sequence[str]) -> bool:
    """Return True if the decoder "sqlite uuid" can decode the texts."""
    joined = "".join(texts)
    have_right_length = set(map(len, texts)) <= {len(_UUID_DIGIT_POSITIONS)}
    return have_right_length and joined.isascii() and not joined.encode().translate(None, _HEX_DIGITS)


def decode_numeric_as_integers(texts: Sequence[str]) -> Values:
    """Decode a numeric that Django reads as an integer: a fraction is cut off, as `int` does."""
    if "." in "".join(texts):
        return [int(Decimal(text)) for text in texts]
    return RawColumn(texts, "integer")


def decode_postgresql_floats(texts: Sequence[str]) -> Values:
    """Decode floats. PostgreSQL writes the same digits as Python, but 5 for 5.0, and exponents from 1e+15 on."""
    joined = "".join(texts)
    if joined.count(".") == len(texts) and "e" not in joined:
        return RawColumn(texts, "float")
    return RawColumn([text if "." in text and "e" not in text else repr(float(text)) for text in texts], "float")


def decode_postgresql_timestamptz(texts: Sequence[str]) -> Values:
    """Decode timestamps that PostgreSQL wrote in UTC."""
    without_offset = ("\n".join(texts) + "\n").split("+00\n")
    without_offset.pop()
    if len(without_offset) != len(texts):
        # Infinity has no offset, and years before Christ end in "+00 BC".
        without_offset = [text.replace("+00", "") for text in texts]
    return RawColumn(without_offset, "utc datetime")


def decode_postgresql_local_timestamptz(texts: Sequence[str]) -> Values:
    """Decode timestamps with an offset into local ones without it."""
    # After ten characters there is no hyphen of a date that could be taken for an offset.
    return RawColumn([text[:10] + _UTC_OFFSET.sub("", text[10:]) for text in texts], "datetime")


def decode_sqlite_booleans(values: Values) -> Values:
    """Decode 1 and 0. Other values stay, as they do for the ORM."""
    if set(values) <= _SQLITE_BOOLEANS.keys():
        return list(map(_SQLITE_BOOLEANS.__getitem__, values))
    return [bool(value) if value in (1, 0) else value for value in values]


def decode_sqlite_decimals(values: Sequence[float | int], places: str, digits: str) -> Values:
    """Decode decimals that SQLite stores as floats: 15 digits are certain, the others are rounded off."""
    end = 10 ** (min(int(digits), FLOAT_SAFE_DIGITS) - int(places))
    if -end < min(values) and max(values) < end:
        # The shortest digits of a float are those of the decimal with 15 digits that it was made of.
        texts = _pad_decimals(format_numbers(values), int(places))
        if texts is not None:
            return RawColumn(texts, "decimal")
    unit, context = Decimal(1).scaleb(-int(places)), Context(prec=int(digits))
    return [_decimal_from_float(value).quantize(unit, context=context) for value in values]


def decode_sqlite_uuids(texts: Sequence[str]) -> Values:
    """Put hyphens into UUIDs of 32 hexadecimal digits."""
    digits = "".join(texts).encode()
    lines = bytearray(_UUID_LINE * len(texts))
    # One slice assignment per digit of a UUID, for all UUIDs.
    for digit, position in enumerate(_UUID_DIGIT_POSITIONS):
        lines[position :: len(_UUID_LINE)] = digits[digit :: len(_UUID_DIGIT_POSITIONS)]
    return RawColumn(lines.decode().split("\n")[:-1], "uuid")


def _unescape(text: str) -> str:
    return _COPY_ESCAPE.sub(lambda match: _COPY_ESCAPES.get(match[1], match[1]), text)


def _keeping_nulls(decode: Callable[..., Values]) -> Callable[..., Values]:
    """Return a decoder that leaves None in place and decodes the other values."""

    def decode_present(raw: Values, *arguments: str) -> Values:
        if None not in raw:
            return decode(raw, *arguments)
        present = [value for value in raw if value is not None]
        return restore_nulls(raw, decode(present, *arguments) if present else [])

    return decode_present


def _pad_decimals(numbers: Sequence[str], places: int) -> list[str] | None:
    """Return the numbers with exactly that many decimal places, or None if one has more."""
    point = slice(-places - 1, -places) if places else slice(0)
    texts = []
    for number in numbers:
        if number[point] == ".":
            texts.append(number)
            continue
        whole, _, decimals = number.partition(".")
        decimals = decimals.rstrip("0")
        if len(decimals) > places or "e" in number:
            return None
        texts.append(f"{whole}.{decimals.ljust(places, '0')}" if places else whole)
    return texts


# Decoders by name. The callables take a column as delivered, and arguments as strings.
DECODERS: Final[dict[str, Callable[..., Values]]] = {
    # Python values, and texts that become Python strings.
    "value": lambda values: values,
    "string": list,
    # Texts that need no decoding.
    **{
        family: partial(RawColumn, family=family)
        for family in ("text", "integer", "decimal", "date", "datetime", "utc datetime", "time", "uuid")
    },
    # Texts of PostgreSQL.
    "numeric as integer": _keeping_nulls(decode_numeric_as_integers),
    "numeric as float": _keeping_nulls(lambda texts: list(map(float, texts))),
    "postgresql float": _keeping_nulls(decode_postgresql_floats),
    "postgresql boolean": _keeping_nulls(lambda texts: list(map({"t": True, "f": False}.__getitem__, texts))),
    "postgresql timestamptz": _keeping_nulls(decode_postgresql_timestamptz),
    "postgresql local timestamptz": _keeping_nulls(decode_postgresql_local_timestamptz),
    "postgresql jsonb": _keeping_nulls(decode_jsonb),
    "json value": _keeping_nulls(parse_json_values),
    # Values of SQLite.
    "sqlite integer": _keeping_nulls(lambda values: list(map(int, values))),
    "sqlite real": _keeping_nulls(lambda values: list(map(float, values))),
    "sqlite boolean": decode_sqlite_booleans,
    "sqlite decimal": _keeping_nulls(decode_sqlite_decimals),
    "sqlite uuid": _keeping_nulls(decode_sqlite_uuids),
    "sqlite duration": _keeping_nulls(lambda values: [timedelta(0, 0, microseconds) for microseconds in values]),
    "sqlite json": _keeping_nulls(decode_json),
}
