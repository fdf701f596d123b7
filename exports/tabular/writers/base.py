"""The interface of a file format: batches of columns in, bytes out. Uses no Django; a `BytesIO` is enough to write to.

docs/custom-writers.md shows how a project adds a format.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

from xlsxwriter.utility import xl_rowcol_to_cell

from exports.exceptions import BadOption, CellPlace, DeclarationError, TooManyColumns
from exports.tabular.cells.altered_places import MAX_PLACES, AlteredCell
from exports.tabular.cells.plain_values import python_values
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Alterations, Column

# One sequence of values for each column, all of the same length.
Batch = Sequence[Sequence[object]]

# Called with the bytes written so far and the estimated total, or None where there is no estimate yet.
OnBytes = Callable[[int, int | None], None]


class Writer(ABC):
    """Write one file.

    A subclass names its format and implements `add`; it overrides `begin` and `finish` where a file has a header or an
    end. What has to be released, after success and after an error, goes to the ExitStack `resources`.

    Attributes:
        format: the name by which an export asks for the format
        extension, content_type, label: of the file; the label is shown to users
        finishing_share: the approximate share of the whole time that `close` takes, from 0 to 1, for the progress bar
        choices: the options with their allowed values, the default first
        max_columns: the largest number of columns, None for any
        holds_tables: True if one file can hold several tables: see `begin_table`
        takes_raw_columns: True if `add` also takes columns as a database returned them, see `cells.raw_columns`; else
            it gets what `python_values` returns

    """

    format: ClassVar[str]
    extension: ClassVar[str]
    content_type: ClassVar[str]
    label: ClassVar[str]
    finishing_share: ClassVar[float] = 0.0
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    max_columns: ClassVar[int | None] = None
    holds_tables: ClassVar[bool] = False
    takes_raw_columns: ClassVar[bool] = False

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
        on_bytes: OnBytes = lambda done, expected: None,
        processes: int = 1,
    ) -> None:
        """Begin the file and write its header.

        Args:
            file: where the bytes go; it is never closed here
            columns: at least one
            options: of the format, see `choices`
            zone: the time zone in which aware datetimes are written
            title: the name of the first table, where the format has names for tables
            work_dir: the folder for temporary files, None for the system's
            alterations: the counter to add altered cells to
            on_bytes: called while the file is being closed; an exception that it raises ends the closing
            processes: 1 to serialize the rows in this process, more to start as many child processes for it

        Raises BadOption, TooManyColumns, FormulaRejected (for a header), OSError, and DeclarationError without columns.

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
        self.resources = ExitStack()
        self.rows = 0
        self.is_closed = False
        self.check_columns()
        with self.discard_on_error():
            self.begin()

    @classmethod
    def clean_options(cls, options: Mapping[str, object]) -> dict[str, object]:
        """Return all options of the format, defaults filled in.

        Raises BadOption for an unknown name or a value that is not allowed.
        """
        for name, value in options.items():
            if name not in cls.choices:
                raise BadOption(name, f"{cls.label} has no such option. It has {', '.join(cls.choices) or 'none'}.")
            allowed = cls.choices[name]
            # The types are compared too, because 1 == True.
            if not any(value == choice and type(value) is type(choice) for choice in allowed):
                raise BadOption(name, f"{value!r} is not allowed. Use one of {', '.join(map(repr, allowed))}.")
        return {name: options.get(name, allowed[0]) for name, allowed in cls.choices.items()}

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> Dialect | None:
        """Return the dialect of CSV that a database may render for this format, or None if it may not.

        Where it may, `write` takes a SqlCsvBatch too.
        """
        return None

    def write(self, batch: Batch) -> None:
        """Add rows, given as one sequence of values for each column, all of the same length.

        Raises ValueError if the file is closed, DeclarationError for a batch of another shape, FormulaRejected,
        LostCells, OSError.
        """
        if self.is_closed:
            raise ValueError("This file is closed.")
        if len(batch) != len(self.columns):
            raise DeclarationError(f"A batch of {len(batch)} columns for a file of {len(self.columns)}.")
        if isinstance(batch, list | tuple):
            lengths = set(map(len, batch))
            if len(lengths) != 1:
                raise DeclarationError(f"The columns of a batch differ in length: {sorted(lengths)}.")
            rows = lengths.pop()
        else:
            rows = row_count(batch)
        if rows:
            if self.takes_raw_columns:
                self.add(batch)
            else:
                values = [python_values(batch[number], self.zone) for number in range(len(batch))]
                try:
                    self.add(values)
                except Exception as error:
                    error.add_note(CellPlace(f"rows {self.rows + 1:,} to {self.rows + rows:,}"))
                    raise
            self.rows += rows

    def begin_table(self, title: str, columns: Sequence[Column]) -> None:
        """End the current table and begin another one (a sheet), in a format that `holds_tables`.

        Raises what `__init__` raises, and DeclarationError where the format holds one table only.
        """
        raise DeclarationError(f"{self.label} holds one table.")

    def close(self) -> None:
        """Write the end of the file, which itself stays open.

        Raises OSError when the disk is full, and whatever `on_bytes` raises.
        """
        if self.is_closed:
            return
        with self.discard_on_error():
            self.finish()
            self.resources.close()
        self.is_closed = True

    def discard(self) -> None:
        """Give up the file and release what the writer holds. Calling it again, or after `close`, does nothing."""
        self.is_closed = True
        self.resources.close()

    def address(self, row: int, column: int) -> str:
        """Return how the format's readers call a cell of the current sheet; both numbers count its values from 0."""
        return str(xl_rowcol_to_cell(row + 1, column))

    def count_altered(self, alterations: Alterations, places: Iterable[AlteredCell]) -> None:
        """Add to the altered cells, and keep the addresses of the first MAX_PLACES of each kind."""
        self.alterations.update(alterations)
        for cell in places:
            known = self.alterations.places.setdefault(cell.kind, [])
            if len(known) < MAX_PLACES:
                known.append(self.address(cell.row, cell.column))

    def begin(self) -> None:  # noqa: B027
        """Write what comes before the rows."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write the rows of a batch that has at least one."""

    def finish(self) -> None:  # noqa: B027
        """Write what comes after the rows."""

    def check_columns(self) -> None:
        """Raise DeclarationError without columns, and TooManyColumns for more than the format holds."""
        if not self.columns:
            raise DeclarationError("A file needs at least one column.")
        if self.max_columns is not None and len(self.columns) > self.max_columns:
            raise TooManyColumns(f"{self.label} holds {self.max_columns:,} columns, not {len(self.columns):,}.")

    @contextmanager
    def discard_on_error(self) -> Iterator[None]:
        """Discard the file if the block raises, KeyboardInterrupt included."""
        try:
            yield
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, or discard it after an error."""
        if error is None:
            self.close()
        else:
            self.discard()
