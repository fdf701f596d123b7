"""Batches as a database handed them over. A column is made when it is asked for, so that another process may do it."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Context, Decimal
from typing import Any, Final, Self

from exports.tabular.cells.numbers import format_numbers
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.cells.raw_json import decode_json, decode_jsonb, parse_json_values

Values = Sequence[Any]
Form = Callable[[Values], Values]

# COPY's text format: what stands for NULL, and what its escapes stand for.
NULL: Final = "\\N"
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_OFFSET: Final = re.compile(r"[+-]\d\d(:\d\d){0,2}")
_LETTERS: Final = {"t": True, "f": False}
_BITS: Final = {0: False, 1: True, None: None}

# A decimal of so many digits comes out of a binary float as it went in.
SURE_DIGITS: Final = 15
_FROM_FLOAT: Final = Context(prec=SURE_DIGITS).create_decimal_from_float

# Where the 32 digits of a UUID stand between its hyphens.
_UUID: Final = b"00000000-0000-0000-0000-000000000000\n"
_UUID_PLACES: Final = [place for place, character in enumerate(_UUID) if character == ord("0")]
_HEXADECIMAL: Final = b"0123456789abcdef"


class RawBatch(Sequence[Values]):
    """Rows as a database handed them over, with the form of each column: a key of FORMS, ":" and its arguments.

    `batch[place]` makes the values or RawColumn of that column, each time anew: ask once. It pickles as what was handed
    over. `rows` is the number of rows.
    """

    def __init__(self, row_count: int, decoders: Sequence[str]) -> None:
        self.row_count = row_count
        self.decoders = tuple(decoders)

    def __len__(self) -> int:
        return len(self.decoders)

    def __getitem__(self, place: Any) -> Any:
        return decode_column(self.decoders[place], self.raw(place))

    @abstractmethod
    def raw(self, place: int) -> Values:
        """The column as it was handed over; None is NULL."""


class CursorBatch(RawBatch):
    """Columns of the rows that a cursor fetched."""

    def __init__(self, columns: Sequence[Values], decoders: Sequence[str]) -> None:
        super().__init__(len(columns[0]) if columns else 0, decoders)
        self._columns = columns

    def raw(self, place: int) -> Values:
        return self._columns[place]

    def replace_values(self, change: Callable[[Values], Values]) -> Self:
        """The same with other values where a column has values, not what the database wrote."""
        columns = zip(self._columns, self.decoders, strict=True)
        return type(self)([change(column) if form == "value" else column for column, form in columns], self.decoders)

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self._columns, self.decoders)


class CopyBatch(RawBatch):
    """Rows in COPY's text format, of `width` values each, of which those at `places` are the columns."""

    def __init__(
        self, content: bytes, row_count: int, width: int, places: Sequence[int], decoders: Sequence[str]
    ) -> None:
        super().__init__(row_count, decoders)
        self._content, self._width, self._places = content, width, tuple(places)
        self._values: list[str] = []

    def raw(self, place: int) -> Values:
        if not self._values:
            self._values = self._content.decode().replace("\n", "\t").split("\t")
            # What follows the last line's end.
            self._values.pop()
        column = self._values[self._places[place] :: self._width]
        return unescape_column(column) if b"\\" in self._content else column

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self._content, self.row_count, self._width, self._places, self.decoders)


def decode_column(form: str, stored: Values) -> Values:
    """The column that has been stored in this form."""
    name, *arguments = form.split(":")
    return DECODERS[name](stored, *arguments)


def unescape_column(column: Sequence[str]) -> Sequence[str | None]:
    """The texts of a column in COPY's text format."""
    backslashes = "".join(column).count("\\")
    if not backslashes:
        return column
    if backslashes == column.count(NULL):
        return [None if text == NULL else text for text in column]
    return [_unescaped(text) if "\\" in text else text for text in column]


def _unescaped(text: str) -> str | None:
    return None if text == NULL else _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), text)


def _of_present(make: Callable[..., Values]) -> Callable[..., Values]:
    """The same for a column with None in it, which stays None."""

    def filled(stored: Values, *arguments: str) -> Values:
        if None not in stored:
            return make(stored, *arguments)
        present = [value for value in stored if value is not None]
        made = make(present, *arguments) if present else []
        rest = iter(made)
        values = [None if value is None else next(rest) for value in stored]
        return RawColumn(values, made.family) if isinstance(made, RawColumn) else values

    return filled


def _texts(family: str) -> Form:
    return lambda stored: RawColumn(stored, family)


def _numbers(texts: Sequence[str]) -> Values:
    """Whole numbers out of numerics: a fraction is cut off, as `int` does."""
    if "." in "".join(texts):
        return [int(Decimal(text)) for text in texts]
    return RawColumn(texts, "integer")


def _floats(texts: Sequence[str]) -> Values:
    """PostgreSQL writes the shortest digits that read back equal, as Python does, but 5 for 5.0 and 1e+15 sooner."""
    joined = "".join(texts)
    if joined.count(".") == len(texts) and "e" not in joined:
        return RawColumn(texts, "float")
    return RawColumn([text if "." in text and "e" not in text else repr(float(text)) for text in texts], "float")


def _moments(texts: Sequence[str]) -> Values:
    """Moments that PostgreSQL wrote in UTC. What ends otherwise is no moment of Python's: infinity, before Christ."""
    moments = ("\n".join(texts) + "\n").split("+00\n")
    moments.pop()
    if len(moments) != len(texts):
        moments = [text.replace("+00", "") for text in texts]
    return RawColumn(moments, "utc datetime")


def _local_times(texts: Sequence[str]) -> Values:
    # Ten characters on, there is no hyphen of a date.
    return RawColumn([text[:10] + _OFFSET.sub("", text[10:]) for text in texts], "datetime")


def _letters(texts: Sequence[str]) -> Values:
    return [_LETTERS[text] for text in texts]


def _bits(values: Values) -> Values:
    if set(values) <= _BITS.keys():
        return list(map(_BITS.__getitem__, values))
    return [bool(value) if value in (1, 0) else value for value in values]


def _fixed(values: Sequence[float | int], places: str, digits: str) -> Values:
    """Decimals that a column of so many decimals keeps as floats: 15 digits are certain, the rest is rounded off."""
    whole = 10 ** (min(int(digits), SURE_DIGITS) - int(places))
    if set(map(type, values)) <= {int, float} and -whole < min(values) and max(values) < whole:
        # A float that is the nearest to a decimal of 15 digits is written as that one.
        texts = _padded(format_numbers(values), int(places))
        if texts is not None:
            return RawColumn(texts, "decimal")
    unit, context = Decimal(1).scaleb(-int(places)), Context(prec=int(digits))
    return [_FROM_FLOAT(value).quantize(unit, context=context) for value in values]


def _padded(numbers: Sequence[str], places: int) -> list[str] | None:
    """The numbers with exactly so many decimals, or None where one has more."""
    point = slice(-places - 1, -places) if places else slice(0)
    texts = [number if number[point] == "." else _with_places(number, places) for number in numbers]
    return None if "" in texts else texts


def _with_places(number: str, places: int) -> str:
    whole, _, decimals = number.partition(".")
    decimals = decimals.rstrip("0")
    if len(decimals) > places or "e" in number:
        return ""
    return f"{whole}.{decimals.ljust(places, '0')}" if places else whole


def _uuids(texts: Sequence[str]) -> Values:
    """UUIDs of 32 lower-case hexadecimal digits, with their hyphens."""
    digits = "".join(texts).encode()
    lines = bytearray(_UUID * len(texts))
    for digit, place in enumerate(_UUID_PLACES):
        lines[place :: len(_UUID)] = digits[digit :: len(_UUID_PLACES)]
    return RawColumn(lines.decode().split("\n")[:-1], "uuid")


def _durations(values: Sequence[int]) -> Values:
    return [timedelta(0, 0, value) for value in values]


def are_hex_uuids(texts: Sequence[str]) -> bool:
    """Whether the form "sqlite uuid" takes them."""
    joined = "".join(texts)
    are_long_enough = set(map(len, texts)) <= {len(_UUID_PLACES)}
    return are_long_enough and joined.isascii() and not joined.encode().translate(None, _HEXADECIMAL)


DECODERS: Final[dict[str, Callable[..., Values]]] = {
    "value": lambda stored: stored,
    # RawColumn, in the families of RawColumn.
    **{
        family: _texts(family)
        for family in ("text", "integer", "decimal", "date", "datetime", "utc datetime", "time", "uuid")
    },
    # RawColumn of PostgreSQL that are not canonical, and typed values out of texts.
    "string": list,
    "numeric as integer": _of_present(_numbers),
    "postgresql float": _of_present(_floats),
    "numeric as float": _of_present(lambda texts: list(map(float, texts))),
    "postgresql boolean": _of_present(_letters),
    "postgresql timestamptz": _of_present(_moments),
    "postgresql local timestamptz": _of_present(_local_times),
    "postgresql jsonb": _of_present(decode_jsonb),
    "json value": _of_present(parse_json_values),
    # What SQLite hands over.
    "sqlite integer": _of_present(lambda values: list(map(int, values))),
    "sqlite real": _of_present(lambda values: list(map(float, values))),
    "sqlite boolean": _bits,
    "sqlite decimal": _of_present(_fixed),
    "sqlite uuid": _of_present(_uuids),
    "sqlite duration": _of_present(_durations),
    "sqlite json": _of_present(decode_json),
}
