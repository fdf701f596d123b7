"""Webhooks: who gets which message when; retries, servers that misbehave, and ends of permission."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from exports import housekeeping, services
from exports.access import tokens
from exports.models import Actor, AuditEntry, FileRequest, Status, Webhook, WebhookDelivery, transitions
from exports.models.audit import SYSTEM
from exports.webhooks import sending, verbs
from tests.office.receiver import Receiver, status
from tests.shop.exports import OrderExport
from tests.shop.requests import at_once, claimed, end, made, queued, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

State = WebhookDelivery.State


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    configure(settings, WEBHOOKS=True, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver() as found:
        yield found


def webhook(receiver: Receiver, **columns: Any) -> Webhook:
    return Webhook.objects.create(**{"owner": user(), "url": receiver.url} | columns)


def ended(how: str = Status.READY, **columns: Any) -> FileRequest:
    """Return an export that ended just now."""
    request = queued(**columns)
    end(request, how)
    return request


def fell_due(**columns: Any) -> None:
    """Let all messages be due, as if time had passed."""
    WebhookDelivery.objects.update(due_at=timezone.now() - timedelta(seconds=1), **columns)


def outcome() -> tuple[str, str, int | None]:
    delivery = WebhookDelivery.objects.get()
    return delivery.state, delivery.reason, delivery.response_status


# Messages


@pytest.mark.parametrize("how", [Status.READY, Status.FAILED, Status.CANCELLED])
def test_the_end_of_an_export_is_sent_once(receiver: Receiver, how: str) -> None:
    webhook(receiver)
    request = ended(how)
    assert [housekeeping.send_webhooks() for _ in range(2)] == [1, 0]
    [received] = receiver.received
    message = json.loads(received.body)
    assert message["type"] == f"export.{how}"
    assert message["timestamp"].endswith("Z")
    assert (message["data"]["id"], message["data"]["status"]) == (str(request.pk), how)
    assert received.headers["content-type"] == "application/json"
    assert outcome() == (State.SENT, "", 204)


def test_a_file_that_expires_is_told_after_it_was_ready(receiver: Receiver) -> None:
    webhook(receiver)
    request = ended()
    housekeeping.send_webhooks()
    assert transitions.expire(request)
    assert not transitions.expire(request)
    housekeeping.send_webhooks()
    assert [json.loads(each.body)["type"] for each in receiver.received] == ["export.ready", "export.expired"]
    assert len(set(receiver.ids)) == 2


def test_the_message_is_the_state_with_links_to_pages_only(receiver: Receiver) -> None:
    webhook(receiver)
    request = ended()
    housekeeping.send_webhooks()
    data = json.loads(receiver.received[0].body)["data"]
    state = services.state_for(request.requester, request)
    urls, given = state.pop("urls"), data.pop("urls")
    assert data == json.loads(json.dumps(state))
    assert given["ticket"] is None
    assert given["download"] == f"https://exports.example{urls['download']}"
    assert given["page"] == f"https://exports.example{urls['page']}"
    assert given["cancel"] is None


def test_only_the_owner_of_the_export_is_told_and_only_of_the_chosen_types(receiver: Receiver) -> None:
    other = webhook(receiver, exporters=["invoices"])
    webhook(receiver, owner=user("eve"))
    webhook(receiver, is_active=False)
    webhook(receiver, tenant="elsewhere")
    ended()
    ended(requester=None)
    assert WebhookDelivery.objects.count() == 0
    Webhook.objects.filter(pk=other.pk).update(exporters=[OrderExport.file_type])
    ended()
    assert [each.webhook for each in WebhookDelivery.objects.all()] == [other]


def test_without_the_setting_nothing_is_queued_or_sent(receiver: Receiver, settings: Any) -> None:
    webhook(receiver)
    ended()
    configure(settings, WEBHOOKS=False)
    ended()
    assert WebhookDelivery.objects.count() == 1
    assert housekeeping.sweep().webhooks_sent == 0
    assert receiver.received == []


def test_the_message_is_queued_in_the_transaction_of_the_end(receiver: Receiver) -> None:
    webhook(receiver)
    _, claim = claimed()
    with transaction.atomic():
        assert transitions.publish(claim, made())
        assert WebhookDelivery.objects.count() == 1
        transaction.set_rollback(True)
    assert WebhookDelivery.objects.count() == 0


# Permission, asked when it is sent


def refuse_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OrderExport, "has_permission", lambda self, user, criteria: False)


def test_an_owner_who_lost_the_permission_learns_the_status_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook(receiver)
    request = ended()
    refuse_all(monkeypatch)
    assert housekeeping.send_webhooks() == 1
    assert json.loads(receiver.received[0].body)["data"] == {"id": str(request.pk), "status": "ready"}


def deactivate_owner(found: Webhook) -> None:
    found.owner.is_active = False
    found.owner.save()


def revoke_token(found: Webhook) -> None:
    assert found.token is not None
    tokens.revoke(found.token, Actor.of(found.owner))


NOT_SENT: dict[str, Callable[[Webhook], object]] = {
    "no requester": deactivate_owner,
    "webhook not active": lambda found: verbs.disable(found, Actor.of(found.owner)),
    "token not valid": revoke_token,
}


@pytest.mark.parametrize("reason", NOT_SENT)
def test_nothing_is_sent_for_a_user_a_webhook_or_a_token_that_is_not_active(receiver: Receiver, reason: str) -> None:
    token, _text = tokens.create(user(), "nightly", Actor.of(user()))
    found = webhook(receiver, token=token)
    ended()
    NOT_SENT[reason](found)
    assert housekeeping.send_webhooks() == 0
    assert receiver.received == []
    assert outcome() == (State.SUPPRESSED, reason, None)


def test_a_webhook_of_a_token_tells_of_the_types_that_the_token_opens(receiver: Receiver) -> None:
    token, _text = tokens.create(user(), "nightly", Actor.of(user()), exporters=["invoices"])
    webhook(receiver, token=token)
    ended()
    assert WebhookDelivery.objects.count() == 0


# Servers that misbehave


def test_after_errors_the_same_message_arrives_with_the_same_id(receiver: Receiver) -> None:
    receiver.answers += [status(500), status(503)]
    webhook(receiver)
    ended()
    results = []
    for _ in range(3):
        results.append((housekeeping.send_webhooks(), *outcome()))
        fell_due()
    assert results == [
        (0, State.PENDING, "HTTP 500", 500),
        (0, State.PENDING, "HTTP 503", 503),
        (1, State.SENT, "", 204),
    ]
    assert len(receiver.received) == 3
    assert len(set(receiver.ids)) == 1
    assert Webhook.objects.get().failing_since is None


def test_the_pauses_between_attempts_grow(receiver: Receiver) -> None:
    receiver.answers += [status(500)] * 3
    webhook(receiver)
    ended()
    pauses = []
    for _ in range(3):
        housekeeping.send_webhooks()
        pauses.append(round((WebhookDelivery.objects.get().due_at - timezone.now()).total_seconds(), -1))
        fell_due()
    assert pauses == [30, 60, 120]


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers.append(status(302, Location=f"{receiver.url}/elsewhere"))
    webhook(receiver)
    ended()
    assert housekeeping.send_webhooks() == 0
    assert [each.path for each in receiver.received] == ["/hook"]
    assert outcome() == (State.PENDING, "HTTP 302", 302)


def never_answer(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(10)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    """Send a header in small pieces, each in time, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def only_announce(handler: BaseHTTPRequestHandler) -> None:
    """Send interim responses for ever."""
    for _ in range(200):
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [never_answer, drip_headers, only_announce])
def test_a_server_without_a_response_in_time_is_tried_again(receiver: Receiver, settings: Any, answer: Any) -> None:
    configure(settings, WEBHOOK_TIMEOUT_SECONDS=0.5)
    receiver.answers.append(answer)
    webhook(receiver)
    ended()
    began = time.monotonic()
    assert housekeeping.send_webhooks() == 0
    assert time.monotonic() - began < 5
    assert outcome() == (State.PENDING, "ReadTimeout", None)


def huge_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 65536)


def huge_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Huge: ")
    while True:
        handler.wfile.write(b"x" * 65536)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (huge_body, (State.SENT, "", 200)),
        (huge_headers, (State.PENDING, "RemoteProtocolError", None)),
        (no_http, (State.PENDING, "RemoteProtocolError", None)),
    ],
)
def test_no_more_of_a_response_is_read_than_is_needed(receiver: Receiver, answer: Any, expected: Any) -> None:
    receiver.answers.append(answer)
    webhook(receiver)
    ended()
    housekeeping.send_webhooks()
    assert outcome() == expected


def test_messages_are_given_up_in_the_end_and_can_be_sent_again(receiver: Receiver, settings: Any) -> None:
    receiver.answers += [status(500)] * 2
    found = webhook(receiver)
    ended()
    housekeeping.send_webhooks()
    fell_due(happened_at=timezone.now() - timedelta(days=4))
    housekeeping.send_webhooks()
    assert outcome() == (State.SUPPRESSED, "gave up: HTTP 500", 500)
    verbs.send_again(WebhookDelivery.objects.get(), Actor.of(found.owner))
    assert housekeeping.send_webhooks() == 1
    assert outcome() == (State.SENT, "", 204)
    assert len(set(receiver.ids)) == 1


def test_a_name_that_stands_for_an_address_of_this_host_gets_nothing(receiver: Receiver, settings: Any) -> None:
    configure(settings, WEBHOOK_ALLOWED_NETWORKS=["10.0.0.0/8"])
    webhook(receiver, url=f"http://localhost:{receiver.port}/")
    ended()
    assert housekeeping.send_webhooks() == 0
    assert receiver.received == []
    assert outcome() == (State.SUPPRESSED, "gave up: address not allowed", None)


# Webhooks that do not work


def test_a_webhook_that_fails_for_days_is_disabled(receiver: Receiver, log_lines: Any) -> None:
    receiver.answers += [status(500)] * 2
    webhook(receiver)
    ended()
    housekeeping.send_webhooks()
    assert Webhook.objects.get().is_active
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=6))
    fell_due()
    housekeeping.send_webhooks()
    found = Webhook.objects.get()
    assert (found.is_active, found.disabled_at is not None) == (False, True)
    entry = AuditEntry.objects.get(verb=AuditEntry.Verb.WEBHOOK)
    assert (entry.actor, entry.outcome, entry.reason) == (
        "system housekeeping", "failed", f"disabled {found.pk}: HTTP 500",
    )  # fmt: skip
    fell_due()
    assert housekeeping.send_webhooks() == 0
    assert outcome()[:2] == (State.SUPPRESSED, "webhook not active")


def test_a_webhook_whose_address_is_gone_is_disabled_at_once(receiver: Receiver) -> None:
    receiver.answers.append(status(410))
    webhook(receiver)
    ended()
    housekeeping.send_webhooks()
    assert not Webhook.objects.get().is_active
    assert outcome() == (State.SUPPRESSED, "gave up: HTTP 410", 410)


def test_webhooks_that_work_go_first_and_each_gets_one_message_at_a_time(receiver: Receiver) -> None:
    failing = webhook(receiver, failing_since=timezone.now())
    ended()
    working = webhook(receiver)
    ended()
    ended()
    now = timezone.now() + timedelta(seconds=1)
    first = WebhookDelivery.objects.next_due(now).first()
    assert first is not None
    assert first.webhook == working
    assert sending.claim(first)
    assert {each.webhook for each in WebhookDelivery.objects.next_due(now)} == {failing}
    assert not sending.claim(first)


def test_a_callback_that_fails_takes_turns_with_webhooks_that_fail(receiver: Receiver) -> None:
    now = timezone.now()
    failing = webhook(receiver, failing_since=now)
    verbs.Callback(webhook(receiver, url=""), f"{receiver.url}?callback").add(ended(), SYSTEM)
    fell_due(attempts=1)
    assert WebhookDelivery.objects.filter(webhook=failing).update(due_at=now - timedelta(seconds=5)) == 1
    assert [each.webhook == failing for each in WebhookDelivery.objects.next_due(now)] == [True, False]


# Processes that die


def test_a_message_whose_sender_died_is_sent_by_another_with_the_same_id(receiver: Receiver) -> None:
    """The sender dies between the response of the server and its note of it."""
    webhook(receiver)
    ended()
    delivery = WebhookDelivery.objects.get()
    assert sending.claim(delivery)
    with transaction.atomic():
        assert sending.deliver(delivery)
        transaction.set_rollback(True)
    assert housekeeping.send_webhooks() == 0
    assert outcome()[0] == State.SENDING
    fell_due()
    assert housekeeping.send_webhooks() == 1
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1


@pytest.mark.django_db(transaction=True)
def test_senders_side_by_side_send_each_message_once(receiver: Receiver) -> None:
    for _ in range(3):
        webhook(receiver)
    for _ in range(4):
        ended()
    connection.close()

    def send() -> None:
        try:
            while WebhookDelivery.objects.open().exists():
                housekeeping.send_webhooks()
                time.sleep(0.02)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(receiver.ids) == sorted(WebhookDelivery.objects.values_list("message_id", flat=True))
    assert len(receiver.ids) == 12


@pytest.mark.django_db(transaction=True)
def test_a_webhook_can_be_deleted_while_an_export_ends(receiver: Receiver) -> None:
    found = webhook(receiver)
    _, claim = claimed()
    has_ended = threading.Event()

    def end_slowly() -> bool:
        with transaction.atomic():
            won = transitions.publish(claim, made())
            has_ended.set()
            time.sleep(0.3)
        return won

    def delete() -> None:
        has_ended.wait(10)
        verbs.delete(found, Actor.of(found.owner))

    assert at_once(end_slowly, delete) == [True, None]
    assert (Webhook.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


def test_a_deleted_webhook_or_export_takes_its_messages_along(receiver: Receiver) -> None:
    found = webhook(receiver)
    request = ended()
    ended()
    request.delete()
    assert WebhookDelivery.objects.count() == 1
    delivery = WebhookDelivery.objects.get()
    assert sending.claim(delivery)
    verbs.delete(found, Actor.of(found.owner))
    assert not sending.deliver(delivery)
    assert receiver.received == []


def test_an_error_of_the_site_is_reported_and_tried_again(
    receiver: Receiver, log_lines: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "serialize", lambda export: 1 / 0)
    webhook(receiver)
    ended()
    assert housekeeping.send_webhooks() == 0
    assert outcome()[:2] == (State.PENDING, "ZeroDivisionError")
    assert "ZeroDivisionError" in log_lines("exports.webhooks")[0]
