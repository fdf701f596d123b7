"""Batches that can be sent to a child process: values of Python's own types only.

An instance of a project's class is pickled as a reference to the class, and importing that may need what only this
process has set up. So such a value is replaced by a plain one that makes the same cell.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

from exports.tabular.cells.conversion import family_of
from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.writers.base import Batch

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


def picklable_batch(batch: Batch) -> Batch:
    """Return the batch with plain values that make the same cells. What a database rendered stays as it is."""
    if isinstance(batch, CursorBatch):
        return batch.replace_values(_plain_column)
    return [_plain_column(values) for values in batch] if isinstance(batch, list | tuple) else batch


def _plain_column(values: Sequence[object]) -> Sequence[object]:
    if isinstance(values, RawColumn) or PLAIN_TYPES.issuperset(map(type, values)):
        return values
    return [value if type(value) in PLAIN_TYPES else _plain_value(value) for value in values]


def _plain_value(value: object) -> object:
    match family_of(value):
        case "enum":
            return _plain_column([cast(Enum, value).value])[0]
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
