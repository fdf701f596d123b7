"""Where the first altered cells of each kind are: found by converting the cells of a batch once more, one by one."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from exports.tabular.cells.raw_columns import Values, slice_column
from exports.tabular.columns import Alterations

MAX_PLACES: Final = 5
"""How many cells of each kind are located; looking for all would cost as much as the conversion."""


class AlteredCell(NamedTuple):
    """A kind of alteration, the row within the sheet and the column, both from 0."""

    kind: str
    row: int
    column: int


def locate(
    convert: Callable[[Sequence[Values], Alterations], object],
    batch: Sequence[Values],
    columns: int,
    first_row: int,
    kinds: set[str],
) -> list[AlteredCell]:
    """Return the first MAX_PLACES altered cells of each of these kinds in a batch, row by row.

    `convert` converts a batch of this many columns and counts what it alters; a column of None has empty cells.
    """

    def altered(number: int, values: Values) -> set[str]:
        found = Alterations()
        convert([values if place == number else [None] * len(values) for place in range(columns)], found)
        return kinds & set(found)

    found = []
    for number in range(columns):
        values = batch[number]
        # The whole column first: most columns have no altered cell.
        missing = dict.fromkeys(altered(number, values), MAX_PLACES)
        for row in range(len(values)):
            if not missing:
                break
            for kind in altered(number, slice_column(values, row, row + 1)) & set(missing):
                found.append(AlteredCell(kind, first_row + row, number))
                missing[kind] -= 1
                if not missing[kind]:
                    del missing[kind]
    return sorted(found, key=lambda cell: (cell.row, cell.column))
