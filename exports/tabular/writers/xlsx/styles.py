"""The styles of a column's cells, by the kind of the cell: a column of numbers may contain text too."""

from collections.abc import Mapping
from typing import Final

from exports.tabular.columns import NUMERIC, Column

# Excel shows integers of more digits with an exponent unless they have a number format.
MAX_SHOWN_DIGITS: Final = 11
LONG: Final = "long integer"

CELL_KINDS: Final = ("text", "boolean", "integer", LONG, "decimal", "float", "date", "datetime", "time", "duration")
NUMBER_FORMATS: Final = {
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
    "time": "hh:mm:ss",
    "duration": "[h]:mm:ss",
    LONG: "0",
}

# The properties of a format by XlsxWriter's names. Empty for a cell without a style.
Properties = Mapping[str, object]


def header_properties(column: Column) -> Properties:
    """Return the properties of the column's header."""
    return {"bold": True, **column.header_style}


def cell_properties(column: Column) -> dict[str, Properties]:
    """Return the properties of the column's cells by their kind, one of CELL_KINDS."""
    style = {name: value for name, value in column.style.items() if name != "num_format"}
    own_format = column.format or column.style.get("num_format", "")
    properties: dict[str, Properties] = {}
    for kind in CELL_KINDS:
        plain_kind = "integer" if kind == LONG else kind
        same_kind = column.kind == plain_kind or {column.kind, plain_kind} <= set(NUMERIC)
        fits = same_kind if column.kind else kind != "text"
        number_format = (own_format if fits else "") or NUMBER_FORMATS.get(kind, "")
        properties[kind] = {**style, "num_format": number_format} if number_format else style
    return properties


def properties_key(properties: Properties) -> str:
    """Return a hashable key, the same for equal properties."""
    return repr(sorted(properties.items()))
