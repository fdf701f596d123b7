"""Note on an exception the column and the row that it was raised for, looked for afterwards: success costs nothing."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from exports.exceptions import CellPlace
from exports.tabular.cells.raw_columns import Values, slice_column
from exports.tabular.columns import Column

T = TypeVar("T")


def convert_batch(
    convert: Callable[[Sequence[Values]], T], batch: Sequence[Values], columns: Sequence[Column], first_row: int
) -> T:
    """Return `convert(batch)`. An exception gets the note of `note_cell`."""
    try:
        return convert(batch)
    except Exception as error:
        for number, column in enumerate(columns):

            def convert_cell(values: Values, number: int = number) -> None:
                convert([values if place == number else [None] for place in range(len(columns))])

            if note_cell(error, column, batch[number], convert_cell, first_row):
                break
        raise


def note_cell(
    error: Exception, column: Column, values: Values, convert: Callable[[Values], Any], first_row: int
) -> bool:
    """Note on `error` the column and the first row whose value `convert` refuses so. Return False if it refuses none.

    `first_row` is the number of the first value's row within its table, from 0; the note counts from 1.
    """
    for position in range(len(values)):
        try:
            convert(slice_column(values, position, position + 1))
        except Exception as again:
            # Among values of several types, another row may be refused for another reason.
            if type(again) is type(error):
                error.add_note(CellPlace(f"column {column.name!r}, row {first_row + position + 1:,}"))
                return True
    return False
