"""What one run may use up: the rows and bytes of its file, the time, and the room on the disk of its host."""

import logging
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from exports.conf import config
from exports.exceptions import TooManyBytes, TooManyRows

log = logging.getLogger("exports.worker.limits")

SAY_AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Ceilings:
    """The most rows and bytes that one file may have, and seconds that an attempt may take; None for no ceiling."""

    rows: float | None = None
    bytes: float | None = None
    runtime: float | None = None

    @classmethod
    def of(cls, exporter: Any) -> Self:
        """What the exporter says itself by `max_rows`, `max_bytes` and `max_runtime_seconds`, else the settings."""
        return cls(
            rows=_chosen(getattr(exporter, "max_rows", None), config.MAX_ROWS),
            bytes=_chosen(getattr(exporter, "max_bytes", None), config.MAX_BYTES),
            runtime=_chosen(getattr(exporter, "max_runtime_seconds", None), config.MAX_RUNTIME_SECONDS),
        )

    def check_rows(self, rows: int) -> None:
        """Raises TooManyRows."""
        if self.rows is not None and rows > self.rows:
            raise TooManyRows(f"{rows:,} rows, and {self.rows:,} are allowed.")

    def check_file(self, path: Path) -> None:
        """Look at how large the file has become; one that is not there is small. Raises TooManyBytes."""
        self.check_bytes(_size(path))

    def check_bytes(self, size: int) -> None:
        """Raises TooManyBytes."""
        if self.bytes is not None and size > self.bytes:
            raise TooManyBytes(f"{size:,} bytes, and {self.bytes:,} are allowed.")


class DiskWatch:
    """Whether the disk of a folder has room for another run; says so in the log, once a minute, where it has not."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def has_room(self, folder: Path) -> bool:
        free = free_bytes(folder)
        if free >= config.MIN_FREE_DISK_BYTES:
            self._said_at = None
            return True
        self._say(
            f"{free:,} bytes free for {folder}, MIN_FREE_DISK_BYTES is {config.MIN_FREE_DISK_BYTES:,}: nothing is begun"
        )
        return False

    def _say(self, words: str) -> None:
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_AGAIN_SECONDS:
            self._said_at = now
            log.warning(words)


def free_bytes(folder: Path) -> int:
    """What a process of ours may still write there, or where the folder will be made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _chosen(own: float | None, given: float | None) -> float | None:
    chosen = given if own is None else own
    return None if chosen == math.inf else chosen


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
