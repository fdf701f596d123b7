"""Mail about exports that are ready, failed or were cancelled by staff, for users who did not see it on a page.

A mail links to the export's page behind login, never to the file. It is sent at least once: after a crash between the
mail server's 250 and our commit, or from a sender that was frozen for longer than its claim, it is sent again with the
same Message-ID.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any, TypedDict
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import NoReverseMatch
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.module_loading import import_string

from exports import failures, faults
from exports.access.tenants import absolute_url, base_url
from exports.conf import config, url_of
from exports.exporters import registry
from exports.models import FileRequest, Notification, Status
from exports.models.clock import Now
from exports.models.locale import local_time
from exports.models.notification import new_message_id
from exports.models.outbox import GAVE_UP
from exports.models.request import AnyUser
from exports.state import error_of, name_of

log = logging.getLogger("exports.mail")

SEND_SECONDS = 30
MAX_IN_A_MAIL = 20

EXPECTED_STATUS: dict[str, Status] = {
    Notification.Kind.READY: Status.READY,
    Notification.Kind.FAILED: Status.FAILED,
    Notification.Kind.CANCELLED: Status.CANCELLED,
}


def are_wanted_by(user: AnyUser) -> bool:
    """Return True if this user has an address and EXPORTS["SEND_MAILS"], a value or a function of the user, is true."""
    given = import_string(config.SEND_MAILS) if isinstance(config.SEND_MAILS, str) else config.SEND_MAILS
    return user.is_authenticated and bool(address_of(user)) and bool(given(user) if callable(given) else given)


class ToldExport(TypedDict):
    """What a mail tells about one export, for its templates: see docs/templates.md. `rows` is None if not counted."""

    request: FileRequest
    title: str
    is_ready: bool
    is_cancelled: bool
    rows: int | None
    made: str
    until: str
    reason: str
    can_retry: bool
    url: str


class NoRecipient(Exception):
    """Raised by a `send` function if the mail has no recipient; the message is stored as the reason."""


def claim(notification: Notification, *, early: bool = False) -> bool:
    """Claim a mail that is due when it is read, for this process; return False if another process has it.

    What goes in the same mail is claimed with it. With `early` it is claimed before it is due, if it was never claimed.
    """
    claimable = Notification.objects.filter(state=Notification.State.PENDING) if early else Notification.objects.open()
    same_mail = claimable.filter(message_id=notification.message_id, attempts=notification.attempts)
    return same_mail.claim(notification.attempts) > 0


def claim_together(first: Notification) -> list[Notification]:
    """Claim a due mail with all that it tells, or return [] if another process has it or it waits.

    Mails for the same user that were never tried go in one. The first waits for those of exports that ended within
    EXPORTS["MAIL_DELAY_SECONDS"] after its own. They take its Message-ID, and so stay one mail when it is sent again:
    a mail server that takes the second for a copy and drops it drops no news.
    """
    if first.attempts:
        others = Notification.objects.open().exclude(pk=first.pk).select_related("request")
        same_mail = list(others.filter(message_id=first.message_id, attempts=first.attempts).order_by("due_at"))
        return [first, *same_mail] if claim(first) else []
    fresh = Notification.objects.untried_beside(first)
    if fresh.filter(due_at__gt=Now(), due_at__lte=first.due_at + timedelta(seconds=config.MAIL_DELAY_SECONDS)).exists():
        return []
    if not claim(first):
        return []
    found = fresh.due(Now()).select_related("request").order_by("due_at")[: MAX_IN_A_MAIL - 1]
    beside = {each.pk: each for each in found if not has_own_mail(each)}
    untried = Notification.objects.filter(pk__in=beside, state=Notification.State.PENDING, attempts=0)
    untried.claim(0, message_id=first.message_id)
    for each in beside.values():
        each.message_id = first.message_id
    taken = Notification.objects.filter(pk__in=beside, message_id=first.message_id).values_list("pk", flat=True)
    return [first, *(beside[pk] for pk in beside if pk in set(taken))]


def has_own_mail(notification: Notification) -> bool:
    """Return True if the exporter sends its own mail in place of this one, or may, since its type is not registered."""
    if notification.kind != Notification.Kind.READY:
        return False
    export = notification.request
    return export.file_type not in registry.handlers or registry.exporter_of(export).own_mail(export) is not None


def deliver(claimed: Sequence[Notification], send: Callable[[], object] | None = None) -> bool:
    """Send what was claimed in one mail and return True, or return False if it was suppressed or could not be sent.

    `send` sends the exporter's own mail in place of the default one; it may raise NoRecipient. A mail that cannot be
    sent is retried with a growing delay for EXPORTS["MAIL_RETRY_SECONDS"] after the export ended or staff asked for it
    again; one that the mail server refuses for good is not (RFC 5321, 4.2.1: replies from 500 on).
    """
    exports = FileRequest.objects.select_related("requester").in_bulk([each.request_id for each in claimed])
    wanted = []
    for notification in claimed:
        # Its row is gone with its export if that was deleted meanwhile.
        if notification.request_id not in exports:
            continue
        notification.request = exports[notification.request_id]
        if reason := _reason_not_to_send(notification.request, notification, is_own_mail=send is not None):
            suppress(notification, reason)
        else:
            wanted.append(notification)
    if not wanted:
        return False
    is_refused_for_its_content = False
    try:
        faults.point("before_smtp")
        if send is None:
            is_refused_for_its_content = True
            message = compose(wanted)
            is_refused_for_its_content = False
            connection().send_messages([message])
        else:
            send()
    except NoRecipient as error:
        _settle(wanted, Notification.State.SUPPRESSED, str(error))
        return False
    except Exception as error:
        is_refused_for_its_content |= isinstance(error, SMTPDataError) and is_permanent(error)
        _note_failure(wanted, error, tells_apart=is_refused_for_its_content and len(wanted) > 1)
        return False
    faults.point("after_250")
    _settle(wanted, Notification.State.SENT, "")
    return True


def suppress_unneeded(due: Iterable[Notification]) -> int:
    """Settle mails never tried that are not to be sent, with a statement for each reason. Return how many."""
    unneeded: dict[str, list[int]] = {}
    for each in due:
        try:
            is_usual = each.attempts == 0 and not has_own_mail(each)
            reason = _reason_not_to_send(each.request, each, is_own_mail=False) if is_usual else ""
        except Exception as error:
            if failures.is_outage(error):
                raise
            # The project's code raised it. It raises it again when this mail is to be sent, and is reported there.
            continue
        if reason:
            unneeded.setdefault(reason, []).append(each.pk)
    settled = 0
    for reason, keys in unneeded.items():
        untried = Notification.objects.filter(pk__in=keys, state=Notification.State.PENDING, attempts=0)
        settled += untried.update(state=Notification.State.SUPPRESSED, reason=reason, settled_at=Now())
    return settled


def suppress(notification: Notification, reason: str) -> bool:
    """Settle a claimed mail without sending it. Return False, like `deliver`."""
    _settle([notification], Notification.State.SUPPRESSED, reason)
    return False


def send_again(export: FileRequest) -> bool:
    """Let the mail about the end of this export be sent once more, soon; return False if there is none to send again.

    It is then sent even if its user has seen the end, and retried for EXPORTS["MAIL_RETRY_SECONDS"] from now on.
    """
    resent = (
        Notification.objects.resendable()
        .filter(request=export)
        .update(
            state=Notification.State.PENDING,
            message_id=new_message_id(export.pk, export.status),
            due_at=Now(),
            resent_at=Now(),
            settled_at=None,
            reason="",
        )
    )
    return resent == 1


def compose(notifications: Sequence[Notification]) -> EmailMultiAlternatives:
    """Return the default mail that tells these. Call this with the recipient's language and time zone active."""
    first, told = notifications[0], [_told(each) for each in notifications]
    kind = first.kind if len(told) == 1 else "digest"
    ready, cancelled = (sum(each[key] for each in told) for key in ("is_ready", "is_cancelled"))
    counts = {"count": len(told), "ready": ready, "cancelled": cancelled, "failed": len(told) - ready - cancelled}
    several = {"exports": told, **counts, "url": list_url(first.request)}
    context = {
        **(told[0] if len(told) == 1 else several),
        "site": urlsplit(base_url(first.request.tenant)).netloc,
        "unsubscribe_url": config.MAIL_UNSUBSCRIBE_URL,
    }
    message = EmailMultiAlternatives(
        subject=" ".join(render_to_string(f"exports/mail/{kind}_subject.txt", context).split()),
        body=render_to_string(f"exports/mail/{kind}.txt", context),
        from_email=config.FROM_EMAIL,
        to=[email_of(first.request)],
        headers={"Message-ID": first.message_id} | common_headers(),
    )
    message.attach_alternative(render_to_string(f"exports/mail/{kind}.html", context), "text/html")
    return message


def _told(notification: Notification) -> ToldExport:
    export = notification.request
    error = error_of(export)
    return {
        "request": export,
        "title": name_of(export),
        "is_ready": notification.kind == Notification.Kind.READY,
        "is_cancelled": notification.kind == Notification.Kind.CANCELLED,
        "rows": export.receipt.get("rows"),
        "made": _with_zone(export.finished_at),
        "until": _with_zone(export.expires_at),
        "reason": error["message"] if error else "",
        "can_retry": registry.is_repeatable(export) and export.error_code != "permission_lost",
        "url": page_url(export),
    }


def _with_zone(moment: datetime | None) -> str:
    """Return a time with the name of its zone, so that a mail read elsewhere is not misunderstood; "" for None."""
    zone = timezone.get_current_timezone_name().replace("_", " ")
    return f"{date_format(local_time(moment), 'DATETIME_FORMAT')} ({zone})" if moment else ""


# Any: backends have nothing in common but `open`, `close` and `send_messages`.
def connection(timeout_seconds: float = SEND_SECONDS) -> Any:
    """Return a connection to the site's mail server. It waits for `timeout_seconds`, unless the site's settings say."""
    found: Any = mail.mailers.default if django.VERSION >= (6, 1) else mail.get_connection()
    # Without a timeout a mail server that does not answer would block housekeeping for ever.
    if getattr(found, "timeout", timeout_seconds) is None:
        found.timeout = timeout_seconds
    return found


def backend_path() -> str:
    """Return the dotted path of the class that sends the mails: of MAILERS, since Django 6.1, or EMAIL_BACKEND."""
    mailers: dict[str, dict[str, str]] | None = getattr(settings, "MAILERS", None)
    if mailers is not None:
        return mailers.get("default", {}).get("BACKEND", "django.core.mail.backends.smtp.EmailBackend")
    with warnings.catch_warnings(action="ignore"):
        # Django 6.1 warns of each reader of EMAIL_BACKEND, also where the site has not set MAILERS yet.
        return settings.EMAIL_BACKEND


def common_headers() -> dict[str, str]:
    """Return the headers of every mail: that it was sent automatically, and where to ask for no more (RFC 2369)."""
    unsubscribe = config.MAIL_UNSUBSCRIBE_URL
    return {"Auto-Submitted": "auto-generated"} | ({"List-Unsubscribe": f"<{unsubscribe}>"} if unsubscribe else {})


def ready_headers(export: FileRequest) -> dict[str, str]:
    """Return the headers for a mail about a finished file: the common ones and its fixed Message-ID."""
    headers = common_headers()
    notification = Notification.objects.filter(request=export, kind=Notification.Kind.READY).first()
    if notification is not None and notification.message_id:
        headers["Message-ID"] = notification.message_id
    return headers


def page_url(export: FileRequest) -> str:
    """Return the absolute URL of the export's page, or EXPORTS["BASE_URL"] if the project does not include our URLs.

    The host comes from EXPORTS["BASE_URL"], never from a Host header, which an attacker can set.
    """
    return _url_or_base(export.tenant, "page", export.pk)


def list_url(export: FileRequest) -> str:
    """Return the absolute URL of the list of exports in which this one is, or EXPORTS["BASE_URL"] like `page_url`."""
    return _url_or_base(export.tenant, "list")


def _url_or_base(tenant: str, name: str, *arguments: object) -> str:
    try:
        return absolute_url(url_of(name, *arguments), tenant)
    except NoReverseMatch:
        return base_url(tenant)


def email_of(export: FileRequest) -> str:
    """Return the e-mail address of the requester, or '' if there is none."""
    return "" if export.requester is None else address_of(export.requester)


def address_of(user: AbstractBaseUser) -> str:
    """Return the e-mail address of a user, or '' if there is none."""
    return getattr(user, user.get_email_field_name(), None) or ""


def _reason_not_to_send(export: FileRequest, notification: Notification, *, is_own_mail: bool) -> str:
    if export.seen_at is not None and notification.resent_at is None:
        return "seen"
    if export.status != EXPECTED_STATUS[notification.kind]:
        return f"request is {export.status}"
    # The author of an exporter's own mail decides about its recipients.
    if not is_own_mail and (export.requester is None or not export.requester.is_active):
        return "no requester"
    if not is_own_mail and not email_of(export):
        return "no address"
    if not is_own_mail and not (export.sends_mail and are_wanted_by(export.requester or AnonymousUser())):
        return "not wanted"
    # Mailers that die each time come to an end as well.
    if notification.state == Notification.State.SENDING and _is_time_up(notification):
        return f"{GAVE_UP}: the mailer was lost"
    return ""


def _settle(notifications: Sequence[Notification], state: str, reason: str) -> None:
    Notification.objects.filter(pk__in=[each.pk for each in notifications]).settle(state, reason)


def _note_failure(notifications: Sequence[Notification], error: Exception, *, tells_apart: bool) -> None:
    """Give up or try again later; with `tells_apart` in a mail for each, so that one export does not cost the others.

    No mail server has taken the one for all then, so each may have another Message-ID.
    """
    attempt, reason = notifications[0].attempts + 1, type(error).__name__
    keys = ", ".join(str(each.request_id) for each in notifications)
    failures.report(log, "mail of request %s not sent, attempt %d: %s", keys, attempt, error=error)
    for each in notifications:
        claimed = Notification.objects.filter(pk=each.pk, attempts=attempt)
        if tells_apart:
            claimed.retry_later(attempt, reason, message_id=new_message_id(each.request_id, each.kind))
        elif is_permanent(error):
            claimed.settle(Notification.State.SUPPRESSED, f"{GAVE_UP}: refused ({reason})")
        elif _is_time_up(each):
            claimed.settle(Notification.State.SUPPRESSED, f"{GAVE_UP}: {reason}")
        else:
            claimed.retry_later(attempt, reason)


def is_permanent(error: Exception) -> bool:
    """Return True if the mail server refused this recipient or this content for good.

    A refused login or sender is the site's own mistake, which may be corrected.
    """
    match error:
        case SMTPRecipientsRefused(recipients=replies):
            return all(code >= 500 for code, _text in replies.values())
        case SMTPDataError(smtp_code=code):
            return code >= 500
    return False


def _is_time_up(notification: Notification) -> bool:
    ended_before = Now() - timedelta(seconds=config.MAIL_RETRY_SECONDS)
    is_old = Q(resent_at=None, request__finished_at__lt=ended_before) | Q(resent_at__lt=ended_before)
    return Notification.objects.filter(is_old, pk=notification.pk).exists()
