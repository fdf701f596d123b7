"""An export of as many mebibytes as one asks for, and what can happen while it is stored."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django import forms

from exports import storage
from exports.exporters import QuerySetExport, registry
from exports.models.result import ExportResult
from exports.worker.runner import Run

MEBIBYTE = 1 << 20
DIES = "DIES_AFTER_ITS_FIRST_PART"
"""Once this is in the environment of a process, it is killed as soon as a part of a file is stored."""


class SizeForm(forms.Form):
    megabytes = forms.IntegerField(min_value=0)


class BigExport(QuerySetExport):
    """Bytes that look like nothing, the same every time."""

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


def write(path: Path, megabytes: int) -> None:
    """A file of so many mebibytes, no two of them alike."""
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(mebibyte(number))


def mebibyte(number: int) -> bytes:
    return random.Random(number).randbytes(MEBIBYTE)


def content(megabytes: int) -> bytes:
    return b"".join(map(mebibyte, range(megabytes)))


def at_each_part(react: Callable[..., Any]) -> None:
    """Call this whenever S3 has answered that it has one more part of a file."""
    client().meta.events.register("after-call.s3.UploadPart", react)


def client() -> Any:
    """The client by which this process speaks to its bucket."""
    return storage.exports_storage().bucket.meta.client


def die(**event: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def registered() -> Iterator[None]:
    """Inside, the big export is registered in this process."""
    before = dict(registry.handlers)
    registry.register(BigExport)
    try:
        yield
    finally:
        registry.handlers.clear()
        registry.handlers.update(before)
