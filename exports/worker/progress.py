"""The progress counters of one run."""

from dataclasses import replace

from exports.models.progress import COUNTING, PHASES, WRITING, Snapshot


class Progress:
    """The counters of one attempt. The run writes them, the lease keeper reads them.

    Counters and phases only grow: a report of an earlier phase changes nothing, and neither does a total that is
    reported once the writing has begun. An estimate that the rows have passed is dropped.
    """

    def __init__(self) -> None:
        self.rows_done = 0
        self._has_rows = False
        self._now = Snapshot(phase=COUNTING)

    @property
    def now(self) -> Snapshot:
        """The progress as it is stored, built on demand: a batch of rows only sets a number."""
        now, done = self._now, self.rows_done
        if not self._has_rows:
            return now
        phase = max(WRITING, now.phase, key=PHASES.index)
        total, estimated = now.rows_total, now.rows_estimated
        if total is not None and estimated and done > total:
            total, estimated = None, False
        return Snapshot(phase, done, total, now.bytes_done, now.bytes_total, estimated)

    def writing(self, rows_total: int | None, *, is_estimate: bool = False) -> None:
        """Begin the phase of writing rows; None if their number is not known."""
        if self.now.phase == COUNTING:
            estimated = is_estimate and rows_total is not None
            self._now = replace(self._now, phase=WRITING, rows_total=rows_total, rows_estimated=estimated)

    def rows(self, rows_done: int) -> None:
        """Set the number of rows written so far."""
        self.rows_done = max(rows_done, self.rows_done)
        self._has_rows = True

    def report_bytes(self, phase: str, done: int, total: int | None) -> None:
        """Set the bytes of the phase FINISHING or STORING; a total of None is not known."""
        now = self.now
        if PHASES.index(phase) < PHASES.index(now.phase):
            return
        if phase == now.phase:
            done = max(done, now.bytes_done)
            total = min(now.bytes_total, total) if now.bytes_total and total else now.bytes_total or total
        self._now = replace(now, phase=phase, bytes_done=done, bytes_total=max(done, total) if total else None)
