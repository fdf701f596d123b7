"""What SQLite hands over has any type and any text: the ORM's converters take what has not the shape of its form."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from types import NoneType
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.dateparse import parse_date, parse_datetime, parse_time

from exports.tabular.cells.raw_batches import are_hex_uuids
from exports.tabular.readers.converters import Selected, Undeclared

_ANY_DIGIT: Final = bytes.maketrans(b"123456789", b"000000000")
_DAYS: Final = {b"0000-00-00"}
_CLOCKS: Final = {b"00:00:00" + fraction for fraction in (b"", *(b"." + b"0" * digits for digits in range(1, 7)))}
_SHAPES: Final = {
    "date": _DAYS,
    "time": _CLOCKS,
    "utc datetime": {day + between + clock for day, between, clock in product(_DAYS, (b" ", b"T"), _CLOCKS)},
}
_SHAPES["datetime"] = _SHAPES["utc datetime"]
# What SQLite's driver, as Django sets it up, makes of a column that is declared to hold it.
_PARSERS: Final = {
    "date": parse_date,
    "time": parse_time,
    "utc datetime": parse_datetime,
    "datetime": parse_datetime,
    "sqlite boolean": "1".__eq__,
}
_CHECKED: Final = (*_SHAPES, "sqlite uuid")
_BITS: Final = {0, 1}


def fetched(selected: Selected, values: Sequence[Any], connection: BaseDatabaseWrapper) -> tuple[Sequence[Any], str]:
    """A column that SQLite handed over, and its form: converted by the ORM where it does not fit the form it has."""
    form = selected.form
    is_undeclared = isinstance(selected.expression, Undeclared)
    is_checked = is_undeclared or form in _CHECKED
    if form is not None and (not is_checked or _fits(form, values)):
        return values, form
    if is_undeclared:
        values = [_driven(form, value) for value in values]
    return converted(selected, values, connection), "value"


def converted(selected: Selected, values: Sequence[Any], connection: BaseDatabaseWrapper) -> Sequence[Any]:
    """A column as the ORM converts it."""

    def apply(values: Sequence[Any], converter: Callable[[Any, Any, Any], Any]) -> Sequence[Any]:
        return [converter(value, selected.expression, connection) for value in values]

    return reduce(apply, selected.converters, values)


def _fits(form: str, values: Sequence[Any]) -> bool:
    types = set(map(type, values))
    present = [value for value in values if value is not None] if NoneType in types else values
    types.discard(NoneType)
    if form == "sqlite boolean":
        return types <= {int} and set(present) <= _BITS
    return not types or (types == {str} and _have_shape(form, present))


def _have_shape(form: str, texts: Sequence[str]) -> bool:
    if form == "sqlite uuid":
        return are_hex_uuids(texts)
    lines = "\n".join(texts)
    if not lines.isascii() or lines.count("\n") != len(texts) - 1:
        return False
    shapes = lines.encode().translate(_ANY_DIGIT)
    first = shapes[: len(texts[0])]
    # Most columns have but one shape.
    if first in _SHAPES[form] and shapes == b"\n".join([first] * len(texts)):
        return True
    return set(shapes.split(b"\n")) <= _SHAPES[form]


def _driven(form: str | None, value: Any) -> Any:
    """The value as the driver would have given it, had it seen how the column is declared."""
    if value is None or form is None:
        return value
    return _PARSERS[form](value.decode() if isinstance(value, bytes) else str(value))
