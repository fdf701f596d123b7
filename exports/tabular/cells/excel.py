"""Cells of spreadsheets: typed where Excel holds the value exactly, text where it does not."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from numbers import Integral, Real
from typing import Final

from exports.tabular.cells.csv import (
    enum_values,
    format_any_floats,
    format_binary,
    format_decimals,
    format_durations,
    format_json,
    format_strings,
)
from exports.tabular.cells.datetimes import (
    FIRST_EXCEL_DATE,
    FIRST_EXCEL_DATETIME,
    date_serials,
    datetime_serials,
    time_serials,
    to_local,
    utc_datetime_serials,
)
from exports.tabular.cells.formula_escape import CONTROL_CHARACTERS, SURROGATES
from exports.tabular.cells.raw_columns import NumberColumn
from exports.tabular.columns import (
    Alterations,
    CellFormat,
    Column,
    Conversion,
    ConversionContext,
    convert,
    convert_json,
)

# Excel's specifications and limits.
TEXT_UNITS: Final = 32_767
DIGITS: Final = 15
LARGEST: Final = 9.99999999999999e307
SMALLEST: Final = 2.2250738585072014e-308
DURATION_END: Final = timedelta(days=2_958_466)

_UNFIT = re.compile(f"[{CONTROL_CHARACTERS}{SURROGATES}\r]")
_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")
_SURROGATE = re.compile(f"[{SURROGATES}]")
_RETURN = re.compile("\r\n?")
_NOT_PLAIN = re.compile("[EIN]")


def to_excel_cells(
    column: Column, values: Sequence[object], *, zone: tzinfo, alterations: Alterations
) -> list[object] | NumberColumn:
    """The cells of one column: None (empty), str, bool, int, float, Decimal, date, naive datetime or time, timedelta.

    A number has no more than 15 digits (a float keeps 16 of its own 17), a date is on or after 1 March 1900, a duration
    is not negative, a text fits its cell; what does not is text or cut, and counted. Aware datetimes become the naive
    local time of `zone`. Text is not guarded against formulas, because a text cell is never run. "" is empty.

    RawColumn give the cells that their values would give, as Numbers where that spares making objects.
    """
    return convert(values, ConversionContext(column, zone, alterations), EXCEL_FORMAT)


def fit_texts(texts: Sequence[str], rules: ConversionContext) -> list[str | None]:
    """Texts that XML and an Excel cell can hold: line breaks are LF, a cut falls between characters; "" is None."""
    if _is_fitting(texts):
        return [text or None for text in texts] if "" in texts else list(texts)
    return [_fitted(text, rules) or None for text in texts]


def _is_fitting(texts: Sequence[str]) -> bool:
    joined = " ".join(texts)
    # A character is at most two of the UTF-16 units that Excel counts.
    return (joined.isprintable() or not _UNFIT.search(joined)) and max(map(len, texts)) <= TEXT_UNITS // 2


def _fitted(text: str, rules: ConversionContext) -> str:
    text = _replaced(text, _CONTROL, "", "control_removed", rules)
    text = _replaced(text, _SURROGATE, "\ufffd", "surrogate_replaced", rules)
    text = _replaced(text, _RETURN, "\n", "line_break_changed", rules)
    return _cut(text, rules) if len(text) > TEXT_UNITS // 2 else text


def _replaced(text: str, pattern: re.Pattern[str], replacement: str, kind: str, rules: ConversionContext) -> str:
    text, changes = pattern.subn(replacement, text)
    if changes:
        rules.count(kind)
    return text


def _cut(text: str, rules: ConversionContext) -> str:
    units = text.encode("utf-16-le")
    if len(units) <= 2 * TEXT_UNITS:
        return text
    rules.count("text_cut")
    # Half a character at the cut is left out.
    return units[: 2 * TEXT_UNITS].decode("utf-16-le", errors="ignore")


def _integers(values: Sequence[Integral], rules: ConversionContext) -> list[int | str]:
    numbers = list(map(int, values))
    end = 10**DIGITS
    if -end < min(numbers) and max(numbers) < end:
        return numbers
    return [number if -end < number < end else _number_text(str(number), rules) for number in numbers]


def _number_text(text: str, rules: ConversionContext) -> str:
    rules.count("number_as_text")
    return text


def _decimals(values: Sequence[Decimal], rules: ConversionContext) -> list[Decimal | str] | NumberColumn:
    texts = list(map(str, values))
    if max(map(len, texts)) <= DIGITS and not _NOT_PLAIN.search("".join(texts)):
        return NumberColumn(texts, "decimal")
    return [_decimal(value, rules) for value in values]


def _decimal(value: Decimal, rules: ConversionContext) -> Decimal | str:
    if not value.is_finite():
        return _not_a_number(str(value), rules)
    if _has_excel_digits(value):
        return value
    # The whole number fits the cell only with an exponent where that is large.
    return _number_text(format_decimals([value])[0] if abs(value.adjusted()) < 1000 else str(value), rules)


def _has_excel_digits(value: Decimal) -> bool:
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    return not digits or (len(digits) <= DIGITS and SMALLEST <= abs(value) <= LARGEST)


def _not_a_number(text: str, rules: ConversionContext) -> str:
    rules.count("not_a_number")
    return text


def _floats(values: Sequence[Real], rules: ConversionContext) -> list[float | str]:
    floats = list(map(float, values))
    # NaN is in no range.
    if all(SMALLEST <= value <= LARGEST or -LARGEST <= value <= -SMALLEST or value == 0 for value in floats):
        return floats
    return [_float(value, rules) for value in floats]


def _float(value: float, rules: ConversionContext) -> float | str:
    if SMALLEST <= abs(value) <= LARGEST or value == 0:
        return value
    text = format_any_floats([value])[0]
    return _number_text(text, rules) if math.isfinite(value) else _not_a_number(text, rules)


def _datetimes(values: Sequence[datetime], rules: ConversionContext) -> list[datetime | str]:
    moments = to_local(values, rules.zone)
    # Several times as fast as replace(tzinfo=None).
    naive = [datetime.combine(moment, moment.time()) for moment in moments]
    if min(naive) >= FIRST_EXCEL_DATETIME:
        return naive
    return [
        moment if moment >= FIRST_EXCEL_DATETIME else _date_text(aware, rules)
        for moment, aware in zip(naive, moments, strict=True)
    ]


def _dates(values: Sequence[date], rules: ConversionContext) -> list[date | str]:
    if min(values) >= FIRST_EXCEL_DATE:
        return list(values)
    return [value if value >= FIRST_EXCEL_DATE else _date_text(value, rules) for value in values]


def _date_text(value: date, rules: ConversionContext) -> str:
    rules.count("date_as_text")
    return value.isoformat()


def _times(values: Sequence[time], rules: ConversionContext) -> list[time | str]:
    return [value if value.tzinfo is None else _time_text(value, rules) for value in values]


def _time_text(value: time, rules: ConversionContext) -> str:
    rules.count("time_as_text")
    return value.isoformat()


def _durations(values: Sequence[timedelta], rules: ConversionContext) -> list[timedelta | str]:
    return [value if timedelta() <= value < DURATION_END else _clock_text(value, rules) for value in values]


def _clock_text(value: timedelta, rules: ConversionContext) -> str:
    rules.count("duration_as_text")
    return format_durations([value])[0]


def _fitted_after(render: Callable[[Sequence], list[str]]) -> Conversion:
    return lambda values, rules: fit_texts(render(values), rules)


def _integer_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    return NumberColumn(texts, "integer") if _fit_a_number(texts) else _integers(list(map(int, texts)), rules)


def _decimal_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    if _fit_a_number(texts) and not _NOT_PLAIN.search("".join(texts)):
        return NumberColumn(texts, "decimal")
    return _decimals(list(map(Decimal, texts)), rules)


def _float_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    # Only what is very large, very small or no number has a letter.
    if any(letter in "".join(texts) for letter in "ein"):
        return _floats(list(map(float, texts)), rules)
    return NumberColumn(texts, "float")


def _fit_a_number(texts: Sequence[str]) -> bool:
    return max(map(len, texts)) <= DIGITS


def _date_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    serials = date_serials(texts)
    return _parsed(texts, rules, date.fromisoformat) if serials is None else NumberColumn(serials, "date")


def _datetime_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    serials = datetime_serials(texts)
    return _parsed(texts, rules, datetime.fromisoformat) if serials is None else NumberColumn(serials, "datetime")


def _moment_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    serials = utc_datetime_serials(texts, rules.zone)
    return _parsed(texts, rules, _moment) if serials is None else NumberColumn(serials, "datetime")


def _time_texts(texts: Sequence[str], rules: ConversionContext) -> list:
    serials = time_serials(texts)
    return _parsed(texts, rules, time.fromisoformat) if serials is None else NumberColumn(serials, "time")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _parsed(texts: Sequence[str], rules: ConversionContext, parse: Callable[[str], object]) -> list:
    """The cells of the values that the texts stand for. One that Python cannot hold (the year 10000) stays text."""
    cells: list[object] = []
    for text in texts:
        try:
            cells += convert([parse(text)], rules, EXCEL_FORMAT)
        except ValueError:
            rules.count("date_as_text")
            cells.append(text)
    return cells


EXCEL_FORMAT: Final = CellFormat(
    {
        "boolean": lambda values, rules: list(values),
        "integer": _integers,
        "decimal": _decimals,
        "float": _floats,
        "datetime": _datetimes,
        "date": _dates,
        "time": _times,
        "duration": _durations,
        "uuid": _fitted_after(format_strings),
        "binary": _fitted_after(format_binary),
        "text": _fitted_after(format_strings),
        "json": _fitted_after(format_json),
        "object": _fitted_after(format_strings),
        "enum": lambda values, rules: convert(enum_values(values), rules, EXCEL_FORMAT),
    },
    {
        "integer": _integer_texts,
        "decimal": _decimal_texts,
        "float": _float_texts,
        "date": _date_texts,
        "datetime": _datetime_texts,
        "utc datetime": _moment_texts,
        "time": _time_texts,
        "uuid": fit_texts,
        "text": fit_texts,
        "json": lambda texts, rules: convert_json(texts, rules, EXCEL_FORMAT, fit_texts),
    },
    empty=None,
    mixed=list,
)
