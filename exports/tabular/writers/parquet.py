"""Parquet, written by pyarrow, which is imported when a file is begun."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from exports.tabular.cells.error_places import note_cell
from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.field_names import unique_field_names

if TYPE_CHECKING:
    import pyarrow as pa

    from exports.tabular.writers.arrow_columns import ArrowColumn

# A row group is written when it has this many rows, or bytes in memory: this bounds the memory.
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 64 * 2**20
# A column whose different values need more than this is smaller, and written faster, without a dictionary.
DICTIONARY_BYTES: Final = 2**16


class ParquetWriter(Writer):
    """Write columns that have one type each, by their kind: see docs/formats.md. `write` raises UnfitValue too.

    The option is `compression`. `processes` has no effect: pyarrow writes a row group in a thread, without the
    interpreter's lock, while the next rows are read.
    """

    format = "parquet"
    extension = "parquet"
    content_type = "application/vnd.apache.parquet"
    label = "Parquet"
    takes_raw_columns = True
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {"compression": ("zstd", "snappy", "none")}

    # Any, because pyarrow has no types. It is None until the first row group, whose values decide on the types.
    _parquet: Any = None

    def begin(self) -> None:
        """Begin the file. Raises DuplicateColumn if two columns have the same name."""
        # First of all, because `discard` needs it where the import of pyarrow fails.
        self._file = _DiscardableFile(self.file)
        from exports.tabular.writers.arrow_columns import arrow_column

        names = unique_field_names(self.columns, self.alterations)
        self._columns: list[ArrowColumn] = [
            arrow_column(replace(column.picklable, name=name), zone=self.zone, alterations=self.alterations)
            for column, name in zip(self.columns, names, strict=True)
        ]
        self._thread = self.resources.enter_context(ThreadPoolExecutor(1, thread_name_prefix="parquet"))
        self._running: Future[None] | None = None
        self._group: list[list[pa.Array]] = [[] for _ in self._columns]
        self._group_rows = self._group_bytes = 0

    def add(self, batch: Batch) -> None:
        arrays = []
        for number, column in enumerate(self._columns):
            values = batch[number]
            try:
                arrays.append(column.array(values))
            except Exception as error:
                note_cell(error, self.columns[number], values, column.array, self.rows)
                raise
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

    def discard(self) -> None:
        # pyarrow writes the end of the file when it is closed or collected; that is dropped.
        self._file.is_discarded = True
        self._group, self._running = [], None
        super().discard()
        if self._parquet is not None:
            self._parquet.close()

    def _write_group(self) -> None:
        """Write the collected rows as one row group, in the thread. The first call opens the file."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter as PyarrowWriter

        from exports.tabular.writers.arrow_columns import POOL, cast_array

        self._wait()
        if self._parquet is None:
            self._parquet = PyarrowWriter(
                self._file,
                pa.schema([column.field() for column in self._columns]),
                compression=str(self.options["compression"]),
                dictionary_pagesize_limit=DICTIONARY_BYTES,
                memory_pool=POOL,
            )
        if self._group_rows:
            schema = self._parquet.schema
            # Rows without any value were collected before their column had a type.
            columns = [
                pa.chunked_array([cast_array(array, field.type) for array in arrays], field.type)
                for arrays, field in zip(self._group, schema, strict=True)
            ]
            table = pa.table(columns, schema=schema)
            self._running = self._thread.submit(self._parquet.write_table, table, self._group_rows)
        self._group = [[] for _ in self._columns]
        self._group_rows = self._group_bytes = 0

    def _wait(self) -> None:
        """Wait until the thread has written its row group. Raises what it raised."""
        if self._running is not None:
            self._running.result()
            self._running = None


class _DiscardableFile:
    """A file as pyarrow needs one: never closed, and once `is_discarded`, without effect."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.is_discarded = False
        self._file = file

    def write(self, content: bytes) -> int:
        return len(content) if self.is_discarded else self._file.write(content)

    def flush(self) -> None:
        if not self.is_discarded:
            self._file.flush()
