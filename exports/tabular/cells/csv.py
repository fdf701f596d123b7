"""Cells of text files such as CSV: one function per type, a column at a time."""

import re
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final

from exports.tabular.cells.conversion import CellFormat, Conversion, ConversionContext, convert, convert_raw_json
from exports.tabular.cells.datetimes import (
    SECONDS_END,
    format_naive_datetimes,
    format_times,
    format_utc_datetimes,
    offsets_of_repeated_hours,
)
from exports.tabular.cells.formula_escape import escape_formulas
from exports.tabular.cells.json_encoding import format_json, name_non_finite
from exports.tabular.cells.numbers import format_floats, format_integers
from exports.tabular.cells.raw_columns import CSV_READY, RawColumn, Values
from exports.tabular.cells.texts import (
    enum_values,
    format_binary,
    format_booleans,
    format_datetimes,
    format_decimals,
    format_durations,
    format_iso,
    format_ranges,
    format_strings,
)
from exports.tabular.columns import Alterations, Column

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


def with_decimal_mark(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return numbers, or durations, with the decimal mark of the file."""
    return texts if context.decimal == "." else "\n".join(texts).replace(".", context.decimal).split("\n")


def for_profile(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return ISO 8601 datetimes as the file's profile has them. Other texts, such as "infinity", stay."""
    if context.profile == "exchange":
        return texts
    for offset in offsets_of_repeated_hours(texts, context.zone):
        context.count(f"hour_repeated {offset}")
    # After the seconds comes the fraction or the offset.
    context.count("fraction_cut", sum(text[10:11] == "T" and text[SECONDS_END:][:1] == "." for text in texts))
    return [f"{text[:10]} {text[11:SECONDS_END]}" if text[10:11] == "T" else text for text in texts]


def times_for_profile(texts: Sequence[str], context: ConversionContext) -> Sequence[str]:
    """Return ISO 8601 times of day as the file's profile has them."""
    if context.profile == "exchange":
        return texts
    context.count("fraction_cut", sum("." in text for text in texts))
    return [_FRACTION.sub("", text) for text in texts]


def _conversion(format_column: Callable[[Values], list[str]]) -> Conversion:
    return lambda values, context: format_column(values)


def _escaping_conversion(format_column: Callable[[Values], list[str]]) -> Conversion:
    return lambda values, context: _escape_column(format_column(values), context)


def _escape_column(texts: Sequence[str], context: ConversionContext) -> RawColumn:
    return RawColumn(escape_formulas(texts, context), "text")


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
        "json": lambda values, context: _escape_column(format_json(values, context), context),
        "range": lambda values, context: _escape_column(format_ranges(values, context.zone), context),
        "object": _escaping_conversion(format_strings),
        "enum": lambda values, context: convert(enum_values(values), context, CSV_FORMAT),
    },
    raw={
        **dict.fromkeys(("integer", "date", "uuid", CSV_READY), lambda texts, context: texts),
        **dict.fromkeys(("decimal", "float"), with_decimal_mark),
        "datetime": lambda texts, context: for_profile(format_naive_datetimes(texts), context),
        "utc datetime": lambda texts, context: for_profile(format_utc_datetimes(texts, context.zone), context),
        "time": lambda texts, context: times_for_profile(format_times(texts), context),
        "text": _escape_column,
        "json": lambda texts, context: convert_raw_json(
            texts, context, CSV_FORMAT, lambda raw, context: _escape_column(name_non_finite(raw, context), context)
        ),
    },
    empty="",
    combine=lambda cells: RawColumn(cells, "text"),
)
