"""The quotas of a user: how many requests may wait, run and be made in a day. They are exact under concurrency.

Only rows with `counts_toward_quota` count and are limited: requests of a signed-in user through the app's own views,
unless the user has the permission `exports.exceed_limits`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import F
from django.utils import timezone

from exports.conf import DAY, config
from exports.exceptions import LimitReached
from exports.models.request import FileRequest, Status

RETRY_AFTER_SECONDS = 15.0
"""Suggested when too many requests wait. When a worker takes the next one is not known."""


class OwnerBusy(Exception):
    """Raised if another transaction has the owner locked."""


def lock_owner(export: FileRequest, *, waits: bool = True) -> None:
    """Until the transaction ends, block others that would change the number of this owner's waiting or running rows.

    To be called before a row of the owner is locked: transactions that lock both do so in this order, or one that
    does not wait. Without `waits`, raise OwnerBusy if another transaction has the lock.
    """
    if connection.features.has_select_for_update:
        if not _lock_user(export.requester_id, waits=waits) and not waits:
            raise OwnerBusy
    else:
        # SQLite has one write lock. It must be taken before the first read: a reader cannot always become a writer.
        FileRequest.objects.filter(pk=export.pk).update(seq=F("seq"))


def lock_owner_of(request_id: UUID) -> None:
    """Lock the owner like `lock_owner`, if the request counts; on SQLite the caller's first statement is a write."""
    if connection.features.has_select_for_update:
        counted = FileRequest.objects.filter(pk=request_id, counts_toward_quota=True)
        _lock_user(counted.values_list("requester_id", flat=True).first(), waits=True)


# Any: the primary key of the project's user model.
def _lock_user(pk: Any, *, waits: bool) -> bool:
    # FOR UPDATE would also block inserts of unrelated rows that refer to this user.
    can_lock_without_key = connection.features.has_select_for_no_key_update
    users = get_user_model()._base_manager.select_for_update(no_key=can_lock_without_key, skip_locked=not waits)
    return pk is None or users.filter(pk=pk).values_list("pk").first() is not None


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
        count = newest_first.count()
        # With none left, another is allowed once the oldest of the last `limit` is a day old.
        place = min(count, limit) - 1
        oldest = newest_first.values_list("requested_at", flat=True)[place] if place >= 0 else now
        reset_seconds = max(DAY - (now - oldest).total_seconds(), 0.0)
        found.append(Quota("too_many_today", limit, max(limit - count, 0), DAY, reset_seconds))
    return found


def check_quota(export: FileRequest) -> None:
    """Raise LimitReached if the owner may not make another request. Exact only after `lock_owner`."""
    for quota in quotas_of(export.requester_id):
        if quota.left == 0:
            raise LimitReached(quota.code, quota.limit, seconds=quota.reset_seconds)
