"""Builders and Hypothesis strategies for tests of cells."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from json import dumps, loads
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import strategies as st

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.datetimes import EXCEL_EPOCH, duration_serials, since_midnight
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.json import UnquotedStrings, to_json_cells
from exports.tabular.cells.raw_columns import NumberColumn
from exports.tabular.columns import Alterations, Column

NEW_YORK = ZoneInfo("America/New_York")
ZONES = [UTC, NEW_YORK, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), timezone(timedelta(0, 90))]


def csv_cells(
    *values: object,
    kind: str = "",
    formulas_of_column: str = "",
    zone: tzinfo = UTC,
    counted: Alterations | None = None,
    **options: str,
) -> list[str]:
    alterations = Alterations() if counted is None else counted
    column = Column("x", kind=kind, formulas=formulas_of_column)
    return list(to_csv_cells(column, values, zone=zone, alterations=alterations, **options))


def excel_cells(*values: object, kind: str = "", zone: tzinfo = UTC, counted: Alterations | None = None) -> list[Any]:
    """Return cells for Excel, with numbers that were kept as text as Decimals."""
    alterations = Alterations() if counted is None else counted
    cells = to_excel_cells(Column("x", kind=kind), values, zone=zone, alterations=alterations)
    is_text = isinstance(cells, NumberColumn)
    return [Decimal(cell) if is_text and cell is not None else cell for cell in cells]


def json_cells(*values: object, kind: str = "", zone: tzinfo = UTC, counted: Alterations | None = None) -> list[str]:
    alterations = Alterations() if counted is None else counted
    return quoted(to_json_cells(Column("x", kind=kind), list(values), zone=zone, alterations=alterations))


def quoted(cells: Sequence[str]) -> list[str]:
    """Return the cells of `to_json_cells` with the quotes of strings."""
    return [f'"{cell}"' for cell in cells] if isinstance(cells, UnquotedStrings) else list(cells)


# Text that may become a formula, that JSON escapes, or that no file can hold.
FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"
INVISIBLE = '\ufeff\u200b \u00a0\x85"'
UNFIT = "\x00\x07\x1f\x7f\ud800\udfff\uffff"
SPECIAL_CHARACTERS = FORMULA_STARTS + INVISIBLE + UNFIT + "\\';,\t\r\n{}[]:\u2028a1é😀"
HOSTILE = st.text(st.sampled_from(SPECIAL_CHARACTERS) | st.characters(), max_size=12)
JSON_KEYS = st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE | st.decimals() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_KEYS, inner, max_size=3),
    max_leaves=8,
)


def read_back(value: object) -> object:
    """Return what a reader of JSON finds where this value was written."""
    if isinstance(value, float | Decimal) and not Decimal(value).is_finite():
        return "NaN" if Decimal(value).is_nan() else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return loads(format(value, "f"))
    if isinstance(value, str | date):
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in str(value))
    if isinstance(value, dict):
        keys = [key if isinstance(key, str) else dumps(key) for key in map(read_back, value)]
        return dict(zip(keys, map(read_back, value.values()), strict=True))
    return list(map(read_back, value)) if isinstance(value, list) else value


def database_text(value: datetime) -> str:
    """Return a datetime as databases write it: with a space, and without zeros at the end of the fraction."""
    text = value.replace(tzinfo=None).isoformat(" ")
    return text.rstrip("0") if value.microsecond else text


def clock_text(value: time) -> str:
    """Return a time of day as databases write it."""
    return value.isoformat().rstrip("0") if value.microsecond else value.isoformat()


FRACTIONS = st.sampled_from([0, 500_000, 120, 999_999]) | st.integers(0, 999_999)
NAIVE = st.builds(lambda value, fraction: value.replace(microsecond=fraction), st.datetimes(), FRACTIONS)
JSON_FAMILY = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
# By family of a RawColumn: values, and the function that returns the text of one.
RAW_VALUES = {
    "integer": (st.integers() | st.integers(-(10**16), 10**16), str),
    "decimal": (
        st.decimals(places=2, allow_nan=False, allow_infinity=False) | st.decimals(-1000, 1000, places=3),
        lambda value: format(value, "f"),
    ),
    "float": (st.floats(), repr),
    "date": (st.dates() | st.dates(date(1899, 12, 1), date(1900, 4, 1)), date.isoformat),
    "datetime": (NAIVE, database_text),
    "utc datetime": (NAIVE.map(lambda value: value.replace(tzinfo=UTC)), database_text),
    "time": (st.times(), clock_text),
    "uuid": (st.uuids(), str),
    "text": (st.text(), str),
    "json": (JSON_FAMILY.filter(lambda value: value is not None), lambda value: dumps(value, ensure_ascii=False)),
}


@st.composite
def raw_columns(draw: st.DrawFn) -> tuple[str, list[object], list[str | None]]:
    """Return the family of a RawColumn, its values, and their texts."""
    family = draw(st.sampled_from(sorted(RAW_VALUES)))
    values, text_of = RAW_VALUES[family]
    column = draw(st.lists(values | st.none(), min_size=1, max_size=80))
    return family, column, [None if value is None else text_of(value) for value in column]


def comparable(cells: Sequence[Any]) -> list[Any]:
    """Return cells for Excel to compare by value: numbers and dates are equal to the number that the file stores."""
    if isinstance(cells, NumberColumn):
        cells = [None if cell is None else Decimal(cell) for cell in cells]
    return list(map(_comparable_cell, cells))


def _comparable_cell(cell: object) -> object:
    if isinstance(cell, datetime):
        cell = float(duration_serials([cell - EXCEL_EPOCH])[0])
    elif isinstance(cell, date):
        cell = cell.toordinal() - EXCEL_EPOCH.toordinal()
    elif isinstance(cell, time):
        cell = float(duration_serials([since_midnight(cell)])[0])
    is_number = isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)
    return pytest.approx(float(cell), rel=1e-15, abs=1e-11) if is_number else cell
