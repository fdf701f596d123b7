"""Who may have the file of an export, and the links and tickets to it."""

from datetime import UTC, datetime

from django.utils import timezone

from exports.conf import config, url_of
from exports.exporters import permissions
from exports.models import Actor, AuditEntry, FileRequest, Status
from exports.models.audit import record
from exports.models.request import AnyUser
from exports.models.token import present_user, token_id_of
from exports.signing import InvalidLink, PublicLink, Ticket
from exports.state import State, error_state, rfc3339, serialize


def may_share(user: AnyUser, export: FileRequest) -> bool:
    """Return True if the user may create a public link: if they may change the export and download its file."""
    offers_links = export.requester_id is not None and permissions.public_link_seconds(export) is not None
    return offers_links and export.is_changeable_by(user) and may_download(user, export)


def may_download(user: AnyUser, export: FileRequest) -> bool:
    """Return True if the user may have this file now. The export class is asked again about the owner."""
    if not export.is_downloadable_by(user):
        return False
    return export.requester_id != user.pk or permissions.is_still_granted(export)


def may_go_on(user: AnyUser | None, export: FileRequest) -> bool:
    """Return True if a download that has begun may go on: by this user, or by a public link if `user` is None.

    The user, their token, the export and its permission are read again. A download may outlast its link and, until the
    bytes are deleted, the time for which the file is kept.
    """
    current = FileRequest.objects.select_related("requester").filter(pk=export.pk).first()
    if current is None:
        return False
    has_expired = export.expires_at is not None and export.expires_at <= timezone.now()
    in_its_time = (Status.EXPIRED, export.epoch + 1) if has_expired else (Status.READY, export.epoch)
    if (current.status, current.epoch) not in (in_its_time, (Status.READY, export.epoch)):
        return False
    if user is None:
        is_same_link = current.public_until == export.public_until
        return (
            is_same_link
            and permissions.public_link_seconds(current) is not None
            and permissions.is_still_granted(current)
        )
    present = present_user(user.pk, token_id_of(user))
    return present is not None and may_download(present, current)


def public_link_of(export: FileRequest) -> str | None:
    """Return the signed text of the export's public link, or None if it has no valid one."""
    until = export.public_until
    if export.status != Status.READY or until is None or until <= timezone.now():
        return None
    return PublicLink(export.pk, export.epoch, int(until.timestamp())).sign()


def find_public(text: str, actor: Actor) -> FileRequest:
    """Return the READY export of a public link. Raises FileRequest.DoesNotExist for a link that is not valid.

    The export class must still offer public links, and its owner must still be allowed to have the file.
    """
    try:
        link = PublicLink.read(text)
    except InvalidLink:
        raise FileRequest.DoesNotExist from None
    shared = FileRequest.objects.filter(status=Status.READY, epoch=link.epoch, public_until__gt=timezone.now())
    export = shared.select_related("requester").filter(pk=link.request_id).first()
    if export is not None and export.public_until is not None:
        is_newest = int(export.public_until.timestamp()) == link.until
        if is_newest and permissions.public_link_seconds(export) is not None and permissions.is_still_granted(export):
            return export
    record(AuditEntry.Verb.DOWNLOAD, link.request_id, actor, outcome=AuditEntry.Outcome.DENIED)
    raise FileRequest.DoesNotExist


def sign_ticket(user: AnyUser, export: FileRequest, *, is_bearer: bool = False) -> tuple[str, datetime]:
    """Return the URL of a fresh ticket for this user, and when it expires. The caller has checked the permission."""
    expires = int(timezone.now().timestamp()) + config.TICKET_MAX_AGE_SECONDS
    ticket = Ticket(export.pk, export.epoch, str(user.pk), expires, is_bearer, token_id_of(user)).sign()
    return url_of("file", ticket), datetime.fromtimestamp(expires, UTC)


def state_for(user: AnyUser, export: FileRequest, *, is_bearer: bool = False, queue_seconds: float = 0.0) -> State:
    """Return STATE as this user may see it.

    A user who may download the file gets a ticket, which counts without signing in if `is_bearer`. Others get no URL of
    it, and an owner to whom the export class now refuses the file gets an error in its place. For
    `queue_seconds` see `state.serialize`.
    """
    state = serialize(export, queue_seconds=queue_seconds)
    if export.status != Status.READY:
        return state
    if may_download(user, export):
        state["urls"]["ticket"], expires = sign_ticket(user, export, is_bearer=is_bearer)
        state["urls"]["ticket_expires_at"] = rfc3339(expires)
        return state
    state["urls"]["download"] = None
    if export.requester_id == user.pk:
        state["file"] = None
        state["error"] = error_state(export, "permission_lost")
    return state
