"""Choose the conversion for each type of value in a column."""

import json
import numbers
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Any, Final
from uuid import UUID

from exports.tabular.cells.raw_columns import NumberColumn, RawColumn, Values, restore_nulls
from exports.tabular.columns import Alterations, Column

# The first match wins: a bool is an int, a datetime is a date, and a member of a TextChoices is a str.
TYPE_FAMILIES: Final[Sequence[tuple[type | tuple[type, ...], str]]] = (
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
    ((Mapping, Sequence, Set), "json"),
)
# What a range of PostgreSQL has, whichever driver makes it.
RANGE_ATTRIBUTES: Final = ("isempty", "lower", "upper", "lower_inc", "upper_inc")


@dataclass(frozen=True)
class ConversionContext:
    """What a conversion needs to know besides the values."""

    column: Column
    zone: tzinfo
    alterations: Alterations
    formulas: str = "escape"
    delimiter: str = ","
    decimal: str = "."
    profile: str = "exchange"

    def count(self, kind: str, cells: int = 1) -> None:
        """Add to the number of cells with this kind of alteration (a key of ALTERATIONS)."""
        if cells:
            self.alterations[kind] += cells


Conversion = Callable[[Values, ConversionContext], Values]


@dataclass(frozen=True)
class CellFormat:
    """How columns become cells of one file format.

    values: conversions of Python values, by family of TYPE_FAMILIES.
    raw: conversions of a RawColumn, by its family.
    empty: the cell of None.
    combine: makes a column of the cells of values that had several types.
    """

    values: Mapping[str, Conversion]
    raw: Mapping[str, Conversion]
    empty: object
    combine: Callable[[list[Any]], list[Any]]


def convert(values: Values, context: ConversionContext, cell_format: CellFormat) -> Values:
    """Return the cells of a column. All values of one type are converted in one call; None is an empty cell."""
    types = set(map(type, values))
    if NoneType in types:
        present = [value for value in values if value is not None]
        kept = RawColumn(present, values.family) if isinstance(values, RawColumn) else present
        return restore_nulls(values, convert(kept, context, cell_format), cell_format.empty)
    if not types:
        return []
    if isinstance(values, RawColumn):
        return cell_format.raw[values.family](values, context)
    if len(types) == 1:
        return cell_format.values[value_family(types.pop(), context.column)](values, context)
    return _convert_mixed(values, context, cell_format)


def convert_raw_json(
    texts: Sequence[str], context: ConversionContext, cell_format: CellFormat, convert_texts: Conversion
) -> Values:
    """Return the cells of JSON texts. `convert_texts` converts objects, arrays and strings; others go by their type."""
    if {text[0] for text in texts} <= {"{", "[", '"'}:
        return convert_texts(texts, context)
    cells = (
        convert_texts([text], context) if text[0] in '{["' else convert([json.loads(text)], context, cell_format)
        for text in texts
    )
    return cell_format.combine([cell for [cell] in cells])


def value_family(type_: type, column: Column) -> str:
    """Return the family of a type in a column. Strings in a column of kind "json" are JSON."""
    family = type_family(type_)
    return "json" if family == "text" and column.kind == "json" else family


@lru_cache(maxsize=256)
def type_family(type_: type) -> str:
    """Return the family of a type in TYPE_FAMILIES, "range", or "object"."""
    for base, family in TYPE_FAMILIES:
        if issubclass(type_, base):
            return family
    return "range" if all(hasattr(type_, name) for name in RANGE_ATTRIBUTES) else "object"


def family_of(value: object) -> str:
    """Return the family of the type of a value."""
    type_: type = type(value)
    return type_family(type_)


def _convert_mixed(values: Values, context: ConversionContext, cell_format: CellFormat) -> list[Any]:
    cells = list(values)
    # In the order of the values, so that it is always the same error that ends an export.
    for type_ in dict.fromkeys(map(type, values)):
        positions = [position for position, value in enumerate(values) if type(value) is type_]
        same = [values[position] for position in positions]
        converted = cell_format.values[value_family(type_, context.column)](same, context)
        if isinstance(converted, NumberColumn):
            # A number as text would be a text cell here, since the column has no one family.
            converted = same
        for position, cell in zip(positions, converted, strict=True):
            cells[position] = cell
    return cell_format.combine(cells)
