"""Tables and how they become a file: what exports of rows have in common, whatever the rows come from."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, ClassVar

from django.db.models import QuerySet
from django.utils import timezone, translation

from exports import faults
from exports.conf import config
from exports.exporters.sheets import COUNTS, Sheet, Total, sum_of
from exports.models import FileRequest
from exports.models.result import ExportResult
from exports.tabular import writers
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Alterations, Column
from exports.tabular.plan import TimeLimits
from exports.tabular.readers import querysets, resolve
from exports.tabular.writers import Batch, Writer, XlsxWriter
from exports.tabular.writers.xlsx.workbook import SheetDesign
from exports.worker.runner import Run


@dataclass(frozen=True)
class Table:
    """Columns, how many rows there are to write (None: nobody knows), the rows in batches of columns, and what the
    receipt of the file says beside the counts."""

    columns: Sequence[Column]
    rows_total: int | None
    batches: Iterable[Batch]
    title: str = ""
    is_estimate: bool = False
    receipt: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> Total:
        return Total(self.rows_total, self.is_estimate)


class TableExport:
    """An export of tables. A subclass says which ones a request asks for, and whether it may run.

    `processes` share the work of serialising the rows, up to EXPORTS["MAX_PROCESSES"]. `max_rows`, `max_bytes` and
    `max_runtime_seconds` are its ceilings in place of EXPORTS["MAX_ROWS"], ["MAX_BYTES"] and ["MAX_RUNTIME_SECONDS"];
    `math.inf` for none.

    Its files stay for `retention_seconds` seconds in place of EXPORTS["RETENTION_SECONDS"]; `math.inf` for ever.

    With `public_links` whoever may change a request may make a link to its file that anyone can use, good for
    `public_link_max_age_seconds` seconds in place of EXPORTS["PUBLIC_LINK_MAX_AGE_SECONDS"].
    """

    title: ClassVar[Any] = ""
    processes: ClassVar[int] = 1
    max_rows: ClassVar[float | None] = None
    max_bytes: ClassVar[float | None] = None
    max_runtime_seconds: ClassVar[float | None] = None
    retention_seconds: ClassVar[float | None] = None
    public_links: ClassVar[bool] = False
    public_link_max_age_seconds: ClassVar[float | None] = None

    def tables(self, request: FileRequest) -> AbstractContextManager[Sequence[Table]]:
        """The tables of this request, at least one, open for reading inside, each after the one before it."""
        raise NotImplementedError(f"{type(self).__name__} must define tables(request).")

    def refusal(self, request: FileRequest) -> str | None:
        """The error code of why this stored request may not run now, or None when it may."""
        raise NotImplementedError(f"{type(self).__name__} must define refusal(request).")

    def design(self, sheet: SheetDesign) -> None:
        """Style a sheet of an XLSX by XlsxWriter's own API: see docs/exports.md. Does nothing."""

    def own_mail(self, request: FileRequest) -> Callable[[], object] | None:
        """Return what sends this export's own mail, or None to send the app's."""
        return None

    def finish(self, request: FileRequest) -> None:
        """Run after a run of this export has ended, whatever its outcome. Does nothing by default."""

    def get_filename(self, request: FileRequest) -> str:
        return request.filename

    def extension(self, request: FileRequest) -> str:
        return writers.get(request.format).extension

    def produce(self, run: Run) -> ExportResult:
        """Write the rows to `run.path`, a batch of columns at a time."""
        alterations = Alterations()
        with run.path.open("xb") as file, ExitStack() as reading:
            tables = reading.enter_context(self.tables(run.request))
            total = sum_of(table.total for table in tables)
            with self._writer(run, file, tables[0], alterations) as writer:
                run.begin(total.rows, total.is_estimate)
                rows = write_tables(writer, tables, run.advance)
                # The database's snapshot ends before the file is finished.
                reading.close()
                run.progress.finishing(0, None)
                faults.point("before_close")
        receipt = {
            # Only what was counted was asked for: an estimate is nothing to compare the rows with.
            "rows_asked": total.counted,
            "alterations": dict(alterations),
            "language": translation.get_language(),
            "time_zone": timezone.get_current_timezone_name(),
        } | dict(item for table in tables for item in table.receipt.items())
        return ExportResult(
            self.get_filename(run.request), writer.content_type, rows, receipt, self._retention_seconds()
        )

    def _retention_seconds(self) -> float | None:
        chosen = config.RETENTION_SECONDS if self.retention_seconds is None else self.retention_seconds
        return None if chosen == math.inf else chosen

    def _writer(self, run: Run, file: BinaryIO, table: Table, alterations: Alterations) -> Writer:
        writer_class = writers.get(run.request.format)
        title = str(self.title or run.request.description)
        return writer_class(
            file,
            table.columns,
            options=run.request.options,
            zone=timezone.get_current_timezone(),
            title=table.title or title,
            work_dir=run.work_dir,
            alterations=alterations,
            on_bytes=lambda done, expected: _finishing(run, done, expected),
            processes=_allowed(self.processes),
            **_of_workbooks(writer_class, design=self.design, document=title),
        )


@contextmanager
def tables_of(
    sheets: Sequence[Sheet], *, count: str = "exact", dialect: Dialect | None = None
) -> Iterator[list[Table]]:
    """The rows of these sheets; those of one database are counted and read at one moment. Raises UnknownColumn.

    `count` is a key of COUNTS, `dialect` the `dialect_of` what is to be written. Each table is read when its batches
    are, and all are closed at the end.
    """
    resolved = [replace(sheet, columns=resolve.resolve(sheet.queryset, sheet.columns)) for sheet in sheets]
    with ExitStack() as reading:
        for alias in dict.fromkeys(sheet.queryset.db for sheet in sheets):
            reading.enter_context(querysets.snapshot(alias, config.STATEMENT_TIMEOUT_SECONDS))
        yield [_opened(sheet, count, dialect, reading) for sheet in resolved]


@contextmanager
def table_of(queryset: QuerySet[Any], columns: Sequence[Column], *, dialect: Dialect | None = None) -> Iterator[Table]:
    """The rows of a queryset, counted and read at one moment. Raises UnknownColumn."""
    with tables_of([Sheet("", queryset, columns)], dialect=dialect) as [table]:
        yield table


def dialect_of(format: str, options: Mapping[str, Any]) -> Dialect | None:
    """The lines that a database may write for a file of this format, in the active zone. None: values, for any file."""
    return writers.get(format).dialect(options, timezone.get_current_timezone())


def time_limits() -> TimeLimits:
    """Return how long a database statement and a run may take, by EXPORTS."""
    return TimeLimits(config.STATEMENT_TIMEOUT_SECONDS, config.MAX_RUNTIME_SECONDS)


def write_tables(writer: Writer, tables: Sequence[Table], advance: Callable[[int], None]) -> int:
    """Write the tables one after the other; the writer has begun the first. `advance` gets the rows so far, of all.

    Returns how many rows there were.
    """
    for number, table in enumerate(tables):
        if number:
            writer.begin_table(table.title, table.columns)
        for batch in table.batches:
            writer.write(batch)
            advance(writer.rows)
    return writer.rows


def write_now(
    table: Table, file: BinaryIO, *, format: str, options: Mapping[str, Any], title: str, processes: int = 1
) -> None:
    """Write a table where it stands, without a run: for what is small enough to be answered at once."""
    writer_class = writers.get(format)
    with writer_class(
        file,
        table.columns,
        options=options,
        zone=timezone.get_current_timezone(),
        title=title,
        processes=_allowed(processes),
        **_of_workbooks(writer_class),
    ) as writer:
        write_tables(writer, [table], lambda rows: None)


def _opened(sheet: Sheet, count: str, dialect: Dialect | None, reading: ExitStack) -> Table:
    total = COUNTS[count](sheet.queryset)
    batches = querysets.batches(
        sheet.queryset, sheet.columns, size=config.BATCH_ROWS, dialect=dialect, limits=time_limits()
    )
    return Table(sheet.columns, total.rows, reading.enter_context(closing(batches)), sheet.title, total.is_estimate)


def _allowed(processes: int) -> int:
    return min(processes, config.MAX_PROCESSES or os.cpu_count() or 1)


def _of_workbooks(writer_class: type[Writer], **hooks: Any) -> dict[str, Any]:
    """What the writer of workbooks takes and no other does."""
    if not issubclass(writer_class, XlsxWriter):
        return {}
    return {"engine": config.DEFLATE_ENGINE, "level": config.DEFLATE_LEVEL, **hooks}


def _finishing(run: Run, done: int, expected: int | None) -> None:
    run.check()
    run.progress.finishing(done, expected)
