"""The mails as they arrive at a mail server: subject, text and HTML part, in the language and zone of the user."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.utils import timezone

from exports import housekeeping
from exports.models import FileRequest, Notification, Status, transitions
from exports.state import ERROR_MESSAGES
from tests.office.markup import HtmlPage
from tests.servers import Smtp
from tests.shop.requests import claimed, in_status, made
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

LABEL = "Month: January, Airport: JFK"
END = datetime(2026, 11, 28, 10, 17, tzinfo=UTC)


def sent(smtp: Smtp) -> EmailMessage:
    """Send what is due and return the only mail."""
    Notification.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert housekeeping.send_mails() == 1
    [mail] = smtp.mails
    return mail


def text_of(mail: EmailMessage) -> str:
    return part_of(mail, "plain")


def html_of(mail: EmailMessage) -> str:
    return part_of(mail, "html")


def part_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def ready(rows: int | None, **columns: Any) -> FileRequest:
    """Return an ended export with this number of rows, and its mail in the outbox."""
    request, claim = claimed(label=LABEL, **columns)
    assert transitions.publish(claim, made(rows=rows or 0, receipt={} if rows is None else {"rows": rows}))
    return request


@pytest.mark.parametrize(
    ("rows", "subject"),
    [
        (9161, f"Orders, {LABEL}: 9,161 rows ready"),
        (1, f"Orders, {LABEL}: 1 row ready"),
        (0, f"Orders, {LABEL}: nothing matched"),
        (None, f"Orders, {LABEL}: ready"),
    ],
)
def test_the_subject_says_what_is_ready(smtp: Smtp, rows: int | None, subject: str) -> None:
    ready(rows)
    mail = sent(smtp)
    assert mail["Subject"] == subject
    assert ("Rows" in text_of(mail)) == (rows is not None)
    assert ("Nothing matched" in html_of(mail)) == (rows == 0)


def test_both_parts_say_what_the_file_is_and_link_to_its_page(smtp: Smtp) -> None:
    request = ready(9161)
    mail = sent(smtp)
    text, html = text_of(mail), html_of(mail)
    assert mail.get_content_type() == "multipart/alternative"
    address = f"https://exports.example/exports/{request.pk}/page/"
    for fact in (LABEL, "9,161", "orders.csv", address, "exports.example."):
        assert fact in text
        assert fact in html
    assert "Kept until" in text


def test_the_html_part_is_for_phones_dark_programs_and_screen_readers(smtp: Smtp) -> None:
    ready(7)
    html = html_of(sent(smtp))
    page = HtmlPage(html)
    assert page.all("html") == [{"lang": "en", "dir": "ltr"}]
    metas = {meta.get("name"): meta.get("content") for meta in page.all("meta")}
    assert metas["color-scheme"] == metas["supported-color-schemes"] == "light dark"
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert "prefers-color-scheme: dark" in html
    assert len(page.all("a")) == 1
    assert {table.get("role") for table in page.all("table") if "role" in table} == {"presentation"}
    # The first line that a list of mails shows.
    assert html.index("display:none") < html.index("orders.csv") < html.index("<h1")


@pytest.mark.aware_times
@pytest.mark.parametrize(
    ("language", "zone", "moment", "direction"),
    [
        ("en", "America/New_York", "Nov. 28, 2026, 5:17 a.m. (America/New York)", "ltr"),
        ("de", "Asia/Tokyo", "28. November 2026 19:17 (Asia/Tokyo)", "ltr"),
        ("ar", "UTC", "(UTC)", "rtl"),
    ],
)
def test_the_mail_is_in_the_language_and_the_zone_of_the_user(
    smtp: Smtp, language: str, zone: str, moment: str, direction: str
) -> None:
    request = ready(7, requester_language=language, requester_timezone=zone)
    FileRequest.objects.filter(pk=request.pk).update(finished_at=END, expires_at=END)
    Notification.objects.update(resent_at=timezone.now())
    mail = sent(smtp)
    assert text_of(mail).count(moment) == 2
    assert html_of(mail).count(moment) == 3
    assert HtmlPage(html_of(mail)).all("html") == [{"lang": language, "dir": direction}]
    assert ".." not in text_of(mail)


def test_a_file_that_is_kept_for_ever_has_no_end_in_its_mail(smtp: Smtp) -> None:
    request = ready(7)
    FileRequest.objects.filter(pk=request.pk).update(expires_at=None)
    mail = sent(smtp)
    assert "until" not in (text_of(mail) + html_of(mail)).lower()


@pytest.mark.parametrize(("code", "button"), [("took_too_long", "try again"), ("permission_lost", "see the export")])
def test_the_mail_about_a_failure_says_why_and_what_to_do(smtp: Smtp, code: str, button: str) -> None:
    request, claim = claimed(label=LABEL)
    assert transitions.fail(claim, code=code, detail="ValueError at secret.py:1")
    mail = sent(smtp)
    assert mail["Subject"] == f"Orders, {LABEL}: the export failed"
    for part in (text_of(mail), html_of(mail)):
        assert str(ERROR_MESSAGES[code]) in part
        assert f"Sign in and {button}" in part
        assert f"https://exports.example/exports/{request.pk}/page/" in part
        assert "secret.py" not in part


def test_a_site_can_name_the_page_where_mails_are_chosen(smtp: Smtp, settings: Any) -> None:
    configure(settings, MAIL_UNSUBSCRIBE_URL="https://exports.example/settings/")
    in_status(Status.READY)
    Notification.objects.update(resent_at=timezone.now())
    mail = sent(smtp)
    for part in (text_of(mail), html_of(mail)):
        assert "https://exports.example/settings/" in part
