"""How far a run is: phases, counters, and the one fraction that the bar shows. No Django here."""

from dataclasses import dataclass, replace
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


class Progress:
    """The counters of one attempt. The run writes them, the heartbeat reads them.

    They only grow, and so does what they say: a report of an earlier phase moves nothing back, and a total that comes
    after the writing has begun does not count. An estimate that the rows have passed is no total any more.
    """

    def __init__(self) -> None:
        self.rows_done = 0
        self._has_rows = False
        self._now = Snapshot(phase=COUNTING)

    @property
    def now(self) -> Snapshot:
        """Made for whoever asks, so that a batch costs no more than a number."""
        now, done = self._now, self.rows_done
        if not self._has_rows:
            return now
        total, estimated = now.rows_total, now.rows_estimated
        if estimated and done > total:
            total, estimated = None, False
        return Snapshot(_later(WRITING, now.phase), done, total, now.bytes_done, now.bytes_total, estimated)

    def writing(self, rows_total: int | None, *, is_estimate: bool = False) -> None:
        if self.now.phase == COUNTING:
            estimated = is_estimate and rows_total is not None
            self._now = replace(self._now, phase=WRITING, rows_total=rows_total, rows_estimated=estimated)

    def rows(self, rows_done: int) -> None:
        self.rows_done = max(rows_done, self.rows_done)
        self._has_rows = True

    def finishing(self, bytes_done: int, bytes_total: int | None) -> None:
        self._bytes(FINISHING, bytes_done, bytes_total)

    def storing(self, bytes_done: int, bytes_total: int | None) -> None:
        self._bytes(STORING, bytes_done, bytes_total)

    def _bytes(self, phase: str, done: int, total: int | None) -> None:
        now = self.now
        if phase == now.phase:
            done, total = max(done, now.bytes_done), _smaller(now.bytes_total, total)
        if phase == _later(phase, now.phase):
            self._now = replace(now, phase=phase, bytes_done=done, bytes_total=max(done, total) if total else None)


def _later(phase: str, other: str) -> str:
    return max(phase, other, key=PHASES.index)


def _smaller(one: int | None, other: int | None) -> int | None:
    return min(one, other) if one and other else one or other


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
