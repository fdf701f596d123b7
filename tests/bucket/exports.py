"""An export with a file of a given size, and hooks for what happens while it is uploaded."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django import forms

from exports import storage
from exports.exporters import QuerySetExport
from exports.models.result import ExportResult
from exports.worker.runner import Run

MEBIBYTE = 1 << 20
DIES = "DIES_AFTER_ITS_FIRST_PART"
"""A process with this environment variable is killed when it has uploaded the first part of a file."""


class SizeForm(forms.Form):
    megabytes = forms.IntegerField(min_value=0)


class BigExport(QuerySetExport):
    """Random bytes, the same each time."""

    file_type = "big"
    title = "Big file"
    form_class = SizeForm
    formats = ("csv",)
    queue_name = "small"

    def produce(self, run: Run) -> ExportResult:
        run.begin(None)
        megabytes = self.restore(run.export)["megabytes"]
        write(run.path, megabytes)
        if DIES in os.environ:
            at_each_part(die)
        return ExportResult("größtes.csv", "text/csv; charset=utf-8", megabytes)


def mebibytes(count: int) -> Iterator[bytes]:
    """Yield random mebibytes, the same each time and all of them different."""
    return (random.Random(number).randbytes(MEBIBYTE) for number in range(count))


def content(megabytes: int) -> bytes:
    return b"".join(mebibytes(megabytes))


def write(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        file.writelines(mebibytes(megabytes))


def at_each_part(react: Callable[..., Any]) -> None:
    """Call `react` after each uploaded part."""
    client().meta.events.register("after-call.s3.UploadPart", react)


def client() -> Any:
    """Return this process's client of the bucket."""
    return storage.exports_storage().bucket.meta.client


def die(**event: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
