"""What a format is: batches of columns in, bytes out. No Django here: a `BytesIO` is enough to use one.

A project adds a format in a dozen lines:

    @register
    class JsonTextSequenceWriter(Writer):
        format, extension, content_type, label = "json-seq", "json-seq", "application/json-seq", "JSON sequence"

        def add(self, batch):
            names = [column.name for column in self.columns]
            for row in zip(*batch):
                self.file.write(b"\\x1e" + json.dumps(dict(zip(names, row)), default=str).encode() + b"\\n")
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

from exports.exceptions import BadOption, TooManyColumns
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Alterations, Column

Batch = Sequence[Sequence[object]]


def ignore(done: int, expected: int | None) -> None:
    """The report of bytes that nobody asked for."""


class Writer(ABC):
    """Writes one file. A subclass names its format and gives `add`, and where it needs them `begin` and `finish`.

    `choices` has the options with their allowed values, the default first. `finishing_share` is about the share of a
    run's time that `close` takes, 0 to 1. `holds_tables` says that one file may have several: see `begin_table`.

    Most writers have a serialiser (see `pipeline`) do the work, so that several processes can share it.
    """

    format: ClassVar[str]
    extension: ClassVar[str]
    content_type: ClassVar[str]
    label: ClassVar[str]
    finishing_share: ClassVar[float] = 0.0
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    max_columns: ClassVar[int | None] = None
    holds_tables: ClassVar[bool] = False

    def __init__(
        self,
        file: BinaryIO,
        columns: Sequence[Column],
        *,
        options: Mapping[str, object] | None = None,
        zone: tzinfo = UTC,
        title: str = "",
        work_dir: Path | None = None,
        alterations: Alterations | None = None,
        on_bytes: Callable[[int, int | None], None] = ignore,
        processes: int = 1,
    ) -> None:
        """Begin the file, header included.

        `zone` is the zone that moments are shown in, `work_dir` the folder for temporary files (None: the system's),
        `alterations` the count to add to. `on_bytes(done, expected)` is called while closing, with the bytes written so
        far and an estimate of them all, or None; what it raises ends the closing. `processes` serialise the rows: 1 is
        this one, more are processes beside it.

        Raises BadOption, TooManyColumns, FormulaRejected (by a header), OSError, and ValueError without columns.
        """
        self.file = file
        self.columns = list(columns)
        self.options = self.clean_options(options or {})
        self.zone = zone
        self.title = title
        self.work_dir = work_dir
        self.alterations = Alterations() if alterations is None else alterations
        self.on_bytes = on_bytes
        self.processes = processes
        self.rows = 0
        self.is_closed = False
        self._check_columns()
        self._or_discard(self.begin)

    @classmethod
    def clean_options(cls, options: Mapping[str, object]) -> dict[str, object]:
        """All options of the format, defaults filled in. Raises BadOption for an unknown name or a forbidden value."""
        for name in options:
            if name not in cls.choices:
                raise BadOption(name, f"{cls.label} has no such option. It has {', '.join(cls.choices) or 'none'}.")
        return {name: cls._chosen(name, options) for name in cls.choices}

    @classmethod
    def _chosen(cls, name: str, options: Mapping[str, object]) -> object:
        allowed = cls.choices[name]
        value = options.get(name, allowed[0])
        if any(value == choice and type(value) is type(choice) for choice in allowed):
            return value
        raise BadOption(name, f"{value!r} is not allowed. Use one of {', '.join(map(repr, allowed))}.")

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> Dialect | None:
        """The lines of CSV that a database may write for this format, if any: `write` takes them as a SqlCsvBatch."""
        return None

    def write(self, batch: Batch) -> None:
        """Add rows, given as one sequence of values for each column, all equally long.

        Raises ValueError for a batch of another shape, FormulaRejected, LostCells, OSError.
        """
        rows = self._rows_of(batch)
        if rows:
            self.add(batch)
            self.rows += rows

    def begin_table(self, title: str, columns: Sequence[Column]) -> None:
        """End this table and begin another one: a sheet. Only where `holds_tables`. Raises what `begin` raises."""
        raise ValueError(f"{self.label} holds one table.")

    def close(self) -> None:
        """Finish the bytes; the file stays open. Raises OSError when the disk is full, and what `on_bytes` raises."""
        if not self.is_closed:
            self._or_discard(self.finish)
            self.is_closed = True

    def discard(self) -> None:
        """Give up an unfinished file: release what the writer holds. To call after an error; closed is fine too."""
        self.is_closed = True

    def begin(self) -> None:  # noqa: B027
        """Write what comes before the rows."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write at least one row."""

    def finish(self) -> None:  # noqa: B027
        """Write what comes after the rows."""

    def _check_columns(self) -> None:
        if not self.columns:
            raise ValueError("A file needs at least one column.")
        if self.max_columns is not None and len(self.columns) > self.max_columns:
            raise TooManyColumns(f"{self.label} holds {self.max_columns:,} columns, not {len(self.columns):,}.")

    def _or_discard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self.discard()
            raise

    def _rows_of(self, batch: Batch) -> int:
        if self.is_closed:
            raise ValueError("This file is closed.")
        if len(batch) != len(self.columns):
            raise ValueError(f"A batch of {len(batch)} columns for a file of {len(self.columns)}.")
        if not isinstance(batch, list | tuple):
            return row_count(batch)
        lengths = set(map(len, batch))
        if len(lengths) != 1:
            raise ValueError(f"The columns of a batch differ in length: {sorted(lengths)}.")
        return lengths.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close after the last row, discard after an error."""
        if error is None:
            self.close()
        else:
            self.discard()


class CountedFile:
    """A binary file that reports how far it has been written.

    `expected` is the estimate of all bytes, None before there is one. It is reported with each write, never below what
    is written.
    """

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int, int | None], None]) -> None:
        self.expected: int | None = None
        self._file = file
        self._on_bytes = on_bytes
        self._start = file.tell()
        self._done = 0

    def write(self, content: bytes) -> int:
        written = self._file.write(content)
        self._done = max(self._done, self.tell())
        self._on_bytes(self._done, None if self.expected is None else max(self.expected, self._done))
        return written

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset + self._start if whence == os.SEEK_SET else offset, whence) - self._start

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        self._file.flush()
