"""Rows that are no queryset: dicts, tuples, objects or a DataFrame of pandas; and the type of all batches of rows."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, TypeGuard, cast

from exports.exceptions import CellPlace, DeclarationError, DuplicateColumn
from exports.tabular.columns import Column
from exports.tabular.readers.resolve import is_callable, path_of, unknown_column

# A sequence of columns, each a sequence of values. Any: values have any type.
Batch = Sequence[Sequence[Any]]
Rows = Iterable[object]


def length(rows: Rows) -> int | None:
    """Return the number of rows, or None where only reading them shows it."""
    return len(rows) if isinstance(rows, Sized) else None


def batches(rows: Rows, columns: Sequence[Column], names: Sequence[str], *, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows, each a list of columns of values.

    A row is a mapping, where a missing key is an empty cell; a tuple or a list with as many values as there are
    `names`, in their order; or an object with attributes, such as a dataclass or a named tuple. The rows of a DataFrame
    are mappings. A column is the value of its source, or else of its name; a callable is called with the row.

    Raises UnknownColumn for an attribute or a column of a DataFrame that does not exist, DeclarationError for a tuple
    of another length and for equal names in a DataFrame, and DuplicateColumn for equal names of columns of tuples.
    """
    iterator = iter(_records(rows, columns, size) if hasattr(rows, "itertuples") else rows)
    getters: list[Callable[[Any], object]] = []
    rows_before = 0
    try:
        while chunk := list(islice(iterator, size)):
            getters = getters or [_getter(column, chunk[0], names) for column in columns]
            if _is_tuple(chunk[0]) and (lengths := set(map(len, cast(list[Sized], chunk))) - {len(names)}):
                raise DeclarationError(f"A row has {max(lengths)} values, and the export has {len(names)} columns.")
            values: list[list[object]] = [[] for _ in columns]
            for column, get, found in zip(columns, getters, values, strict=True):
                try:
                    found += (get(row) for row in chunk)
                except Exception as error:
                    number = rows_before + len(found) + 1
                    error.add_note(CellPlace(f"column {column.name!r}, row {number:,}"))
                    raise
            yield values
            rows_before += len(chunk)
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def _getter(column: Column, row: object, names: Sequence[str]) -> Callable[[Any], object]:
    path = path_of(column)
    if is_callable(column):
        return cast(Callable[[Any], object], column.source)
    if isinstance(row, Mapping):
        return methodcaller("get", path)
    if _is_tuple(row):
        if names.count(column.name) > 1:
            raise DuplicateColumn(
                f"Two columns have the name {column.name!r}, which gives the place in rows of tuples."
            )
        return itemgetter(names.index(column.name))
    get = attrgetter(path)
    try:
        get(row)
    except AttributeError as error:
        known = [name for name in dir(row) if not name.startswith("_")]
        raise unknown_column(column, path, f"{type(row).__name__}, the type of the rows", known) from error
    return get


def _is_tuple(row: object) -> TypeGuard[Collection[object]]:
    return isinstance(row, tuple | list) and not hasattr(row, "_fields")


def _records(frame: Any, columns: Sequence[Column], size: int) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a DataFrame as dicts; what pandas takes for missing, such as NaN and NaT, is None."""
    # Not `in frame.columns`: an index of several levels contains the names of its first one.
    names = list(frame.columns)
    for column in columns:
        if not is_callable(column) and path_of(column) not in names:
            raise unknown_column(column, path_of(column), "the DataFrame", list(map(str, names)))
    if not frame.columns.is_unique:
        raise DeclarationError(f"Several columns of the DataFrame have one name: {', '.join(map(str, names))}.")
    for start in range(0, len(frame), size):
        chunk = frame.iloc[start : start + size].astype(object)
        yield from chunk.where(chunk.notna(), None).to_dict("records")
