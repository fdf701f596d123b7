"""The styles of a column's cells, by the kind of the cell: a column of numbers may contain text too."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from exports.tabular.cells.excel import WITH_FRACTION
from exports.tabular.columns import NUMERIC, Column

# Excel shows this many characters of a number that has no number format, and integers of more digits with an exponent.
MAX_SHOWN_DIGITS: Final = 11
LONG: Final = "long integer"
LONG_DECIMAL: Final = "long decimal"
LINES: Final = "text with line breaks"

NUMBER_FORMATS: Final = {
    "text": "",
    LINES: "",
    "boolean": "",
    "integer": "",
    LONG: "0",
    "decimal": "",
    "float": "",
    # All digits that a cell can hold, behind at least two places, for "0.##" would show a point behind an integer.
    LONG_DECIMAL: "0.00##############",
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
    f"datetime{WITH_FRACTION}": "yyyy-mm-dd hh:mm:ss.000",
    "time": "hh:mm:ss",
    f"time{WITH_FRACTION}": "hh:mm:ss.000",
    "duration": "[h]:mm:ss",
    f"duration{WITH_FRACTION}": "[h]:mm:ss.000",
}
# The kind of a column for kinds of cells that no column has.
COLUMN_KINDS: Final = {LINES: "text", LONG: "integer", LONG_DECIMAL: "decimal"}

# Excel shows a line break only in a cell that wraps its text.
WRAPPED: Final = {"text_wrap": True}

# The properties of a format by XlsxWriter's names. Empty for a cell without a style.
Properties = Mapping[str, object]


class CellStyle(NamedTuple):
    """The XML attribute of a cell's style, ' s="1"' or "" for none, and its number format, "" for Excel's own."""

    attribute: str
    number_format: str


# By kind of cell, one of NUMBER_FORMATS.
CellStyles = Mapping[str, CellStyle]


def header_properties(column: Column) -> Properties:
    """Return the properties of the column's header."""
    return {"bold": True, **(WRAPPED if "\n" in column.label else {}), **column.header_style}


def cell_properties(column: Column) -> dict[str, Properties]:
    """Return the properties of the column's cells by their kind, one of NUMBER_FORMATS."""
    style = {name: value for name, value in column.style.items() if name != "num_format"}
    own_format = column.format or column.style.get("num_format", "")
    properties: dict[str, Properties] = {}
    for kind, usual_format in NUMBER_FORMATS.items():
        plain_kind = COLUMN_KINDS.get(kind, kind.removesuffix(WITH_FRACTION))
        same_kind = column.kind == plain_kind or {column.kind, plain_kind} <= set(NUMERIC)
        fits = same_kind if column.kind else plain_kind != "text"
        number_format = (own_format if fits else "") or usual_format
        wrapped = WRAPPED if kind == LINES else {}
        properties[kind] = {**wrapped, **style, **({"num_format": number_format} if number_format else {})}
    return properties


def properties_key(properties: Properties) -> str:
    """Return a hashable key, the same for equal properties."""
    return repr(sorted(properties.items()))
