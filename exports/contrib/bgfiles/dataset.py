"""What a pattern works on: criteria, items that count as they are read, and the buffer that takes the bytes."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from django.db.models import QuerySet

IN_MEMORY = 1 << 20
BLOCK = 1 << 20


class Dataset:
    """The criteria, the items, and whether the file is made later."""

    def __init__(self, criteria: Any, items: Any = None, delay: bool = False) -> None:
        self.criteria = criteria
        self.items = items
        self.delay = delay


class Spool(tempfile.SpooledTemporaryFile):
    """A buffer for the bytes of a file: in memory while it is small, on disk (in `folder`) beyond a mebibyte."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(max_size=IN_MEMORY, mode="w+b", dir=folder)

    def getvalue(self) -> bytes:
        """All of it at once, as BytesIO has it."""
        self.seek(0)
        return self.read()


@contextmanager
def closed_on_error(buffer: Any) -> Iterator[Any]:
    """A buffer that has a file is closed where writing into it fails."""
    try:
        yield buffer
    except BaseException:
        if hasattr(buffer, "close"):
            buffer.close()
        raise


def spooled(buffer: Any) -> Any:
    """The bytes of any buffer as one that can be read and sought; of text, in UTF-8."""
    if hasattr(buffer, "read") and isinstance(buffer.read(0), bytes):
        return buffer
    spool = Spool()
    pour(buffer, spool)
    return spool


def pour(buffer: Any, file: BinaryIO) -> None:
    """Copy what was written into a buffer to a file, and close the buffer: by blocks, or at once where it only has
    getvalue. Text becomes UTF-8."""
    for chunk in _chunks(buffer):
        file.write(chunk.encode() if isinstance(chunk, str) else chunk)
    if hasattr(buffer, "close"):
        buffer.close()


def _chunks(buffer: Any) -> Iterator[bytes | str]:
    if not hasattr(buffer, "read"):
        yield buffer.getvalue()
        return
    buffer.seek(0)
    while chunk := buffer.read(BLOCK):
        yield chunk


class Reading:
    """How far the items of one dataset have been read, however often and in whatever parts."""

    def __init__(self, begin: Callable[[int | None], None], advance: Callable[[int], None]) -> None:
        self._begin, self._advance = begin, advance
        self._total: int | None = None
        self._done = 0
        self._has_begun = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def steps(self, items: Iterator[Any], total: Callable[[], int | None]) -> Iterator[Any]:
        """The items, each counted once the next one is asked for. `total()` is asked before the first of all."""
        if not self._has_begun:
            self._has_begun, self._total = True, total()
            self._begin(self._total)
        for item in items:
            yield item
            # Whoever looks at the first row first, or reads some rows twice, has not made more of them.
            self._done = self._done + 1 if self._total is None else min(self._done + 1, self._total)
            self._advance(self._done)


def counted(items: Any, *, begin: Callable[[int | None], None], advance: Callable[[int], None]) -> Any:
    """The same items; whoever iterates them calls `begin(total)` once, then `advance(done)` after each.

    A queryset stays one of its class, and what is made of it counts towards all of it. A list stays a list, an iterator
    one. What cannot be counted, text or a mapping for instance, is returned as it is.
    """
    reading = Reading(begin, advance)
    if isinstance(items, QuerySet):
        return _counted_queryset(items, reading)
    if type(items) is list:
        return CountedList(items, reading)
    if isinstance(items, Iterator):
        return reading.steps(items, lambda: None)
    return items


class CountedList(list):
    """A list that tells how far it has been read."""

    def __init__(self, items: list[Any], reading: Reading) -> None:
        super().__init__(items)
        self._reading = reading

    def __iter__(self) -> Iterator[Any]:
        return self._reading.steps(super().__iter__(), self.__len__)


class CountedRows:
    """What a queryset needs to tell how far it has been read; its clones tell it too."""

    _reading: Reading
    _root: QuerySet[Any]

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._reading, clone._root = self._reading, self._root
        return clone

    def __iter__(self) -> Iterator[Any]:
        return self._reading.steps(super().__iter__(), self._root.count)

    def iterator(self, chunk_size: int | None = None) -> Iterator[Any]:
        return self._reading.steps(super().iterator(chunk_size=chunk_size), self._root.count)


def _counted_queryset(queryset: QuerySet[Any], reading: Reading) -> QuerySet[Any]:
    plain = type(queryset)
    clone = queryset.all()
    clone.__class__ = type(f"Counted{plain.__name__}", (CountedRows, plain), {})
    clone._reading, clone._root = reading, queryset.all()
    return clone
