"""A simple, slow reference implementation of Parquet's columns, by the rules of docs/formats.md.

It uses nothing of `exports`. A column is the name of its Arrow type and what it stores: integers count microseconds, or
days of a date.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, localcontext
from enum import Enum
from numbers import Integral, Real
from typing import Any

from tests.reference.cells import Changes, json_cell, plain_text, without_surrogates

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1)
LIMIT = 2**63


class Unfit(ValueError):
    """A value that the type of the column cannot hold."""


class JsonText:
    """Equal to every text that a JSON parser reads as this value."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"JSON of {self.value!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and json.loads(other, parse_float=Decimal) == self.value


def parquet_column(
    values: Sequence[Any], kind: str, places: int | None, zone: tzinfo
) -> tuple[str, list[Any], list[Changes]]:
    """Return the type, what is stored, and what was changed of each value. Raises Unfit."""
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    first = next((value for value in plain if value is not None), None)
    are_aware = not isinstance(first, datetime) or first.tzinfo is not None
    type_name = {
        "integer": "int64", "float": "double", "boolean": "bool", "date": "date32[day]", "time": "time64[us]",
        "duration": "duration[us]", "decimal": "string" if places is None else f"decimal128(38, {places})",
        "datetime": f"timestamp[us, tz={zone_name(zone)}]" if are_aware else "timestamp[us]",
    }.get(kind, "string")  # fmt: skip
    stored = [(None, set()) if value is None else store(value, kind, places, zone, are_aware) for value in plain]
    return type_name, [each for each, _ in stored], [changes for _, changes in stored]


def zone_name(zone: tzinfo) -> str:
    """Return the key of a zone, or its offset of whole minutes; all others are written in UTC."""
    offset = str(zone).removeprefix("UTC")
    return getattr(zone, "key", None) or (offset if offset and len(offset) == len("+01:00") else "UTC")


def store(value: Any, kind: str, places: int | None, zone: tzinfo, are_aware: bool) -> tuple[Any, Changes]:
    match kind:
        case "decimal" if places is not None:
            found = number(value)
            return (fixed(found, places), set()) if found.is_finite() else (None, {"number_left_out"})
        case "integer":
            found = number(value)
            need(found.is_finite() and found == int(found) and -LIMIT <= found < LIMIT)
            return int(found), set()
        case "float":
            found = number(value)
            need(not found.is_finite() or found in (Decimal(float(found)), Decimal(repr(float(found)))))
            return math.nan if found.is_nan() else float(found), set()
        case "boolean":
            need(isinstance(value, Integral) and value in (0, 1))
            return bool(value), set()
        case "date":
            need(isinstance(value, date) and not isinstance(value, datetime))
            return (value - EPOCH.date()).days, set()
        case "time":
            need(isinstance(value, time) and value.tzinfo is None)
            return (datetime.combine(EPOCH, value) - EPOCH) // MICROSECOND, set()
        case "duration":
            need(isinstance(value, timedelta) and -LIMIT <= value // MICROSECOND < LIMIT)
            return value // MICROSECOND, set()
        case "datetime":
            need(isinstance(value, datetime) and (are_aware or value.tzinfo is None))
            assumed = value.replace(tzinfo=zone) if are_aware and value.tzinfo is None else value
            moment = assumed.astimezone(UTC).replace(tzinfo=None) if are_aware else value
            return (moment - EPOCH) // MICROSECOND, {"zone_assumed"} if assumed is not value else set()
        case "json":
            cell, changes = json_cell(value, kind, zone)
            return JsonText(cell), changes
        case _:
            return text(value, zone)


def text(value: Any, zone: tzinfo) -> tuple[Any, Changes]:
    if isinstance(value, dict | list | tuple):
        cell, changes = json_cell(value, "", zone)
        return JsonText(cell), changes
    return without_surrogates(plain_text(value, "", zone))


def number(value: Any) -> Decimal:
    need(isinstance(value, Decimal | Real))
    return (
        value
        if isinstance(value, Decimal)
        else Decimal(int(value) if isinstance(value, Integral) else repr(float(value)))
    )


def fixed(value: Decimal, places: int) -> Decimal:
    with localcontext() as context:
        context.prec = 2000
        scaled = value.scaleb(places)
        need(scaled == scaled.to_integral_value() and abs(scaled) < 10**38)
        return scaled.to_integral_value().scaleb(-places)


def need(is_fit: bool) -> None:
    if not is_fit:
        raise Unfit
