"""Columns that SQLite returned: raw where every value has the expected type and format, else converted by the ORM.

SQLite may hold any type and any text in any column. `_PARSERS` repeats the converters that Django registers with
Python's sqlite3 module, checked against Django 5.2, 6.0 and 6.1; `django_internals.is_checked` guards this module too.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, time
from itertools import product
from types import NoneType
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.dateparse import parse_date, parse_datetime, parse_time

from exports.tabular.cells.raw_batches import are_hex_uuids
from exports.tabular.readers.converters import SelectedColumn, Undeclared
from exports.tabular.readers.django_internals import apply_converters

# The formats of text that need no parsing, with 0 for every digit.
_ANY_DIGIT: Final = bytes.maketrans(b"123456789", b"000000000")
_DATES: Final = {b"0000-00-00"}
_TIMES: Final = {b"00:00:00" + fraction for fraction in (b"", *(b"." + b"0" * digits for digits in range(1, 7)))}
_DATETIMES: Final = {day + between + clock for day, between, clock in product(_DATES, (b" ", b"T"), _TIMES)}
_FORMATS: Final = {"date": _DATES, "time": _TIMES, "utc datetime": _DATETIMES, "datetime": _DATETIMES}

_PARSERS: Final[Mapping[str, Callable[[str], date | datetime | time | bool | None]]] = {
    "date": parse_date,
    "time": parse_time,
    "utc datetime": parse_datetime,
    "datetime": parse_datetime,
    "sqlite boolean": "1".__eq__,
}


def checked_column(
    selected: SelectedColumn, values: Sequence[Any], connection: BaseDatabaseWrapper
) -> tuple[Sequence[Any], str]:
    """Return the column and its decoder; converted values and "value" where the values do not fit the decoder."""
    decoder = selected.decoder
    is_undeclared = isinstance(selected.expression, Undeclared)
    if decoder is not None:
        is_of_text = decoder == "sqlite uuid" or decoder in _FORMATS or decoder.startswith("sqlite decimal:")
        if not (is_undeclared or is_of_text) or _fits(decoder, values):
            return values, decoder
    if is_undeclared and decoder is not None:
        # What the driver would have returned, had it seen how the column is declared.
        parse = _PARSERS[decoder]
        values = [
            None if value is None else parse(value.decode() if isinstance(value, bytes) else str(value))
            for value in values
        ]
    return apply_converters(selected.expression, selected.converters, values, connection), "value"


def _fits(decoder: str, values: Sequence[Any]) -> bool:
    types = set(map(type, values))
    present = [value for value in values if value is not None] if NoneType in types else values
    types.discard(NoneType)
    if decoder == "sqlite boolean":
        return types <= {int} and set(present) <= {0, 1}
    if not types:
        return True
    if decoder.startswith("sqlite decimal:"):
        # Django 6.1 keeps all digits of integers, and takes text; earlier versions round integers and refuse text.
        return types <= {int, float} and max(map(abs, present)) < 10**15
    if types != {str}:
        return False
    return are_hex_uuids(present) if decoder == "sqlite uuid" else _have_format(_FORMATS[decoder], present)


def _have_format(formats: Set[bytes], texts: Sequence[str]) -> bool:
    lines = "\n".join(texts)
    if not lines.isascii() or lines.count("\n") != len(texts) - 1:
        return False
    found = lines.encode().translate(_ANY_DIGIT)
    first = found[: len(texts[0])]
    # Most columns have only one format.
    if first in formats and found == b"\n".join([first] * len(texts)):
        return True
    return set(found.split(b"\n")) <= formats
