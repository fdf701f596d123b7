"""Cells of text files such as CSV: one function per type, a column at a time."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from exports.tabular.cells.conversion import CellFormat, Conversion, ConversionContext, convert, convert_raw_json
from exports.tabular.cells.datetimes import (
    SECONDS_END,
    format_naive_datetimes,
    format_times,
    format_utc_datetimes,
    to_local,
)
from exports.tabular.cells.formula_escape import escape_formulas
from exports.tabular.cells.json_encoding import encode_each, json_default
from exports.tabular.cells.numbers import format_floats, format_integers
from exports.tabular.cells.raw_columns import CSV_READY, RawColumn, Values
from exports.tabular.columns import Alterations, Column

# How many values are looked at to find out whether the values of a column repeat.
SAMPLE_SIZE: Final = 64

_FRACTION: Final = re.compile(r"\.\d+")


def to_csv_cells(
    column: Column,
    values: Values,
    *,
    zone: tzinfo,
    alterations: Alterations,
    formulas: str = "escape",
    delimiter: str = ",",
    decimal: str = ".",
    profile: str = "exchange",
) -> Sequence[str]:
    """Return the cells of one column for a text file such as CSV; docs/formats.md lists the cell of each type.

    Aware datetimes are converted to `zone`. `delimiter` separates the cells of the file, `decimal` is the decimal
    mark of numbers, `profile` is one of PROFILES and decides how datetimes are written. `formulas` is one of
    FORMULA_MODES: raises FormulaRejected if it is "reject" and a spreadsheet would run a text as a formula. The
    column's `formulas`, if any, replace it.

    If no cell contains a quote, a line break or a delimiter the result is a plain list. A RawColumn may contain them.
    A RawColumn as `values` gives the cells that its values would give.
    """
    context = ConversionContext(column, zone, alterations, column.formulas or formulas, delimiter, decimal, profile)
    return convert(values, context, CSV_FORMAT)


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


def with_decimal_mark(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return numbers, or durations, with the decimal mark of the file."""
    return texts if context.decimal == "." else "\n".join(texts).replace(".", context.decimal).split("\n")


def for_profile(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return ISO 8601 datetimes as the file's profile has them. Other texts, such as "infinity", stay."""
    if context.profile == "exchange":
        return texts
    # After the seconds comes the fraction or the offset.
    context.count("fraction_cut", sum(text[10:11] == "T" and text[SECONDS_END:][:1] == "." for text in texts))
    return [f"{text[:10]} {text[11:SECONDS_END]}" if text[10:11] == "T" else text for text in texts]


def times_for_profile(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return ISO 8601 times of day as the file's profile has them."""
    if context.profile == "exchange":
        return texts
    context.count("fraction_cut", sum("." in text for text in texts))
    return [_FRACTION.sub("", text) for text in texts]


def format_binary(values: Sequence[bytes | bytearray | memoryview]) -> list[str]:
    """Return hexadecimal digits."""
    return [bytes(value).hex() for value in values]


_encode_json = json.JSONEncoder(ensure_ascii=False, default=json_default).encode


def format_json(values: Sequence[Mapping[Any, Any] | Sequence[Any] | str]) -> list[str]:
    """Return JSON, or the `str()` of a value that JSON cannot represent."""
    return encode_each(values, _encode_json) or list(map(_encode_or_str, values))


def _encode_or_str(value: object) -> str:
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError):  # a key that is not a string, or a value that contains itself
        return str(value)


def enum_values(values: Sequence[Enum]) -> list[object]:
    """Return the values of enum members."""
    return [value.value for value in values]


def _conversion(format_column: Callable[[Values], list[str]]) -> Conversion:
    return lambda values, context: format_column(values)


def _escaping_conversion(format_column: Callable[[Values], list[str]]) -> Conversion:
    return lambda values, context: _escape_column(format_column(values), context)


def _escape_column(texts: Sequence[str], context: ConversionContext) -> RawColumn:
    return RawColumn(escape_formulas(texts, context), "text")


def _unchanged(texts: Values, context: ConversionContext) -> Values:
    return texts


CSV_FORMAT: Final[CellFormat] = CellFormat(
    values={
        "boolean": _conversion(format_booleans),
        "integer": _conversion(format_integers),
        "decimal": lambda values, context: with_decimal_mark(format_decimals(values), context),
        "float": lambda values, context: with_decimal_mark(format_floats(values), context),
        "datetime": lambda values, context: for_profile(format_datetimes(values, context.zone), context),
        "date": _conversion(format_iso),
        "time": lambda values, context: times_for_profile(format_iso(values), context),
        "duration": lambda values, context: with_decimal_mark(format_durations(values), context),
        "uuid": _conversion(format_strings),
        "binary": _conversion(format_binary),
        "text": _escaping_conversion(format_strings),
        "json": _escaping_conversion(format_json),
        "object": _escaping_conversion(format_strings),
        "enum": lambda values, context: convert(enum_values(values), context, CSV_FORMAT),
    },
    raw={
        **dict.fromkeys(("integer", "date", "uuid", CSV_READY), _unchanged),
        **dict.fromkeys(("decimal", "float"), with_decimal_mark),
        "datetime": lambda texts, context: for_profile(format_naive_datetimes(texts), context),
        "utc datetime": lambda texts, context: for_profile(format_utc_datetimes(texts, context.zone), context),
        "time": lambda texts, context: times_for_profile(format_times(texts), context),
        "text": _escape_column,
        "json": lambda texts, context: convert_raw_json(texts, context, CSV_FORMAT, _escape_column),
    },
    empty="",
    combine=lambda cells: RawColumn(cells, "text"),
)
