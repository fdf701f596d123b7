"""The strategy "instances": a model instance for each row, from which getters make the columns."""

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from django.db import connections

from exports.exceptions import CellPlace
from exports.tabular.plan import Plan
from exports.tabular.readers.rows import Batch

# Instances held at a time: the fewer objects there are at once, the faster they are created.
CHUNK_ROWS: Final = 100


def read(plan: Plan, size: int) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows. Values from the database are read before callables may change a row."""
    queryset, getters = plan.queryset, plan.getters
    # Small chunks cost nothing where they need neither a round trip nor a query that prefetches.
    are_chunks_free = connections[queryset.db].vendor == "sqlite" and not queryset._prefetch_related_lookups  # type: ignore[attr-defined]  # Private.
    chunk_size = min(size, CHUNK_ROWS) if are_chunks_free else size
    order = sorted(range(len(getters)), key=lambda place: not isinstance(getters[place], attrgetter))
    iterator: Any = queryset.iterator(chunk_size=chunk_size)  # Any: a generator, which the stubs do not say.
    with closing(iterator) as rows:
        while True:
            columns: list[list[object]] = [[] for _ in getters]
            batch = islice(rows, size)
            while chunk := list(islice(batch, CHUNK_ROWS)):
                for place in order:
                    get, is_field = getters[place], isinstance(getters[place], attrgetter)
                    try:
                        # A StopIteration of a callable would end a map() as the end of the rows does.
                        columns[place] += map(get, chunk) if is_field else (get(row) for row in chunk)
                    except Exception as error:
                        # The values before the failed one were added, and all chunks but the last one are full.
                        row = chunk[len(columns[place]) % CHUNK_ROWS]
                        name = plan.columns[place].name
                        error.add_note(CellPlace(f"column {name!r}, row with primary key {row.pk}"))
                        raise
            if not columns[0]:
                return
            yield columns
