"""Values as JSON that are read back unchanged: dates, decimals and similar types are tagged with their type."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from exports.tabular.cells.conversion import family_of

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
    "dict": lambda pairs: {_read_key(key): from_json(value) for key, value in pairs},
    "range": lambda parts: _read_range(*parts),
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
    if isinstance(value, dict):
        return {"$": "dict", "v": [[to_json(key), to_json(each)] for key, each in value.items()]}
    if isinstance(value, str):
        # A subclass such as SafeString.
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if family_of(value) == "range":
        bounds = f"{'[' if value.lower_inc else '('}{']' if value.upper_inc else ')'}"
        return {"$": "range", "v": [to_json(value.lower), to_json(value.upper), bounds, value.isempty]}
    raise TypeError(f"{type(value).__name__} has no exact form in JSON.")


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given; tuples, sets and Python's ranges come back as lists."""
    return _READ[value["$"]](value["v"]) if isinstance(value, dict) else value


def _read_key(key: Any) -> Any:
    key = from_json(key)
    return tuple(key) if isinstance(key, list) else key


def _read_range(lower: Any, upper: Any, bounds: str, is_empty: bool) -> Any:
    # Only where a driver of PostgreSQL is installed was there a range.
    from django.db.backends.postgresql.psycopg_any import NumericRange

    return NumericRange(from_json(lower), from_json(upper), bounds, is_empty)
