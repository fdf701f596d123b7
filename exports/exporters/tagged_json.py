"""Values as JSON that are read back unchanged: dates, decimals and similar types are tagged with their type."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

# Any: each function takes values of one type.
_WRITE: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("duration", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
    float: ("float", repr),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "duration": lambda parts: timedelta(*parts),
    "decimal": Decimal,
    "uuid": UUID,
    "float": float,
    "list": lambda values: [from_json(value) for value in values],
    "dict": lambda pairs: {key: from_json(value) for key, value in pairs.items()},
}


def to_json(value: Any) -> Any:
    """Return a value for json.dumps, tagged where JSON has no such type: {"$": "decimal", "v": "1.20"}.

    Raises TypeError for a type that cannot be represented exactly.
    """
    if value is None or isinstance(value, bool) or type(value) in (int, str):
        return value
    if isinstance(value, Enum):
        return to_json(value.value)
    if type(value) in _WRITE:
        name, write = _WRITE[type(value)]
        return {"$": name, "v": write(value)}
    if isinstance(value, list | tuple | set | frozenset | range):
        return {"$": "list", "v": [to_json(each) for each in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"$": "dict", "v": {key: to_json(each) for key, each in value.items()}}
    if isinstance(value, str):
        # A subclass such as SafeString.
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} has no exact form in JSON.")


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given; tuples, sets and ranges come back as lists."""
    return _READ[value["$"]](value["v"]) if isinstance(value, dict) else value
