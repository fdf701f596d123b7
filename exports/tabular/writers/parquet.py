"""Parquet by pyarrow, which is imported when a file is begun."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final

from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.field_names import names_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter as Parquet

    from exports.tabular.writers.arrow import ArrowColumn

# A group of rows is written when it has so many rows, or bytes of columns: this bounds the memory.
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 64 * 2**20
# Columns of more different values than this holds are smaller, and faster, without a dictionary.
DICTIONARY_BYTES: Final = 2**16


class ParquetWriter(Writer):
    """Columns of one type each, by their kind: see docs/formats.md. `write` raises UnfitValue too.

    Option: `compression`. `processes` changes nothing: pyarrow writes a group in a thread, without the interpreter's
    lock, while the next rows are read.
    """

    format = "parquet"
    extension = "parquet"
    content_type = "application/vnd.apache.parquet"
    label = "Parquet"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {"compression": ("zstd", "snappy", "none")}

    _parquet: "Parquet | None" = None
    _sink: "Sink | None" = None
    _thread: ThreadPoolExecutor | None = None
    _under_way: "Future[None] | None" = None

    def begin(self) -> None:
        """Raises DuplicateColumn."""
        from exports.tabular.writers.arrow_types import arrow_column

        names = names_of(self.columns, self.alterations)
        self._columns: list[ArrowColumn] = [
            arrow_column(replace(column.picklable, name=name), zone=self.zone, alterations=self.alterations)
            for column, name in zip(self.columns, names, strict=True)
        ]
        self._sink = Sink(self.file)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._begin_group()

    def add(self, batch: Batch) -> None:
        arrays = [column.array(batch[number]) for number, column in enumerate(self._columns)]
        for waiting, array in zip(self._group, arrays, strict=True):
            waiting.append(array)
        self._group_rows += len(arrays[0])
        self._group_bytes += sum(array.nbytes for array in arrays)
        if self._group_rows >= GROUP_ROWS or self._group_bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        self._write_group()
        self._wait()
        self._parquet.close()
        self._thread.shutdown()

    def discard(self) -> None:
        """pyarrow would still write an end when it is collected; that goes nowhere."""
        super().discard()
        self._group, self._under_way = [], None
        if self._sink is not None:
            self._sink.is_discarded = True
        if self._thread is not None:
            self._thread.shutdown()
        if self._parquet is not None:
            self._parquet.close()

    def _begin_group(self) -> None:
        self._group: list[list[pa.Array]] = [[] for _ in self._columns]
        self._group_rows = self._group_bytes = 0

    def _write_group(self) -> None:
        """Let the rows that wait, if there are any, be written as one group. The first one opens the file."""
        self._wait()
        if self._parquet is None:
            self._parquet = self._opened()
        if self._group_rows:
            table = self._table(self._parquet.schema)
            self._under_way = self._thread.submit(self._parquet.write_table, table, self._group_rows)
        self._begin_group()

    def _wait(self) -> None:
        """Until the group under way is written. Raises what stopped it."""
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def _table(self, schema: "pa.Schema") -> "pa.Table":
        import pyarrow as pa

        from exports.tabular.writers.arrow import cast

        # Rows without any value were kept until their column had a type.
        columns = [
            pa.chunked_array([cast(array, field.type) for array in arrays], field.type)
            for arrays, field in zip(self._group, schema, strict=True)
        ]
        return pa.table(columns, schema=schema)

    def _opened(self) -> "Parquet":
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter as Parquet

        from exports.tabular.writers.arrow import POOL

        return Parquet(
            self._sink,
            pa.schema([column.field() for column in self._columns]),
            compression=str(self.options["compression"]),
            dictionary_pagesize_limit=DICTIONARY_BYTES,
            memory_pool=POOL,
        )


class Sink:
    """The file as pyarrow needs one. Never closed; once `is_discarded`, it drops what it is given."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.is_discarded = False
        self._file = file

    def write(self, content: bytes) -> int:
        return len(content) if self.is_discarded else self._file.write(content)

    def flush(self) -> None:
        if not self.is_discarded:
            self._file.flush()
