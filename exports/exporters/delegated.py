"""DelegatedExport: an export whose file an engine makes, such as a cluster of Dask or Spark, or a data warehouse."""

import json
import logging
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from operator import index
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from django.db import DataError, transaction
from django.db.models import BigIntegerField

from exports import failures
from exports.conf import config
from exports.exceptions import DeclarationError, LeaseLost, MissingMethod, NoFile
from exports.exporters.base import ExportRun
from exports.exporters.queryset import QuerySetExport
from exports.models import DelegatedJob, FileRequest
from exports.models.request import AnyUser
from exports.models.result import ExportResult

log = logging.getLogger("exports.exporters.delegated")

CHUNK_BYTES: Final = 2**20
JOINABLE: Final = ("csv", "tsv", "jsonl")
"""The formats whose parts make one file when they are written one after the other."""

Handle = Any
"""What an engine calls a job: JSON."""
Part = str | Path | BinaryIO
"""A file of the engine: its local path, or a binary file that is open for reading."""


@dataclass(frozen=True)
class Target:
    """What an engine is to write, and where.

    Attributes:
        name: The name of the job, the same whenever one export is started: an idempotency key for the engine.
        location: Where the engine writes its files: `target_root`, a slash and the name.
        format: The name of the format, one of the export's `formats`.
        options: The options of the format.

    """

    name: str
    location: str
    format: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class JobProgress:
    """How far a job is: the rows written, their total if it is known, and whether the files can be collected.

    Raise DeclarationError for numbers that are no counts.
    """

    rows_done: int = 0
    rows_total: int | None = None
    is_done: bool = False

    def __post_init__(self) -> None:
        for name in ("rows_done", "rows_total"):
            value = getattr(self, name)
            if value is None and name == "rows_total":
                continue
            try:
                count = index(value)
            except TypeError:
                count = -1
            if not 0 <= count <= BigIntegerField.MAX_BIGINT:
                raise DeclarationError(f"JobProgress: {name} is {value!r}, and must be a whole number of rows.")
            object.__setattr__(self, name, count)


class DelegatedExport(QuerySetExport):
    """An export whose file an engine makes. A worker starts the job, follows it and fetches the files.

    A worker that stops or is lost leaves the job running, and the next one takes it up. See docs/delegated.md. Users
    choose no columns, and texts are not escaped: the engine writes the cells, so CSV and TSV need `for_machines`.

    Attributes:
        target_root: An absolute path that all workers and the engine share, or a URL such as "s3://bucket/exports".
        poll_seconds: How long a worker waits before it asks for the progress again.
        is_archive: True puts the files of the engine into a ZIP archive; False joins those of CSV, TSV and JSON Lines,
            and allows one file in other formats.

    """

    formats: ClassVar[Sequence[str]] = ("parquet",)
    form_options: ClassVar[Mapping[str, Sequence[str]]] = {}
    target_root: ClassVar[str] = ""
    poll_seconds: ClassVar[float] = 5.0
    is_archive: ClassVar[bool] = False

    def start(self, user: AnyUser, criteria: Mapping[str, Any], target: Target) -> Handle:
        """Let the engine begin, and return what it calls the job: JSON that is not null.

        If a worker is lost before the answer is stored, this is called again with the same `target.name`.
        """
        raise MissingMethod(f"{type(self).__name__} must define start(user, criteria, target).")

    def progress(self, handle: Handle) -> JobProgress:
        """Return how far the job is. Raise JobLost if the engine does not know it any more.

        ConnectionError, TimeoutError and RetryableError let a worker ask again later; other errors end the export.
        """
        raise MissingMethod(f"{type(self).__name__} must define progress(handle).")

    def collect(self, handle: Handle) -> Part | Sequence[Part]:
        """Return the files of a job that is done, in the order of their rows. Raise JobLost if they are gone."""
        raise MissingMethod(f"{type(self).__name__} must define collect(handle).")

    def cancel(self, handle: Handle) -> None:
        """End the job if it still runs, and delete what it wrote.

        Called when the export has ended, however it did, and again if this raises or a worker is lost meanwhile: a job
        that is gone is no error.
        """
        raise MissingMethod(f"{type(self).__name__} must define cancel(handle).")

    @classmethod
    def is_read_by_worker(cls) -> bool:
        return True

    def extension(self, export: FileRequest) -> str:
        extension = super().extension(export)
        return "zip" if self.is_archive else extension

    def produce(self, run: ExportRun) -> ExportResult:
        """Start the job or take it up, follow it, and write its files to `run.path`."""
        handle = self._job_of(run)
        progress = self.progress(handle)
        has_begun = False
        while True:
            if not has_begun and (progress.rows_total is not None or progress.rows_done):
                run.begin(progress.rows_total)
                has_begun = True
            if progress.rows_done:
                run.advance(progress.rows_done)
            if progress.is_done:
                break
            _wait(run, self.poll_seconds)
            progress = self.progress(handle)
        parts = self.collect(handle)
        writer = self.writer_of(run.export.format)
        self._write(run, list(parts) if isinstance(parts, Sequence) and not isinstance(parts, str) else [parts])
        return ExportResult(
            self.get_filename(run.export),
            "application/zip" if self.is_archive else writer.content_type,
            progress.rows_done,
            {"rows_asked": progress.rows_total, "alterations": {}, "altered_cells": {}},
            retention_seconds=self.kept_seconds,
        )

    def finish(self, export: FileRequest) -> None:
        """End the job if this run has ended the export. Housekeeping ends it if no run did, or the engine is away."""
        for job in DelegatedJob.objects.unneeded().filter(request=export.pk):
            try:
                self.end(job)
            except Exception as error:
                failures.report(log, "request %s: its job is not ended yet: %s", export.pk, error=error)

    def end(self, job: DelegatedJob) -> bool:
        """Let the engine end a job, and forget it. Return False if its handle has been stored meanwhile."""
        if job.handle is None:
            return DelegatedJob.objects.filter(pk=job.pk, handle__isnull=True).delete()[0] == 1
        self.cancel(job.handle)
        job.delete()
        return True

    def _job_of(self, run: ExportRun) -> Handle:
        """Return the handle of the export's job, which is started if no worker has. Raise LeaseLost."""
        export = run.export
        job, _created = DelegatedJob.objects.get_or_create(request=export, defaults={"file_type": self.file_type})
        if job.handle is not None:
            return job.handle
        name = str(export.pk)
        target = Target(name, f"{self.target_root.rstrip('/')}/{name}", export.format, export.options)
        run.check()
        handle = self.start(export.owner, self.restore(export), target)
        is_first = False
        try:
            stored = json.loads(json.dumps(handle, allow_nan=False))
            if stored is not None:
                with transaction.atomic():
                    is_first = bool(DelegatedJob.objects.filter(pk=job.pk, handle__isnull=True).update(handle=stored))
        except (TypeError, ValueError, DataError):
            # DataError: PostgreSQL stores no NUL within a text of JSON.
            stored = None
        if stored is None:
            self.cancel(handle)
            raise DeclarationError(f"{type(self).__name__}.start() returned a {type(handle).__name__}, and not JSON.")
        if is_first:
            return stored
        # The lease was lost meanwhile: the export has ended, or another worker has started the job.
        known = DelegatedJob.objects.filter(pk=job.pk).first()
        if known is None or known.handle != stored:
            self.cancel(stored)
        raise LeaseLost("The job was started by another worker, or is not needed any more.")

    def _write(self, run: ExportRun, parts: Sequence[Part]) -> None:
        if not parts:
            raise NoFile(f"{type(self).__name__}.collect() gave no file.")
        if len(parts) > 1 and not self.is_archive and run.export.format not in JOINABLE:
            raise DeclarationError(
                f"{type(self).__name__}.collect() gave {len(parts)} files, and those of {run.export.format} cannot be "
                "joined. Let the engine write one, or set is_archive."
            )
        extension = self.writer_of(run.export.format).extension
        with run.path.open("xb") as file:
            if not self.is_archive:
                is_complete = True
                for part in parts:
                    if not is_complete:
                        file.write(b"\n")
                    is_complete = _copy(run, part, file)
                return
            with zipfile.ZipFile(file, "w") as archive:
                for number, part in enumerate(parts, start=1):
                    with archive.open(f"part-{number:05}.{extension}", "w", force_zip64=True) as member:
                        _copy(run, part, member)


def _wait(run: ExportRun, seconds: float) -> None:
    """Wait, and raise as soon as the run has to end."""
    ends_at = time.monotonic() + seconds
    while (left := ends_at - time.monotonic()) > 0:
        run.check()
        time.sleep(min(left, config.PROGRESS_INTERVAL_SECONDS))
    run.check()


def _copy(run: ExportRun, part: Part, file: Any) -> bool:
    """Append a file of the engine to `file`, in chunks. Return False if its last line has no end."""
    last = b"\n"
    with Path(part).open("rb") if isinstance(part, str | Path) else part as source:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
            run.finishing(run.path.stat().st_size, None)
            last = chunk[-1:]
        # Read in chunks, an answer that ends early raises nothing.
        if isinstance(source, HTTPResponse) and source.length:
            raise ConnectionError(f"The engine ended its answer {source.length:,} bytes early.")
    return last == b"\n"
