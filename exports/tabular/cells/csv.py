"""Cells of text files. One function a type, a column at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Final

from exports.tabular.cells.datetimes import datetime_texts, local, moment_texts, time_texts
from exports.tabular.cells.formula_escape import guard
from exports.tabular.cells.json_encoding import encoded, in_place_of
from exports.tabular.cells.numbers import float_texts, integer_texts
from exports.tabular.cells.raw_columns import READY, Texts
from exports.tabular.columns import Alterations, Column, Conversion, Conversions, Rules, convert, convert_json

# So many values tell whether those of a column repeat.
SAMPLE: Final = 64


def to_text(
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
    values, all else `str()`. Text is guarded. Texts give the cells that their values would give. The answer is Texts
    where a cell may hold any character, a plain list where none holds a quote, a line break or a delimiter.

    `delimiter` is what stands between the cells of the file, `formulas` one of FORMULAS. Raises FormulaRejected where
    that is "reject" and a spreadsheet would run a text.
    """
    return convert(values, Rules(column, zone, alterations, formulas, delimiter), TEXT)


def strings(values: Sequence[object]) -> list[str]:
    """Plain strings of values of one type: of strings and their subclasses, lazy translations, any object."""
    if type(values[0]) is str:
        return list(values)
    return [str.__str__(text) for text in map(str, values)]


def boolean_text(values: Sequence[bool]) -> list[str]:
    return ["true" if value else "false" for value in values]


def integer_text(values: Sequence[Integral]) -> list[str]:
    return integer_texts(values if type(values[0]) is int else list(map(int, values)))


def float_text(values: Sequence[Real]) -> list[str]:
    return float_texts(values if type(values[0]) is float else list(map(float, values)))


def decimal_text(values: Sequence[Decimal]) -> list[str]:
    """Plain digits, never an exponent."""
    texts = list(map(str, values))
    return [format(value, "f") for value in values] if "E" in "".join(texts) else texts


def datetime_text(values: Sequence[datetime], zone: tzinfo) -> list[str]:
    """ISO 8601, with the offset where there is one."""
    if {value.tzinfo for value in values} == {UTC}:
        return each_once(lambda moments: iso_text(local(moments, zone)), values)
    # Moments in another zone may be equal and still differ: an hour that the clock shows twice.
    return iso_text(local(values, zone))


def each_once(render: Callable[[Sequence], list[str]], values: Sequence) -> list[str]:
    """The same as `render(values)`, by rendering equal values once where the first ones say that most are repeated.

    For types only whose equal values have the same text, which decimals, floats and times have not.
    """
    sample = values[:SAMPLE]
    if len(values) == len(sample) or len(set(sample)) > SAMPLE // 2:
        return render(values)
    distinct = list(set(values))
    texts = dict(zip(distinct, render(distinct), strict=True))
    return [texts[value] for value in values]


def iso_text(values: Sequence[date | time]) -> list[str]:
    return [value.isoformat() for value in values]


def duration_text(values: Sequence[timedelta]) -> list[str]:
    return list(map(_clock, values))


def _clock(duration: timedelta) -> str:
    """As many hours as it takes: the form that spreadsheets read as a duration."""
    sign, size = ("-", -duration) if duration < timedelta() else ("", duration)
    minutes, seconds = divmod(size.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{size.days * 24 + hours:02}:{minutes:02}:{seconds:02}{fraction}"


def binary_text(values: Sequence[bytes]) -> list[str]:
    return [bytes(value).hex() for value in values]


_encode = json.JSONEncoder(ensure_ascii=False, default=in_place_of).encode


def json_text(values: Sequence[Mapping | Sequence | str]) -> list[str]:
    return encoded(values, _encode) or list(map(_json, values))


def _json(value: object) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):  # a key that JSON does not have, or a value that holds itself
        return str(value)


def members(values: Sequence[Enum]) -> list[object]:
    return [value.value for value in values]


def _exempt(render: Callable[[Sequence], list[str]]) -> Conversion:
    return lambda values, rules: render(values)


def _guarded(render: Callable[[Sequence], list[str]]) -> Conversion:
    return lambda values, rules: _guard(render(values), rules)


def _guard(texts: Sequence[str], rules: Rules) -> Texts:
    return Texts(guard(texts, rules), "text")


def _as_they_are(texts: list[str], rules: Rules) -> list[str]:
    return texts


TEXT: Final = Conversions(
    {
        "boolean": _exempt(boolean_text),
        "integer": _exempt(integer_text),
        "decimal": _exempt(decimal_text),
        "float": _exempt(float_text),
        "datetime": lambda values, rules: datetime_text(values, rules.zone),
        "date": _exempt(iso_text),
        "time": _exempt(iso_text),
        "duration": _exempt(duration_text),
        "uuid": _exempt(strings),
        "binary": _exempt(binary_text),
        "text": _guarded(strings),
        "json": _guarded(json_text),
        "object": _guarded(strings),
        "enum": lambda values, rules: convert(members(values), rules, TEXT),
    },
    {
        "integer": _as_they_are,
        "decimal": _as_they_are,
        "float": _as_they_are,
        "date": _as_they_are,
        "datetime": _exempt(datetime_texts),
        "moment": lambda texts, rules: moment_texts(texts, rules.zone),
        "time": _exempt(time_texts),
        "uuid": _as_they_are,
        READY: _as_they_are,
        "text": _guard,
        "json": lambda texts, rules: convert_json(texts, rules, TEXT, _guard),
    },
    empty="",
    mixed=lambda cells: Texts(cells, "text"),
)
