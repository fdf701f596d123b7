"""Several exports of a user that end together are told in one mail, each once, whatever dies in between."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from exports import housekeeping, notifications, services
from exports.models import Actor, FileRequest, Notification, Status, transitions
from tests.servers import Smtp
from tests.shop.requests import in_status, user
from tests.shop.runs import configure
from tests.test_mail_contents import html_of, text_of

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def ended(count: int, status: str = Status.READY, *, due_in: float = -1, **columns: Any) -> list[FileRequest]:
    """Return exports that have just ended this way, whose mails are due in `due_in` seconds."""
    exports = [in_status(status, label=f"Month: {number}", **columns) for number in range(1, count + 1)]
    keys = [export.pk for export in exports]
    FileRequest.objects.filter(pk__in=keys).update(finished_at=timezone.now())
    Notification.objects.filter(request__in=keys).update(due_at=timezone.now() + timedelta(seconds=due_in))
    return exports


def make_due() -> None:
    Notification.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def outcomes() -> dict[str, str]:
    """Return the state of each mail by the label of its export."""
    return dict(Notification.objects.values_list("request__label", "state"))


def told_in(smtp: Smtp, exports: list[FileRequest]) -> list[int]:
    """Return how many mails link to each export."""
    texts = [text_of(mail) for mail in smtp.mails]
    return [sum(f"/exports/{export.pk}/page/" in text for text in texts) for export in exports]


@pytest.mark.parametrize(
    ("ready", "failed", "subject"),
    [
        (2, 0, "2 exports ready"),
        (0, 2, "2 exports failed"),
        (2, 1, "2 exports ready, 1 export failed"),
    ],
)
def test_exports_that_ended_together_are_told_in_one_mail(smtp: Smtp, ready: int, failed: int, subject: str) -> None:
    exports = ended(ready) + ended(failed, Status.FAILED)
    assert [housekeeping.send_mails(), housekeeping.send_mails()] == [1, 0]
    [mail] = smtp.mails
    assert mail["Subject"] == subject
    assert told_in(smtp, exports) == [1] * (ready + failed)
    for part in (text_of(mail), html_of(mail)):
        assert "https://exports.example/exports/\n" in part or 'href="https://exports.example/exports/"' in part
        assert part.count("orders.csv") == ready
        assert part.count("No worker was free in time.") == failed
    assert set(Notification.objects.values_list("state", "reason", "attempts")) == {("sent", "", 1)}


@pytest.mark.parametrize(
    "columns",
    [{"requester_language": "de"}, {"requester_timezone": "Asia/Tokyo"}, {"tenant": "north"}],
)
def test_exports_of_another_user_language_zone_or_tenant_have_their_own_mail(
    smtp: Smtp, columns: dict[str, str]
) -> None:
    exports = ended(1) + ended(1, **columns) + ended(1, requester=user("eve"))
    assert housekeeping.send_mails() == 3
    assert told_in(smtp, exports) == [1, 1, 1]
    assert sorted(mail["To"] for mail in smtp.mails) == ["ada@shop.example"] * 2 + ["eve@shop.example"]


def test_a_mail_waits_for_an_export_that_ended_within_the_mail_delay(smtp: Smtp, settings: Any) -> None:
    configure(settings, MAIL_DELAY_SECONDS=10)
    exports = ended(1) + ended(1, due_in=8)
    assert housekeeping.send_mails() == 0
    Notification.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert housekeeping.send_mails() == 1
    assert told_in(smtp, exports) == [1, 1]


def test_a_mail_waits_neither_for_a_later_end_nor_for_one_that_was_seen(smtp: Smtp, settings: Any) -> None:
    configure(settings, MAIL_DELAY_SECONDS=10)
    exports = ended(1) + ended(1, due_in=20) + ended(1, due_in=8)
    assert transitions.mark_seen(exports[2])
    assert housekeeping.send_mails() == 1
    assert told_in(smtp, exports) == [1, 0, 0]


def test_each_export_of_a_digest_is_asked_about_before_it_is_told(smtp: Smtp) -> None:
    exports = ended(3)
    FileRequest.objects.filter(pk=exports[1].pk).update(file_type="gone")
    FileRequest.objects.filter(pk=exports[2].pk).update(sends_mail=False)
    assert housekeeping.send_mails() == 1
    assert told_in(smtp, exports) == [1, 0, 0]
    assert smtp.mails[0]["Subject"] == "Orders, Month: 1: 7 rows ready"
    assert outcomes() == {"Month: 1": "sent", "Month: 2": "pending", "Month: 3": "suppressed"}


def test_an_export_that_was_deleted_after_the_claim_is_left_out(smtp: Smtp) -> None:
    exports = ended(2)
    claimed = notifications.claim_together(Notification.objects.order_by("pk")[0])
    FileRequest.objects.filter(pk=exports[0].pk).delete()
    assert notifications.deliver(claimed)
    assert told_in(smtp, exports) == [0, 1]
    assert outcomes() == {"Month: 2": "sent"}


def test_a_digest_names_no_more_exports_than_a_reader_can_use(smtp: Smtp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "MAX_IN_A_MAIL", 2)
    exports = ended(3)
    assert housekeeping.send_mails() == 2
    assert told_in(smtp, exports) == [1, 1, 1]


def test_a_digest_of_a_dead_mailer_is_sent_again_as_it_was(smtp: Smtp) -> None:
    exports = ended(2)
    first, _ = Notification.objects.order_by("pk")
    assert len(notifications.claim_together(first)) == 2
    # The mailer dies here, perhaps after the server has taken the mail. More exports end meanwhile.
    later = ended(1)
    make_due()
    assert housekeeping.send_mails() == 2
    digest = next(mail for mail in smtp.mails if mail["Message-ID"].strip() == first.message_id)
    assert all(f"/exports/{export.pk}/page/" in text_of(digest) for export in exports)
    assert told_in(smtp, exports + later) == [1, 1, 1]
    assert set(Notification.objects.values_list("state", flat=True)) == {"sent"}


def test_a_digest_that_the_server_refuses_for_now_is_sent_once_later(smtp: Smtp) -> None:
    exports = ended(2)
    with smtp.refusing("451 Try again later"):
        assert housekeeping.send_mails() == 0
    assert set(outcomes().values()) == {"pending"}
    [message_id] = set(Notification.objects.values_list("message_id", flat=True))
    make_due()
    assert housekeeping.send_mails() == 1
    assert smtp.mails[0]["Message-ID"].strip() == message_id
    assert told_in(smtp, exports) == [1, 1]


def test_two_mailers_do_not_send_parts_of_the_same_digest() -> None:
    ended(2)
    first, second = Notification.objects.order_by("pk")
    assert [len(notifications.claim_together(each)) for each in (first, second)] == [2, 0]
    make_due()
    first, second = Notification.objects.order_by("pk")
    assert [len(notifications.claim_together(each)) for each in (second, first)] == [2, 0]


def test_one_export_of_a_digest_can_be_mailed_again_alone(smtp: Smtp) -> None:
    exports = ended(2)
    assert housekeeping.send_mails() == 1
    services.resend_mail(exports[0], Actor("user", 7))
    make_due()
    assert housekeeping.send_mails() == 1
    assert told_in(smtp, exports) == [2, 1]
    assert len({mail["Message-ID"] for mail in smtp.mails}) == 2


def test_an_export_that_cannot_be_told_does_not_cost_the_others_their_mail(
    smtp: Smtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_for_the_first(export: FileRequest) -> str:
        if export.label == "Month: 1":
            raise RuntimeError("its page has no address")
        return ""

    exports = ended(3)
    monkeypatch.setattr(notifications, "page_url", break_for_the_first)
    assert housekeeping.send_mails() == 0
    make_due()
    assert housekeeping.send_mails() == 2
    assert outcomes() == {"Month: 1": "pending", "Month: 2": "sent", "Month: 3": "sent"}
    assert len(Notification.objects.values_list("message_id").distinct()) == len(exports)


def test_exports_whose_mail_is_refused_for_its_content_are_told_apart(smtp: Smtp) -> None:
    exports = ended(2)
    with smtp.refusing("554 Message content rejected"):
        assert housekeeping.send_mails() == 0
    make_due()
    assert housekeeping.send_mails() == 2
    assert told_in(smtp, exports) == [1, 1]
