"""Columns as they are declared, and the count of cells that differ from their values."""

import json
import numbers
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Final, Self
from uuid import UUID

from exports.tabular.cells.raw_columns import NumberColumn, RawColumn

NUMERIC: Final = ("integer", "decimal", "float")
KINDS: Final = ("text", *NUMERIC, "boolean", "date", "datetime", "time", "duration", "json", "uuid")

# Text that a spreadsheet would run as a formula is made harmless, left alone (for machines only) or refused.
FORMULA_MODES: Final = ("escape", "raw", "reject")

# Every way in which a cell may differ from its value, with the sentence of the receipt.
ALTERATIONS: Final = {
    "formula_escaped": "Text that a spreadsheet would run as a formula was made harmless by an apostrophe.",
    "control_removed": "Control characters were removed from text.",
    "surrogate_replaced": "Halves of characters, which no file can hold, became replacement characters.",
    "line_break_changed": "Carriage returns in text became the line breaks that Excel uses.",
    "text_cut": "Text was cut at the 32,767 characters that an Excel cell can hold.",
    "number_as_text": "Numbers that Excel would round (over 15 digits) or cannot hold were written as text.",
    "not_a_number": "NaN and infinite numbers, which the format does not have, were written as text.",
    "number_left_out": "NaN and infinite numbers, which a column of decimals cannot hold, were left empty.",
    "date_as_text": "Dates outside Excel's calendar (before 1 March 1900) were written as text.",
    "zone_assumed": "Times without a zone, in a column of times that have one, were taken as local times.",
    "time_as_text": "Times of day with a zone of their own were written as text.",
    "duration_as_text": "Durations that Excel cannot show (negative, or beyond the year 9999) were written as text.",
}

# In this order: a bool is an int, a datetime is a date, and a member of a TextChoices is a str.
FAMILIES: Final = (
    (Enum, "enum"),
    (bool, "boolean"),
    (numbers.Integral, "integer"),
    (Decimal, "decimal"),
    (numbers.Real, "float"),
    (datetime, "datetime"),
    (date, "date"),
    (time, "time"),
    (timedelta, "duration"),
    (UUID, "uuid"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "binary"),
    ((Mapping, list, tuple), "json"),
)


@dataclass(frozen=True)
class Column:
    """A column of an export, as a host project declares it.

    `source` is an ORM path, a Django expression, or a callable that takes the model instance; None is the path `name`.
    `kind` is one of KINDS, or "" where the type of each value decides. `places` are the decimals that a number is
    stored with. Whoever does not hold the `permission` gets the file without the column; "" asks for none. For XLSX
    only: `width` counts Excel's characters, `format` is an Excel number format, `style` and `header_style` are
    properties of XlsxWriter's formats, such as {"bold": True}.
    """

    name: str
    header: str = ""
    kind: str = ""
    width: float | None = None
    format: str = ""
    source: object = None
    places: int | None = None
    permission: str = ""
    style: Mapping[str, object] = field(default_factory=dict)
    header_style: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind and self.kind not in KINDS:
            raise ValueError(f"Column {self.name!r}: the kind {self.kind!r} is none of {', '.join(KINDS)}.")

    @property
    def label(self) -> str:
        """What stands above the column."""
        return str(self.header or self.name)

    @property
    def picklable(self) -> Self:
        """The column as its cells need it, without its source: this can be pickled."""
        return replace(self, header=self.label, source=None, style=dict(self.style), header_style={})


class Alterations(Counter[str]):
    """How many cells were altered, by kind (the keys of ALTERATIONS). A cell counts once under each kind."""

    def sentences(self) -> list[str]:
        """For people, in the order of ALTERATIONS."""
        return [f"{sentence} Cells: {self[kind]:,}." for kind, sentence in ALTERATIONS.items() if self[kind]]


@dataclass(frozen=True)
class ConversionContext:
    """What a conversion needs to know beside the values."""

    column: Column
    zone: tzinfo
    alterations: Alterations
    formulas: str = "escape"
    delimiter: str = ","

    def count(self, kind: str, cells: int = 1) -> None:
        self.alterations[kind] += cells


Conversion = Callable[[Sequence, ConversionContext], list]


@dataclass(frozen=True)
class CellFormat:
    """One kind of cells: how each family of Python values and of Texts is converted, and what an empty cell is.

    `mixed` takes the cells of a column whose values have several types.
    """

    values: Mapping[str, Conversion]
    texts: Mapping[str, Conversion]
    empty: object
    mixed: Callable[[list], list]


def convert(values: Sequence[object], rules: ConversionContext, conversions: CellFormat) -> list:
    """The cells of a column: each type of value is converted in one go, by the conversion of its family; None is empty.

    Most columns have one type, or one and None.
    """
    types = set(map(type, values))
    if NoneType in types:
        present = (value for value in values if value is not None)
        kept = RawColumn(present, values.family) if isinstance(values, RawColumn) else list(present)
        return _with_empty(values, convert(kept, rules, conversions), conversions.empty)
    if not types:
        return []
    if isinstance(values, RawColumn):
        return conversions.texts[values.family](values, rules)
    if len(types) == 1:
        return conversions.values[value_family(types.pop(), rules.column)](values, rules)
    return _convert_mixed(values, rules, conversions, types)


def _with_empty(values: Sequence[object], cells: list, empty: object) -> list:
    """The cells of the values that are not None, with empty ones where a value is None."""
    present = iter(cells)
    filled = [empty if value is None else next(present) for value in values]
    return type(cells)(filled, cells.family) if isinstance(cells, RawColumn | NumberColumn) else filled


def convert_json(
    texts: Sequence[str], rules: ConversionContext, conversions: CellFormat, convert_texts: Conversion
) -> list:
    """The cells of JSON texts: lists, dicts and strings by `convert_texts`, numbers and the like by their type."""
    if {text[0] for text in texts} <= {"{", "[", '"'}:
        return convert_texts(texts, rules)
    cells = (
        convert_texts([text], rules) if text[0] in '{["' else convert([json.loads(text)], rules, conversions)
        for text in texts
    )
    return conversions.mixed([cell for [cell] in cells])


def _convert_mixed(
    values: Sequence[object], rules: ConversionContext, conversions: CellFormat, types: Collection[type]
) -> list:
    cells: list[object] = list(values)
    for type_ in types:
        places = [place for place, value in enumerate(values) if type(value) is type_]
        same = [values[place] for place in places]
        converted = conversions.values[value_family(type_, rules.column)](same, rules)
        if isinstance(converted, NumberColumn):
            # Beside cells of other types a number has to say what it is.
            converted = same
        for place, cell in zip(places, converted, strict=True):
            cells[place] = cell
    return conversions.mixed(cells)


def value_family(type_: type, column: Column) -> str:
    """The family of FAMILIES, or "object". The strings of a JSON column are JSON."""
    found = type_family(type_)
    return "json" if found == "text" and column.kind == "json" else found


@lru_cache(maxsize=256)
def type_family(type_: type) -> str:
    """The same, whatever the column."""
    return next((name for base, name in FAMILIES if issubclass(type_, base)), "object")
