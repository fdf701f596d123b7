"""What a client tells about an export while it is made and while its file is downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

DOWNLOADING = "downloading"


@dataclass(frozen=True)
class Progress:
    """One moment of an export. `str()` is a line for people.

    Attributes:
        status: As in STATE, or "downloading".
        phase: As in STATE.
        done: Rows that are written, or bytes that are downloaded.
        total: The number of all of them, None if it is not known.
        fraction: The part that is done, from 0 to 1; None if it is not known.
        eta_seconds: Seconds until the last row is written, None if that is not known.
        queue_position: The place in the queue, None unless the export waits.
        state: The STATE that this is taken from.

    """

    status: str
    phase: str
    done: int
    total: int | None
    fraction: float | None
    eta_seconds: float | None
    queue_position: int | None
    # Any: values of JSON.
    state: Mapping[str, Any]

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        given = state["progress"]
        return cls(
            status=state["status"],
            phase=state["phase"],
            done=given["rows_done"],
            total=given["rows_total"],
            fraction=given["fraction"],
            eta_seconds=given["eta_seconds"],
            queue_position=given["queue_position"],
            state=state,
        )

    @classmethod
    def of_download(cls, state: Mapping[str, Any], done: int) -> Self:
        size = state["file"]["size"]
        fraction = done / size if size else 1.0
        return cls(DOWNLOADING, state["phase"], done, size, fraction, None, None, state)

    def __str__(self) -> str:
        if self.status == "queued":
            return f"queued, place {self.queue_position}" if self.queue_position else "queued"
        unit = "bytes" if self.status == DOWNLOADING else "rows"
        name = self.phase if self.status == "running" else self.status
        part = "" if self.fraction is None else f", {self.fraction:.0%}"
        of = "" if self.total is None else f" of {self.total:,}"
        left = "" if self.eta_seconds is None else f", {self.eta_seconds:.0f} s left"
        return f"{name}: {self.done:,}{of} {unit}{part}{left}"


OnProgress = Callable[[Progress], object]


def ignore(progress: Progress) -> None:
    """Tell nothing."""
