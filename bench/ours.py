"""The cases of this project, by the functions that a project calls."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db.models import QuerySet
from django.test import override_settings

from bench.cases import CALLABLE, MEMORY, Case
from bench.rows.models import COLUMNS, Row
from bench.values import CHUNK, held, import_arrow, queryset_of
from exports.exporters import QuerySetExport
from exports.exporters.base import dialect_of, table_of, write_now
from exports.models import FileRequest, Status, transitions
from exports.models.result import ExportResult
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.readers import explain, resolve
from exports.worker import loop
from exports.worker.runner import Run

TITLE = "Rows"


def columns_of(case: Case) -> list[Column]:
    plain = [Column(name, header=name) for name in COLUMNS]
    return [plain[0], Column("name", source=Row.label), *plain[2:]] if case.variant == CALLABLE else plain


def about(case: Case) -> dict[str, str]:
    """Return the strategy by which the rows were read."""
    if case.database == MEMORY:
        return {}
    queryset = queryset_of(case)
    return {"strategy": explain.explain(queryset, resolve.resolve(queryset, columns_of(case))).strategy}


def table(case: Case, path: Path) -> Callable[[], None]:
    """Write a queryset to a file at once: `table_of` and `write_now`."""
    queryset, columns, dialect = queryset_of(case), columns_of(case), dialect_of(case.format, {})
    if case.format == "parquet":
        import_arrow()

    def write() -> None:
        with path.open("wb") as file, table_of(queryset, columns, dialect=dialect) as rows:
            write_now(rows, file, format=case.format, options={}, title=TITLE, processes=case.processes)

    return write


def with_isal(case: Case, path: Path) -> Callable[[], None]:
    """Compress with the fastest engine, which makes a larger file."""
    write = table(case, path)

    def write_with_isal() -> None:
        with override_settings(EXPORTS={**settings.EXPORTS, "DEFLATE_ENGINE": "isal", "DEFLATE_LEVEL": 1}):
            write()

    return write_with_isal


def alone(case: Case, path: Path) -> Callable[[], None]:
    """Write column batches of Python values, without reading."""
    columns = resolve.resolve(Row.objects.all(), columns_of(case))
    batches = _batches(case)

    def write() -> None:
        with path.open("wb") as file, _writer(case, file, columns) as writer:
            for _ in range(case.rows // case.rows_read):
                for batch in batches:
                    writer.write(batch)

    return write


def _batches(case: Case) -> list[Sequence[Sequence[object]]]:
    rows = list(held(case.with_rows(case.rows_read))())
    return [list(zip(*rows[start : start + CHUNK], strict=True)) for start in range(0, len(rows), CHUNK)]


def _writer(case: Case, file: BinaryIO, columns: Sequence[Column]) -> writers.Writer:
    writer_class = writers.get(case.format)
    return writer_class(file, columns, options={}, zone=UTC, title=TITLE, processes=case.processes)


class RowExport(QuerySetExport):
    """The export of the rows, which measures how long the main thread spends on progress."""

    file_type = "rows"
    title = TITLE
    columns = columns_of(Case("", "", "", 0, "", 0))
    progress_seconds = 0.0

    def get_queryset(self, user: object, criteria: object) -> QuerySet:
        return Row.objects.order_by("pk")

    def produce(self, run: Run) -> ExportResult:
        run.begin, run.advance = self._timed(run.begin), self._timed(run.advance)
        return super().produce(run)

    def _timed(self, report: Callable) -> Callable:
        def timed(*args: Any) -> None:
            start = time.perf_counter()
            report(*args)
            self.progress_seconds += time.perf_counter() - start

        return timed


class LeaseKeeper:
    """Counts the changes of the request, and the processor time of the lease keeper's thread until the last one."""

    def __init__(self) -> None:
        self.changes = 0
        self.seconds = 0.0

    def hear(self, request: FileRequest) -> None:
        self.changes += 1
        if threading.current_thread() is not threading.main_thread():
            self.seconds = time.thread_time()


def as_a_request(case: Case, path: Path) -> Callable[[], dict[str, float]]:
    """Run a request as a worker does, without servers: claim, lease, count, write, hash, store and publish.

    "progress_seconds" is what the lease and the progress cost: the lease keeper's processor time and the reports.
    """
    request = FileRequest(file_type=RowExport.file_type, format=case.format, filename=f"rows.{case.format}")
    transitions.enqueue(request)
    exporter, heart = RowExport(), LeaseKeeper()

    def write() -> dict[str, float]:
        loop.claim_and_run(request, exporter, on_change=heart.hear)
        request.refresh_from_db()
        if request.status != Status.READY:
            raise RuntimeError(f"The request is {request.status}: {request.error_code} {request.error_detail}")
        Path(request.filehandle.path).rename(path)
        return {"changes": heart.changes, "progress_seconds": heart.seconds + exporter.progress_seconds}

    return write
