"""Exports of tables: what all of them share, whatever their rows come from."""

import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from django.db.models import QuerySet
from django.utils import timezone, translation
from django.utils.functional import Promise

from exports import faults
from exports.access import tenants
from exports.conf import config
from exports.exceptions import MissingMethod
from exports.exporters.sheets import Sheet, Total, sum_of, total_of
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.models.result import ExportResult
from exports.tabular import writers
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Alterations, Column
from exports.tabular.plan import TimeLimits
from exports.tabular.readers import querysets
from exports.tabular.writers import Batch, Writer, XlsxWriter
from exports.tabular.writers.xlsx.workbook import SheetDesign


class ExportRun(Protocol):
    """One attempt to make a file, as the exporter sees it. The worker's `Run` is one.

    `path` is where the exporter writes the file, `work_dir` a folder for its temporary files.
    """

    export: FileRequest
    path: Path
    work_dir: Path

    @property
    def rows_done(self) -> int:
        """The number of rows that were reported last."""

    def check(self) -> None:
        """Raise what ended the run, if it has ended, and TooManyBytes. Exporters call it between batches."""

    def check_size(self, size: int) -> None:
        """Raise TooManyBytes if a file of `size` bytes is too large."""

    def begin(self, rows_total: int | None, is_estimate: bool = False) -> None:
        """Report that writing begins. `rows_total` is None if it is not known. Raise TooManyRows."""

    def advance(self, rows_done: int) -> None:
        """Report the number of rows written so far. Raise like `check`, and TooManyRows."""

    def finishing(self, bytes_done: int, bytes_total: int | None) -> None:
        """Report the bytes written while the file is finished after its last row. Raise like `check`."""


class FileMaker(Protocol):
    """What the runner needs to make a file."""

    def extension(self, export: FileRequest) -> str:
        """Return the extension of the file, without a dot. Raise UnknownFormat."""

    def produce(self, run: ExportRun) -> ExportResult | None:
        """Write the file to `run.path`. Return None if the file was attached to the export instead."""

    def refusal(self, export: FileRequest) -> str | None:
        """Return the error code of why this stored export may not run now, or None if it may."""


class Exporter(FileMaker, Protocol):
    """What the registry returns for every file type: a TableExport, or an adapted handler."""

    def own_mail(self, export: FileRequest) -> Callable[[], object] | None:
        """Return what sends this exporter's own mail, or None to send the app's."""

    def finish(self, export: FileRequest) -> None:
        """Run after a run of this export has ended, whatever its outcome."""


@dataclass(frozen=True)
class Table:
    """Columns, the number of rows if known, the rows in batches of columns, and entries for the file's receipt."""

    columns: Sequence[Column]
    total: Total
    batches: Iterable[Batch]
    title: str = ""
    receipt: Mapping[str, Any] = field(default_factory=dict)


class TableExport:
    """An export of tables. A subclass says which tables an export has, and whether it may run.

    Attributes:
        title: The name of the export for users.
        processes: How many processes share the work of serialising the rows, at most EXPORTS["MAX_PROCESSES"].
        max_rows: Replaces EXPORTS["MAX_ROWS"] for this export. `math.inf` means no limit, here and below.
        max_bytes: Replaces EXPORTS["MAX_BYTES"].
        max_runtime_seconds: Replaces EXPORTS["MAX_RUNTIME_SECONDS"].
        retention_seconds: Replaces EXPORTS["RETENTION_SECONDS"]. With `math.inf` the files are kept forever.
        public_links: True lets users who may change an export create a link to its file that anyone can use.
        public_link_max_age_seconds: Replaces EXPORTS["PUBLIC_LINK_MAX_AGE_SECONDS"].

    """

    title: ClassVar[str | Promise] = ""
    processes: ClassVar[int] = 1
    max_rows: ClassVar[float | None] = None
    max_bytes: ClassVar[float | None] = None
    max_runtime_seconds: ClassVar[float | None] = None
    retention_seconds: ClassVar[float | None] = None
    public_links: ClassVar[bool] = False
    public_link_max_age_seconds: ClassVar[float | None] = None

    @property
    def tenant(self) -> str:
        """The key of the tenant in which the export was requested; "" on a site without tenants: docs/tenants.md."""
        return tenants.current()

    @property
    def kept_seconds(self) -> float | None:
        """For how long a file is kept, None for ever."""
        seconds = config.RETENTION_SECONDS if self.retention_seconds is None else self.retention_seconds
        return None if seconds == math.inf else seconds

    def tables(self, export: FileRequest) -> AbstractContextManager[Sequence[Table]]:
        """Return a context manager that opens the tables of this export, at least one, for reading in their order."""
        raise MissingMethod(f"{type(self).__name__} must define tables(export).")

    def refusal(self, export: FileRequest) -> str | None:
        raise MissingMethod(f"{type(self).__name__} must define refusal(export).")

    def design(self, sheet: SheetDesign) -> None:
        """Style a sheet of an XLSX file with XlsxWriter's own API: see docs/exports.md. Does nothing by default."""

    def own_mail(self, export: FileRequest) -> Callable[[], object] | None:
        return None

    def wants_mail(self, user: AnyUser) -> bool:
        """Return True, by default, if this user gets a mail about an end that they did not see on a page."""
        return True

    def finish(self, export: FileRequest) -> None:
        """Run after a run of this export has ended, whatever its outcome. Does nothing by default."""

    def get_filename(self, export: FileRequest) -> str:
        """Return the name under which browsers save the file."""
        return export.filename

    def extension(self, export: FileRequest) -> str:
        return writers.get(export.format).extension

    def produce(self, run: ExportRun) -> ExportResult:
        """Write the rows to `run.path`, one batch of columns at a time."""
        export, alterations = run.export, Alterations()
        writer_class = writers.get(export.format)
        title = str(self.title or export.description)
        # Without a hook of the project, unexpected rows of a workbook are XlsxWriter's and not the hook's.
        design = None if type(self).design is TableExport.design else self.design

        with run.path.open("xb") as file, ExitStack() as reading:
            tables = reading.enter_context(self.tables(export))
            total = sum_of([table.total for table in tables])
            with writer_class(
                file,
                tables[0].columns,
                options=export.options,
                zone=timezone.get_current_timezone(),
                title=tables[0].title or title,
                work_dir=run.work_dir,
                alterations=alterations,
                on_bytes=run.finishing,
                **_writer_options(writer_class, self.processes, design=design, document=title),
            ) as writer:
                run.begin(total.rows, total.is_estimate)
                rows = write_tables(writer, tables, run.advance)
                # The database's snapshot ends before the file is finished.
                reading.close()
                run.finishing(0, None)
                faults.point("before_close")
        receipt: dict[str, Any] = {
            # An estimate is nothing to compare the written rows with.
            "rows_asked": None if total.is_estimate else total.rows,
            "alterations": dict(alterations),
            "altered_cells": alterations.places,
            "language": translation.get_language(),
            "time_zone": timezone.get_current_timezone_name(),
        }
        for table in tables:
            receipt |= table.receipt
        return ExportResult(
            self.get_filename(export),
            writer.content_type,
            rows,
            receipt,
            retention_seconds=self.kept_seconds,
        )


@contextmanager
def tables_of(
    sheets: Sequence[Sheet], *, count: str = "exact", dialect: Dialect | None = None, is_long: bool = False
) -> Iterator[list[Table]]:
    """Open the rows of these sheets; those of one database are counted and read from one snapshot.

    Each table is read when its batches are; all of them are closed at the end.

    Args:
        sheets: The sheets, in the order of the file.
        count: How the rows are counted beforehand, a key of COUNTS.
        dialect: The `dialect_of` the file, where the database may write lines of CSV itself.
        is_long: Read a copy of the database rather than hold up the writes of others: `querysets.copied`.

    Raises:
        UnknownColumn: A sheet names a column that its rows do not have.

    """
    tables: list[Table] = []
    # Whether all rows of a database are read from one state, by alias.
    snapshots: dict[str, bool] = {}
    # All columns are checked before the first query: counting a large sheet may take minutes.
    resolved = [sheet.resolve(sheet.columns) for sheet in sheets]
    size = config.BATCH_ROWS
    with ExitStack() as reading:
        for sheet in sheets:
            if isinstance(sheet.rows, QuerySet) and sheet.rows.db not in snapshots:
                if is_long:
                    reading.enter_context(querysets.copied(sheet.rows.db))
                snapshot = querysets.snapshot(sheet.rows.db, config.STATEMENT_TIMEOUT_SECONDS)
                snapshots[sheet.rows.db] = reading.enter_context(snapshot)
        for sheet, columns in zip(sheets, resolved, strict=True):
            if isinstance(sheet.rows, QuerySet):
                total = total_of(sheet.rows, count)
                if not snapshots[sheet.rows.db]:
                    total = replace(total, is_estimate=True)
                batches = querysets.batches(sheet.rows, columns, size=size, dialect=dialect, limits=time_limits())
            else:
                total, batches = Total(sheet.length), sheet.batches(columns, size=size)
            tables.append(Table(columns, total, reading.enter_context(closing(batches)), sheet.title))
        yield tables


@contextmanager
def table_of(
    queryset: QuerySet[Any], columns: Sequence[Column], *, dialect: Dialect | None = None, is_long: bool = False
) -> Iterator[Table]:
    """Open the rows of a queryset, as `tables_of` does. Raise UnknownColumn."""
    with tables_of([Sheet("", queryset, columns)], dialect=dialect, is_long=is_long) as [table]:
        yield table


def dialect_of(format: str, options: Mapping[str, Any]) -> Dialect | None:
    """Return the CSV that the database itself may write for this format in the active time zone.

    None means that the database returns values, from which any file can be made.
    """
    return writers.get(format).dialect(options, timezone.get_current_timezone())


def write_tables(writer: Writer, tables: Sequence[Table], advance: Callable[[int], None]) -> int:
    """Write the tables one after the other and return the number of rows; the writer has begun the first table.

    `advance` is called after each batch with the number of rows so far, over all tables. Raise RowsDiffer.
    """
    for number, table in enumerate(tables):
        if number:
            writer.begin_table(table.title, table.columns)
        rows_before = writer.rows
        for batch in table.batches:
            writer.write(batch)
            advance(writer.rows)
        table.total.check(writer.rows - rows_before, table.title)
    return writer.rows


def write_now(
    table: Table, file: BinaryIO, *, format: str, options: Mapping[str, Any], title: str, processes: int = 1
) -> None:
    """Write a table to `file` without a run, for what is small enough to be answered in the request."""
    writer_class = writers.get(format)
    with writer_class(
        file,
        table.columns,
        options=options,
        zone=timezone.get_current_timezone(),
        title=title,
        **_writer_options(writer_class, processes),
    ) as writer:
        write_tables(writer, [table], lambda rows: None)


def time_limits() -> TimeLimits:
    """Return how long a database statement and a run may take, by EXPORTS."""
    return TimeLimits(config.STATEMENT_TIMEOUT_SECONDS, config.MAX_RUNTIME_SECONDS)


def _writer_options(writer_class: type[Writer], processes: int, **hooks: Any) -> dict[str, Any]:
    """Return the arguments of a writer that depend on its class: only XLSX has `hooks` and a deflate engine."""
    # `Any`: the arguments of one writer class or another.
    limit = config.MAX_PROCESSES or os.cpu_count() or 1
    if multiprocessing.current_process().daemon:
        limit = 1  # Python lets such a process, as the prefork workers of Celery are, have no children.
    options: dict[str, Any] = {"processes": min(processes, limit)}
    if issubclass(writer_class, XlsxWriter):
        options |= {"engine": config.DEFLATE_ENGINE, "level": config.DEFLATE_LEVEL, **hooks}
    return options
