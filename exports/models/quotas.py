"""The quotas of a user: how many requests may wait, run and be made in a day. They are exact under concurrency.

Only rows with `counts_toward_quota` count and are limited: requests of a signed-in user through the app's own views,
unless the user has the permission `exports.exceed_limits`.
"""

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


def check_quota(export: FileRequest) -> None:
    """Raise LimitReached if the owner may not make another request. Exact only after `lock_owner`."""
    counted = FileRequest.objects.filter(requester=export.requester_id, counts_toward_quota=True)
    max_queued = config.MAX_QUEUED_PER_USER
    if max_queued is not None and counted.filter(status=Status.QUEUED).count() >= max_queued:
        raise LimitReached("too_many_queued", max_queued, seconds=RETRY_AFTER_SECONDS)
    max_per_day = config.MAX_PER_USER_PER_DAY
    if max_per_day is None:
        return
    now = timezone.now()
    newest_first = counted.filter(requested_at__gt=now - timedelta(seconds=DAY)).order_by("-requested_at")
    # The limit is reached until this one, the oldest of the allowed number, is a day old.
    oldest = newest_first.values_list("requested_at", flat=True)[max_per_day - 1 : max_per_day].first()
    if oldest is not None and (seconds := DAY - (now - oldest).total_seconds()) > 0:
        raise LimitReached("too_many_today", max_per_day, seconds=seconds)
