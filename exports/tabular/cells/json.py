"""Cells of JSON files (RFC 8259): one function per type, a column at a time.

The output is the same with and without orjson, which only makes it faster: it encodes whole columns, and what it would
write differently goes through the standard library.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final

from exports.tabular.cells.conversion import CellFormat, Conversion, ConversionContext, convert, value_family
from exports.tabular.cells.csv import CSV_FORMAT
from exports.tabular.cells.formula_escape import SURROGATE_PATTERN, SURROGATES
from exports.tabular.cells.json_encoding import format_json, name_non_finite, non_finite_name
from exports.tabular.cells.numbers import format_floats, format_integers
from exports.tabular.cells.raw_columns import RawColumn, Values
from exports.tabular.cells.texts import enum_values, format_booleans, format_decimals, format_ranges, format_strings
from exports.tabular.columns import Alterations, Column

try:
    import orjson
except ImportError:  # no wheel for this platform
    orjson = None  # type: ignore[assignment]  # stands for the missing module

_NEEDS_ESCAPE = re.compile(f'["\\\\\x00-\x1f{SURROGATES}]')

_encode_string = json.JSONEncoder(ensure_ascii=False).encode
# A JSON string contains no line feed, so line feeds can separate strings.
_encode_lines = json.JSONEncoder(ensure_ascii=False, separators=("\n", ":")).encode


class UnquotedStrings(list[str]):
    """Cells of a column that has only strings, without their quotes."""


def to_json_cells(column: Column, values: Values, *, zone: tzinfo, alterations: Alterations) -> Sequence[str]:
    """Return the JSON of each value of one column; docs/formats.md lists the JSON of each type.

    NaN and infinite numbers become strings, lone surrogates become U+FFFD; both are counted. Formulas are not escaped,
    because nothing runs JSON. The result is UnquotedStrings if all cells are strings. A RawColumn as `values` gives the
    cells that its values would give.
    """
    context = ConversionContext(column, zone, alterations)
    to_strings = _string_conversion(column, values)
    return convert(values, context, JSON_FORMAT) if to_strings is None else UnquotedStrings(to_strings(values, context))


def encode_json_values(values: Values, context: ConversionContext) -> Sequence[str]:
    """Return what `format_json` returns, with U+FFFD in place of lone surrogates."""
    texts = format_json(values, context, otherwise=lambda value: encode_string(str(value)))
    return replace_surrogates(texts, context)


def encode_string(text: str) -> str:
    """Return one string as JSON."""
    return _encode_string(text)


def replace_surrogates(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return the texts with U+FFFD in place of lone surrogates, which no file can hold. Changed texts are counted."""
    joined = "".join(texts)
    if joined.isascii() or joined.isprintable() or not SURROGATE_PATTERN.search(joined):
        return texts
    context.count("surrogate_replaced", sum(SURROGATE_PATTERN.search(text) is not None for text in texts))
    return list(map(without_surrogates, texts))


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD in place of lone surrogates."""
    return SURROGATE_PATTERN.sub("\ufffd", text)


def _string_conversion(column: Column, values: Values) -> Conversion | None:
    """Return the conversion to strings without quotes if each value becomes a string and all have one type."""
    if not values or values[0] is None:
        return None
    if isinstance(values, RawColumn):
        return None if None in values else UNQUOTED_RAW.get(values.family)
    conversion = UNQUOTED_VALUES.get(value_family(type(values[0]), column))
    return conversion if conversion and len(set(map(type, values))) == 1 else None


def _quote_non_finite(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return texts of numbers, with strings in place of NaN and infinite numbers."""
    joined = "".join(texts)
    if "n" not in joined and "N" not in joined:
        return list(texts)
    are_non_finite = ["n" in text.lower() for text in texts]
    context.count("not_a_number", sum(are_non_finite))
    return [
        f'"{non_finite_name(text)}"' if is_non_finite else text
        for text, is_non_finite in zip(texts, are_non_finite, strict=True)
    ]


def _escape_strings(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return the texts as JSON strings without their quotes."""
    joined = "".join(texts)
    if joined.isprintable():
        if '"' not in joined and "\\" not in joined:
            return texts
    elif not _NEEDS_ESCAPE.search(joined):
        return texts
    texts = replace_surrogates(texts, context)
    if orjson is None:
        return _encode_lines(texts)[2:-2].split('"\n"')
    return orjson.dumps(texts, option=orjson.OPT_INDENT_2)[5:-3].decode().split('",\n  "')


def _with_quotes(conversion: Conversion) -> Conversion:
    return lambda values, context: [f'"{text}"' for text in conversion(values, context)]


UNQUOTED_VALUES: Final[Mapping[str, Conversion]] = {
    **{family: CSV_FORMAT.values[family] for family in ("datetime", "date", "time", "duration", "uuid", "binary")},
    "text": lambda values, context: _escape_strings(format_strings(values), context),
    "object": lambda values, context: _escape_strings(format_strings(values), context),
    "range": lambda values, context: _escape_strings(format_ranges(values, context.zone), context),
}
UNQUOTED_RAW: Final[Mapping[str, Conversion]] = {
    **{family: CSV_FORMAT.raw[family] for family in ("date", "datetime", "utc datetime", "time", "uuid")},
    "text": _escape_strings,
}
JSON_FORMAT: Final[CellFormat] = CellFormat(
    values={
        **{family: _with_quotes(conversion) for family, conversion in UNQUOTED_VALUES.items()},
        "boolean": lambda values, context: format_booleans(values),
        "integer": lambda values, context: format_integers(values),
        "decimal": lambda values, context: _quote_non_finite(format_decimals(values), context),
        "float": lambda values, context: _quote_non_finite(format_floats(values), context),
        "json": encode_json_values,
        "enum": lambda values, context: convert(enum_values(values), context, JSON_FORMAT),
    },
    raw={
        **{family: _with_quotes(conversion) for family, conversion in UNQUOTED_RAW.items()},
        "integer": lambda texts, context: list(texts),
        "decimal": _quote_non_finite,
        "float": _quote_non_finite,
        "json": lambda texts, context: list(replace_surrogates(name_non_finite(texts, context), context)),
    },
    empty="null",
    combine=lambda cells: cells,
)
