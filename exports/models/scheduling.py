"""Whose turn it is, played forward: the place of a request in its queue."""

from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.utils import timezone

from exports.conf import config
from exports.models.request import FileRequest, Status

FORESEEN = 100
READ = 500
"""So many places are played forward, with so many of the oldest that wait. Behind, whoever waits longer is ahead."""

Owner = Any


class Waiting(NamedTuple):
    """What is asked of a waiting row, in the order of its owner's."""

    since: datetime
    requested_at: datetime
    pk: UUID
    counts_toward_quota: bool


def queue_position(request: FileRequest) -> int | None:
    """1 for the one that the next free worker of its queue takes; None for a request that is gone.

    What has run longest is taken to end first, and the queue to have as many workers as have something in hand, at
    least one. With one worker that is what happens, unless somebody asks meanwhile whose turn comes earlier.
    """
    if request.status != Status.QUEUED:
        return None
    for place, pk in zip(range(1, FORESEEN + 1), QueueForecast(request.queue_name).order(), strict=False):
        if pk == request.pk:
            return place
    return _place_by_age(request)


def _place_by_age(request: FileRequest) -> int | None:
    waiting = FileRequest.objects.filter(queue_name=request.queue_name, status=Status.QUEUED, finished_at=None)
    if not waiting.filter(pk=request.pk).exists():
        return None
    return max(FORESEEN, waiting.filter(requested_at__lt=request.requested_at).count()) + 1


class QueueForecast:
    """What waits and what runs in a queue, read once, and what its workers will do with it."""

    def __init__(self, name: str) -> None:
        self._queue_name = FileRequest.objects.filter(queue_name=name)
        running = self._queue_name.filter(status=Status.RUNNING).order_by("started_at", "pk")
        self._running: deque[tuple[Owner, bool]] = deque()
        self._busy: Counter[Owner] = Counter()
        self._counted: Counter[Owner] = Counter()
        for each in running.values_list("requester_id", "counts_toward_quota"):
            self._begin(*each)
        self._workers = max(1, len(self._running))
        self._limit = config.MAX_RUNNING_PER_USER
        self._waiting: dict[Owner, list[Waiting]] = {}
        self._turns: dict[Owner, int] = {}
        self._not_due: list[tuple[datetime, UUID]] = []
        self._read()

    def order(self) -> Iterator[UUID]:
        """The requests in the order in which they will be taken; those that are not due yet at the end."""
        turn = 0
        while self._waiting:
            if self._running and len(self._running) >= self._workers:
                self._end()
            while (taken := self._next()) is None:
                self._end()
            turn += 1
            yield self._take(*taken, turn=turn)
        yield from (pk for _, pk in sorted(self._not_due))

    def _read(self) -> None:
        columns = ("requester_id", "not_before", "since", "requested_at", "pk", "counts_toward_quota")
        waiting = (
            self._queue_name.filter(status=Status.QUEUED, finished_at=None)
            .in_fair_order()
            .order_by("requested_at", "pk")
        )
        now = timezone.now()
        for owner, not_before, *row in waiting.values_list(*columns)[:READ]:
            waits = Waiting(*row)
            if not_before is not None and not_before > now:
                self._not_due.append((not_before, waits.pk))
            else:
                self._waiting.setdefault(owner, []).append(waits)

    def _next(self) -> tuple[Owner, Waiting] | None:
        """Whose turn it is, and with what, among those who may have one more running."""
        firsts = {owner: first for owner in self._waiting if (first := self._first(owner)) is not None}
        if not firsts:
            return None
        owner = min(firsts, key=lambda each: (self._busy[each], self._turns.get(each, 0), firsts[each]))
        return owner, firsts[owner]

    def _first(self, owner: Owner) -> Waiting | None:
        rows = self._waiting[owner]
        if self._limit is None or self._counted[owner] < self._limit:
            return rows[0]
        return next((row for row in rows if not row.counts_toward_quota), None)

    def _begin(self, owner: Owner, counts_toward_quota: bool) -> None:
        self._running.append((owner, counts_toward_quota))
        self._busy[owner] += owner is not None
        self._counted[owner] += counts_toward_quota

    def _end(self) -> None:
        owner, counts_toward_quota = self._running.popleft()
        self._busy[owner] -= owner is not None
        self._counted[owner] -= counts_toward_quota

    def _take(self, owner: Owner, row: Waiting, *, turn: int) -> UUID:
        rows = self._waiting[owner]
        rows.remove(row)
        if not rows:
            del self._waiting[owner]
        self._begin(owner, row.counts_toward_quota)
        if owner is not None:
            # From now on they wait since this one was begun: behind all who have not been served meanwhile.
            self._turns[owner] = turn
        return row.pk
