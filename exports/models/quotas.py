"""The quotas of a user: how many requests may wait, run and be made in a day. They are exact under concurrency.

Only rows with `counts_toward_quota` count and are limited: requests of a signed-in user through the app's own views,
unless the user has the permission `exports.exceed_limits`.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.db.models import F, Subquery
from django.utils import timezone

from exports.conf import DAY, config
from exports.exceptions import LimitReached
from exports.models.prepared import AnyRows, Bound, Given, Select
from exports.models.request import FileRequest, Status

RETRY_AFTER_SECONDS = 15.0
"""Suggested when too many requests wait. When a worker takes the next one is not known."""


LOCK_NOT_AVAILABLE = "55P03"


def lock_owner(export: FileRequest) -> None:
    """Until the transaction ends, block others that would change the number of this owner's waiting or running rows.

    To be called before a row of the owner is locked: transactions that lock both do so in this order, or one that
    does not wait.
    """
    if connection.features.has_select_for_update:
        for lock in owner_lock(export):
            lock.run()
    else:
        # SQLite has one write lock. It must be taken before the first read: a reader cannot always become a writer.
        FileRequest.objects.filter(pk=export.pk).update(seq=F("seq"))


def owner_lock(export: FileRequest, *, waits: bool = True) -> list[Bound]:
    """Return the statement that locks the owner like `lock_owner`, if the database has row locks and there is an owner.

    Without `waits`, it fails if another transaction has the lock: see `is_busy`.
    """
    if not connection.features.has_select_for_update or export.requester_id is None:
        return []
    return [_lock(waits=waits).bind(user=export.requester_id)]


def owner_lock_of(request_id: UUID) -> list[Bound]:
    """Return the same for the owner of a request, if it counts."""
    return [_LOCK_OF_REQUEST.bind(request=request_id)] if connection.features.has_select_for_update else []


def is_busy(error: OperationalError) -> bool:
    """Return True if a statement has failed since another transaction has the lock."""
    # psycopg calls the code sqlstate, psycopg2 pgcode.
    cause = error.__cause__
    return (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) == LOCK_NOT_AVAILABLE


@cache
def _lock(*, waits: bool) -> Select:
    user = get_user_model()
    # Requests wait for it, whose processes run few of these statements.
    return Select(
        user, lambda now: _locked_users(waits=waits).filter(pk=Given("user", user._meta.pk)), is_reused=not waits
    )


def _locking_owner_of_request(now: Any) -> AnyRows:
    counted = FileRequest.objects.filter(pk=Given("request", FileRequest._meta.pk), counts_toward_quota=True)
    return _locked_users(waits=True).filter(pk=Subquery(counted.values("requester")[:1]))


def _locked_users(*, waits: bool) -> AnyRows:
    # FOR UPDATE would also block inserts of unrelated rows that refer to this user.
    can_lock_without_key = connection.features.has_select_for_no_key_update
    users = get_user_model()._base_manager.select_for_update(no_key=can_lock_without_key, nowait=not waits)
    return users.values("pk")


_LOCK_OF_REQUEST = Select(FileRequest, _locking_owner_of_request)


@dataclass(frozen=True)
class Quota:
    """A quota of a user: its error code, how many requests it allows, how many of them are left.

    `seconds` is the length of its window, None for one that counts the requests that wait; `reset_seconds` is when
    another request is allowed, at the earliest.
    """

    code: str
    limit: int
    left: int
    seconds: int | None
    reset_seconds: float


def quotas_of(requester_id: Any) -> list[Quota]:
    """Return the quotas of a user as they are now. Exact only after `lock_owner`."""
    counted = FileRequest.objects.filter(requester=requester_id, counts_toward_quota=True)
    found = []
    if (limit := config.MAX_QUEUED_PER_USER) is not None:
        left = max(limit - counted.filter(status=Status.QUEUED).count(), 0)
        found.append(Quota("too_many_queued", limit, left, None, RETRY_AFTER_SECONDS))
    if (limit := config.MAX_PER_USER_PER_DAY) is not None:
        now = timezone.now()
        newest_first = counted.filter(requested_at__gt=now - timedelta(seconds=DAY)).order_by("-requested_at")
        times = list(newest_first.values_list("requested_at", flat=True)[:limit])
        # With none left, another is allowed once the oldest of the last `limit` is a day old.
        oldest = times[-1] if times else now
        reset_seconds = max(DAY - (now - oldest).total_seconds(), 0.0)
        found.append(Quota("too_many_today", limit, limit - len(times), DAY, reset_seconds))
    return found


def check_quota(export: FileRequest) -> None:
    """Raise LimitReached if the owner may not make another request. Exact only after `lock_owner`."""
    for quota in quotas_of(export.requester_id):
        if quota.left == 0:
            raise LimitReached(quota.code, quota.limit, seconds=quota.reset_seconds)
