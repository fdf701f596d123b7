"""Texts of values, by type, a column at a time: those of the profile "exchange", and of values within JSON."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from exports.tabular.cells.conversion import family_of
from exports.tabular.cells.datetimes import to_local
from exports.tabular.cells.numbers import format_floats, format_integers
from exports.tabular.cells.raw_columns import Values

# How many values are looked at to find out whether the values of a column repeat.
SAMPLE_SIZE: Final = 64


def text_of(value: object, zone: tzinfo) -> str:
    """Return the text of one value that is neither JSON nor a member of an enum."""
    return TEXTS[family_of(value)]([value], zone)[0]


def format_strings(values: Sequence[object]) -> list[str]:
    """Return the `str()` of values of one type as plain strings, even if that gives a subclass of str."""
    if type(values[0]) is str:
        return list(values)  # type: ignore[arg-type]  # all are of the type of the first
    return [str.__str__(text) for text in map(str, values)]


def format_booleans(values: Sequence[bool]) -> list[str]:
    """Return "true" and "false"."""
    return ["true" if value else "false" for value in values]


def format_decimals(values: Sequence[Decimal]) -> list[str]:
    """Return all digits, never an exponent."""
    texts = list(map(str, values))
    return [format(value, "f") for value in values] if "E" in "".join(texts) else texts


def format_datetimes(values: Sequence[datetime], zone: tzinfo) -> list[str]:
    """Return ISO 8601 texts: aware datetimes in `zone` with their offset, naive ones unchanged."""
    # Values that mostly repeat are formatted once each. Only in UTC do equal datetimes have equal texts: elsewhere two
    # may be equal and differ in their offset, in the hour that the clock repeats.
    are_utc = {value.tzinfo for value in values} == {UTC}
    if are_utc and len(values) > SAMPLE_SIZE and len(set(values[:SAMPLE_SIZE])) <= SAMPLE_SIZE // 2:
        distinct = list(set(values))
        texts = dict(zip(distinct, format_iso(to_local(distinct, zone)), strict=True))
        return [texts[value] for value in values]
    return format_iso(to_local(values, zone))


def format_iso(values: Sequence[date | time]) -> list[str]:
    """Return dates, datetimes or times as ISO 8601."""
    return [value.isoformat() for value in values]


def format_durations(values: Sequence[timedelta]) -> list[str]:
    """Return [-]HH:MM:SS[.ffffff], which spreadsheets read as a duration. The hours have as many digits as needed."""
    texts = []
    for duration in values:
        sign, size = ("-", -duration) if duration < timedelta() else ("", duration)
        minutes, seconds = divmod(size.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        fraction = f".{size.microseconds:06}" if size.microseconds else ""
        texts.append(f"{sign}{size.days * 24 + hours:02}:{minutes:02}:{seconds:02}{fraction}")
    return texts


def format_binary(values: Sequence[bytes | bytearray | memoryview]) -> list[str]:
    """Return hexadecimal digits."""
    return [bytes(value).hex() for value in values]


# Any: both drivers of PostgreSQL have a class of ranges.
def format_ranges(values: Sequence[Any], zone: tzinfo) -> list[str]:
    """Return ranges of PostgreSQL as it writes them, such as "[1,5)", with the texts of their bounds."""
    texts = []
    for value in values:
        lower, upper = ("" if bound is None else text_of(bound, zone) for bound in (value.lower, value.upper))
        text = f"{'[' if value.lower_inc else '('}{lower},{upper}{']' if value.upper_inc else ')'}"
        texts.append("empty" if value.isempty else text)
    return texts


def enum_values(values: Sequence[Enum]) -> list[object]:
    """Return the values of enum members."""
    return [value.value for value in values]


def _without_zone(format_column: Callable[[Values], list[str]]) -> Callable[[Values, tzinfo], list[str]]:
    return lambda values, zone: format_column(values)


TEXTS: Final[Mapping[str, Callable[[Values, tzinfo], list[str]]]] = {
    "boolean": _without_zone(format_booleans),
    "integer": _without_zone(format_integers),
    "decimal": _without_zone(format_decimals),
    "float": _without_zone(format_floats),
    "datetime": lambda values, zone: format_iso(to_local(values, zone)),
    **dict.fromkeys(("date", "time"), _without_zone(format_iso)),
    "duration": _without_zone(format_durations),
    "binary": _without_zone(format_binary),
    "range": format_ranges,
    **dict.fromkeys(("uuid", "text", "object"), _without_zone(format_strings)),
}
