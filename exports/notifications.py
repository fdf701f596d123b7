"""Mail about finished and failed exports, for users who did not see the end on a page.

A mail links to the export's page behind login, never to the file. It is sent at least once: after a crash between the
mail server's 250 and our commit it is sent again with the same Message-ID.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urljoin

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db.models import F
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse

from exports import faults
from exports.conf import config
from exports.models import FileRequest, Notification, Status
from exports.models.clock import Now
from exports.state import error_of, title_of

log = logging.getLogger("exports.mail")

CLAIM_SECONDS = 120
SEND_SECONDS = 30
RETRY_SECONDS = 30

EXPECTED_STATUS: dict[str, Status] = {
    Notification.Kind.READY: Status.READY,
    Notification.Kind.FAILED: Status.FAILED,
}


class NoRecipient(Exception):
    """Raised by a `send` function if the mail has no recipient; the message is stored as the reason."""


def claim(notification: Notification, *, early: bool = False) -> bool:
    """Claim a due mail for this process; return False if another process has it.

    A mail whose mailer dies is due again after CLAIM_SECONDS. With `early` it is claimed before it is due, if it was
    never claimed.
    """
    if early:
        claimable = Notification.objects.filter(state=Notification.State.PENDING)
    else:
        claimable = Notification.objects.due(Now())
    due_again = Now() + timedelta(seconds=CLAIM_SECONDS)
    unchanged = claimable.filter(pk=notification.pk, attempts=notification.attempts)
    return unchanged.update(state=Notification.State.SENDING, attempts=F("attempts") + 1, due_at=due_again) == 1


def deliver(notification: Notification, send: Callable[[], object] | None = None) -> bool:
    """Send a claimed mail and return True, or return False if it was suppressed or could not be sent.

    `send` sends the exporter's own mail in place of the default one; it may raise NoRecipient. A mail that cannot be
    sent is retried with a growing delay, up to EXPORTS["MAIL_MAX_ATTEMPTS"] attempts.
    """
    export = FileRequest.objects.select_related("requester").get(pk=notification.request_id)
    if reason := _reason_not_to_send(export, notification, is_own_mail=send is not None):
        return suppress(notification, reason)
    try:
        faults.point("before_smtp")
        if send is None:
            compose(export, notification).send()
        else:
            send()
    except NoRecipient as error:
        return suppress(notification, str(error))
    except Exception as error:
        _retry_later(notification, type(error).__name__)
        return False
    faults.point("after_250")
    _settle(notification, Notification.State.SENT, "")
    return True


def suppress(notification: Notification, reason: str) -> bool:
    """Settle a claimed mail without sending it. Return False, like `deliver`."""
    _settle(notification, Notification.State.SUPPRESSED, reason)
    return False


def compose(export: FileRequest, notification: Notification) -> EmailMultiAlternatives:
    """Return the default mail. Call this with the recipient's language and time zone active."""
    error = error_of(export)
    context = {
        "title": title_of(export),
        "request": export,
        "reason": error["message"] if error else "",
        "url": page_url(export),
    }
    subject = render_to_string(f"exports/mail/{notification.kind}_subject.txt", context)
    mail = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string(f"exports/mail/{notification.kind}.txt", context),
        from_email=config.FROM_EMAIL,
        to=[email_of(export)],
        headers={"Message-ID": notification.message_id, "Auto-Submitted": "auto-generated"},
        # Without a timeout a mail server that does not answer would block housekeeping for ever.
        connection=get_connection(timeout=settings.EMAIL_TIMEOUT or SEND_SECONDS),
    )
    mail.attach_alternative(render_to_string(f"exports/mail/{notification.kind}.html", context), "text/html")
    return mail


def ready_headers(export: FileRequest) -> dict[str, str]:
    """Return the headers for a mail about a finished file: its fixed Message-ID, and that it was sent automatically."""
    headers = {"Auto-Submitted": "auto-generated"}
    notification = Notification.objects.filter(request=export, kind=Notification.Kind.READY).first()
    if notification is not None and notification.message_id:
        headers["Message-ID"] = notification.message_id
    return headers


def page_url(export: FileRequest) -> str:
    """Return the absolute URL of the export's page, or EXPORTS["BASE_URL"] if the project does not include our URLs.

    The host comes from EXPORTS["BASE_URL"], never from a Host header, which an attacker can set.
    """
    try:
        return urljoin(config.BASE_URL, reverse("exports:page", args=[export.pk]))
    except NoReverseMatch:
        return str(config.BASE_URL)


def email_of(export: FileRequest) -> str:
    """Return the e-mail address of the requester, or '' if there is none."""
    owner = export.requester
    address: str | None = None if owner is None else getattr(owner, owner.get_email_field_name(), None)
    return address or ""


def _reason_not_to_send(export: FileRequest, notification: Notification, *, is_own_mail: bool) -> str:
    if export.seen_at is not None:
        return "seen"
    if export.status != EXPECTED_STATUS[notification.kind]:
        return f"request is {export.status}"
    # The author of an exporter's own mail decides about its recipients.
    if not is_own_mail and (export.requester is None or not export.requester.is_active):
        return "no requester"
    if not is_own_mail and not email_of(export):
        return "no address"
    # The claim counts the attempts, so mailers that die each time come to an end as well.
    if notification.attempts >= config.MAIL_MAX_ATTEMPTS:
        return "gave up: the mailer was lost"
    return ""


def _settle(notification: Notification, state: str, reason: str) -> None:
    claimed = Notification.objects.filter(pk=notification.pk, state=Notification.State.SENDING)
    claimed.update(state=state, reason=reason, settled_at=Now())


def _retry_later(notification: Notification, reason: str) -> None:
    attempt = notification.attempts + 1
    log.warning("mail of request %s not sent, attempt %d: %s", notification.request_id, attempt, reason)
    # Nothing changes if another mailer has claimed it since.
    claimed = Notification.objects.filter(pk=notification.pk, state=Notification.State.SENDING, attempts=attempt)
    if attempt >= config.MAIL_MAX_ATTEMPTS:
        claimed.update(state=Notification.State.SUPPRESSED, reason=f"gave up: {reason}", settled_at=Now())
        return
    due_at = Now() + timedelta(seconds=RETRY_SECONDS * 2 ** (attempt - 1))
    claimed.update(state=Notification.State.PENDING, due_at=due_at, reason=reason)
