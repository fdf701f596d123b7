"""What a pattern works on: criteria, items that count as they are read, and the buffer that takes the bytes."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from django.db.models import QuerySet

IN_MEMORY = 1 << 20


class Dataset:
    """The criteria, the items, and whether the file is made later."""

    def __init__(self, criteria: Any, items: Any = None, delay: bool = False) -> None:
        self.criteria = criteria
        self.items = items
        self.delay = delay


class Spool(tempfile.SpooledTemporaryFile):
    """A buffer for the bytes of a file: in memory while it is small, on disk beyond a mebibyte."""

    def __init__(self) -> None:
        super().__init__(max_size=IN_MEMORY, mode="w+b")

    def getvalue(self) -> bytes:
        """All of it at once, as BytesIO has it."""
        self.seek(0)
        return self.read()


def pour(buffer: Any, file: BinaryIO, *, block: int = 1 << 20) -> None:
    """Copy what was written into a buffer to a file: by blocks, or at once where it only has getvalue."""
    if not hasattr(buffer, "read"):
        file.write(buffer.getvalue())
        return
    buffer.seek(0)
    while chunk := buffer.read(block):
        file.write(chunk)


def counted(items: Any, *, begin: Callable[[int | None], None], advance: Callable[[int], None]) -> Any:
    """The same items; whoever iterates them calls `begin(total)`, then `advance(done)` after each.

    A queryset stays one of its class, and so do the querysets made of it. A list or tuple becomes a list. What cannot
    be counted, text or a mapping for instance, is returned as it is.
    """
    if isinstance(items, QuerySet):
        return _counted_queryset(items, begin, advance)
    if isinstance(items, list | tuple):
        return CountedList(items, begin, advance)
    if isinstance(items, Iterator):
        return _stepping(items, None, begin, advance)
    return items


class CountedList(list):
    """A list that tells how far it has been read."""

    def __init__(
        self, items: Iterable[Any], begin: Callable[[int | None], None], advance: Callable[[int], None]
    ) -> None:
        super().__init__(items)
        self._begin, self._advance = begin, advance

    def __iter__(self) -> Iterator[Any]:
        return _stepping(super().__iter__(), len(self), self._begin, self._advance)


class CountedRows:
    """What a queryset needs to tell how far it has been read; its clones tell it too."""

    _begin: Callable[[int | None], None]
    _advance: Callable[[int], None]

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._begin, clone._advance = self._begin, self._advance
        return clone

    def __iter__(self) -> Iterator[Any]:
        return _stepping(super().__iter__(), len(self), self._begin, self._advance)

    def iterator(self, chunk_size: int | None = None) -> Iterator[Any]:
        return _stepping(super().iterator(chunk_size=chunk_size), self.count(), self._begin, self._advance)


def _counted_queryset(queryset: QuerySet[Any], begin: Any, advance: Any) -> QuerySet[Any]:
    plain = type(queryset)
    clone = queryset.all()
    clone.__class__ = type(f"Counted{plain.__name__}", (CountedRows, plain), {})
    clone._begin, clone._advance = begin, advance
    return clone


def _stepping(items: Iterator[Any], total: int | None, begin: Any, advance: Any) -> Iterator[Any]:
    begin(total)
    for number, item in enumerate(items, start=1):
        yield item
        advance(number)
