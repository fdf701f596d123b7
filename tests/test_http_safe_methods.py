"""For every URL of the app: only a POST with a CSRF token changes anything."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from exports import services
from exports.access import tokens
from exports.models import (
    AccessToken,
    Artifact,
    Feed,
    FileRequest,
    Notification,
    Preset,
    Status,
    Webhook,
    WebhookDelivery,
)
from exports.models.audit import SYSTEM
from exports.models.feed import create_feed
from exports.urls import urlpatterns
from tests.office import rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for
from tests.office.worlds import open_worlds
from tests.shop.runs import configure

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

METHODS = ("get", "head", "options", "put", "patch", "delete", "trace")
POSTED = {"month": "4", "format": "csv", "fresh": "1", "preset_name": "Another", "name": "weekly", "days": "1"}
# A GET of these records a download, which also counts as seen. That of a genuine feed requests a run: test_feeds.py.
FILES = ("file", "public")
EACH_URL = pytest.mark.parametrize("name", [pattern.name for pattern in urlpatterns])


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_worlds():
        yield


def stored() -> list[Any]:
    """Return every row of the app, without the recorded downloads."""
    models = (FileRequest, Artifact, Notification, Preset, AccessToken, Feed, Webhook, WebhookDelivery)
    return [list(model.objects.order_by("pk").values()) for model in models]


def url_for(name: str, export: FileRequest) -> str:
    if name == "file":
        return ticket_for(export, export.requester)
    if name == "public":
        return reverse("exports:public", args=[services.public_link_of(export) or "none"])
    args: dict[str, list[Any]] = {"list": [], "clear": [], "tokens": [], "delete_preset": [Preset.objects.get().pk]}
    args["revoke_token"] = [AccessToken.objects.get().pk]
    args["revoke_feed"] = [Feed.objects.get().pk]
    args["webhooks"] = []
    one = ("webhook", "rotate_webhook", "enable_webhook", "disable_webhook", "delete_webhook")
    args |= {key: [Webhook.objects.get().pk] for key in one}
    args["send_webhook_again"] = [WebhookDelivery.objects.earliest("pk").pk]
    args |= {key: ["report"] for key in ("form", "estimate", "presets", "feeds")}
    return reverse(f"exports:{name}", args=args.get(name, [export.pk]))


@pytest.fixture
def exports(office: None, owner: User, settings: Any) -> list[FileRequest]:
    """An export in every status, and one with a public link."""
    configure(settings, WEBHOOKS=True)
    Webhook.objects.create(owner=owner, url="https://hooks.example/")
    shared = rows.ready(owner)
    services.share(shared, SYSTEM)
    tokens.create(owner, "nightly", SYSTEM)
    create_feed(owner, SYSTEM, name="Month end", file_type="report", criteria="month=4", format="csv")
    Preset.objects.create(owner=owner, file_type="report", name="Month end", criteria="month=4", format="csv")
    return [*(make(owner) for make in rows.IN_STATUS.values()), rows.fresh(shared)]


@EACH_URL
def test_other_methods_than_post_change_nothing(browser: Client, exports: list[FileRequest], name: str):
    before = stored()
    for method, export, headers in product(METHODS, exports, (JSON, HTML)):
        response = getattr(browser, method)(url_for(name, export), headers=headers)
        response.getvalue()
        assert response.status_code < 500
        if name in FILES and method == "get" and rows.downloads().exists():
            rows.downloads().delete()
            FileRequest.objects.filter(seen_at__isnull=False).update(seen_at=None)
        assert not rows.downloads().exists()
    assert stored() == before


@EACH_URL
def test_a_post_without_the_csrf_token_is_refused(owner: User, exports: list[FileRequest], name: str):
    client = signed_in(owner, enforce_csrf_checks=True)
    before = stored()
    for export, headers in product(exports, (JSON, HTML)):
        assert client.post(url_for(name, export), POSTED, headers=headers).status_code in (403, 405)
    assert stored() == before
    assert not rows.downloads().exists()


def test_an_admin_action_without_the_csrf_token_is_refused(owner: User):
    client = signed_in(User.objects.create_superuser("root"), enforce_csrf_checks=True)
    export = rows.queued(owner)
    chosen = {"action": "cancel_requests", "_selected_action": [str(export.pk)]}
    assert client.post(reverse("admin:exports_filerequest_changelist"), chosen).status_code == 403
    assert rows.fresh(export).status == Status.QUEUED


def test_a_post_with_everything_changes_what_these_tests_compare(browser: Client, owner: User):
    export = rows.queued(owner)
    before = stored()
    browser.post(reverse("exports:cancel", args=[export.pk]), headers=JSON)
    assert stored() != before
