"""Columns that are text already: values as a database wrote them, and numbers as a spreadsheet stores them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

# Values or cells of one column. Any: their types are known at run time only.
Values = Sequence[Any]

# Family of a RawColumn whose texts are finished CSV cells.
CSV_READY: Final = "csv ready"


class TextColumn(list[str | None]):
    """Texts that stand for values of one family of types; None is no value.

    Slicing gives a plain list. `slice_column` keeps the family.
    """

    __slots__ = ("family",)

    def __init__(self, texts: Iterable[str | None], family: str) -> None:
        super().__init__(texts)
        self.family = family

    def __reduce__(self) -> tuple[type[Self], tuple[list[str | None], str]]:
        return type(self), (list(self), self.family)


class RawColumn(TextColumn):
    """Values as text. No Python objects are made of them unless a cell needs one.

    The family is "integer", "decimal", "float", "date", "datetime" (without a zone), "utc datetime", "time", "uuid",
    "text", "json" or CSV_READY. Each text is what `to_csv_cells` writes for the value, with these exceptions:

    - "utc datetime" and "datetime" are "YYYY-MM-DD HH:MM:SS[.f]", "time" is "HH:MM:SS[.f]", with one to six digits of
      fraction; a space or a T separates date and time.
    - "json" has the separators ", " and ": ".
    - Formulas in "text" and "json" are not escaped yet.
    """


class NumberColumn(TextColumn):
    """Spreadsheet cells as the numbers that the file stores. A date is its serial number.

    The family (integer, decimal, float, date, datetime, time or duration) decides how the numbers are displayed.
    """


def slice_column(values: Values, start: int, stop: int) -> Values:
    """Return the rows from `start` to before `stop` as a sequence of the same class."""
    if isinstance(values, TextColumn):
        return type(values)(values[start:stop], values.family)
    return values[start:stop]


def restore_nulls(values: Values, converted: Values, null: object = None) -> list[Any]:
    """Return `converted`, made of the values that are not None, with `null` inserted where a value is None."""
    remaining = iter(converted)
    filled: list[Any] = [null if value is None else next(remaining) for value in values]
    return type(converted)(filled, converted.family) if isinstance(converted, TextColumn) else filled


def row_count(batch: Sequence[Values]) -> int:
    """Return the number of rows of a batch, without decoding a column if the batch knows it."""
    rows: int | None = getattr(batch, "row_count", None)
    return len(batch[0]) if rows is None else rows
