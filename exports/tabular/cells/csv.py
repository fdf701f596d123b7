"""Cells of text files. One function a type, a column at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Final

from exports.tabular.cells.datetimes import format_naive_datetimes, format_times, format_utc_datetimes, to_local
from exports.tabular.cells.formula_escape import escape_formulas
from exports.tabular.cells.json_encoding import encode_each, json_default
from exports.tabular.cells.numbers import format_floats, format_integers
from exports.tabular.cells.raw_columns import CSV_READY, RawColumn
from exports.tabular.columns import (
    Alterations,
    CellFormat,
    Column,
    Conversion,
    ConversionContext,
    convert,
    convert_json,
)

# So many values tell whether those of a column repeat.
SAMPLE_SIZE: Final = 64


def to_csv_cells(
    column: Column,
    values: Sequence[object],
    *,
    zone: tzinfo,
    alterations: Alterations,
    formulas: str = "escape",
    delimiter: str = ",",
) -> list[str]:
    """The cells of one column for a text file such as CSV; None is "".

    Aware datetimes are converted to `zone` and keep their offset, naive ones stay; both are ISO 8601. Booleans are true
    and false, decimals plain, floats the shortest digits that read back equal, durations [-]HH:MM:SS[.ffffff], bytes
    hexadecimal, lists and dicts JSON with blanks after its commas and colons (so databases keep it), enum members their
    values, all else `str()`. Text is guarded. RawColumn give the cells that their values would give. The answer is Texts
    where a cell may hold any character, a plain list where none holds a quote, a line break or a delimiter.

    `delimiter` is what stands between the cells of the file, `formulas` one of FORMULAS. Raises FormulaRejected where
    that is "reject" and a spreadsheet would run a text.
    """
    return convert(values, ConversionContext(column, zone, alterations, formulas, delimiter), CSV_FORMAT)


def format_strings(values: Sequence[object]) -> list[str]:
    """Plain strings of values of one type: of strings and their subclasses, lazy translations, any object."""
    if type(values[0]) is str:
        return list(values)
    return [str.__str__(text) for text in map(str, values)]


def format_booleans(values: Sequence[bool]) -> list[str]:
    return ["true" if value else "false" for value in values]


def format_any_integers(values: Sequence[Integral]) -> list[str]:
    return format_integers(values if type(values[0]) is int else list(map(int, values)))


def format_any_floats(values: Sequence[Real]) -> list[str]:
    return format_floats(values if type(values[0]) is float else list(map(float, values)))


def format_decimals(values: Sequence[Decimal]) -> list[str]:
    """Plain digits, never an exponent."""
    texts = list(map(str, values))
    return [format(value, "f") for value in values] if "E" in "".join(texts) else texts


def format_datetimes(values: Sequence[datetime], zone: tzinfo) -> list[str]:
    """ISO 8601, with the offset where there is one."""
    if {value.tzinfo for value in values} == {UTC}:
        return each_once(lambda moments: format_iso(to_local(moments, zone)), values)
    # Moments in another zone may be equal and still differ: an hour that the clock shows twice.
    return format_iso(to_local(values, zone))


def each_once(render: Callable[[Sequence], list[str]], values: Sequence) -> list[str]:
    """The same as `render(values)`, by rendering equal values once where the first ones say that most are repeated.

    For types only whose equal values have the same text, which decimals, floats and times have not.
    """
    sample = values[:SAMPLE_SIZE]
    if len(values) == len(sample) or len(set(sample)) > SAMPLE_SIZE // 2:
        return render(values)
    distinct = list(set(values))
    texts = dict(zip(distinct, render(distinct), strict=True))
    return [texts[value] for value in values]


def format_iso(values: Sequence[date | time]) -> list[str]:
    return [value.isoformat() for value in values]


def format_durations(values: Sequence[timedelta]) -> list[str]:
    return list(map(_clock, values))


def _clock(duration: timedelta) -> str:
    """As many hours as it takes: the form that spreadsheets read as a duration."""
    sign, size = ("-", -duration) if duration < timedelta() else ("", duration)
    minutes, seconds = divmod(size.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{size.days * 24 + hours:02}:{minutes:02}:{seconds:02}{fraction}"


def format_binary(values: Sequence[bytes]) -> list[str]:
    return [bytes(value).hex() for value in values]


_encode = json.JSONEncoder(ensure_ascii=False, default=json_default).encode


def format_json(values: Sequence[Mapping | Sequence | str]) -> list[str]:
    return encode_each(values, _encode) or list(map(_json, values))


def _json(value: object) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):  # a key that JSON does not have, or a value that holds itself
        return str(value)


def enum_values(values: Sequence[Enum]) -> list[object]:
    return [value.value for value in values]


def _exempt(render: Callable[[Sequence], list[str]]) -> Conversion:
    return lambda values, rules: render(values)


def _guarded(render: Callable[[Sequence], list[str]]) -> Conversion:
    return lambda values, rules: _guard(render(values), rules)


def _guard(texts: Sequence[str], rules: ConversionContext) -> RawColumn:
    return RawColumn(escape_formulas(texts, rules), "text")


def _as_they_are(texts: list[str], rules: ConversionContext) -> list[str]:
    return texts


CSV_FORMAT: Final = CellFormat(
    {
        "boolean": _exempt(format_booleans),
        "integer": _exempt(format_any_integers),
        "decimal": _exempt(format_decimals),
        "float": _exempt(format_any_floats),
        "datetime": lambda values, rules: format_datetimes(values, rules.zone),
        "date": _exempt(format_iso),
        "time": _exempt(format_iso),
        "duration": _exempt(format_durations),
        "uuid": _exempt(format_strings),
        "binary": _exempt(format_binary),
        "text": _guarded(format_strings),
        "json": _guarded(format_json),
        "object": _guarded(format_strings),
        "enum": lambda values, rules: convert(enum_values(values), rules, CSV_FORMAT),
    },
    {
        "integer": _as_they_are,
        "decimal": _as_they_are,
        "float": _as_they_are,
        "date": _as_they_are,
        "datetime": _exempt(format_naive_datetimes),
        "utc datetime": lambda texts, rules: format_utc_datetimes(texts, rules.zone),
        "time": _exempt(format_times),
        "uuid": _as_they_are,
        CSV_READY: _as_they_are,
        "text": _guard,
        "json": lambda texts, rules: convert_json(texts, rules, CSV_FORMAT, _guard),
    },
    empty="",
    mixed=lambda cells: RawColumn(cells, "text"),
)
