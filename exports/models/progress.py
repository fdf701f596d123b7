"""How far a run is: phases, counters, and the one fraction that the bar shows. No Django here."""

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
HIGHEST: Final = 0.999
# Of a total that is an estimate nobody knows how near its end is.
HIGHEST_OF_ESTIMATE: Final = 0.99


@dataclass(frozen=True)
class Snapshot:
    """What is stored of a run's progress. A total of None is unknown; `rows_estimated` says that it is an estimate."""

    phase: str = QUEUED
    rows_done: int = 0
    rows_total: int | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    rows_estimated: bool = False


def fraction(now: Snapshot, *, finishing_share: float) -> float | None:
    """The part of the run that is done, 0 to 1, or None where the number of rows is not known.

    The phases have fixed shares of the whole, in the order they come, so the fraction never falls within an attempt.
    It reaches 1.0 in the phase `done` only, when the link works.
    """
    if now.phase == DONE:
        return 1.0
    if now.phase == QUEUED:
        return 0.0
    if now.phase == WRITING and now.rows_total is None:
        return None
    start, share = _span(now.phase, finishing_share)
    return round(min(start + share * _part(now), _highest(now)), 4)


def _highest(now: Snapshot) -> float:
    return HIGHEST_OF_ESTIMATE if now.rows_estimated else HIGHEST


def _span(phase: str, finishing_share: float) -> tuple[float, float]:
    """Where the phase starts on the bar and how much of the bar it takes."""
    writing_share = 1.0 - COUNTING_SHARE - finishing_share - STORING_SHARE
    spans = {
        COUNTING: (0.0, COUNTING_SHARE),
        WRITING: (COUNTING_SHARE, writing_share),
        FINISHING: (COUNTING_SHARE + writing_share, finishing_share),
        STORING: (1.0 - STORING_SHARE, STORING_SHARE),
    }
    return spans[phase]


def _part(now: Snapshot) -> float:
    """How much of its phase is done, 0 to 1."""
    if now.phase == WRITING:
        return _ratio(now.rows_done, now.rows_total)
    return _ratio(now.bytes_done, now.bytes_total)


def _ratio(done: int, total: int | None) -> float:
    return min(done / total, 1.0) if total else 0.0


def rate(rows_done: int, seconds: float) -> float | None:
    """Rows a second since writing began, or None before there is anything to divide."""
    return round(rows_done / seconds, 1) if rows_done and seconds > 0 else None


def eta(now: Snapshot, rows_per_second: float | None) -> float | None:
    """Seconds until the last row, or None where that cannot be known."""
    if now.phase != WRITING or not rows_per_second or now.rows_total is None:
        return None
    return round(max(now.rows_total - now.rows_done, 0) / rows_per_second, 1)
