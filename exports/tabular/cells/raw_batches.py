"""Batches as a database handed them over. A column is made when it is asked for, so that another process may do it."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Context, Decimal
from typing import Any, Final, Self

from exports.tabular.cells.numbers import numerals
from exports.tabular.cells.raw_columns import Texts
from exports.tabular.cells.raw_json import json_columns, loaded, normal_json_columns

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


class StoredBatch(Sequence[Values]):
    """Rows as a database handed them over, with the form of each column: a key of FORMS, ":" and its arguments.

    `batch[place]` makes the values or Texts of that column, each time anew: ask once. It pickles as what was handed
    over. `rows` is the number of rows.
    """

    def __init__(self, rows: int, forms: Sequence[str]) -> None:
        self.rows = rows
        self.forms = tuple(forms)

    def __len__(self) -> int:
        return len(self.forms)

    def __getitem__(self, place: Any) -> Any:
        return formed(self.forms[place], self.stored(place))

    @abstractmethod
    def stored(self, place: int) -> Values:
        """The column as it was handed over; None is NULL."""


class FetchedBatch(StoredBatch):
    """Columns of the rows that a cursor fetched."""

    def __init__(self, columns: Sequence[Values], forms: Sequence[str]) -> None:
        super().__init__(len(columns[0]) if columns else 0, forms)
        self._columns = columns

    def stored(self, place: int) -> Values:
        return self._columns[place]

    def with_values(self, change: Callable[[Values], Values]) -> Self:
        """The same with other values where a column has values, not what the database wrote."""
        columns = zip(self._columns, self.forms, strict=True)
        return type(self)([change(column) if form == "value" else column for column, form in columns], self.forms)

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self._columns, self.forms)


class CopiedBatch(StoredBatch):
    """Rows in COPY's text format, of `width` values each, of which those at `places` are the columns."""

    def __init__(self, content: bytes, rows: int, width: int, places: Sequence[int], forms: Sequence[str]) -> None:
        super().__init__(rows, forms)
        self._content, self._width, self._places = content, width, tuple(places)
        self._values: list[str] = []

    def stored(self, place: int) -> Values:
        if not self._values:
            self._values = self._content.decode().replace("\n", "\t").split("\t")
            # What follows the last line's end.
            self._values.pop()
        column = self._values[self._places[place] :: self._width]
        return unescaped(column) if b"\\" in self._content else column

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self._content, self.rows, self._width, self._places, self.forms)


def formed(form: str, stored: Values) -> Values:
    """The column that has been stored in this form."""
    name, *arguments = form.split(":")
    return FORMS[name](stored, *arguments)


def unescaped(column: Sequence[str]) -> Sequence[str | None]:
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
        return Texts(values, made.family) if isinstance(made, Texts) else values

    return filled


def _texts(family: str) -> Form:
    return lambda stored: Texts(stored, family)


def _numbers(texts: Sequence[str]) -> Values:
    """Whole numbers out of numerics: a fraction is cut off, as `int` does."""
    if "." in "".join(texts):
        return [int(Decimal(text)) for text in texts]
    return Texts(texts, "integer")


def _floats(texts: Sequence[str]) -> Values:
    """PostgreSQL writes the shortest digits that read back equal, as Python does, but 5 for 5.0 and 1e+15 sooner."""
    joined = "".join(texts)
    if joined.count(".") == len(texts) and "e" not in joined:
        return Texts(texts, "float")
    return Texts([text if "." in text and "e" not in text else repr(float(text)) for text in texts], "float")


def _moments(texts: Sequence[str]) -> Values:
    """Moments that PostgreSQL wrote in UTC. What ends otherwise is no moment of Python's: infinity, before Christ."""
    moments = ("\n".join(texts) + "\n").split("+00\n")
    moments.pop()
    if len(moments) != len(texts):
        moments = [text.replace("+00", "") for text in texts]
    return Texts(moments, "moment")


def _local_times(texts: Sequence[str]) -> Values:
    # Ten characters on, there is no hyphen of a date.
    return Texts([text[:10] + _OFFSET.sub("", text[10:]) for text in texts], "datetime")


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
        texts = _padded(numerals(values), int(places))
        if texts is not None:
            return Texts(texts, "decimal")
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
    return Texts(lines.decode().split("\n")[:-1], "uuid")


def _durations(values: Sequence[int]) -> Values:
    return [timedelta(0, 0, value) for value in values]


def are_hexadecimal(texts: Sequence[str]) -> bool:
    """Whether the form "hexadecimal" takes them."""
    joined = "".join(texts)
    are_long_enough = set(map(len, texts)) <= {len(_UUID_PLACES)}
    return are_long_enough and joined.isascii() and not joined.encode().translate(None, _HEXADECIMAL)


FORMS: Final[dict[str, Callable[..., Values]]] = {
    "value": lambda stored: stored,
    # Texts, in the families of Texts.
    **{
        family: _texts(family)
        for family in ("text", "integer", "decimal", "date", "datetime", "moment", "time", "uuid")
    },
    # Texts of PostgreSQL that are not canonical, and typed values out of texts.
    "string": list,
    "numeric integer": _of_present(_numbers),
    "float": _of_present(_floats),
    "numeric float": _of_present(lambda texts: list(map(float, texts))),
    "letter": _of_present(_letters),
    "utc": _of_present(_moments),
    "local time": _of_present(_local_times),
    "normal json": _of_present(normal_json_columns),
    "json value": _of_present(loaded),
    # What SQLite hands over.
    "whole": _of_present(lambda values: list(map(int, values))),
    "real": _of_present(lambda values: list(map(float, values))),
    "bit": _bits,
    "fixed": _of_present(_fixed),
    "hexadecimal": _of_present(_uuids),
    "microseconds": _of_present(_durations),
    "json": _of_present(json_columns),
}
