"""Field names, for formats in which a reader finds a value by the name of its column."""

from collections import Counter
from collections.abc import Sequence

from exports.exceptions import DuplicateColumn
from exports.tabular.cells.json import without_surrogates
from exports.tabular.columns import Alterations, Column


def unique_field_names(columns: Sequence[Column], alterations: Alterations) -> list[str]:
    """Return the names of the columns, with lone surrogates replaced and counted.

    Raises DuplicateColumn if two columns have the same name.
    """
    names = [without_surrogates(column.name) for column in columns]
    alterations.update("surrogate_replaced" for name, column in zip(names, columns, strict=True) if name != column.name)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DuplicateColumn(f"Two columns have the name {repeated[0]!r}. Give each a name and a `source`.")
    return names
