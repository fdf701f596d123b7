"""The order in which workers claim the requests of a queue, and the position of a request in it.

Requests are claimed by turn, which each gets when it is made. Where EXPORTS["MAX_RUNNING_PER_USER"] is set, a worker
that comes to a request whose owner has that number running marks the owner's waiting requests as held back, so that no
worker reads them again; each run of the owner that ends lets the first of them go. So a claim takes the same time
however many requests wait.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Subquery

from exports.conf import config
from exports.models.clock import Now
from exports.models.prepared import AnyRows, Bound, Columns, Update, given
from exports.models.request import FileRequest, FileRequestQuerySet, Status

MAX_PLACE = 100
"""Positions behind it are not counted: they are one more."""
RECENT_RUNS = 20
ENOUGH_RUNS = 3
HELD_BACK_AT_ONCE = 1000
"""The rows of one owner that one claim marks as held back."""


class WaitingRow(NamedTuple):
    """A waiting request and what decides about its place."""

    turn: int
    requested_at: datetime
    pk: UUID
    owner: Hashable
    counts_toward_quota: bool


def has_room(export: FileRequest) -> bool:
    """Return True if the owner may have one more request of this queue running. Exact after `quotas.lock_owner`."""
    limit = config.MAX_RUNNING_PER_USER
    if limit is None or not export.counts_toward_quota:
        return True
    return not last_in_room(limit, export.queue_name, export.requester_id).exists()


# Any: the values of a row, or expressions.
def last_in_room(limit: int, queue_name: Any, requester_id: Any) -> FileRequestQuerySet:
    """Return one of the owner's requests of this queue if `limit` of them are running, which leaves no room."""
    running = FileRequest.objects.filter(queue_name=queue_name, status=Status.RUNNING)
    return running.filter(requester=requester_id, counts_toward_quota=True).order_by("pk")[limit - 1 : limit]


def hold_back(export: FileRequest, claimable: FileRequestQuerySet) -> None:
    """Let workers pass over the owner's requests of this queue in `claimable` until one of the owner's runs ends.

    A request that no worker could claim must not be among them: when a run ends, it would be let go for another.
    """
    owned = claimable.filter(queue_name=export.queue_name, requester=export.requester_id, counts_toward_quota=True)
    claimable = owned.filter(is_held_back=False).in_turn()
    if connection.features.has_select_for_update_skip_locked:
        # Another worker that is claiming one of these rows may be waiting for this one.
        claimable = claimable.select_for_update(skip_locked=True)
    keys = list(claimable.values_list("pk", flat=True)[:HELD_BACK_AT_ONCE])
    _waiting(export.queue_name).filter(pk__in=keys).update(is_held_back=True)


def letting_go(request_id: UUID) -> Bound:
    """Return the statement that lets workers claim the first of the owner's requests held back.

    It runs when this request waits or runs no longer, with the owner locked: a worker that still saw this run may be
    holding back the owner's requests.
    """
    return _LET_GO.bind(id=request_id)


def let_go_all_with_room(waiting: FileRequestQuerySet, *, at_once: int) -> int:
    """Correct what a deleted row or a changed setting has left held back. Return the number of rows let go.

    `waiting` are the requests that workers can claim once they are due.
    """
    limit, held_back = config.MAX_RUNNING_PER_USER, _held_back()
    if limit is not None:
        of_owner = {"queue_name": OuterRef("queue_name"), "requester": OuterRef("requester")}
        claimable = waiting.due(Now()).filter(**of_owner, counts_toward_quota=True, is_held_back=False)
        no_room = last_in_room(limit, OuterRef("queue_name"), OuterRef("requester"))
        held_back = held_back.exclude(Exists(claimable)).exclude(Exists(no_room))
    keys = list(held_back.order_by("turn", "requested_at").values_list("pk", flat=True)[:at_once])
    return _held_back().filter(pk__in=keys).update(is_held_back=False)


def queue_position(export: FileRequest) -> int | None:
    """Return 1 for the request that the next free worker of its queue takes; None if it does not wait or is gone.

    Behind MAX_PLACE it is always MAX_PLACE + 1. The forecast assumes that the queue has as many workers as rows are
    running, at least one, and that the longest run ends first. With one worker that is what happens, unless new
    requests with an earlier turn arrive.
    """
    if export.status != Status.QUEUED:
        return None
    place = places(export.queue_name).get(export.pk)
    if place is not None:
        return place
    return MAX_PLACE + 1 if _waiting(export.queue_name).filter(pk=export.pk).exists() else None


def places(queue_name: str) -> dict[UUID, int]:
    """Return the requests up to MAX_PLACE with their places: in the order of the claims, those not due last."""
    waiting, now = _waiting(queue_name), Now()
    due = waiting.due(now)
    columns = ("turn", "requested_at", "pk", "requester_id", "counts_toward_quota")
    pending = [
        WaitingRow(*values)
        for is_held_back in (False, True)
        for values in due.filter(is_held_back=is_held_back).in_turn().values_list(*columns)[:MAX_PLACE]
    ]
    # By turn, time of the request and key, which is another one for each row.
    pending.sort()
    not_due = waiting.filter(not_before__gt=now).order_by("not_before", "pk").values_list("pk", flat=True)
    in_order = chain(_simulate(queue_name, pending), not_due[:MAX_PLACE])
    return {pk: place for place, pk in enumerate(islice(in_order, MAX_PLACE), start=1)}


def estimated_wait(export: FileRequest, place: int) -> float | None:
    """Return about how many seconds pass before a worker takes the request at this place of its queue.

    From how long the newest files of the queue took, with as many workers as rows are running, at least one. None if
    fewer than ENOUGH_RUNS files are known.
    """
    seconds = seconds_per_place(export.queue_name)
    return None if seconds is None else round(place * seconds, 1)


def seconds_per_place(queue_name: str) -> float | None:
    """Return by how much each place adds to `estimated_wait`."""
    rows = FileRequest.objects.filter(queue_name=queue_name)
    ended = rows.filter(status=Status.READY, started_at__isnull=False).order_by("-finished_at")
    runs = [
        (finished - started).total_seconds()
        for started, finished in ended.values_list("started_at", "finished_at")[:RECENT_RUNS]
        if started is not None and finished is not None
    ]
    if len(runs) < ENOUGH_RUNS:
        return None
    workers = max(1, rows.filter(status=Status.RUNNING).count())
    return sum(runs) / len(runs) / workers


def _simulate(queue_name: str, pending: list[WaitingRow]) -> Iterator[UUID]:
    """Yield the ids of `pending` in the order in which workers claim them."""
    limit = config.MAX_RUNNING_PER_USER
    if limit is None:
        yield from (row.pk for row in pending)
        return
    started = FileRequest.objects.filter(queue_name=queue_name, status=Status.RUNNING).order_by("started_at", "pk")
    running: deque[tuple[Hashable, bool]] = deque(started.values_list("requester_id", "counts_toward_quota"))
    counted: Counter[Hashable] = Counter(owner for owner, counts_toward_quota in running if counts_toward_quota)
    workers = max(1, len(running))
    while pending:
        row = next((row for row in pending if not row.counts_toward_quota or counted[row.owner] < limit), None)
        if row is None or len(running) >= workers:
            owner, counts_toward_quota = running.popleft()
            counted[owner] -= counts_toward_quota
            continue
        pending.remove(row)
        running.append((row.owner, row.counts_toward_quota))
        counted[row.owner] += row.counts_toward_quota
        yield row.pk


def _waiting(queue_name: str) -> FileRequestQuerySet:
    return FileRequest.objects.filter(queue_name=queue_name, status=Status.QUEUED, finished_at=None)


def _held_back() -> FileRequestQuerySet:
    return FileRequest.objects.filter(status=Status.QUEUED, is_held_back=True)


def _first_held_back(now: Any) -> tuple[AnyRows, Columns]:
    # Django 6.1 wants to see that the subqueries return one row.
    ended = FileRequest.objects.filter(**given(FileRequest, ["id"]))
    of_owner = _held_back().filter(
        queue_name=Subquery(ended.values("queue_name")[:1]), requester=Subquery(ended.values("requester")[:1])
    )
    first = of_owner.in_turn()
    if connection.features.has_select_for_update_skip_locked:
        # Another request of the owner that is cancelled at the same time would wait for this one.
        first = first.select_for_update(skip_locked=True)
    return _held_back().filter(pk=Subquery(first.values("pk")[:1])), {"is_held_back": False}


_LET_GO = Update(FileRequest, _first_held_back)
