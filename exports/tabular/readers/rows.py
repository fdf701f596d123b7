"""Rows that are dictionaries, and the type of all batches of rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

# A sequence of columns, each a sequence of values. Any: values have any type.
Batch = Sequence[Sequence[Any]]
Row = Mapping[str, Any]


def batches(rows: Iterable[Row], names: Sequence[str], *, size: int) -> Iterator[Batch]:
    """Yield the values of these keys in batches of at most `size` rows; a missing key is an empty cell."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield [[row.get(name) for row in chunk] for name in names]
