"""Columns that are text already: values as a database renders them, and numbers as a spreadsheet stores them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

# The families of RawColumn. `moment` is a point in time in UTC, `datetime` one without a zone.
RAW_FAMILIES: Final = (
    "integer",
    "decimal",
    "float",
    "date",
    "datetime",
    "utc datetime",
    "time",
    "uuid",
    "text",
    "json",
)
# Cells of a text file that need no conversion, by whatever made them.
CSV_READY: Final = "ready"


class _OfFamily(list[str | None]):
    """RawColumn of one family; None is no value. Slices are plain lists: see `part`."""

    __slots__ = ("family",)

    def __init__(self, texts: Iterable[str | None], family: str) -> None:
        super().__init__(texts)
        self.family = family

    def __reduce__(self) -> tuple[type[Self], tuple[list[str | None], str]]:
        return type(self), (list(self), self.family)


class RawColumn(_OfFamily):
    """Values of one of FAMILIES_OF_TEXTS that were never made into Python objects.

    The text is what `to_csv_cells` writes for such a value, except for times: a `moment` or `datetime` is
    "YYYY-MM-DD HH:MM:SS[.f]", a `time` "HH:MM:SS[.f]", with one to six digits of a second's fraction; between day and
    time stands a blank or a T. JSON has the separators ", " and ": ". RawColumn of `text` and `json` are not guarded yet.
    """


class NumberColumn(_OfFamily):
    """Cells of a spreadsheet as the numbers that it stores: a date is its serial number.

    The family (integer, decimal, float, date, datetime, time, duration) says how they are to be shown.
    """


def slice_column(values: Sequence[Any], start: int, stop: int) -> Sequence[Any]:
    """The rows from `start` up to `stop`, as a sequence of the same kind."""
    if isinstance(values, _OfFamily):
        return type(values)(values[start:stop], values.family)
    return values[start:stop]


def row_count(batch: Sequence[Sequence[Any]]) -> int:
    """The rows of a batch, without making its columns where it knows."""
    rows = getattr(batch, "row_count", None)
    return len(batch[0]) if rows is None else rows
