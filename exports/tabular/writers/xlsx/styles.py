"""How cells of a spreadsheet are to look: by their column, and by their kind where the column does not say."""

from collections.abc import Mapping
from typing import Final

from exports.tabular.columns import NUMERIC, Column

LONG: Final = "long integer"
CELL_KINDS: Final = ("text", "boolean", "integer", LONG, "decimal", "float", "date", "datetime", "time", "duration")
PATTERNS: Final = {
    "date": "yyyy-mm-dd",
    "datetime": "yyyy-mm-dd hh:mm:ss",
    "time": "hh:mm:ss",
    "duration": "[h]:mm:ss",
    # Excel shows longer integers with an exponent unless they have a format.
    LONG: "0",
}
SHOWN_DIGITS: Final = 11

# Properties of a format, as XlsxWriter names them.
Properties = Mapping[str, object]


def header_properties(column: Column) -> Properties:
    return {"bold": True, **column.header_style}


def properties_of(column: Column) -> dict[str, Properties]:
    """By CELL_KINDS, the properties of a column's cells; none where a cell needs no style."""
    return {kind: _properties(column, kind) for kind in CELL_KINDS}


def key_of(properties: Properties) -> str:
    """The same for the same properties."""
    return repr(sorted(properties.items()))


def _properties(column: Column, kind: str) -> Properties:
    style = {name: value for name, value in column.style.items() if name != "num_format"}
    pattern = _pattern(column, kind)
    return {**style, "num_format": pattern} if pattern else style


def _pattern(column: Column, kind: str) -> object:
    """The number format of a cell: the column's own where it fits the kind of the cell, else the kind's."""
    own = column.format or column.style.get("num_format", "")
    return own if own and _fits(column, kind) else PATTERNS.get(kind, "")


def _fits(column: Column, kind: str) -> bool:
    kind = "integer" if kind == LONG else kind
    if not column.kind:
        return kind != "text"
    return column.kind == kind or {column.kind, kind} <= set(NUMERIC)
