"""JSON of a column (RFC 8259), as its values stand in a line. One function a type, a column at a time.

The same bytes with and without orjson, which is only faster: whole columns go through it, and what it would write
otherwise than the standard library goes through that.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from numbers import Integral, Real
from typing import Final

from exports.tabular.cells.csv import (
    CSV_FORMAT,
    enum_values,
    format_any_floats,
    format_any_integers,
    format_booleans,
    format_decimals,
    format_strings,
)
from exports.tabular.cells.formula_escape import SURROGATES
from exports.tabular.cells.json_encoding import encode_each, json_default
from exports.tabular.cells.numbers import format_numbers
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import (
    Alterations,
    CellFormat,
    Column,
    Conversion,
    ConversionContext,
    convert,
    value_family,
)

try:
    import orjson
except ImportError:  # no wheel for this platform
    orjson = None

_SURROGATE = re.compile(f"[{SURROGATES}]")
_ESCAPED = re.compile(f'["\\\\\x00-\x1f{SURROGATES}]')
# Python writes NaN where JSON has none; within a string it is text.
_STRING_OR_NAME = re.compile(r'("(?:[^"\\]|\\.)*")|NaN|-?Infinity')

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, default=json_default).encode
# No string has a line feed in its JSON, so they tell where one ends.
_encode_lines = json.JSONEncoder(ensure_ascii=False, separators=("\n", ":")).encode


class UnquotedStrings(list[str]):
    """What stands between the quotes, of a column that has strings only."""


def to_json_cells(column: Column, values: Sequence[object], *, zone: tzinfo, alterations: Alterations) -> list[str]:
    """The JSON of each value of one column; None is null. Insides where all values are strings.

    Integers and decimals are numbers with all their digits, floats the shortest digits that read back equal, lists,
    dicts and the strings of a JSON column JSON; NaN and infinite numbers, which JSON does not have, are the texts NaN,
    Infinity and -Infinity, and counted. Lone surrogates become U+FFFD, and are counted. All else is a string with the
    text that `to_csv_cells` gives it, without its guard: nothing runs a formula here. RawColumn give what their values would.
    """
    rules = ConversionContext(column, zone, alterations)
    inside = _inside(column, values)
    return convert(values, rules, JSON_FORMAT) if inside is None else UnquotedStrings(inside(values, rules))


def _inside(column: Column, values: Sequence[object]) -> Conversion | None:
    """The conversion of a column that has strings of one type only."""
    if not values or values[0] is None:
        return None
    if isinstance(values, RawColumn):
        return None if None in values else INSIDES_OF_TEXTS.get(values.family)
    found = INSIDES.get(value_family(type(values[0]), column))
    return found if found and len(set(map(type, values))) == 1 else None


def encode_json_values(values: Sequence[object], rules: ConversionContext) -> list[str]:
    """Valid JSON, with blanks after its commas and colons. What cannot be JSON is a string with its `str()`."""
    tokens = encode_each(values, _encode) or [_json(value, rules) for value in values]
    return replace_surrogates(tokens, rules)


def replace_surrogates(texts: Sequence[str], rules: ConversionContext) -> Sequence[str]:
    """U+FFFD for lone surrogates, which no file can hold. Counted."""
    joined = "".join(texts)
    if joined.isascii() or joined.isprintable() or not _SURROGATE.search(joined):
        return texts
    rules.count("surrogate_replaced", sum(_SURROGATE.search(text) is not None for text in texts))
    return list(map(without_surrogates, texts))


def without_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def encode_string(text: str) -> str:
    """One string as JSON."""
    return _encode(text)


def _json(value: object, rules: ConversionContext) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _with_names(value, rules)


def _with_names(value: object, rules: ConversionContext) -> str:
    try:
        token = _encode(_finite(value))
    except (TypeError, ValueError, RecursionError):  # a key that JSON does not have, or a value that holds itself
        return _encode(str(value))
    rules.count("not_a_number")
    return token


def _finite(value: object) -> object:
    """The same with names for NaN and infinite numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _name(repr(value))
    if isinstance(value, dict):
        return {_finite(key): _finite(item) for key, item in value.items()}
    return list(map(_finite, value)) if isinstance(value, list | tuple) else value


def _name(text: str) -> str:
    """What NaN or an infinite number is called, whose text this is."""
    if "nan" in text.lower():
        return "NaN"
    return "-Infinity" if text.startswith("-") else "Infinity"


def _json_texts(texts: Sequence[str], rules: ConversionContext) -> list[str]:
    joined = "".join(texts)
    if "NaN" in joined or "Infinity" in joined:
        texts = [_with_quoted_names(text, rules) for text in texts]
    return list(replace_surrogates(texts, rules))


def _with_quoted_names(text: str, rules: ConversionContext) -> str:
    mended = _STRING_OR_NAME.sub(lambda part: part[1] or f'"{part[0]}"', text)
    if mended != text:
        rules.count("not_a_number")
    return mended


def _escaped(texts: Sequence[str], rules: ConversionContext) -> Sequence[str]:
    """The insides of JSON strings."""
    joined = "".join(texts)
    if joined.isprintable():
        if '"' not in joined and "\\" not in joined:
            return texts
    elif not _ESCAPED.search(joined):
        return texts
    return _dumped(replace_surrogates(texts, rules))


def _dumped_lines(texts: Sequence[str]) -> list[str]:
    return _encode_lines(texts)[2:-2].split('"\n"')


def _dumped_by_orjson(texts: Sequence[str]) -> list[str]:
    return orjson.dumps(texts, option=orjson.OPT_INDENT_2)[5:-3].decode().split('",\n  "')


_dumped: Callable[[Sequence[str]], list[str]] = _dumped_lines if orjson is None else _dumped_by_orjson


def _integers(values: Sequence[Integral], rules: ConversionContext) -> list[str]:
    return _numerals(values) or format_any_integers(values)


def _floats(values: Sequence[Real], rules: ConversionContext) -> list[str]:
    tokens = _numerals(values)
    if tokens is None or not all(map(math.isfinite, values)):
        return _numbers(format_any_floats(values), rules)
    # Python's exponents have a sign and two digits, and begin at four zeros.
    return [
        repr(value) if "e" in token or "0.0000" in token else token for value, token in zip(values, tokens, strict=True)
    ]


def _numerals(values: Sequence[Real]) -> list[str] | None:
    """None for what is not Python's own number, or an integer beyond 64 bits."""
    try:
        return format_numbers(values) if type(values[0]) in (int, float) else None
    except TypeError:
        return None


def _decimals(values: Sequence[Decimal], rules: ConversionContext) -> list[str]:
    return _numbers(format_decimals(values), rules)


def _numbers(texts: Sequence[str], rules: ConversionContext) -> list[str]:
    joined = "".join(texts)
    if "n" not in joined and "N" not in joined:
        return list(texts)
    return [_number(text, rules) for text in texts]


def _number(text: str, rules: ConversionContext) -> str:
    if "n" not in text.lower():
        return text
    rules.count("not_a_number")
    return f'"{_name(text)}"'


def _in_quotes(inside: Conversion) -> Conversion:
    return lambda values, rules: [f'"{text}"' for text in inside(values, rules)]


INSIDES: Final[Mapping[str, Conversion]] = {
    **{name: CSV_FORMAT.values[name] for name in ("datetime", "date", "time", "duration", "uuid", "binary")},
    "text": lambda values, rules: _escaped(format_strings(values), rules),
    "object": lambda values, rules: _escaped(format_strings(values), rules),
}
INSIDES_OF_TEXTS: Final[Mapping[str, Conversion]] = {
    **{name: CSV_FORMAT.texts[name] for name in ("date", "datetime", "utc datetime", "time", "uuid")},
    "text": _escaped,
}
JSON_FORMAT: Final = CellFormat(
    {
        **{name: _in_quotes(inside) for name, inside in INSIDES.items()},
        "boolean": lambda values, rules: format_booleans(values),
        "integer": _integers,
        "decimal": _decimals,
        "float": _floats,
        "json": encode_json_values,
        "enum": lambda values, rules: convert(enum_values(values), rules, JSON_FORMAT),
    },
    {
        **{name: _in_quotes(inside) for name, inside in INSIDES_OF_TEXTS.items()},
        "integer": lambda texts, rules: list(texts),
        "decimal": _numbers,
        "float": _numbers,
        "json": _json_texts,
    },
    empty="null",
    mixed=lambda cells: cells,
)
