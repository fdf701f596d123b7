"""Formats of one line a row: a header, then lines that a serialiser makes of each batch."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.pipeline import Block, Pipeline, Serialise

SEPARATOR: Final = "\x00"


class LinesWriter(Writer):
    """A subclass gives the serialiser of its lines, and the header where it has one."""

    _pipeline: Pipeline | None = None

    @abstractmethod
    def serialiser(self) -> Serialise:
        """What makes bytes of a batch: picklable."""

    def header(self) -> bytes:
        """What comes before the first row."""
        return b""

    def begin(self) -> None:
        self.file.write(self.header())
        self._pipeline = Pipeline(deflate=None, processes=self.processes, on_block=self._put)
        self._pipeline.begin(self.serialiser())

    def add(self, batch: Batch) -> None:
        self._pipeline.add(batch, self.rows)

    def finish(self) -> None:
        self._pipeline.drain()
        self._pipeline.discard()

    def discard(self) -> None:
        super().discard()
        if self._pipeline is not None:
            self._pipeline.discard()

    def _put(self, block: Block) -> None:
        self.alterations.update(block.alterations)
        self.file.write(block.content)


def interleaved(pieces: Sequence[str], columns: Mapping[int, Sequence[str]]) -> bytes:
    """Rows in UTF-8. `pieces` are those of a row; at the places of `columns` each row has its own.

    Slices are assigned, which takes a fifth of the time that formatting each row takes. What is not ASCII is encoded
    before, a column at a time, because one wide character makes the whole text wide, and slow to join.
    """
    width, rows = len(pieces), len(next(iter(columns.values())))
    texts = [_as_bytes(piece) for piece in pieces] * rows
    # The same column may have several places.
    encoded = {id(column): _all_as_bytes(column) for column in columns.values()}
    for place, column in columns.items():
        texts[place::width] = encoded[id(column)]
    return "".join(texts).encode("latin-1")


def _all_as_bytes(column: Sequence[str]) -> Sequence[str]:
    joined = SEPARATOR.join(column)
    if joined.isascii():
        return column
    encoded = _as_bytes(joined).split(SEPARATOR)
    # A text may have the separator in it, where control characters are left alone.
    return encoded if len(encoded) == len(column) else list(map(_as_bytes, column))


def _as_bytes(text: str) -> str:
    """The bytes of UTF-8, as a character each."""
    return text.encode().decode("latin-1")
