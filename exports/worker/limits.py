"""Limits of one run: the rows and bytes of its file, its duration, and the free disk space of its host."""

import logging
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from exports.conf import config
from exports.exceptions import DeclarationError, TooManyBytes, TooManyRows

log = logging.getLogger("exports.worker.limits")

LOG_AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class RunLimits:
    """The maximum rows and bytes of one file, and seconds of one attempt; None for no limit."""

    rows: float | None = None
    bytes: float | None = None
    runtime: float | None = None

    @classmethod
    def of(cls, exporter: object) -> Self:
        """Return `max_rows`, `max_bytes` and `max_runtime_seconds` of the exporter, or else those of EXPORTS.

        Raise DeclarationError for one that is no number.
        """
        limits: list[float | None] = []
        for name in ("max_rows", "max_bytes", "max_runtime_seconds"):
            own = getattr(exporter, name, None)
            limit = getattr(config, name.upper()) if own is None else own
            if not isinstance(limit, int | float | None) or limit != limit:
                raise DeclarationError(f"{name} is {limit!r}, and must be a number or None.")
            limits.append(None if limit == math.inf else limit)
        return cls(*limits)

    def check_rows(self, rows: int) -> None:
        """Raise TooManyRows if a file of `rows` rows is too large."""
        if self.rows is not None and rows > self.rows:
            raise TooManyRows(rows, self.rows)

    def check_bytes(self, size: int) -> None:
        """Raise TooManyBytes if a file of `size` bytes is too large."""
        if self.bytes is not None and size > self.bytes:
            raise TooManyBytes(size, self.bytes)

    def check_file(self, path: Path) -> None:
        """Raise TooManyBytes if the file has grown too large; a file that does not exist yet is empty."""
        try:
            self.check_bytes(path.stat().st_size)
        except FileNotFoundError:
            return


class DiskWatch:
    """Watches the free disk space of a folder, and logs a shortage at most once a minute."""

    def __init__(self) -> None:
        self._logged_at: float | None = None

    def has_room(self, folder: Path) -> bool:
        """Return True if the disk has the EXPORTS["MIN_FREE_DISK_BYTES"] that a run needs to begin."""
        free, needed = free_bytes(folder), config.MIN_FREE_DISK_BYTES
        if free >= needed:
            self._logged_at = None
            return True
        now = time.monotonic()
        if self._logged_at is None or now - self._logged_at >= LOG_AGAIN_SECONDS:
            self._logged_at = now
            log.warning(
                "%s bytes free for %s, MIN_FREE_DISK_BYTES is %s: no run begins", f"{free:,}", folder, f"{needed:,}"
            )
        return False


def free_bytes(folder: Path) -> int:
    """Return how many bytes this process may still write to the folder, or to where it will be created."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free
