"""Insert a request, wake for it, cancel it, or let it time out."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from exports.conf import config
from exports.models import quotas
from exports.models.audit import HOUSEKEEPING, SYSTEM, Actor, AuditEntry, record
from exports.models.clock import Now
from exports.models.notification import Notification
from exports.models.prepared import Columns
from exports.models.request import DatabaseTime, FileRequest, Status
from exports.models.transitions.updates import (
    CANCELLED_BY_STAFF,
    NO_LEASE,
    change,
    end_as_failed,
    new_mail,
    short_transaction,
)


def enqueue(export: FileRequest, actor: Actor | None = None) -> tuple[FileRequest, bool]:
    """Insert the row, or return the active row with the same dedupe_key. The bool tells if it was inserted.

    `actor` is the owner by default. Raise LimitReached if the row counts toward a quota that its owner has reached.
    """
    actor = actor or Actor.of(export.requester)
    if not export.counts_toward_quota:
        return _insert_or_join(export, actor)
    with short_transaction():
        quotas.lock_owner(export)
        if (twin := _active_twin(export)) is not None:
            return twin, False
        quotas.check_quota(export)
        return _insert_or_join(export, actor)


def cancel(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """Cancel a waiting or running export at once. Its worker loses the lease and stops at its next write.

    If another user than its owner cancels it, the owner is told on the page and by mail.
    """
    now = now or Now()
    waiting = Q(status=Status.QUEUED, finished_at=None)
    guarded = FileRequest.objects.filter(waiting | Q(status=Status.RUNNING), pk=export.pk)
    end: Columns = {"status": Status.CANCELLED, "finished_at": now, "epoch": F("epoch") + 1}
    is_by_staff = export.requester_id is not None and actor.user_id not in (None, export.requester_id)
    then = []
    if is_by_staff:
        end["error_code"] = CANCELLED_BY_STAFF
        then.append(new_mail(export.pk, Notification.Kind.CANCELLED))
    return change(guarded, AuditEntry.Verb.CANCEL, export, actor, then=then, now=now, **end, **NO_LEASE)


def time_out(export: FileRequest, *, now: DatabaseTime | None = None) -> bool:
    """End a request as FAILED that no worker has begun in time."""
    unclaimed = FileRequest.objects.filter(pk=export.pk, status=Status.QUEUED, epoch=export.epoch, finished_at=None)
    return end_as_failed(unclaimed, export, HOUSEKEEPING, code="expired_in_queue", detail="", now=now)


def mark_woken(keys: Collection[UUID], *, now: DatabaseTime | None = None) -> int:
    """Record that workers are woken for due requests. Return for how many; only the caller that wins wakes them."""
    now = now or Now()
    not_lately = Q(woken_at=None) | Q(woken_at__lt=now - timedelta(seconds=config.WAKE_AGAIN_SECONDS))
    # A web host whose clock is ahead writes a time of the future.
    not_lately |= Q(woken_at__gt=now)
    return FileRequest.objects.due(now).filter(not_lately, pk__in=keys).update(woken_at=now)


def _insert_or_join(export: FileRequest, actor: Actor) -> tuple[FileRequest, bool]:
    try:
        _insert(export, actor)
    except IntegrityError:
        if (twin := _active_twin(export)) is not None:
            return twin, False
        # The other row has ended since, so this one fits now; after any other violation it raises again.
        _insert(export, actor)
    return export, True


def _active_twin(export: FileRequest) -> FileRequest | None:
    return FileRequest.objects.active().filter(dedupe_key=export.dedupe_key).exclude(dedupe_key="").first()


def _insert(export: FileRequest, actor: Actor) -> None:
    # In a savepoint: PostgreSQL refuses all further statements of a transaction in which one has failed.
    with transaction.atomic():
        export.save(force_insert=True)
        record(AuditEntry.Verb.REQUEST, export.pk, actor, file_type=export.file_type)
