"""Every address of the app, walked: what is not a POST changes nothing, and a POST without the CSRF token neither."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from exports import services
from exports.models import Artifact, Download, FileRequest, Notification, Status
from exports.urls import urlpatterns
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SAFE = ("get", "head", "options")
UNUSUAL = ("put", "patch", "delete", "trace")
POSTED = {"month": "4", "format": "csv", "fresh": "1"}
# By these a file is handed over: a download is recorded, and it counts as seen.
FILES = ("file", "public")


class SharedExport(ReportExport):
    public_links = True


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office(), registered(SharedExport):
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


def everything() -> list[Any]:
    """All that the app has stored, but the trail of downloads."""
    return [list(model.objects.order_by("pk").values()) for model in (FileRequest, Artifact, Notification)]


def address(name: str, request: FileRequest) -> str:
    if name == "file":
        return ticket_for(request, request.requester)
    if name == "public":
        return reverse("exports:public", args=[services.public_link_of(request) or "none"])
    arguments = {"list": [], "form": ["report"]}.get(name, [request.pk])
    return reverse(f"exports:{name}", args=arguments)


def of_every_status(owner: User) -> list[FileRequest]:
    made = [make(owner) for make in rows.IN_STATUS.values()]
    shared = rows.ready(owner)
    services.share(shared)
    return [*made, rows.fresh(shared)]


@pytest.mark.parametrize("pattern", [pattern.name for pattern in urlpatterns])
def test_what_is_not_a_post_changes_nothing(owner: User, pattern: str):
    requests, client = of_every_status(owner), signed_in(owner)
    before = everything()
    for method, request, headers in product([*SAFE, *UNUSUAL], requests, (JSON, HTML)):
        response = getattr(client, method)(address(pattern, request), headers=headers)
        response.getvalue()
        assert response.status_code < 500
        if pattern in FILES and method == "get" and Download.objects.exists():
            Download.objects.all().delete()
            FileRequest.objects.filter(seen_at__isnull=False).update(seen_at=None)
        assert not Download.objects.exists()
    assert everything() == before


@pytest.mark.parametrize("pattern", [pattern.name for pattern in urlpatterns])
def test_a_post_without_the_token_against_forgery_is_refused_and_changes_nothing(owner: User, pattern: str):
    requests = of_every_status(owner)
    client = signed_in(owner, enforce_csrf_checks=True)
    before = everything()
    for request in requests:
        for headers in (JSON, HTML):
            response = client.post(address(pattern, request), POSTED, headers=headers)
            assert response.status_code in (403, 405)
    assert everything() == before
    assert not Download.objects.exists()


def test_the_actions_of_the_admin_need_the_token_too(owner: User):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    request = rows.queued(owner)
    chosen = {"action": "cancel_requests", "_selected_action": [str(request.pk)]}
    assert client.post(reverse("admin:exports_filerequest_changelist"), chosen).status_code == 403
    assert rows.fresh(request).status == Status.QUEUED


def test_the_walk_finds_what_a_door_would_change(owner: User):
    request = rows.queued(owner)
    before = everything()
    signed_in(owner).post(reverse("exports:cancel", args=[request.pk]), headers=JSON)
    assert everything() != before
