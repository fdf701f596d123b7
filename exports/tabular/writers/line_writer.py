"""The base of formats that have one line for each row: a header, then the lines of each batch."""

from abc import abstractmethod
from contextlib import closing

from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.serializer_pool import Block, Serializer, SerializerPool


class LineWriter(Writer):
    """Write lines. A subclass implements `serializer`, and `header` where it has one."""

    takes_raw_columns = True
    _pool: SerializerPool

    @abstractmethod
    def serializer(self) -> Serializer:
        """Return what turns a batch into lines. It has to be picklable: a child process may run it."""

    def header(self) -> bytes:
        """Return what comes before the first row."""
        return b""

    def begin(self) -> None:
        self.file.write(self.header())
        pool = SerializerPool(deflate=None, processes=self.processes, on_block=self._write_block)
        self._pool = self.resources.enter_context(closing(pool))
        self._pool.begin(self.serializer())

    def add(self, batch: Batch) -> None:
        self._pool.add(batch, self.rows)

    def finish(self) -> None:
        self._pool.drain()

    def _write_block(self, block: Block) -> None:
        self.count_altered(block.findings.alterations, block.findings.places)
        self.file.write(block.content)
