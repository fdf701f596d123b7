"""The mail: one to whoever did not see how a request ended. It leads to a page behind login, never to the file.

At least once: a crash between the server's 250 and our commit sends it again, with the same Message-ID.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urljoin

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db.models import F
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse

from exports import faults
from exports.conf import config
from exports.models import FileRequest, Notification, Status
from exports.state import error_of, title_of

log = logging.getLogger("exports.mail")

CLAIM_SECONDS = 120
SEND_SECONDS = 30
RETRY_SECONDS = 30

ENDS = {Notification.Kind.READY: Status.READY, Notification.Kind.FAILED: Status.FAILED}


class NoRecipient(Exception):
    """There is nobody to whom this mail would say anything; the message says why."""


def claim(notification: Notification, *, early: bool = False) -> bool:
    """PENDING → SENDING for one mailer; one that dies leaves it due again after CLAIM_SECONDS.

    `early` does not wait until it is due, for whoever knows that nobody else can send it.
    """
    due_again = Now() + timedelta(seconds=CLAIM_SECONDS)
    waiting = Notification.objects.filter(state=Notification.State.PENDING)
    due = (waiting if early else Notification.objects.due(Now())).filter(
        pk=notification.pk, attempts=notification.attempts
    )
    return due.update(state=Notification.State.SENDING, attempts=F("attempts") + 1, due_at=due_again) == 1


def deliver(notification: Notification, send: Callable[[], object] | None = None) -> bool:
    """Send a claimed mail, or settle it as SUPPRESSED where nobody needs it. Returns whether it was sent.

    `send` sends the mail of an export's author in place of ours, or raises NoRecipient. A mail that cannot be sent, by
    the server or by its author, is put back with a growing delay, up to EXPORTS["MAIL_MAX_ATTEMPTS"] attempts.
    """
    request = FileRequest.objects.select_related("requester").get(pk=notification.request_id)
    if reason := needless(request, notification) or ("" if send else unreachable(request)) or spent(notification):
        return suppress(notification, reason)
    try:
        faults.point("before_smtp")
        if send is None:
            compose(request, notification).send()
        else:
            send()
    except NoRecipient as error:
        return suppress(notification, str(error))
    except Exception as error:
        _put_back(notification, type(error).__name__)
        return False
    faults.point("after_250")
    _settle(notification, Notification.State.SENT, "")
    return True


def suppress(notification: Notification, reason: str) -> bool:
    """Settle a claimed mail without sending it."""
    _settle(notification, Notification.State.SUPPRESSED, reason)
    return False


def needless(request: FileRequest, notification: Notification) -> str:
    """Why nobody needs this mail, or ''."""
    if request.seen_at is not None:
        return "seen"
    return "" if request.status == ENDS[notification.kind] else f"request is {request.status}"


def unreachable(request: FileRequest) -> str:
    """Why there is nobody to mail to, or ''."""
    if request.requester is None or not request.requester.is_active:
        return "no requester"
    return "" if email_of(request) else "no address"


def spent(notification: Notification) -> str:
    """Why no further attempt is made, or ''. Attempts are counted at the claim: whoever dies each time ends, too."""
    return "gave up: the mailer was lost" if notification.attempts >= config.MAIL_MAX_ATTEMPTS else ""


def compose(request: FileRequest, notification: Notification) -> EmailMultiAlternatives:
    """The mail as its reader gets it; call it with the reader's language and time zone active."""
    context = {
        "title": title_of(request),
        "request": request,
        "reason": (error_of(request) or {}).get("message", ""),
        "url": page_url(request),
    }
    subject = render_to_string(f"exports/mail/{notification.kind}_subject.txt", context)
    mail = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string(f"exports/mail/{notification.kind}.txt", context),
        from_email=config.FROM_EMAIL,
        to=[email_of(request)],
        headers={"Message-ID": notification.message_id, "Auto-Submitted": "auto-generated"},
        # Without a timeout a mail server that says nothing would hold the housekeeper for ever.
        connection=get_connection(timeout=settings.EMAIL_TIMEOUT or SEND_SECONDS),
    )
    mail.attach_alternative(render_to_string(f"exports/mail/{notification.kind}.html", context), "text/html")
    return mail


def ready_headers(request: FileRequest) -> dict[str, str]:
    """The headers of the mail that a file is ready: the Message-ID that it keeps, and that no person wrote it."""
    ready = Notification.objects.filter(request=request, kind=Notification.Kind.READY)
    message_id = ready.values_list("message_id", flat=True).first()
    return ({"Message-ID": message_id} if message_id else {}) | {"Auto-Submitted": "auto-generated"}


def page_url(request: FileRequest) -> str:
    """The absolute address of the request's page, from EXPORTS["BASE_URL"], never from a Host header.

    A host that does not include our urls has no such page; its mails lead to BASE_URL.
    """
    try:
        return urljoin(config.BASE_URL, reverse("exports:page", args=[request.pk]))
    except NoReverseMatch:
        return config.BASE_URL


def email_of(request: FileRequest) -> str:
    """Where to write to whoever asked, or ''."""
    owner = request.requester
    return (getattr(owner, owner.get_email_field_name(), "") or "") if owner is not None else ""


def _settle(notification: Notification, state: str, reason: str) -> None:
    Notification.objects.filter(pk=notification.pk, state=Notification.State.SENDING).update(
        state=state, reason=reason, settled_at=Now()
    )


def _put_back(notification: Notification, reason: str) -> None:
    attempt = notification.attempts + 1
    log.warning("mail of request %s not sent, attempt %d: %s", notification.request_id, attempt, reason)
    # Only while nobody else has taken it over.
    mine = Notification.objects.filter(pk=notification.pk, state=Notification.State.SENDING, attempts=attempt)
    if attempt >= config.MAIL_MAX_ATTEMPTS:
        mine.update(state=Notification.State.SUPPRESSED, reason=f"gave up: {reason}", settled_at=Now())
        return
    due_at = Now() + timedelta(seconds=RETRY_SECONDS * 2 ** (attempt - 1))
    mine.update(state=Notification.State.PENDING, due_at=due_at, reason=reason)
