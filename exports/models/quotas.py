"""How much one person may ask for and have made at once, as the settings say; kept exactly, whoever asks meanwhile.

Only requests that are `counts_toward_quota` count, and only they are held back: those that a door made, for somebody who is
signed in and may not exceed the limits.
"""

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import F
from django.utils import timezone

from exports.conf import DAY, config
from exports.exceptions import LimitReached
from exports.models.request import FileRequest, FileRequestQuerySet, Status

ASK_AGAIN_SECONDS = 15.0
"""Nobody knows when a worker takes the next one; this is about the pace of everything else."""


def lock_owner(request: FileRequest) -> None:
    """Until this transaction ends, nobody else adds to what the owner of this request waits for or has running."""
    if connection.features.has_select_for_update:
        # Not FOR UPDATE: rows that refer to this person are added by others meanwhile.
        weaker = connection.features.has_select_for_no_key_update
        people = get_user_model()._base_manager.select_for_update(no_key=weaker)
        people.filter(pk=request.requester_id).values_list("pk").first()
    else:
        # SQLite: the one write lock, taken before anything is read; a reader may not become a writer later.
        FileRequest.objects.filter(pk=request.pk).update(seq=F("seq"))


def check_quota(request: FileRequest) -> None:
    """Raise LimitReached where the owner of this request has no room for it. Exact inside `hold`."""
    counted = FileRequest.objects.filter(requester=request.requester_id, counts_toward_quota=True)
    waiting = config.MAX_QUEUED_PER_USER
    if waiting is not None and counted.filter(status=Status.QUEUED).count() >= waiting:
        raise LimitReached("too_many_queued", waiting, seconds=ASK_AGAIN_SECONDS)
    a_day = config.MAX_PER_USER_PER_DAY
    if a_day is not None and (seconds := _seconds_full(counted, a_day)) > 0:
        raise LimitReached("too_many_today", a_day, seconds=seconds)


def _seconds_full(counted: FileRequestQuerySet, limit: int) -> float:
    """How long it takes until fewer than `limit` were asked for within 24 hours."""
    now = timezone.now()
    newest_first = counted.filter(requested_at__gt=now - timedelta(seconds=DAY)).order_by("-requested_at")
    decisive = newest_first.values_list("requested_at", flat=True)[limit - 1 : limit].first()
    return DAY - (now - decisive).total_seconds() if decisive else 0.0
