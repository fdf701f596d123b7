"""Values of Python's own types, made of what projects and databases return."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

from exports.tabular.cells.conversion import family_of, type_family
from exports.tabular.cells.datetimes import parse_time, to_local
from exports.tabular.cells.raw_columns import RawColumn, Values

# What people read in place of values. Any: values of any type have labels.
Labels = Mapping[Any, str]

PLAIN_TYPES: Final = frozenset(
    {NoneType, bool, int, float, Decimal, datetime, date, time, timedelta, UUID, str, bytes},
)
# Turns instances of subclasses into plain values. The order matters: a datetime is a date.
# Any, because each function takes the type beside it.
TO_PLAIN: Final[Sequence[tuple[Any, Callable[[Any], object]]]] = (
    (Integral, int),
    (Decimal, Decimal),
    (Real, float),
    (datetime, lambda value: datetime.combine(value, value.timetz())),
    (date, lambda value: date(value.year, value.month, value.day)),
    (time, lambda value: datetime.combine(date.min, value).timetz()),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (UUID, lambda value: UUID(int=value.int)),
    (str, lambda value: str.__str__(str(value))),
    ((bytes, bytearray, memoryview), bytes),
)
# By family of a RawColumn, what makes a value of its text.
PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "integer": int,
    "decimal": Decimal,
    "float": float,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "utc datetime": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    "time": parse_time,
    "uuid": UUID,
    "text": str,
    "json": json.loads,
}


def python_values(values: Values, zone: tzinfo) -> list[Any]:
    """Return a column as plain Python values: the same ones, however the rows were read.

    They are None, bool, int, float, Decimal, str, bytes, date, datetime, time, timedelta, UUID, list, dict, and the
    driver's ranges. Aware datetimes are in `zone`, also within lists, dicts and ranges. A member of an enum is its
    value; an object of another type is its `str()`. A date that Python does not have is PostgreSQL's text.
    """
    if isinstance(values, RawColumn):
        parse = PARSERS[values.family]
        found = [text if text is None else _parse(text, parse) for text in values]
    else:
        found = list(plain_column(values))
    types = set(map(type, found))
    if {"datetime", "json", "range"}.isdisjoint(map(type_family, types)):
        return found
    return [_in_zone(value, zone) for value in found]


def with_labels(values: Values, labels: Labels) -> list[Any]:
    """Return the labels of the values of a column; a value without a label stays, as a plain value."""
    plain = python_values(values, UTC)
    return list(map(labels.get, plain, plain))


def plain_column(values: Values) -> Values:
    """Return the column with a plain value in place of each other one, which makes the same cell."""
    if isinstance(values, RawColumn) or PLAIN_TYPES.issuperset(map(type, values)):
        return values
    return [value if type(value) in PLAIN_TYPES else _plain_value(value) for value in values]


def _plain_value(value: object) -> object:
    match family_of(value):
        case "enum":
            return plain_column([cast(Enum, value).value])[0]
        case "json":
            try:
                return _plain_json(value)
            except (TypeError, RecursionError):
                # JSON cannot hold it: a cell has its text.
                return str(value)
        case "range":
            # Of a driver of PostgreSQL, not of the project.
            return value
    for base, to_plain in TO_PLAIN:
        if isinstance(value, base):
            return to_plain(value)
    return str(value)


def _plain_json(value: Any) -> object:
    """Return a value that makes the same JSON as this one. Raise RecursionError for a value that contains itself."""
    if type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, str):
        # Within JSON a string is its characters, whatever its __str__ returns.
        return str.__str__(value)
    if family_of(value) != "json":
        return _plain_value(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain_json(each) for key, each in value.items()}
    return list(map(_plain_json, value))


def _plain_key(key: Any) -> object:
    """Return a plain key. Raise TypeError if it cannot be one."""
    return tuple(map(_plain_key, key)) if family_of(key) == "json" else _plain_json(key)


def _parse(text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except ValueError:
        return text


# Any: the values within a value have any type.
def _in_zone(value: Any, zone: tzinfo) -> Any:
    match family_of(value):
        case "datetime":
            return to_local([value], zone)[0]
        case "json" if isinstance(value, Mapping):
            return {key: _in_zone(each, zone) for key, each in value.items()}
        case "json":
            return [_in_zone(each, zone) for each in value]
        case "range" if not value.isempty:
            bounds = f"{'[' if value.lower_inc else '('}{']' if value.upper_inc else ')'}"
            return type(value)(_in_zone(value.lower, zone), _in_zone(value.upper, zone), bounds)
    return value
