"""Queries behind the metrics and the doctor.

Each is a few aggregates over indexed columns, by the database's clock. Ages and durations are in seconds. Dictionaries
are keyed by the name of a queue unless they say otherwise.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Case, Count, DurationField, ExpressionWrapper, F, Min, Q, QuerySet, Sum, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from exports.conf import config
from exports.exporters import registry
from exports.models import ACTIVE, AuditEntry, FileRequest, Notification, Status
from exports.models.clock import Now
from exports.models.outbox import GAVE_UP, OutboxEntry
from exports.queue import huey as huey_queue
from exports.worker import registry as worker_registry

log = logging.getLogger("exports.contrib.operations.statistics")

MAX_FINISHED = 1000


@dataclass(frozen=True)
class Waiting:
    """The due requests of a queue.

    `held_back` of them wait for other files of their owner, because of MAX_RUNNING_PER_USER. `oldest` is the age of
    the oldest of the others, since it was requested, given back by a worker, or due again.
    """

    count: int = 0
    held_back: int = 0
    oldest: float = 0.0


@dataclass(frozen=True)
class Running:
    """The running requests of a queue. The leases of `abandoned` have expired; housekeeping has yet to rescue them."""

    count: int = 0
    longest: float = 0.0
    abandoned: int = 0
    owners: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ended:
    """How many requests ended with this status and error code ("" for none)."""

    queue_name: str
    status: str
    error_code: str
    count: int


@dataclass(frozen=True)
class Finished:
    """A file: the seconds it waited before its last attempt, the seconds that attempt took, and its rows."""

    queue_name: str
    waited: float
    took: float
    rows: int


@dataclass(frozen=True)
class Processes:
    """What the queue's server knows: worker processes (host:pid), unread messages, the last sign of a housekeeper."""

    workers: Mapping[str, set[str]]
    messages: Mapping[str, int]
    housekeeper: worker_registry.Sign | None


@dataclass(frozen=True)
class Outbox:
    """The messages that are not settled: their number by state, those that failed before, the age of the oldest due."""

    by_state: Mapping[str, int]
    failing: int
    oldest_due: float


def waiting() -> dict[str, Waiting]:
    """Count the due requests of the types registered in this process."""
    due = FileRequest.objects.due(Now()).filter(file_type__in=registry.handlers.keys())
    since = Coalesce("not_before", "progressed_at", "requested_at")
    claimable = _by_queue(due.filter(is_held_back=False), count=Count("pk"), oldest=_age(Min(since)))
    found = {}
    for queue_name, row in _by_queue(due, count=Count("pk")).items():
        free = claimable.get(queue_name, {"count": 0, "oldest": None})
        found[queue_name] = Waiting(row["count"], row["count"] - free["count"], _seconds(free["oldest"]))
    return found


def running() -> dict[str, Running]:
    """Count the running requests and list the workers that hold their leases."""
    rows = FileRequest.objects.filter(status=Status.RUNNING)
    late = Count("pk", filter=Q(lease_expires_at__lt=Now()))
    found = _by_queue(rows, count=Count("pk"), longest=_age(Min("started_at")), late=late)
    owners = _lease_owners()
    return {
        queue_name: Running(row["count"], _seconds(row["longest"]), row["late"], frozenset(owners[queue_name]))
        for queue_name, row in found.items()
    }


def processes() -> Processes | None:
    """Find the workers that wait or hold a lease, and the housekeeper; None if the queue's server does not answer."""
    workers = _lease_owners()
    try:
        signs = worker_registry.signs()
        messages = {queue_name: huey_queue.pending(queue_name) for queue_name in config.QUEUES}
    except Exception as error:
        log.debug("no process is visible: %s", type(error).__name__)
        return None
    for sign in signs:
        if sign.role == worker_registry.WORKER and sign.is_fresh:
            workers[sign.queue_name].add(sign.owner)
    housekeeper = next((sign for sign in signs if sign.role == worker_registry.HOUSEKEEPER), None)
    return Processes(workers, messages, housekeeper)


def overdue() -> dict[str, float]:
    """Return the age of the oldest task that housekeeping should have done, by "rescue", "expire" and "mail"."""
    lost = FileRequest.objects.abandoned(Now()).aggregate(age=_age(Min("lease_expires_at")))
    stale = FileRequest.objects.filter(status=Status.READY, expires_at__lt=Now())
    expired = stale.aggregate(age=_age(Min("expires_at")))
    return {
        "rescue": _seconds(lost["age"]),
        "expire": _seconds(expired["age"]),
        "mail": outbox(Notification).oldest_due,
    }


def ended(window: float) -> list[Ended]:
    """Count the requests that ended within the last `window` seconds."""
    rows = FileRequest.objects.filter(finished_at__gte=_ago(window)).order_by()
    counts = rows.values_list("queue_name", "status", "error_code").annotate(count=Count("pk"))
    return [Ended(*row) for row in counts]


def crashes(window: float) -> dict[str, int]:
    """Count the workers lost by requests that are active or ended within the last `window` seconds."""
    rows = FileRequest.objects.filter(Q(status__in=ACTIVE) | Q(finished_at__gte=_ago(window)), crashes__gt=0)
    return {queue_name: row["crashes"] for queue_name, row in _by_queue(rows, crashes=Sum("crashes")).items()}


def finished(window: float) -> list[Finished]:
    """Return the newest MAX_FINISHED files of the last `window` seconds."""
    rows = FileRequest.objects.filter(status=Status.READY, finished_at__gte=_ago(window)).exclude(started_at=None)
    moments = ("requested_at", "started_at", "finished_at")
    newest = rows.order_by("-finished_at").values_list("queue_name", "rows_done", *moments)[:MAX_FINISHED]
    return [
        Finished(queue_name, _seconds(started - requested), _seconds(ended - started), row_count)
        for queue_name, row_count, requested, started, ended in newest
    ]


def outbox(model: type[OutboxEntry]) -> Outbox:
    """Count the messages of this outbox, mails or webhooks, that are not settled yet."""
    states = (OutboxEntry.State.PENDING, OutboxEntry.State.SENDING)
    unsettled = model._default_manager.filter(state__in=states)
    by_state = dict(unsettled.order_by().values_list("state").annotate(count=Count("pk")))
    failing = Count("pk", filter=Q(attempts__gt=0, state=OutboxEntry.State.PENDING))
    found = unsettled.aggregate(failing=failing, oldest=_age(Min("due_at")))
    return Outbox({state: by_state.get(state, 0) for state in states}, found["failing"], _seconds(found["oldest"]))


def settled(model: type[OutboxEntry], window: float) -> dict[str, int]:
    """Count the messages settled within the last `window` seconds, by "sent", "suppressed" and "gave_up"."""
    # A claim moves `due_at` past the end of sending: this condition excludes no row, and has an index.
    rows = model._default_manager.filter(
        state__in=(OutboxEntry.State.SENT, OutboxEntry.State.SUPPRESSED),
        due_at__gte=_ago(window),
        settled_at__gte=_ago(window),
    )
    outcome = Case(When(reason__startswith=GAVE_UP, then=Value("gave_up")), default=F("state"))
    found = rows.annotate(outcome=outcome).order_by().values_list("outcome").annotate(count=Count("pk"))
    return {"sent": 0, "suppressed": 0, "gave_up": 0} | dict(found)


def downloads(window: float) -> tuple[int, int]:
    """Count the downloads begun within the last `window` seconds, and their bytes: those sent, where known."""
    downloads = AuditEntry.objects.filter(verb=AuditEntry.Verb.DOWNLOAD, at__gte=_ago(window))
    begun = downloads.exclude(outcome=AuditEntry.Outcome.DENIED).order_by()
    found = begun.aggregate(count=Count("pk"), size=Sum(Coalesce("bytes_sent", "byte_count")))
    return found["count"], found["size"] or 0


def _lease_owners() -> defaultdict[str, set[str]]:
    """Return host:pid of each worker whose lease is valid; the lease names its thread, too."""
    held = FileRequest.objects.filter(status=Status.RUNNING, lease_expires_at__gte=Now())
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for queue_name, owner in held.order_by().values_list("queue_name", "lease_owner"):
        owners[queue_name].add(owner.rpartition(":")[0])
    return owners


# Any: the values are those of the aggregates, which each caller knows.
def _by_queue(rows: QuerySet[FileRequest], **aggregates: Any) -> dict[str, dict[str, Any]]:
    return {row["queue_name"]: dict(row) for row in rows.order_by().values("queue_name").annotate(**aggregates)}


def _age(since: Combinable) -> Combinable:
    return ExpressionWrapper(Now() - since, output_field=DurationField())


def _seconds(age: timedelta | None) -> float:
    return max(age.total_seconds(), 0.0) if age is not None else 0.0


def _ago(seconds: float) -> Combinable:
    return Now() - timedelta(seconds=seconds)
