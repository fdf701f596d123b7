"""The position of a request in its queue, found by simulating what the workers will do next."""

from collections import Counter, deque
from collections.abc import Hashable, Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.utils import timezone

from exports.conf import config
from exports.models.request import FileRequest, Status

FORECAST_PLACES = 100
"""The places that are simulated. Behind them, requests are placed by age."""
FORECAST_ROWS = 500
"""The oldest waiting rows that the simulation reads."""

OwnerId = Hashable | None


class WaitingRow(NamedTuple):
    """A waiting request. Those of one owner are compared in the order of these fields."""

    since: datetime
    requested_at: datetime
    pk: UUID
    counts_toward_quota: bool


def queue_position(export: FileRequest) -> int | None:
    """Return 1 for the request that the next free worker of its queue takes; None if it does not wait or is gone.

    The simulation assumes that the queue has as many workers as rows are running, at least one, and that the longest
    run ends first. With one worker that is what happens, unless new requests with an earlier turn arrive.
    """
    if export.status != Status.QUEUED:
        return None
    simulated = QueueForecast(export.queue_name).order()
    for place, pk in zip(range(1, FORECAST_PLACES + 1), simulated, strict=False):
        if pk == export.pk:
            return place
    waiting = FileRequest.objects.filter(queue_name=export.queue_name, status=Status.QUEUED, finished_at=None)
    if not waiting.filter(pk=export.pk).exists():
        return None
    return max(FORECAST_PLACES, waiting.filter(requested_at__lt=export.requested_at).count()) + 1


class QueueForecast:
    """What waits and runs in a queue, read once, and the order in which its workers will take the waiting rows."""

    def __init__(self, queue_name: str) -> None:
        rows = FileRequest.objects.filter(queue_name=queue_name)
        self._limit = config.MAX_RUNNING_PER_USER
        self._running: deque[tuple[OwnerId, bool]] = deque()
        self._busy: Counter[OwnerId] = Counter()
        self._counted: Counter[OwnerId] = Counter()
        running = rows.filter(status=Status.RUNNING).order_by("started_at", "pk")
        for owner, counts_toward_quota in running.values_list("requester_id", "counts_toward_quota"):
            self._begin(owner, counts_toward_quota)
        self._workers = max(1, len(self._running))
        self._waiting: dict[OwnerId, list[WaitingRow]] = {}
        self._turns: dict[OwnerId, int] = {}
        self._not_due: list[tuple[datetime, UUID]] = []
        columns = ("requester_id", "not_before", "since", "requested_at", "pk", "counts_toward_quota")
        queued = rows.filter(status=Status.QUEUED, finished_at=None).in_fair_order().order_by("requested_at", "pk")
        now = timezone.now()
        for owner, not_before, *values in queued.values_list(*columns)[:FORECAST_ROWS]:
            row = WaitingRow(*values)
            if not_before is not None and not_before > now:
                self._not_due.append((not_before, row.pk))
            else:
                self._waiting.setdefault(owner, []).append(row)

    def order(self) -> Iterator[UUID]:
        """Yield the ids of the requests in the order in which they will be taken, those that are not due yet last."""
        turn = 0
        while self._waiting:
            if self._running and len(self._running) >= self._workers:
                self._end()
            while (taken := self._next()) is None:
                self._end()
            owner, row = taken
            self._waiting[owner].remove(row)
            if not self._waiting[owner]:
                del self._waiting[owner]
            self._begin(owner, row.counts_toward_quota)
            turn += 1
            if owner is not None:
                # From now on this owner waits behind all who have not been served since.
                self._turns[owner] = turn
            yield row.pk
        yield from (pk for _, pk in sorted(self._not_due))

    def _next(self) -> tuple[OwnerId, WaitingRow] | None:
        """Return the owner whose turn it is, and the request, among the owners who may have another one running."""
        candidates: list[tuple[int, int, WaitingRow, OwnerId]] = []
        for owner, rows in self._waiting.items():
            has_room = self._limit is None or self._counted[owner] < self._limit
            row = rows[0] if has_room else next((row for row in rows if not row.counts_toward_quota), None)
            if row is not None:
                candidates.append((self._busy[owner], self._turns.get(owner, 0), row, owner))
        if not candidates:
            return None
        *_, row, owner = min(candidates, key=lambda candidate: candidate[:3])
        return owner, row

    def _begin(self, owner: OwnerId, counts_toward_quota: bool) -> None:
        self._running.append((owner, counts_toward_quota))
        self._busy[owner] += owner is not None
        self._counted[owner] += counts_toward_quota

    def _end(self) -> None:
        owner, counts_toward_quota = self._running.popleft()
        self._busy[owner] -= owner is not None
        self._counted[owner] -= counts_toward_quota
