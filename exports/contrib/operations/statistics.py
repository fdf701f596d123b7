"""The numbers by which one sees how it goes: what waits, runs and ended, the mails, the downloads, who is here.

A few aggregates over indexed columns, by the database's clock. Ages are in seconds.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Case, Count, DurationField, ExpressionWrapper, F, Min, Q, Sum, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Now

from exports.conf import config
from exports.exporters import registry
from exports.models import ACTIVE, Download, FileRequest, Notification, Status
from exports.queue import huey as huey_queue
from exports.worker import registry as worker_registry

log = logging.getLogger("exports.contrib.operations.statistics")

SAMPLE = 1000


@dataclass(frozen=True)
class Waiting:
    """What is due in a queue. `held_back` of it waits for other files of its owner, by MAX_RUNNING_PER_USER; `oldest`
    is how long the oldest of the others has waited since it was asked for, given back or due again."""

    count: int = 0
    held_back: int = 0
    oldest: float = 0.0


@dataclass(frozen=True)
class Running:
    """What runs in a queue. `abandoned` leases have run out, and housekeeping has not come by yet."""

    count: int = 0
    longest: float = 0.0
    abandoned: int = 0
    owners: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finished:
    """One file that was made lately: seconds in the queue before its last attempt, seconds of that, its rows."""

    queue_name: str
    waited: float
    took: float
    rows: int


@dataclass(frozen=True)
class Here:
    """What the queue's server knows: the processes that are here, host:pid, and the bells nobody heard, by queue; and
    the newest sign of a housekeeper."""

    workers: Mapping[str, set[str]]
    bells: Mapping[str, int]
    sweep: worker_registry.Sign | None


@dataclass(frozen=True)
class Mails:
    """The outbox: mails that are not settled, by state; those that failed before; how long one has been due."""

    by_state: dict[str, int]
    failing: int
    oldest_due: float


def waiting() -> dict[str, Waiting]:
    """By queue, of the types that are registered in this process; `unregistered` counts the others."""
    due = FileRequest.objects.due(Now()).filter(file_type__in=registry.handlers.keys())
    since = Coalesce("not_before", "progressed_at", "requested_at")
    claimable = _by_queue(due.within_running_quota(), count=Count("pk"), oldest=_age(Min(since)))
    nothing = {"count": 0, "oldest": None}
    return {
        queue_name: Waiting(row["count"], row["count"] - free["count"], _seconds(free["oldest"]))
        for queue_name, row in _by_queue(due, count=Count("pk")).items()
        for free in [claimable.get(queue_name, nothing)]
    }


def unregistered() -> dict[str, int]:
    """How many requests wait for a type that nobody registered in this process, by type."""
    strange = FileRequest.objects.due(Now()).exclude(file_type__in=registry.handlers.keys())
    return dict(strange.order_by().values_list("file_type").annotate(count=Count("pk")))


def running() -> dict[str, Running]:
    """By queue."""
    rows = FileRequest.objects.filter(status=Status.RUNNING)
    late = Count("pk", filter=Q(lease_expires_at__lt=Now()))
    found = _by_queue(rows, count=Count("pk"), longest=_age(Min("started_at")), late=late)
    owners = _owners()
    return {
        queue_name: Running(row["count"], _seconds(row["longest"]), row["late"], frozenset(owners[queue_name]))
        for queue_name, row in found.items()
    }


def here() -> Here | None:
    """Who is here: workers that wait for a bell, and those that hold a lease. None: the queue's server is silent."""
    workers = _owners()
    try:
        signs, bells = (
            worker_registry.signs(),
            {queue_name: huey_queue.bells(queue_name) for queue_name in config.QUEUES},
        )
    except Exception as error:
        log.debug("nobody is seen: %s", type(error).__name__)
        return None
    for sign in signs:
        if sign.role == worker_registry.WORKER and sign.is_fresh:
            workers[sign.queue_name].add(sign.owner)
    return Here(workers, bells, next((sign for sign in signs if sign.role == worker_registry.HOUSEKEEPER), None))


def overdue() -> dict[str, float]:
    """What a housekeeper should have done: how many seconds ago the oldest of each kind fell due."""
    lost = FileRequest.objects.abandoned(Now()).aggregate(age=_age(Min("lease_expires_at")))
    stale = FileRequest.objects.filter(status=Status.READY, expires_at__lt=Now())
    expired = stale.aggregate(age=_age(Min("expires_at")))
    return {"rescue": _seconds(lost["age"]), "expire": _seconds(expired["age"]), "mail": mails().oldest_due}


def ended(window: float) -> list[dict[str, Any]]:
    """What ended within the last `window` seconds: {"queue", "status", "error_code", "count"}."""
    rows = FileRequest.objects.filter(finished_at__gte=_ago(window)).order_by()
    return list(rows.values("queue_name", "status", "error_code").annotate(count=Count("pk")))


def crashes(window: float) -> dict[str, int]:
    """How many workers were lost over the requests that are under way or ended lately, by queue."""
    rows = FileRequest.objects.filter(Q(status__in=ACTIVE) | Q(finished_at__gte=_ago(window)), crashes__gt=0)
    return {queue_name: row["crashes"] for queue_name, row in _by_queue(rows, crashes=Sum("crashes")).items()}


def finished(window: float) -> list[Finished]:
    """The newest SAMPLE files that were made within the last `window` seconds."""
    rows = FileRequest.objects.filter(status=Status.READY, finished_at__gte=_ago(window)).exclude(started_at=None)
    newest = rows.order_by("-finished_at").values_list(
        "queue_name", "requested_at", "started_at", "finished_at", "rows_done"
    )
    return [
        Finished(queue_name, _seconds(started - requested), _seconds(ended - started), rows)
        for queue_name, requested, started, ended, rows in newest[:SAMPLE]
    ]


def mails() -> Mails:
    """The mails that are not settled yet."""
    states = (Notification.State.PENDING, Notification.State.SENDING)
    unsettled = Notification.objects.filter(state__in=states)
    by_state = dict(unsettled.order_by().values_list("state").annotate(count=Count("pk")))
    failing = Count("pk", filter=Q(attempts__gt=0, state=Notification.State.PENDING))
    found = unsettled.aggregate(failing=failing, oldest=_age(Min("due_at")))
    return Mails({state: by_state.get(state, 0) for state in states}, found["failing"], _seconds(found["oldest"]))


def settled_mails(window: float) -> dict[str, int]:
    """Mails settled within the last `window` seconds, by outcome: sent, suppressed, gave_up."""
    # A claim moves `due_at` ahead of the end, so the index on it serves.
    lately = Notification.objects.filter(
        state__in=(Notification.State.SENT, Notification.State.SUPPRESSED),
        due_at__gte=_ago(window),
        settled_at__gte=_ago(window),
    )
    outcome = Case(When(reason__startswith="gave up", then=Value("gave_up")), default=F("state"))
    found = lately.annotate(outcome=outcome).order_by().values_list("outcome").annotate(count=Count("pk"))
    return {"sent": 0, "suppressed": 0, "gave_up": 0} | dict(found)


def downloads(window: float) -> tuple[int, int]:
    """How many downloads began within the last `window` seconds, and their bytes: those sent where that is known."""
    lately = Download.objects.filter(at__gte=_ago(window)).order_by()
    found = lately.aggregate(count=Count("pk"), size=Sum(Coalesce("bytes_sent", "byte_count")))
    return found["count"], found["size"] or 0


def _owners() -> defaultdict[str, set[str]]:
    """Who holds a lease that is good, by queue; the lease names a thread too."""
    held = FileRequest.objects.filter(status=Status.RUNNING, lease_expires_at__gte=Now())
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for queue_name, owner in held.order_by().values_list("queue_name", "lease_owner"):
        owners[queue_name].add(owner.rpartition(":")[0])
    return owners


def _by_queue(rows: Any, **aggregates: Any) -> dict[str, dict[str, Any]]:
    """Every queue of EXPORTS["QUEUES"] that has rows, and any other that has."""
    return {row["queue_name"]: row for row in rows.order_by().values("queue_name").annotate(**aggregates)}


def _age(since: Combinable) -> Combinable:
    return ExpressionWrapper(Now() - since, output_field=DurationField())


def _seconds(age: timedelta | None) -> float:
    return max(age.total_seconds(), 0.0) if age is not None else 0.0


def _ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)
