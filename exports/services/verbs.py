"""What may be done with an export: cancel, expire, remove, revoke, share, send its mail again."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from exports import notifications
from exports.exceptions import TransitionNotAllowed
from exports.exporters import permissions
from exports.models import TERMINAL, Actor, AuditEntry, Feed, FileRequest, FileRequestQuerySet, Status, transitions
from exports.models.audit import record, refuse_reader
from exports.models.request import AnyUser
from exports.queue import base as queue
from exports.realtime import events

Verb = Callable[[FileRequest, Actor], None]


class NotAllowed(Exception):
    """The export does not allow this to the user."""


def cancel(export: FileRequest, actor: Actor) -> None:
    """End a QUEUED or RUNNING export now. Raises TransitionNotAllowed if it has ended."""
    refuse_reader(actor, AuditEntry.Verb.CANCEL, export.pk, file_type=export.file_type)
    _transition(transitions.cancel, export, actor)
    # The owner's next export may have room now, and the worker that ran this one may notice late.
    transaction.on_commit(lambda: queue.wake(export.queue_name), robust=True)


def expire(export: FileRequest, actor: Actor) -> None:
    """End the links to a READY file now; housekeeping deletes the bytes later.

    Raises TransitionNotAllowed if the export is not READY.
    """
    refuse_reader(actor, AuditEntry.Verb.EXPIRE, export.pk, file_type=export.file_type)
    _transition(transitions.expire, export, actor)


def remove(export: FileRequest, actor: Actor) -> None:
    """Delete an export that has ended from its owner's lists, and end the links of its file.

    Raises TransitionNotAllowed if the export is QUEUED or RUNNING.
    """
    refuse_reader(actor, AuditEntry.Verb.REMOVE, export.pk, file_type=export.file_type)
    # Who deletes it knows how it ended, so no mail is needed.
    transitions.mark_seen(export)
    _transition(transitions.remove, export, actor, publish=events.send_removal)


def remove_ended(user: AnyUser, actor: Actor) -> int:
    """Delete this user's failed, cancelled and expired exports from their lists. Return how many were deleted."""
    refuse_reader(actor, AuditEntry.Verb.REMOVE)
    ended = FileRequest.objects.owned_by(user).filter(status__in=(Status.FAILED, Status.CANCELLED, Status.EXPIRED))
    return _remove_all(ended, actor)


def remove_replaced(feed: Feed, newest: FileRequest, actor: Actor, *, but: FileRequest | None = None) -> int:
    """Delete the runs of a feed that ended before its newest from the lists of its owner, and end their links.

    All `but` one, if it is given.
    """
    refuse_reader(actor, AuditEntry.Verb.REMOVE, file_type=feed.file_type)
    replaced = feed.runs.filter(status__in=TERMINAL, requested_at__lt=newest.requested_at, removed_at=None)
    if but is not None:
        replaced = replaced.exclude(pk=but.pk)
    return _remove_all(replaced, actor)


def revoke(export: FileRequest, actor: Actor) -> None:
    """End every ticket and the public link of a READY file, which stays.

    Raises TransitionNotAllowed if the export is not READY.
    """
    refuse_reader(actor, AuditEntry.Verb.REVOKE, export.pk, file_type=export.file_type)
    _transition(transitions.revoke_links, export, actor)


def share(export: FileRequest, actor: Actor) -> None:
    """Create a public link to a READY file; an older one stops working.

    Raises NotAllowed if the export class offers no public links, and TransitionNotAllowed if the export is not READY.
    """
    refuse_reader(actor, AuditEntry.Verb.SHARE, export.pk, file_type=export.file_type)
    seconds = permissions.public_link_seconds(export)
    if seconds is None:
        message = _("This export has no links for anyone.")
        raise refused(AuditEntry.Verb.SHARE, actor, message, file_type=export.file_type, export_id=export.pk)
    _transition(partial(transitions.share, seconds=seconds), export, actor)


def resend_mail(export: FileRequest, actor: Actor) -> None:
    """Send the mail about the end of this export once more, if it was sent or given up.

    Raises TransitionNotAllowed if it still waits, was not needed, or if the export has changed since.
    """
    refuse_reader(actor, AuditEntry.Verb.RESEND, export.pk, file_type=export.file_type)
    with transaction.atomic():
        if not notifications.send_again(export):
            raise TransitionNotAllowed(_("There is no mail about this export that can be sent again."))
        record(AuditEntry.Verb.RESEND, export.pk, actor, file_type=export.file_type)


def refused(verb: str, actor: Actor, message: str, *, file_type: str, export_id: UUID | None = None) -> NotAllowed:
    """Record that the actor may not do this, and return the exception to raise."""
    record(verb, export_id, actor, file_type=file_type, outcome=AuditEntry.Outcome.DENIED)
    return NotAllowed(message)


def _transition(
    transition: Callable[[FileRequest, Actor], bool],
    export: FileRequest,
    actor: Actor,
    *,
    publish: Callable[[FileRequest], None] = events.send_state,
) -> None:
    won = transition(export, actor)
    export.refresh_from_db()
    if not won:
        raise TransitionNotAllowed(_("It is too late for that: the export has changed since."))
    _publish_on_commit(publish, export)


def _remove_all(exports: FileRequestQuerySet, actor: Actor) -> int:
    removed = 0
    for export in exports.without_details():
        if transitions.remove(export, actor):
            removed += 1
            _publish_on_commit(events.send_removal, export)
    return removed


def _publish_on_commit(publish: Callable[[FileRequest], None], export: FileRequest) -> None:
    transaction.on_commit(lambda: publish(export), robust=True)
