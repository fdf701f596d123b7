"""Values as JSON that are read back unchanged: dates, decimals and similar types are tagged with their type."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final
from uuid import UUID

# The types of keys that JSON cells of a dict hold.
_KEYS: Final = {str, int, float, bool, NoneType}

# Any: each function takes values of one type.
_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("duration", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
    float: ("float", repr),
    bytes: ("bytes", bytes.hex),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "duration": lambda parts: timedelta(*parts),
    "decimal": Decimal,
    "uuid": UUID,
    "float": float,
    "bytes": bytes.fromhex,
    "list": lambda values: [from_json(value) for value in values],
    "dict": lambda pairs: {key: from_json(value) for key, value in pairs},
}


def to_json(value: Any, *, exact: bool = True) -> Any:
    """Return a value for json.dumps, tagged where JSON has no such type: {"$": "decimal", "v": "1.20"}.

    Subclasses become their base type. For a type that cannot be represented exactly, raise TypeError; if not `exact`,
    return what its cells hold: a float for a number, else text.
    """
    if value is None or isinstance(value, bool) or type(value) in (int, str):
        return value
    if isinstance(value, Enum):
        return to_json(value.value, exact=exact)
    if type(value) in _WRITE:
        name, write = _WRITE[type(value)]
        return {"$": name, "v": write(value)}
    if isinstance(value, list | tuple) or (exact and isinstance(value, set | frozenset | range)):
        return {"$": "list", "v": [to_json(each, exact=exact) for each in value]}
    if isinstance(value, Mapping) and {type(key) for key in value} <= _KEYS:
        return {"$": "dict", "v": [[key, to_json(each, exact=exact)] for key, each in value.items()]}
    if isinstance(value, str):
        # A subclass such as SafeString.
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, bytearray | memoryview):
        return to_json(bytes(value))
    for base, (name, write) in _WRITE.items():
        if isinstance(value, base):
            return {"$": name, "v": write(value)}
    if not exact:
        return to_json(float(value)) if isinstance(value, Real) else str(value)
    raise TypeError(f"{type(value).__name__} has no exact form in JSON.")


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given; tuples, sets and ranges come back as lists."""
    return _READ[value["$"]](value["v"]) if isinstance(value, dict) else value
