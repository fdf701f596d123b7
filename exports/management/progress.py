"""What commands show while they work: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from exports.models import FileRequest

LINE_SECONDS = 5.0


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no annotations
    """A bar without a thread that redraws it: it would be started even where no bar is shown."""

    monitor_interval = 0


class ExportProgress:
    """The progress of one export: a bar if `file` is a terminal, else a line per phase and every LINE_SECONDS.

    Called with the row after each change, also from the thread that keeps the lease.
    """

    def __init__(self, file: TextIO, *, is_quiet: bool = False) -> None:
        self._file, self._is_quiet = file, is_quiet
        self._bar = Bar(file=file, disable=is_quiet or not file.isatty(), leave=False, unit=" rows")
        self._phase, self._told_at = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, export: FileRequest) -> None:
        if self._is_quiet:
            return
        if not self._bar.disable:
            self._bar.set_description_str(export.phase, refresh=False)
            self._bar.total, self._bar.n = export.rows_total, export.rows_done
            self._bar.refresh()
        elif export.phase != self._phase or time.monotonic() - self._told_at > LINE_SECONDS:
            self._phase, self._told_at = export.phase, time.monotonic()
            of = "" if export.rows_total is None else f" of {export.rows_total:,}"
            self._file.write(f"{export.phase}: {export.rows_done:,}{of} rows\n")
            self._file.flush()
