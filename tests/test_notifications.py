"""Mail about the end of an export: recipients, time, content, retries."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from smtplib import SMTPAuthenticationError, SMTPRecipientsRefused
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.urls import clear_script_prefix, set_script_prefix
from django.utils import timezone

from exports import housekeeping, notifications, services
from exports.conf import config
from exports.exceptions import TransitionNotAllowed
from exports.models import Actor, AuditEntry, FileRequest, Notification, Status, transitions
from exports.state import ERROR_MESSAGES
from tests.servers import Smtp
from tests.shop.exports import OrderExport
from tests.shop.requests import claimed, in_status, made, queued, user
from tests.shop.runs import configure, send_mails_by

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


class Down(BaseEmailBackend):
    """A mail server that does not answer, as smtplib would say it."""

    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError(111, "sesame")


DOWN = "tests.test_notifications.Down"


def ended(status: str = Status.READY, **columns: Any) -> tuple[FileRequest, Notification]:
    """Return an export that ended this way, and its mail, which is due."""
    request = in_status(status, **columns)
    FileRequest.objects.filter(pk=request.pk).update(finished_at=timezone.now())
    Notification.objects.filter(request=request).update(due_at=just_now())
    return request, Notification.objects.get(request=request)


def just_now() -> datetime:
    return timezone.now() - timedelta(seconds=1)


def settled(notification: Notification) -> tuple[str, str]:
    notification.refresh_from_db()
    return notification.state, notification.reason


# Recipients and time


def test_a_mail_is_due_after_the_mail_delay() -> None:
    _, claim = claimed(queued(requested_at=timezone.now()))
    assert transitions.publish(claim, made())
    assert housekeeping.send_mails() == 0
    assert mail.outbox == []
    due_at = Notification.objects.get().due_at
    assert abs(due_at - timezone.now() - timedelta(seconds=config.MAIL_DELAY_SECONDS)) < timedelta(seconds=2)


def only_eve(someone: User) -> bool:
    return someone.username == "eve"


CHANGES: dict[str, tuple[Status, Callable[[FileRequest], object]]] = {
    "seen": (Status.READY, transitions.mark_seen),
    "request is expired": (Status.READY, transitions.expire),
    "no requester": (Status.FAILED, lambda request: User.objects.update(is_active=False)),
    "no address": (Status.FAILED, lambda request: User.objects.update(email="")),
    "not wanted": (Status.READY, lambda request: FileRequest.objects.filter(pk=request.pk).update(sends_mail=False)),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_no_mail_if_it_is_not_needed_or_has_no_recipient(reason: str) -> None:
    status, change = CHANGES[reason]
    request, notification = ended(status)
    assert change(request)
    _, anonymous = ended(requester=None)
    assert housekeeping.send_mails() == 0
    assert mail.outbox == []
    assert settled(notification) == ("suppressed", reason)
    assert settled(anonymous) == ("suppressed", "no requester")


@pytest.mark.parametrize(("setting", "count"), [(False, 0), ("tests.test_notifications.only_eve", 1)])
def test_the_site_decides_who_gets_mails(settings: Any, setting: bool | str, count: int) -> None:
    configure(settings, SEND_MAILS=setting)
    _, notification = ended()
    ended(requester=user("eve"))
    assert housekeeping.send_mails() == count
    assert [message.to for message in mail.outbox] == [["eve@shop.example"]] * count
    assert settled(notification) == ("suppressed", "not wanted")


def fails_for_eve(someone: User) -> bool:
    if someone.username == "eve":
        raise LookupError("Eve has no profile.")
    return True


def test_a_mail_whose_function_of_the_site_fails_does_not_stop_the_others(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configure(settings, SEND_MAILS="tests.test_notifications.fails_for_eve")
    ended(requester=user("eve"))
    ended()
    assert housekeeping.send_mails() == 1
    assert [message.to for message in mail.outbox] == [["ada@shop.example"]]
    assert "LookupError" in caplog.text


def test_a_mail_whose_exporter_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing, _ = ended(requester=user("eve"))
    ended()

    def own_mail(self: OrderExport, export: FileRequest) -> None:
        if export.pk == failing.pk:
            raise LookupError

    monkeypatch.setattr(OrderExport, "own_mail", own_mail)
    assert housekeeping.send_mails() == 1
    assert [message.to for message in mail.outbox] == [["ada@shop.example"]]
    assert "LookupError" in caplog.text


# Content


def test_a_user_who_did_not_see_the_end_gets_one_mail_about_the_file(settings: Any) -> None:
    configure(settings, FROM_EMAIL="Exports <exports@shop.example>")
    request, notification = ended()
    assert [housekeeping.send_mails() for _ in range(3)] == [1, 0, 0]
    [message] = mail.outbox
    assert (message.to, message.subject) == ([request.requester.email], "Orders: 7 rows ready")
    assert "orders.csv" in message.body
    assert f"https://exports.example/exports/{request.pk}/page/" in message.body
    assert settled(notification) == ("sent", "")
    assert notification.settled_at is not None
    assert message.message()["Auto-Submitted"] == "auto-generated"
    assert message.message()["From"] == "Exports <exports@shop.example>"
    assert message.message()["Message-ID"] == notification.message_id


def test_the_mail_links_to_the_base_url_if_the_project_has_no_export_pages(settings: Any) -> None:
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    ended()
    housekeeping.send_mails()
    assert "https://exports.example" in mail.outbox[0].body
    assert "/page/" not in mail.outbox[0].body


def test_links_keep_the_path_of_the_base_url_once(settings: Any) -> None:
    configure(settings, BASE_URL="https://exports.example/app/")
    request, _ = ended()
    assert notifications.page_url(request) == f"https://exports.example/app/exports/{request.pk}/page/"
    set_script_prefix("/app/")
    assert notifications.page_url(request) == f"https://exports.example/app/exports/{request.pk}/page/"
    clear_script_prefix()


def test_the_mail_says_where_to_ask_for_no_more(settings: Any) -> None:
    configure(settings, MAIL_UNSUBSCRIBE_URL="https://exports.example/settings/")
    ended()
    housekeeping.send_mails()
    assert mail.outbox[0].message()["List-Unsubscribe"] == "<https://exports.example/settings/>"


def test_the_mail_about_a_file_that_is_kept_for_ever_names_no_end() -> None:
    request, _ = ended()
    FileRequest.objects.filter(pk=request.pk).update(expires_at=None)
    housekeeping.send_mails()
    [message] = mail.outbox
    assert "until" not in message.body + str(message.alternatives[0].content)


@pytest.mark.aware_times
def test_the_mail_is_in_the_language_and_time_zone_of_the_requester() -> None:
    request, _ = ended(requester_language="de", requester_timezone="Asia/Tokyo")
    FileRequest.objects.filter(pk=request.pk).update(expires_at="2026-06-03T20:00:00Z")
    housekeeping.send_mails()
    assert "4. Juni 2026 05:00 (Asia/Tokyo)" in mail.outbox[0].body


def test_the_mail_about_a_failure_explains_it_and_escapes_the_title() -> None:
    request, claim = claimed(description="Tea & <b>Biscuits</b>\r\nBcc: x@example.com")
    assert transitions.fail(claim, code="took_too_long", detail="ValueError at secret.py:1")
    Notification.objects.filter(request=request).update(due_at=just_now())
    housekeeping.send_mails()
    message = mail.outbox[0]
    html = str(message.alternatives[0].content)
    assert str(ERROR_MESSAGES["took_too_long"]) in message.body
    for internal in ("secret.py", "took_too_long"):
        assert internal not in message.subject + message.body + html
    assert message.subject == "Tea & <b>Biscuits</b> Bcc: x@example.com: the export failed"
    assert message.bcc == []
    assert "Tea & <b>Biscuits</b>" in message.body
    assert "Tea &amp; &lt;b&gt;Biscuits&lt;/b&gt;" in html


# Retries and concurrent mailers


@pytest.mark.parametrize("is_repaired", [False, True])
def test_a_mail_is_retried_with_growing_delays_until_it_is_sent_or_given_up(
    settings: Any, caplog: pytest.LogCaptureFixture, is_repaired: bool
) -> None:
    caplog.set_level(logging.DEBUG, "exports")
    send_mails_by(settings, DOWN)
    configure(settings, MAIL_RETRY_SECONDS=3600)
    request, notification = ended()
    delays = []
    for _ in range(2):
        assert housekeeping.send_mails() == 0
        assert settled(notification) == ("pending", "ConnectionRefusedError")
        delays.append((notification.due_at - timezone.now()).total_seconds())
        assert housekeeping.send_mails() == 0
        Notification.objects.update(due_at=just_now())
    assert "ConnectionRefusedError" in caplog.text
    assert "ada@" not in caplog.text
    assert "sesame" not in caplog.text
    if is_repaired:
        send_mails_by(settings, "locmem")
    else:
        FileRequest.objects.filter(pk=request.pk).update(finished_at=timezone.now() - timedelta(hours=1))
    assert housekeeping.send_mails() == is_repaired
    expected = ("sent", "") if is_repaired else ("suppressed", "gave up: ConnectionRefusedError")
    assert settled(notification) == expected
    assert notification.attempts == 3
    assert delays == pytest.approx([30, 60], abs=2)


def test_pauses_grow_to_an_hour_at_most() -> None:
    _, notification = ended()
    Notification.objects.update(attempts=500)
    notification.refresh_from_db()
    assert notifications.claim(notification)
    notification.refresh_from_db()
    assert (notification.due_at - timezone.now()).total_seconds() == pytest.approx(3600, abs=2)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 No such user", ("suppressed", "gave up: refused (SMTPDataError)")),
        ("451 Try again later", ("pending", "SMTPDataError")),
    ],
)
def test_a_mail_that_the_server_refuses_for_good_is_not_tried_again(
    smtp: Smtp, reply: str, expected: tuple[str, str]
) -> None:
    _, notification = ended()
    with smtp.refusing(reply):
        assert housekeeping.send_mails() == 0
    assert settled(notification) == expected


def test_a_refused_recipient_is_final_only_if_all_are_refused_for_good() -> None:
    no_user, later = (550, b"no such user"), (450, b"busy")
    assert notifications.is_permanent(SMTPRecipientsRefused({"a@x": no_user}))
    assert not notifications.is_permanent(SMTPRecipientsRefused({"a@x": no_user, "b@x": later}))
    assert not notifications.is_permanent(SMTPAuthenticationError(535, b"bad password"))


def test_a_mail_whose_mailer_dies_each_time_is_given_up() -> None:
    request, notification = ended()
    for _ in range(3):
        notification.refresh_from_db()
        assert notifications.claim(notification)
        # The mailer dies here.
        Notification.objects.update(due_at=just_now())
    FileRequest.objects.filter(pk=request.pk).update(
        finished_at=timezone.now() - timedelta(seconds=config.MAIL_RETRY_SECONDS)
    )
    assert housekeeping.send_mails() == 0
    assert settled(notification) == ("suppressed", "gave up: the mailer was lost")
    assert mail.outbox == []


def test_a_mail_of_a_dead_mailer_is_sent_with_the_same_message_id() -> None:
    _, notification = ended()
    assert notifications.claim(notification)
    assert housekeeping.send_mails() == 0
    Notification.objects.update(due_at=just_now())
    assert housekeeping.send_mails() == 1
    assert mail.outbox[0].message()["Message-ID"] == notification.message_id
    assert settled(notification)[0] == "sent"
    assert notification.attempts == 2


def test_only_one_of_two_mailers_claims_a_mail() -> None:
    _, old = ended()
    first, second = Notification.objects.get(), Notification.objects.get()
    assert [notifications.claim(first), notifications.claim(second)] == [True, False]
    # A mailer that read the row before the first claim cannot claim it when it is due again.
    Notification.objects.update(due_at=just_now())
    assert not notifications.claim(old)


def test_a_slow_mailer_does_not_change_a_mail_that_another_is_sending(settings: Any) -> None:
    _, slow = ended()
    assert notifications.claim(slow)
    Notification.objects.update(due_at=just_now())
    assert notifications.claim(Notification.objects.get())
    send_mails_by(settings, DOWN)
    assert not notifications.deliver([slow])
    assert settled(slow)[0] == "sending"


def test_the_mail_connection_has_a_timeout(settings: Any) -> None:
    send_mails_by(settings, "smtp", EMAIL_HOST="127.0.0.1")
    assert notifications.connection().timeout == notifications.SEND_SECONDS
    send_mails_by(settings, "smtp", EMAIL_HOST="127.0.0.1", EMAIL_TIMEOUT=5)
    assert notifications.connection().timeout == 5


def test_an_export_has_one_mail_of_each_kind() -> None:
    request, claim = claimed()
    assert transitions.fail(claim, code="stalled", detail="")
    FileRequest.objects.filter(pk=request.pk).update(status=Status.QUEUED, finished_at=None)
    request.refresh_from_db()
    _, claim = claimed(request)
    assert transitions.fail(claim, code="stalled", detail="")
    assert Notification.objects.count() == 1


# Mails that staff send again

ROOT = Actor("user", 7)


def test_a_mail_that_was_given_up_is_sent_again_although_its_user_has_seen_the_end(smtp: Smtp) -> None:
    request, notification = ended()
    with smtp.refusing("550 No such user"):
        housekeeping.send_mails()
    FileRequest.objects.filter(pk=request.pk).update(seen_at=timezone.now())
    services.resend_mail(request, ROOT)
    Notification.objects.update(due_at=just_now())
    assert housekeeping.send_mails() == 1
    [message] = smtp.mails
    assert message["Message-ID"] not in ("", notification.message_id)
    assert settled(notification) == ("sent", "")
    entry = AuditEntry.objects.get(verb="resend")
    assert (entry.user_id, entry.export_id, entry.outcome) == (7, request.pk, "done")


def test_a_mail_sent_again_days_later_is_retried_as_long_as_the_first(settings: Any) -> None:
    request, notification = ended()
    assert housekeeping.send_mails() == 1
    FileRequest.objects.update(finished_at=timezone.now() - timedelta(days=4))
    services.resend_mail(request, ROOT)
    send_mails_by(settings, DOWN)
    for resent_at, expected in [(timezone.now(), "pending"), (timezone.now() - timedelta(days=4), "suppressed")]:
        Notification.objects.update(due_at=just_now(), resent_at=resent_at)
        assert housekeeping.send_mails() == 0
        assert settled(notification)[0] == expected


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "pending"},
        {"state": "sending"},
        {"state": "suppressed", "reason": "seen"},
        {"state": "suppressed", "reason": "not wanted"},
        {"state": "sent", "kind": "failed"},
    ],
)
def test_a_mail_that_waits_was_not_needed_or_is_no_longer_true_is_not_sent_again(columns: dict[str, str]) -> None:
    request, _ = ended()
    Notification.objects.update(**columns)
    before = Notification.objects.values().get()
    with pytest.raises(TransitionNotAllowed):
        services.resend_mail(request, ROOT)
    assert Notification.objects.values().get() == before
    assert not AuditEntry.objects.filter(verb="resend").exists()
