"""The progress counters of one run."""

from dataclasses import replace

from exports.models.progress import COUNTING, FINISHING, PHASES, STORING, WRITING, Snapshot


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
