"""Values as another process can take them: of Python's own types, whatever the host project has made of them.

A class of the host's travels as its name, and importing that may need what only this process has set up.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final
from uuid import UUID

from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.writers.base import Batch

PLAIN: Final = frozenset({NoneType, bool, int, float, Decimal, datetime, date, time, timedelta, UUID, str, bytes})
# In this order: a datetime is a date. What Python's own types are made of, of the same value.
MADE: Final[Sequence[tuple[Any, Callable[[Any], object]]]] = (
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


def portable(batch: Batch) -> Batch:
    """The batch with values of Python's own types alone, which give the same cells. What a database wrote stays."""
    if isinstance(batch, CursorBatch):
        return batch.replace_values(_column)
    return [_column(values) for values in batch] if isinstance(batch, list | tuple) else batch


def _column(values: Sequence[object]) -> Sequence[object]:
    if isinstance(values, RawColumn) or PLAIN.issuperset(map(type, values)):
        return values
    return [value if type(value) in PLAIN else _value(value) for value in values]


def _value(value: object) -> object:
    if isinstance(value, Enum):
        return _column([value.value])[0]
    if isinstance(value, Mapping | list | tuple):
        return _json(value)
    for base, make in MADE:
        if isinstance(value, base):
            return make(value)
    return str(value)


def _json(value: object) -> object:
    """A value with which JSON is written as with this one, or its text where that is what is written."""
    try:
        return _within_json(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _within_json(value: object) -> object:
    """Raises RecursionError for what holds itself, and TypeError for a key that JSON has not."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_key(key): _within_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_within_json(each) for each in value]
    # Also where they are members of an enum.
    for base, make in ((str, str.__str__), (int, int), (float, float)):
        if isinstance(value, base):
            return make(value)
    return str(value)


def _key(key: object) -> object:
    if isinstance(key, str | int | float | None):
        return _within_json(key)
    raise TypeError(f"{type(key).__name__} is no key in JSON.")
