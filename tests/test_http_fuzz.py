"""Malformed input for every view in `exports.urls`: no server error, no traceback, and nothing is written."""

import logging
import random
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse
from django.urls.converters import IntConverter

from exports import urls
from exports.models import FileRequest, Notification
from tests.office import people, rows
from tests.office.browsers import signed_in, ticket_for
from tests.office.malformed import BODIES, HEADERS, JUNK, METHODS, TYPES

pytestmark = [
    pytest.mark.servers,
    pytest.mark.both_databases,
    pytest.mark.django_db,
    pytest.mark.usefixtures("office"),
]

NAMES = [pattern.name for pattern in urls.urlpatterns]
SEEDS = range(4)
EACH = 60


@pytest.fixture
def strict(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def address_of(pattern: URLPattern, owner: User, chance: random.Random) -> str:
    """Return a URL of the view, with the id of an export or a random one."""
    request = rows.ready(owner) if chance.random() < 0.5 else rows.running(owner)
    has_number = isinstance(pattern.pattern.converters.get("pk"), IntConverter)
    given = {
        # All but exports have numbers.
        "pk": chance.randint(1, 9) if has_number else chance.choice([request.pk, uuid4()]),
        "file_type": chance.choice(["report", "nowhere"]),
        "ticket": ticket_for(request, owner).split("/")[-2],
        "link": "x:y:z",
        "address": "x.csv",
    }
    wanted = set(pattern.pattern.converters)
    assert wanted <= set(given), f"Tell this test what to put into {wanted - set(given)}."
    return reverse(f"exports:{pattern.name}", kwargs={name: given[name] for name in wanted})


def send(client: Client, address: str, chance: random.Random) -> tuple[Any, str]:
    """Send one malformed request, and return the response and a description of the request."""
    headers = {
        f"HTTP_{name.upper()}" if name != "content_length" else "CONTENT_LENGTH": chance.choice(values)
        for name, values in HEADERS.items()
        if chance.random() < 0.15
    }
    names = ["page", "fresh", "next", "format", "\0", "month", "option_x"]
    query = "&".join(f"{chance.choice(names)}={chance.choice(JUNK)}" for _ in range(chance.randint(0, 3)))
    if chance.random() < 0.2:
        address += chance.choice(["?", "%00", "%ff", "//", "..", "/../", "%2f", "\\", ";x=1", "x" * 3000])
    method, type_, body = chance.choice(METHODS), chance.choice(TYPES), chance.choice(BODIES)
    if chance.random() < 0.5:
        method = "POST"
    what = f"{method} {address[:200]}?{query[:200]} {type_!r} {body[:100]!r} {headers}"[:2000]
    # WSGI servers pass the bytes of a query string as Latin-1.
    headers["QUERY_STRING"] = query.encode().decode("latin1")
    response = client.generic(method, address, body, type_, **headers)
    return response, what


def written() -> tuple[int, int, int, list[Any]]:
    states = list(FileRequest.objects.order_by("pk").values_list("pk", "status", "epoch", "seen_at"))
    return FileRequest.objects.count(), rows.downloads().count(), Notification.objects.count(), states


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as an error or with a traceback, without Django's notes about its own 400 responses."""
    return [
        f"{record.name}: {record.getMessage()}"
        for record in caplog.records
        if (record.levelno >= logging.ERROR or record.exc_info)
        and not (record.name.startswith("django.") and getattr(record, "status_code", 500) < 500)
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pattern", urls.urlpatterns, ids=NAMES)
def test_no_view_fails(pattern: URLPattern, owner: User, seed: int, strict: pytest.LogCaptureFixture) -> None:
    chance = random.Random(f"{pattern.name} {seed}")
    client = signed_in(owner, raise_request_exception=False)
    address = address_of(pattern, owner, chance)
    for _ in range(EACH):
        response, what = send(client, address, chance)
        assert response.status_code < 500, what
        if response.streaming:
            response.getvalue()
    assert complaints(strict) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_malformed_requests_of_other_users_write_nothing(
    owner: User, seed: int, strict: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    stranger = signed_in(people.user("stranger"), raise_request_exception=False)
    addresses = [
        address_of(pattern, owner, chance) for pattern in urls.urlpatterns if pattern.name not in ("form", "list")
    ]
    before = written()
    for address in addresses * 5:
        for client in (stranger, Client(raise_request_exception=False)):
            response, what = send(client, address, chance)
            assert response.status_code < 500, what
    assert written() == before
    assert complaints(strict) == []


def test_a_malformed_form_stores_only_valid_criteria(owner: User, strict: pytest.LogCaptureFixture) -> None:
    client = signed_in(owner, raise_request_exception=False)
    for type_ in TYPES:
        for body in BODIES:
            response = client.generic("POST", "/exports/new/report/", body, type_)
            is_valid = b"month=4" in body or b"4" in body
            assert response.status_code in (400, 403, 413, 415) or (is_valid and response.status_code in (202, 303)), (
                type_,
                body[:80],
            )
    for request in FileRequest.objects.all():
        assert request.criteria.startswith("month=4") or "month=5" in request.criteria
        assert request.format in ("csv", "xlsx")
    assert complaints(strict) == []
