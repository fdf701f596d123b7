"""What happens to a READY file, and to an export that has ended."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Least

from exports.models.audit import SYSTEM, Actor, AuditEntry
from exports.models.clock import Now
from exports.models.prepared import Columns
from exports.models.request import TERMINAL, WITHOUT_FILE, DatabaseTime, FileRequest, Status
from exports.models.transitions.updates import CANCELLED_BY_STAFF, change, expired_columns, update


def expire(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """End the links of a READY export now. Its bytes are deleted EXPORTS["FILE_DELETE_DELAY_SECONDS"] later."""
    now = now or Now()
    guarded = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch)
    return change(guarded, AuditEntry.Verb.EXPIRE, export, actor, **expired_columns(now))


def remove(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """Delete an export that has ended from its owner's lists; the links of a file end.

    The row stays as long as that of an expired file, since it counts toward the quota of the day.
    """
    now = now or Now()
    ended = FileRequest.objects.filter(pk=export.pk, status__in=TERMINAL, epoch=export.epoch, removed_at=None)
    # One that was read while it was running may be READY now, with links to end.
    guarded = ended.filter(status=export.status)
    gone: Columns = {"removed_at": now}
    if export.status == Status.READY:
        gone |= expired_columns(now)
    return change(guarded, AuditEntry.Verb.REMOVE, export, actor, **gone)


def revoke_links(export: FileRequest, actor: Actor = SYSTEM) -> bool:
    """End all tickets and the public link. The file stays."""
    ready = FileRequest.objects.filter(pk=export.pk, status=Status.READY)
    return change(ready, AuditEntry.Verb.REVOKE, export, actor, epoch=F("epoch") + 1, public_until=None)


def share(export: FileRequest, actor: Actor = SYSTEM, *, seconds: float, now: DatabaseTime | None = None) -> bool:
    """Open a public link for `seconds`, or until the file expires if that is earlier."""
    until = (now or Now()) + timedelta(seconds=seconds)
    guarded = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch)
    end = Least(Coalesce(F("expires_at"), until), until)
    return change(guarded, AuditEntry.Verb.SHARE, export, actor, public_until=end)


def set_expiry_once(export: FileRequest, delta: timedelta, *, now: DatabaseTime | None = None) -> bool:
    """Let the file expire `delta` from now, unless it already has an expiry."""
    return FileRequest.objects.filter(pk=export.pk, expires_at=None).update(expires_at=(now or Now()) + delta) == 1


def erase_details(
    expired_before: DatabaseTime,
    ended_before: DatabaseTime | None,
    *,
    at_once: int,
    now: DatabaseTime | None = None,
) -> int:
    """Erase the criteria, their label and the error details of old exports, which cannot be retried then.

    These are exports that expired before `expired_before`, and those that failed or were cancelled before
    `ended_before` (None: never). Return the number of rows, at most `at_once`.
    """
    expired = Q(status=Status.EXPIRED, expires_at__lt=expired_before, erased_at=None)
    found = _oldest(expired, "expires_at", at_once)
    old = expired
    if ended_before is not None:
        without_file = WITHOUT_FILE & Q(finished_at__lt=ended_before, erased_at=None)
        found += _oldest(without_file, "finished_at", at_once - len(found))
        old |= without_file
    erasable = FileRequest.objects.filter(old, pk__in=found)
    erased: Columns = {"criteria": "", "label": "", "columns": [], "error_detail": "", "dedupe_key": ""}
    # A file name that contains the label goes with it.
    filename = Case(When(label="", then=F("filename")), default=Value(""))
    return erasable.update(seq=F("seq") + 1, erased_at=now or Now(), filename=filename, **erased)


def _oldest(condition: Q, column: str, at_once: int) -> list[UUID]:
    return list(FileRequest.objects.filter(condition).order_by(column).values_list("pk", flat=True)[:at_once])


def keep_until(export: FileRequest, until: DatabaseTime) -> bool:
    """Let a READY file that expires earlier expire at this time. One that never expires stays as it is."""
    earlier = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch, expires_at__lt=until)
    return update(earlier, expires_at=until)


def release_from_feed(export: FileRequest, *, label: str, sends_mail: bool) -> bool:
    """Let a run of a feed be like any request of its owner, with this label: no newer run of the feed replaces it."""
    return update(FileRequest.objects.filter(pk=export.pk), feed=None, label=label, sends_mail=sends_mail)


def mark_seen(export: FileRequest, *, now: DatabaseTime | None = None) -> bool:
    """Record that a page has shown the owner how the export ended, so that no mail is needed."""
    has_mail = Q(status__in=(Status.READY, Status.FAILED)) | Q(status=Status.CANCELLED, error_code=CANCELLED_BY_STAFF)
    ended = FileRequest.objects.filter(has_mail, pk=export.pk, seen_at=None)
    return ended.update(seen_at=now or Now()) == 1
