"""Names of columns, for formats in which a reader finds a value by the name of its column."""

from collections import Counter
from collections.abc import Sequence

from exports.exceptions import DuplicateColumn
from exports.tabular.cells.json import without_surrogates
from exports.tabular.columns import Alterations, Column


def names_of(columns: Sequence[Column], alterations: Alterations) -> list[str]:
    """The columns' names, lone surrogates in them replaced and counted. Raises DuplicateColumn."""
    names = [without_surrogates(column.name) for column in columns]
    alterations.update("surrogate_replaced" for name, column in zip(names, columns, strict=True) if name != column.name)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DuplicateColumn(f"Two columns have the name {repeated[0]!r}. Give each one a name of its own.")
    return names
