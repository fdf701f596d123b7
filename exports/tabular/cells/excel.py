"""Cells of spreadsheets: typed where Excel holds the value exactly, text where it does not."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from itertools import compress
from operator import attrgetter
from typing import Any, Final

from exports.tabular.cells.conversion import CellFormat, Conversion, ConversionContext, convert, convert_raw_json
from exports.tabular.cells.datetimes import (
    FIRST_EXCEL_DATE,
    FIRST_EXCEL_DATETIME,
    LAST_DAY,
    SECONDS_END,
    date_serials,
    datetimes_since_epoch,
    duration_serials,
    parse_time,
    times_since_midnight,
    times_that_occur_twice,
    to_local,
    utc_datetimes_since_epoch,
)
from exports.tabular.cells.formula_escape import CONTROL_CHARACTERS, SURROGATES
from exports.tabular.cells.json_encoding import format_json, name_non_finite
from exports.tabular.cells.raw_columns import NumberColumn, Values
from exports.tabular.cells.texts import enum_values, format_binary, format_durations, format_ranges, format_strings
from exports.tabular.columns import Alterations, Column

# Excel's specifications and limits. It counts the characters of a text in UTF-16 units.
MAX_TEXT_UNITS: Final = 32_767
MAX_DIGITS: Final = 15
LARGEST_NUMBER: Final = 9.99999999999999e307
SMALLEST_NUMBER: Final = 2.2250738585072014e-308
DURATION_END: Final = timedelta(days=2_958_466)
# Ends the family of a NumberColumn some of whose cells have a fraction of a second.
WITH_FRACTION: Final = " with fraction"

# What no text cell may contain.
UNFIT: Final = re.compile(f"[{CONTROL_CHARACTERS}{SURROGATES}\r]")
# In this order, each with its replacement and the alteration that it is.
_REPLACEMENTS: Final = (
    (re.compile(f"[{CONTROL_CHARACTERS}]"), "", "control_removed"),
    (re.compile(f"[{SURROGATES}]"), "\ufffd", "surrogate_replaced"),
    (re.compile("\r\n?"), "\n", "line_break_changed"),
)
_tzinfo, _microsecond, _microseconds = attrgetter("tzinfo"), attrgetter("microsecond"), attrgetter("microseconds")


def to_excel_cells(column: Column, values: Values, *, zone: tzinfo, alterations: Alterations) -> Values:
    """Return the cells of one column: None (empty), str, bool, int, float, Decimal, date, time, timedelta or datetime.

    Every cell fits Excel's limits: what does not fit becomes text or is cut, and is counted. Aware datetimes become
    the naive local time of `zone`. Fractions of a second that `duration_serials` rounds down are counted. "" is an
    empty cell. Formulas are not escaped, because a text cell never runs.

    The result is a NumberColumn where that avoids making Python objects. A RawColumn as `values` gives the cells that
    its values would give.
    """
    return convert(values, ConversionContext(column, zone, alterations), EXCEL_FORMAT)


def fit_texts(texts: Sequence[str], context: ConversionContext) -> Sequence[str | None]:
    """Return texts that XML and a cell can hold: line breaks are LF, a cut falls between characters; "" is None."""
    joined = " ".join(texts)
    # A character is at most two UTF-16 units.
    are_short = len(joined) <= MAX_TEXT_UNITS // 2 or max(map(len, texts)) <= MAX_TEXT_UNITS // 2
    # A line feed fits, but is not printable.
    if are_short and (joined.replace("\n", " ").isprintable() or not UNFIT.search(joined)):
        return [text or None for text in texts] if "" in texts else list(texts)
    return [_fit_text(text, context) or None for text in texts]


def integer_cells(values: Sequence[int], context: ConversionContext) -> Sequence[int | str]:
    """Return ints of at most 15 digits, and text for longer ones."""
    integers = list(map(int, values))
    end = 10**MAX_DIGITS
    if -end < min(integers) and max(integers) < end:
        return integers
    cells = [integer if -end < integer < end else str(integer) for integer in integers]
    context.count("number_as_text", sum(isinstance(cell, str) for cell in cells))
    return cells


def decimal_cells(values: Sequence[Decimal], context: ConversionContext) -> Values:
    """Return numbers of at most 15 digits, and text for NaN, infinity and longer ones."""
    texts = list(map(str, values))
    if _are_plain_decimals(texts):
        return NumberColumn(texts, "decimal")
    cells: list[Decimal | str] = []
    for value, text in zip(values, texts, strict=True):
        if not value.is_finite():
            context.count("not_a_number")
            cells.append(text)
            continue
        digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
        if not digits or (len(digits) <= MAX_DIGITS and SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER):
            cells.append(value)
        else:
            context.count("number_as_text")
            # All digits of a larger number would not fit the cell.
            cells.append(format(value, "f") if abs(value.adjusted()) < 1000 else text)
    return cells


def float_cells(values: Sequence[float], context: ConversionContext) -> Sequence[float | str]:
    """Return floats, and text for those that Excel cannot hold."""
    floats = list(map(float, values))
    # NaN is in no range.
    if all(
        SMALLEST_NUMBER <= value <= LARGEST_NUMBER or -LARGEST_NUMBER <= value <= -SMALLEST_NUMBER or value == 0
        for value in floats
    ):
        return floats
    cells: list[float | str] = []
    for value in floats:
        if SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER or value == 0:
            cells.append(value)
        else:
            context.count("number_as_text" if math.isfinite(value) else "not_a_number")
            cells.append(repr(value))
    return cells


def datetime_cells(values: Sequence[datetime], context: ConversionContext) -> Sequence[datetime | str]:
    """Return naive local datetimes, and text for those outside of Excel's calendar."""
    local = to_local(values, context.zone)
    # Several times as fast as replace(tzinfo=None).
    naive = [datetime.combine(value, value.time()) for value in local]
    first, last = min(naive), max(naive)
    if first < FIRST_EXCEL_DATETIME or last >= LAST_DAY:
        # A time that is still in another zone is in the year 10000 of this one.
        is_local = [value.tzinfo in (None, context.zone) for value in local]
        fit = [value >= FIRST_EXCEL_DATETIME and fits for value, fits in zip(naive, is_local, strict=True)]
        if not all(fit):
            return _cells_and_texts(local, fit, datetime_cells, datetime.isoformat, "date_as_text", context)
    for value in times_that_occur_twice(local, context.zone, first, last):
        context.count(f"hour_repeated {value.isoformat(timespec='seconds')[SECONDS_END:]}")
    _count_fractions(map(_microsecond, naive), context)
    return naive


def date_cells(values: Sequence[date], context: ConversionContext) -> Sequence[date | str]:
    """Return dates, and text for those before Excel's calendar."""
    if min(values) >= FIRST_EXCEL_DATE:
        return list(values)
    fit = [value >= FIRST_EXCEL_DATE for value in values]
    return _cells_and_texts(values, fit, date_cells, date.isoformat, "date_as_text", context)


def time_cells(values: Sequence[time], context: ConversionContext) -> Sequence[time | str]:
    """Return times of day without a zone, and text for those with one."""
    if set(map(_tzinfo, values)) == {None}:
        _count_fractions(map(_microsecond, values), context)
        return list(values)
    fit = [value.tzinfo is None for value in values]
    return _cells_and_texts(values, fit, time_cells, time.isoformat, "time_as_text", context)


def duration_cells(values: Sequence[timedelta], context: ConversionContext) -> Sequence[timedelta | str]:
    """Return durations that Excel can show, and text for the others."""
    if min(values) >= timedelta() and max(values) < DURATION_END:
        _count_fractions(map(_microseconds, values), context)
        return list(values)
    fit = [timedelta() <= value < DURATION_END for value in values]
    return _cells_and_texts(values, fit, duration_cells, _format_duration, "duration_as_text", context)


def raw_integer_cells(texts: Sequence[str], context: ConversionContext) -> Values:
    """Return the texts as numbers if all have at most 15 digits."""
    if max(map(len, texts)) <= MAX_DIGITS:
        return NumberColumn(texts, "integer")
    return integer_cells(list(map(int, texts)), context)


def raw_decimal_cells(texts: Sequence[str], context: ConversionContext) -> Values:
    """Return the texts as numbers if all have at most 15 digits."""
    if _are_plain_decimals(texts):
        return NumberColumn(texts, "decimal")
    return decimal_cells(list(map(Decimal, texts)), context)


def raw_float_cells(texts: Sequence[str], context: ConversionContext) -> Values:
    """Return the texts as numbers if all are finite and of usual size."""
    # Very large and very small numbers have an "e", NaN and infinity an "n".
    joined = "".join(texts)
    if "e" in joined or "n" in joined:
        return float_cells(list(map(float, texts)), context)
    return NumberColumn(texts, "float")


def _are_plain_decimals(texts: Sequence[str]) -> bool:
    """Return True if the texts of Decimals have at most 15 digits, and no exponent, NaN or infinity."""
    joined = "".join(texts)
    return max(map(len, texts)) <= MAX_DIGITS and not any(letter in joined for letter in "EIN")


def _fit_json(texts: Sequence[str], context: ConversionContext) -> Sequence[str | None]:
    return fit_texts(name_non_finite(texts, context), context)


def _fit_text(text: str, context: ConversionContext) -> str:
    for pattern, replacement, alteration in _REPLACEMENTS:
        text, changes = pattern.subn(replacement, text)
        context.count(alteration, min(changes, 1))
    units = text.encode("utf-16-le") if len(text) > MAX_TEXT_UNITS // 2 else b""
    if len(units) <= 2 * MAX_TEXT_UNITS:
        return text
    context.count("text_cut")
    # Ignoring errors leaves out half a character at the cut.
    return units[: 2 * MAX_TEXT_UNITS].decode("utf-16-le", errors="ignore")


def _cells_and_texts(
    values: Sequence[Any],
    fit: Sequence[bool],
    cells_of: Callable[[Sequence[Any], ConversionContext], Sequence[Any]],
    text_of: Callable[[Any], str],
    alteration: str,
    context: ConversionContext,
) -> list[Any]:
    """Return the cells of the values that fit, and texts for the others, which are counted."""
    context.count(alteration, fit.count(False))
    fitting = list(compress(values, fit))
    cells = iter(cells_of(fitting, context) if fitting else ())
    return [next(cells) if fits else text_of(value) for value, fits in zip(values, fit, strict=True)]


def _count_fractions(microseconds: Iterable[int], context: ConversionContext) -> bool:
    """Count the fractions of a second that `duration_serials` rounds down. Return True if there is any fraction."""
    fractions = list(filter(None, microseconds))
    context.count("fraction_cut", len([fraction for fraction in fractions if fraction % 1000]))
    return bool(fractions)


def _format_duration(value: timedelta) -> str:
    return format_durations([value])[0]


def _raw_date_cells(texts: Sequence[str], context: ConversionContext) -> Values:
    serials = date_serials(texts)
    return _parsed_cells(texts, date.fromisoformat, context) if serials is None else NumberColumn(serials, "date")


def _raw_time_cells(
    family: str,
    durations: Sequence[timedelta] | None,
    texts: Sequence[str],
    parse: Callable[[str], object],
    context: ConversionContext,
) -> Values:
    """Return durations since the epoch or midnight as serial numbers, or if there are none the cells of the texts."""
    if durations is None:
        return _parsed_cells(texts, parse, context)
    if _count_fractions(map(_microseconds, durations), context):
        family = f"{family}{WITH_FRACTION}"
    return NumberColumn(duration_serials(durations), family)


def _parsed_cells(texts: Sequence[str], parse: Callable[[str], object], context: ConversionContext) -> Values:
    """Return the cells of the parsed texts. One that Python cannot parse (the year 10000) is a text cell."""
    values = [_parsed(text, parse) for text in texts]
    context.count("date_as_text", sum(isinstance(value, str) for value in values))
    return convert(values, context, EXCEL_FORMAT)


def _parsed(text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except ValueError:
        return text


def _parse_utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _text_conversion(format_column: Callable[[Values], list[str]]) -> Conversion:
    return lambda values, context: fit_texts(format_column(values), context)


EXCEL_FORMAT: Final[CellFormat] = CellFormat(
    values={
        "boolean": lambda values, context: list(values),
        "integer": integer_cells,
        "decimal": decimal_cells,
        "float": float_cells,
        "datetime": datetime_cells,
        "date": date_cells,
        "time": time_cells,
        "duration": duration_cells,
        "uuid": _text_conversion(format_strings),
        "binary": _text_conversion(format_binary),
        "text": _text_conversion(format_strings),
        "json": lambda values, context: fit_texts(format_json(values, context), context),
        "range": lambda values, context: fit_texts(format_ranges(values, context.zone), context),
        "object": _text_conversion(format_strings),
        "enum": lambda values, context: convert(enum_values(values), context, EXCEL_FORMAT),
    },
    raw={
        "integer": raw_integer_cells,
        "decimal": raw_decimal_cells,
        "float": raw_float_cells,
        "date": _raw_date_cells,
        "datetime": lambda texts, context: _raw_time_cells(
            "datetime", datetimes_since_epoch(texts), texts, datetime.fromisoformat, context
        ),
        "utc datetime": lambda texts, context: _raw_time_cells(
            "datetime", utc_datetimes_since_epoch(texts, context.zone), texts, _parse_utc, context
        ),
        "time": lambda texts, context: _raw_time_cells("time", times_since_midnight(texts), texts, parse_time, context),
        "uuid": fit_texts,
        "text": fit_texts,
        "json": lambda texts, context: convert_raw_json(texts, context, EXCEL_FORMAT, _fit_json),
    },
    empty=None,
    combine=list,
)
