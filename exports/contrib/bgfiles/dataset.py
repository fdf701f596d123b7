"""What a pattern exports, and items that report how far they have been read."""

from collections.abc import Callable, Iterator
from typing import Any, Self

from django.db.models import QuerySet

from exports.contrib.bgfiles.criteria import Criteria


class Dataset:
    """The criteria, the items they select, and whether the file is made later by a worker.

    `items` is what the pattern's `get_items` returned: a queryset, a list, an iterator or any other object.
    """

    def __init__(self, criteria: Criteria, items: Any = None, delay: bool = False) -> None:
        self.criteria = criteria
        self.items = items
        self.delay = delay


class ReadingProgress:
    """Counts the items of one dataset that have been read, in whatever parts and however often they are read."""

    def __init__(self, begin: Callable[[int | None], None], advance: Callable[[int], None]) -> None:
        self._begin, self._advance = begin, advance
        self._total: int | None = None
        self._done = 0
        self._has_begun = False

    # Django copies a queryset deeply for subqueries; the copy counts towards the same total.
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def track(self, items: Iterator[Any], total: Callable[[], int | None]) -> Iterator[Any]:
        """Yield the items and count each when the next one is requested. Call `total()` before the first item only."""
        if not self._has_begun:
            self._has_begun, self._total = True, total()
            self._begin(self._total)
        for item in items:
            yield item
            # Reading the first row twice does not make more rows, so the count stops at the total.
            self._done = self._done + 1 if self._total is None else min(self._done + 1, self._total)
            self._advance(self._done)


def with_progress(items: Any, *, begin: Callable[[int | None], None], advance: Callable[[int], None]) -> Any:
    """Return `items` in a form that calls `begin(total)` once and `advance(done)` after each item that is read.

    A queryset stays a queryset of its class, and querysets derived from it count too. A list stays a list, an iterator
    an iterator. Anything else, such as text or a mapping, is returned unchanged and not counted.
    """
    progress = ReadingProgress(begin, advance)
    if isinstance(items, QuerySet):
        queryset = items.all()
        counted_class = type(f"Counted{type(items).__name__}", (CountedQuerySet, type(items)), {})
        queryset.__class__ = counted_class
        vars(queryset).update(_reading=progress, _counted=items.all())
        return queryset
    if type(items) is list:
        return CountedList(items, progress)
    if isinstance(items, Iterator):
        return progress.track(items, lambda: None)
    return items


class CountedList(list[Any]):
    """A list that reports how far it has been read."""

    def __init__(self, items: list[Any], progress: ReadingProgress) -> None:
        super().__init__(items)
        self._reading = progress

    def __iter__(self) -> Iterator[Any]:
        return self._reading.track(super().__iter__(), self.__len__)


class CountedQuerySet(QuerySet[Any]):
    """A queryset that reports how far it has been read; querysets derived from it report to the same progress."""

    _reading: ReadingProgress
    # The queryset as the pattern returned it: its count is the total, whatever slices are read.
    _counted: QuerySet[Any]

    # QuerySet makes every derived queryset with _clone (checked with Django 5.2).
    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]  # django-stubs leaves _clone out: it is private
        clone._reading, clone._counted = self._reading, self._counted
        return clone

    def __iter__(self) -> Iterator[Any]:
        return self._reading.track(super().__iter__(), self._counted.count)

    def iterator(self, chunk_size: int | None = None) -> Iterator[Any]:
        return self._reading.track(super().iterator(chunk_size=chunk_size), self._counted.count)
