"""A table and how it becomes a file: what an export of rows has in common, whatever the rows come from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from django.db.models import QuerySet
from django.utils import timezone, translation

from exports import sources, writers
from exports.cells import Alterations, Column
from exports.conf import config
from exports.models import FileRequest
from exports.runner import Produced, Run
from exports.writers import Batch, Writer


@dataclass(frozen=True)
class Table:
    """Columns, how many rows were counted beforehand (None: nobody knows), and the rows in batches of columns."""

    columns: Sequence[Column]
    rows_asked: int | None
    batches: Iterable[Batch]


class TableExport:
    """An export of one table. A subclass says which table a request asks for, and whether it may run."""

    title: ClassVar[Any] = ""

    def table(self, request: FileRequest) -> AbstractContextManager[Table]:
        """The table of this request, open for reading inside."""
        raise NotImplementedError(f"{type(self).__name__} must define table(request).")

    def refusal(self, request: FileRequest) -> str | None:
        """The error code of why this stored request may not run now, or None when it may."""
        raise NotImplementedError(f"{type(self).__name__} must define refusal(request).")

    def get_filename(self, request: FileRequest) -> str:
        return request.filename

    def extension(self, request: FileRequest) -> str:
        return writers.get(request.format).extension

    def produce(self, run: Run) -> Produced:
        """Write the rows to `run.path`, a batch of columns at a time."""
        request, alterations = run.request, Alterations()
        with run.path.open("xb") as file, ExitStack() as reading:
            table = reading.enter_context(self.table(request))
            with self._writer(run, file, table.columns, alterations) as writer:
                run.begin(table.rows_asked)
                for batch in table.batches:
                    writer.write(batch)
                    run.advance(writer.rows)
                # The database's snapshot ends before the file is finished.
                reading.close()
                run.progress.finishing(0, None)
        receipt = {
            "rows_asked": table.rows_asked,
            "alterations": dict(alterations),
            "language": translation.get_language(),
            "time_zone": timezone.get_current_timezone_name(),
        }
        return Produced(self.get_filename(request), writer.content_type, writer.rows, receipt)

    def _writer(self, run: Run, file: BinaryIO, columns: Sequence[Column], alterations: Alterations) -> Writer:
        return writers.get(run.request.format)(
            file,
            columns,
            options=run.request.options,
            zone=timezone.get_current_timezone(),
            title=str(self.title or run.request.description),
            work_dir=run.work_dir,
            alterations=alterations,
            on_bytes=lambda done, expected: _finishing(run, done, expected),
        )


@contextmanager
def table_of(queryset: QuerySet[Any], columns: Sequence[Column]) -> Iterator[Table]:
    """The rows of a queryset, counted and read at one moment. Raises UnknownColumn."""
    resolved = sources.resolve(queryset, columns)
    with sources.snapshot(queryset.db):
        rows_asked = sources.count(queryset)
        with closing(sources.batches(queryset, resolved, size=config.BATCH_ROWS)) as batches:
            yield Table(resolved, rows_asked, batches)


def write_now(table: Table, file: BinaryIO, *, format: str, options: Mapping[str, Any], title: str) -> None:
    """Write a table where it stands, without a run: for what is small enough to be answered at once."""
    zone = timezone.get_current_timezone()
    with writers.get(format)(file, table.columns, options=options, zone=zone, title=title) as writer:
        for batch in table.batches:
            writer.write(batch)


def _finishing(run: Run, done: int, expected: int | None) -> None:
    run.check()
    run.progress.finishing(done, expected)
