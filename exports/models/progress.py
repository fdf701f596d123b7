"""The progress of a run: phases, counters, and the one fraction that the progress bar shows."""

from dataclasses import dataclass
from typing import Final

QUEUED: Final = "queued"
COUNTING: Final = "counting"
WRITING: Final = "writing"
FINISHING: Final = "finishing"
STORING: Final = "storing"
DONE: Final = "done"

PHASES: Final = (QUEUED, COUNTING, WRITING, FINISHING, STORING, DONE)
COUNTING_SHARE: Final = 0.01
STORING_SHARE: Final = 0.04
MAX_FRACTION_BEFORE_DONE: Final = 0.999
# Lower, since an estimated total does not tell how near the end is.
MAX_FRACTION_OF_ESTIMATE: Final = 0.99


@dataclass(frozen=True)
class Snapshot:
    """The stored progress of a run. A total of None is unknown; `rows_estimated` marks an estimated `rows_total`."""

    phase: str = QUEUED
    rows_done: int = 0
    rows_total: int | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    rows_estimated: bool = False


def fraction(now: Snapshot, *, finishing_share: float) -> float | None:
    """Return the done part of the run, 0 to 1, or None if the number of rows is unknown.

    Each phase has a fixed share of the whole, in the order of the phases, so the fraction never falls within an
    attempt. It reaches 1.0 in the phase `done` only, when the link works.
    """
    if now.phase == DONE:
        return 1.0
    if now.phase == QUEUED:
        return 0.0
    if now.phase == WRITING and now.rows_total is None:
        return None
    writing_share = 1.0 - COUNTING_SHARE - finishing_share - STORING_SHARE
    start, share = {
        COUNTING: (0.0, COUNTING_SHARE),
        WRITING: (COUNTING_SHARE, writing_share),
        FINISHING: (COUNTING_SHARE + writing_share, finishing_share),
        STORING: (1.0 - STORING_SHARE, STORING_SHARE),
    }[now.phase]
    is_writing = now.phase == WRITING
    done, total = (now.rows_done, now.rows_total) if is_writing else (now.bytes_done, now.bytes_total)
    part = min(done / total, 1.0) if total else 0.0
    highest = MAX_FRACTION_OF_ESTIMATE if now.rows_estimated else MAX_FRACTION_BEFORE_DONE
    return round(min(start + share * part, highest), 4)


def rate(rows_done: int, seconds: float) -> float | None:
    """Return rows per second, or None if there are no rows or no time yet."""
    return round(rows_done / seconds, 1) if rows_done and seconds > 0 else None


def eta(now: Snapshot, rows_per_second: float | None) -> float | None:
    """Return the seconds until the last row, or None if they cannot be known."""
    if now.phase != WRITING or not rows_per_second or now.rows_total is None:
        return None
    return round(max(now.rows_total - now.rows_done, 0) / rows_per_second, 1)
