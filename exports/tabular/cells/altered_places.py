"""Where the first altered cells of each kind are: found by converting the rows of a batch once more, by bisection."""

from collections.abc import Callable, Mapping, Sequence
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
    counts: Mapping[str, int],
) -> list[AlteredCell]:
    """Return the first altered cells of a batch, row by row, of each kind in `counts` that number at most.

    `convert` converts a batch of this many columns and counts what it alters; a column of None has empty cells.
    """
    values = [batch[number] for number in range(columns)]
    missing, found = dict(counts), []

    def altered(some: Sequence[Values]) -> set[str]:
        alterations = Alterations()
        convert(some, alterations)
        return missing.keys() & alterations

    def search(start: int, stop: int) -> None:
        """Search rows of which one at least has an altered cell: their halves, or the columns of a single row."""
        if stop - start > 1:
            middle = (start + stop) // 2
            for half in ((start, middle), (middle, stop)):
                if missing and altered([slice_column(column, *half) for column in values]):
                    search(*half)
            return
        for number, column in enumerate(values):
            cell = slice_column(column, start, stop)
            for kind in altered([cell if place == number else [None] for place in range(columns)]):
                found.append(AlteredCell(kind, first_row + start, number))
                missing[kind] -= 1
                if not missing[kind]:
                    del missing[kind]

    search(0, len(values[0]))
    return found
