"""The pages of webhooks: create, show a secret once, replace it, enable, disable, delete, send again; and callbacks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from standardwebhooks import Webhook as Reader

from exports import housekeeping
from exports.access import tokens
from exports.models import AuditEntry, FileRequest, Status, Webhook, WebhookCallback, WebhookDelivery, transitions
from exports.models.audit import SYSTEM
from exports.webhooks import verbs
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in
from tests.office.markup import HtmlPage
from tests.office.receiver import Receiver
from tests.shop.requests import end
from tests.shop.runs import configure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    configure(settings, WEBHOOKS=True, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"])
    with Receiver() as found:
        yield found


def address(name: str, *args: Any) -> str:
    return reverse(f"exports:{name}", args=args)


def audited() -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.filter(verb=AuditEntry.Verb.WEBHOOK).order_by("pk")
    return [(each.actor_kind, each.reason.partition(":")[0], each.outcome) for each in entries]


@pytest.fixture
def webhook(receiver: Receiver, owner: User) -> Webhook:
    return verbs.create(owner, receiver.url, SYSTEM)


def delivered(webhook: Webhook) -> WebhookDelivery:
    """Return a message that was sent."""
    rows.ready(webhook.owner)
    assert housekeeping.send_webhooks() == 1
    return WebhookDelivery.objects.get()


def shown(browser: Client, name: str, *args: Any) -> str:
    """Return a page, which is valid and has no inline code."""
    response = browser.get(address(name, *args), headers=HTML)
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-store"
    return HtmlPage(response.content.decode()).text


def secret_in(page: str) -> str:
    return page.partition('<code id="export-webhook-secret">')[2].partition("</code>")[0]


# Create, and replace the secret


def test_create_shows_the_secret_once(receiver: Receiver, browser: Client, owner: User) -> None:
    assert f'action="{address("webhooks")}"' in shown(browser, "webhooks")
    created = browser.post(address("webhooks"), {"url": receiver.url, "exporters": ["report"]}, headers=HTML)
    assert created.status_code == 201
    secret = secret_in(HtmlPage(created.content.decode()).text)
    webhook = Webhook.objects.get()
    assert (webhook.owner, webhook.exporters) == (owner, ["report"])
    for page in (shown(browser, "webhooks"), shown(browser, "webhook", webhook.pk)):
        assert receiver.url in page
        assert "whsec_" not in page
    delivered(webhook)
    [received] = receiver.received
    assert Reader(secret).verify(received.body, dict(received.headers))
    assert audited() == [("user", "created", "done")]
    assert AuditEntry.objects.get(verb="webhook").reason == f"created: {webhook.pk} 127.0.0.1"


def test_a_program_with_a_session_gets_json(receiver: Receiver, browser: Client) -> None:
    created = browser.post(address("webhooks"), {"url": receiver.url}, content_type="application/json", headers=JSON)
    assert created.status_code == 201
    given = created.json()
    assert given.pop("secret").startswith("whsec_")
    assert browser.get(address("webhooks"), headers=JSON).json() == {"webhooks": [given]}
    delivery = delivered(Webhook.objects.get())
    [listed] = browser.get(address("webhook", given["id"]), headers=JSON).json()["deliveries"]
    assert (listed["webhook_id"], listed["event"], listed["state"], listed["response_status"]) == (
        delivery.message_id, "export.ready", "sent", 204,
    )  # fmt: skip


BAD_FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "http": ({"url": "http://93.184.215.14/"}, "not sent to this network"),
    "metadata": ({"url": "https://169.254.169.254/latest/"}, "not sent to this network"),
    "type": ({"url": "", "exporters": ["nowhere"]}, "nowhere"),
    "token": ({"url": "", "token": "12345"}, "valid choice"),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_what_is_wrong_with_a_new_webhook_is_said_beside_the_field(
    receiver: Receiver, browser: Client, name: str
) -> None:
    posted, message = BAD_FORMS[name]
    page = browser.post(address("webhooks"), posted, headers=HTML)
    assert (page.status_code, message in page.content.decode()) == (400, True)
    answer = browser.post(address("webhooks"), posted, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_webhook"
    assert message in str(answer.json()["error"]["fields"])
    assert Webhook.objects.count() == 0


def test_a_json_body_with_an_unknown_field_is_refused(receiver: Receiver, browser: Client) -> None:
    posted = {"url": receiver.url, "secret": "mine"}
    answer = browser.post(address("webhooks"), posted, content_type="application/json", headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_fields")


def test_a_user_has_twenty_webhooks_at_most(receiver: Receiver, browser: Client, owner: User) -> None:
    for _ in range(20):
        verbs.create(owner, receiver.url, SYSTEM)
    page = browser.post(address("webhooks"), {"url": receiver.url}, headers=HTML)
    assert (page.status_code, "may have no more" in page.content.decode()) == (400, True)


def test_the_secret_is_replaced(browser: Client, webhook: Webhook, receiver: Receiver) -> None:
    page = browser.post(address("rotate_webhook", webhook.pk), headers=HTML)
    secret = secret_in(page.content.decode())
    delivered(webhook)
    [received] = receiver.received
    assert Reader(secret).verify(received.body, dict(received.headers))
    assert len(received.headers["webhook-signature"].split()) == 2
    assert audited()[-1] == ("user", "secret replaced", "done")


# Messages


def test_the_page_shows_the_messages_and_sends_one_again(browser: Client, webhook: Webhook, receiver: Receiver) -> None:
    delivery = delivered(webhook)
    page = shown(browser, "webhook", webhook.pk)
    assert "export.ready" in page
    assert "Sent" in page
    again = address("send_webhook_again", delivery.pk)
    assert f'action="{again}"' in page
    response = browser.post(again, headers=HTML)
    assert (response.status_code, response["Location"]) == (303, address("webhook", webhook.pk))
    assert browser.post(again, headers=JSON).status_code == 409
    assert again not in shown(browser, "webhook", webhook.pk)
    assert housekeeping.send_webhooks() == 1
    assert [each.headers["webhook-id"] for each in receiver.received] == [delivery.message_id] * 2
    assert audited()[-1] == ("user", "sent again", "done")


def test_the_page_tells_why_a_webhook_was_disabled_and_enables_it(
    browser: Client, webhook: Webhook, receiver: Receiver
) -> None:
    delivered(webhook)
    Webhook.objects.update(is_active=False, disabled_at=timezone.now(), failing_since=timezone.now())
    for name, args in (("webhooks", []), ("webhook", [webhook.pk])):
        assert "because its messages were not accepted" in shown(browser, name, *args)
    assert (
        browser.post(address("send_webhook_again", WebhookDelivery.objects.get().pk), headers=JSON).status_code == 409
    )
    assert browser.post(address("enable_webhook", webhook.pk), headers=HTML).status_code == 303
    webhook.refresh_from_db()
    assert (webhook.is_active, webhook.disabled_at, webhook.failing_since) == (True, None, None)
    assert browser.post(address("disable_webhook", webhook.pk), headers=JSON).json()["is_active"] is False
    assert "Disabled" in shown(browser, "webhook", webhook.pk)
    assert [what for _kind, what, _outcome in audited()[1:]] == ["enabled", "disabled"]


def test_a_webhook_is_deleted_with_its_messages(browser: Client, webhook: Webhook) -> None:
    delivered(webhook)
    assert browser.post(address("delete_webhook", webhook.pk), headers=HTML).status_code == 303
    assert (Webhook.objects.count(), WebhookDelivery.objects.count()) == (0, 0)
    assert audited()[-1] == ("user", "deleted", "done")


def test_messages_are_listed_in_pages_in_few_queries(
    browser: Client, webhook: Webhook, owner: User, django_assert_max_num_queries: Any
) -> None:
    for _ in range(21):
        rows.ready(owner)
    with django_assert_max_num_queries(8):
        page = shown(browser, "webhook", webhook.pk)
    assert page.count("export.ready</th>") == 20
    assert "?page=2" in page


# Who may


OF_ONE = ("webhook", "rotate_webhook", "enable_webhook", "disable_webhook", "delete_webhook", "send_webhook_again")


@pytest.mark.parametrize("name", OF_ONE)
def test_a_webhook_of_another_user_is_not_there(webhook: Webhook, name: str) -> None:
    delivery = delivered(webhook)
    stranger = signed_in(people.user("stranger", "view_filerequest", "change_filerequest"))
    before = (Webhook.objects.values().get(), WebhookDelivery.objects.values().get())
    asked = stranger.get if name == "webhook" else stranger.post
    pk = delivery.pk if name == "send_webhook_again" else webhook.pk
    answers = [asked(address(name, each), headers=JSON) for each in (pk, pk + 1000)]
    assert [each.status_code for each in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert (Webhook.objects.values().get(), WebhookDelivery.objects.values().get()) == before
    assert Client().get(address(name, pk), headers=HTML).status_code in (302, 405)


@pytest.mark.parametrize("name", ["webhooks", *OF_ONE])
def test_there_are_no_such_pages_without_the_setting(
    browser: Client, webhook: Webhook, settings: Any, name: str
) -> None:
    configure(settings, WEBHOOKS=False)
    asked = browser.get if name in ("webhooks", "webhook") else browser.post
    assert asked(address(name, *([] if name == "webhooks" else [webhook.pk])), headers=HTML).status_code == 404
    assert "Webhooks" not in browser.get(address("list"), headers=HTML).content.decode()


def test_an_api_token_cannot_change_where_messages_go(receiver: Receiver, owner: User) -> None:
    _token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    program = Client(headers={"authorization": f"Bearer {text}"})
    for answer in (program.get(address("webhooks")), program.post(address("webhooks"), {"url": receiver.url})):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    assert Webhook.objects.count() == 0
    assert audited()[0][2] == "denied"


def owner_by_header(request: HttpRequest) -> User | None:
    """A function for EXPORTS["AUTHENTICATE"]: who a token of the site stands for."""
    return User.objects.get(username="owner") if request.headers.get("Authorization") == "Bearer theirs" else None


def test_a_token_of_the_site_cannot_change_where_messages_go(receiver: Receiver, owner: User, settings: Any) -> None:
    configure(settings, AUTHENTICATE=owner_by_header)
    program = Client(headers={"authorization": "Bearer theirs"})
    assert program.get(address("list"), headers=JSON).status_code == 200
    assert program.post(address("webhooks"), {"url": receiver.url}).status_code == 403
    assert Webhook.objects.count() == 0


# Callbacks


def ask(browser: Client, callback_url: str, **more: Any) -> Any:
    posted = {"month": "4", "format": "csv", "callback_url": callback_url, **more}
    return browser.post(address("form", "report"), posted, content_type="application/json", headers=JSON)


def test_a_request_names_an_address_that_is_told_of_its_end(receiver: Receiver, browser: Client, owner: User) -> None:
    created = browser.post(address("webhooks"), {"url": ""}, headers=JSON)
    secret = created.json()["secret"]
    answer = ask(browser, receiver.url)
    assert answer.status_code == 202
    export = FileRequest.objects.get(pk=answer.json()["id"])
    end(export, Status.CANCELLED)
    rows.ready(owner)
    assert housekeeping.send_webhooks() == 1
    [received] = receiver.received
    assert Reader(secret).verify(received.body, dict(received.headers))
    message = json.loads(received.body)
    assert (message["type"], message["data"]["id"]) == ("export.cancelled", str(export.pk))
    assert [what for _kind, what, _outcome in audited()] == ["created", "callback"]


def test_two_requests_for_the_same_file_are_both_told(receiver: Receiver, browser: Client, owner: User) -> None:
    verbs.create(owner, "", SYSTEM)
    first, second = ask(browser, f"{receiver.url}?a"), ask(browser, f"{receiver.url}?b")
    assert first.json()["id"] == second.json()["id"]
    end(FileRequest.objects.get(), Status.FAILED)
    assert housekeeping.send_webhooks() == 2
    assert sorted(each.path for each in receiver.received) == ["/hook?a", "/hook?b"]


def test_a_request_that_gets_a_file_that_is_there_is_told_at_once(
    receiver: Receiver, browser: Client, owner: User, settings: Any
) -> None:
    configure(settings, REUSE_WITHIN_SECONDS=60)
    verbs.create(owner, "", SYSTEM)
    ask(browser, f"{receiver.url}?a")
    export = FileRequest.objects.get()
    claimed = transitions.claim(export, owner="here:1:1", extension="csv")
    assert claimed is not None
    assert rows.publish(claimed)
    answer = ask(browser, f"{receiver.url}?b")
    assert (answer.status_code, answer.json()["id"]) == (200, str(export.pk))
    assert housekeeping.send_webhooks() == 2
    assert {json.loads(each.body)["type"] for each in receiver.received} == {"export.ready"}


@pytest.mark.parametrize("url", ["ftp://hooks.example/", "https://10.0.0.1/", "nonsense", "https://[/"])
def test_a_callback_that_cannot_be_used_is_refused(receiver: Receiver, browser: Client, owner: User, url: str) -> None:
    verbs.create(owner, "", SYSTEM)
    answer = ask(browser, url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_option")
    assert "callback_url" in answer.json()["error"]["message"]
    assert FileRequest.objects.count() == 0


def test_a_callback_needs_a_secret_and_the_setting(
    receiver: Receiver, browser: Client, owner: User, settings: Any
) -> None:
    verbs.create(owner, receiver.url, SYSTEM)
    verbs.create(owner, "", SYSTEM, exporters=["long"])
    assert "Create a webhook without an address first" in ask(browser, receiver.url).json()["error"]["message"]
    configure(settings, WEBHOOKS=False)
    assert "sends no webhooks" in ask(browser, receiver.url).json()["error"]["message"]
    assert FileRequest.objects.count() == 0


def test_the_callback_of_a_token_is_signed_by_its_own_secret(receiver: Receiver, owner: User) -> None:
    token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    verbs.create(owner, "", SYSTEM)
    own = verbs.create(owner, "", SYSTEM, token=token)
    assert ask(Client(headers={"authorization": f"Bearer {text}"}), receiver.url).status_code == 202
    assert WebhookCallback.objects.get().webhook == own


def test_an_address_that_a_token_named_is_told_nothing_once_the_token_is_revoked(
    receiver: Receiver, browser: Client, owner: User
) -> None:
    verbs.create(owner, "", SYSTEM)
    token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    program = Client(headers={"authorization": f"Bearer {text}"})
    ask(program, f"{receiver.url}?program")
    ask(program, f"{receiver.url}?both")
    ask(browser, f"{receiver.url}?both")
    tokens.revoke(token, SYSTEM)
    end(FileRequest.objects.get(), Status.CANCELLED)
    assert housekeeping.send_webhooks() == 1
    assert [each.path for each in receiver.received] == ["/hook?both"]
    assert WebhookDelivery.objects.get(state="suppressed").reason == "token not valid"


def test_only_so_many_messages_to_callbacks_may_wait(
    receiver: Receiver, browser: Client, owner: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those about exports that still run count like those about exports that have ended."""
    configure(settings, REUSE_WITHIN_SECONDS=600)
    monkeypatch.setattr(verbs, "MAX_CALLBACKS", 2)
    verbs.create(owner, "", SYSTEM)
    codes = [ask(browser, f"{receiver.url}?{number}").status_code for number in range(3)]
    end(FileRequest.objects.get(), Status.READY)
    refused = ask(browser, receiver.url)
    assert (codes, refused.json()["error"]["code"]) == ([202, 202, 400], "bad_option")
    assert "Too many messages wait" in refused.json()["error"]["message"]
    assert WebhookCallback.objects.count() == 2
    assert housekeeping.send_webhooks() == 2
    assert ask(browser, receiver.url).status_code in (200, 202)


def test_a_request_over_the_api_names_an_address_too(receiver: Receiver, owner: User) -> None:
    _token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    verbs.create(owner, "", SYSTEM)
    program = Client(headers={"authorization": f"Bearer {text}"})
    posted = {"type": "report", "criteria": {"month": 4}, "format": "csv"}
    answers = [
        program.post("/exports/api/v1/exports/", {**posted, "callback_url": url}, content_type="application/json")
        for url in ("https://169.254.169.254/", receiver.url)
    ]
    assert [(each.status_code, each["Content-Type"]) for each in answers] == [
        (400, "application/problem+json"), (202, "application/json"),
    ]  # fmt: skip
    assert answers[0].json()["code"] == "bad_option"
    end(FileRequest.objects.get(), Status.CANCELLED)
    assert housekeeping.send_webhooks() == 1
