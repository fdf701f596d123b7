"""Which user and which token gets which answer of the API for an export in which status: every cell of the table.

A refusal is the same, byte for byte, as the answer for an export that does not exist, and changes nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from exports.access import tokens
from exports.models import Actor, FileRequest
from tests.office.worlds import (
    CHANGING,
    EVERYBODY,
    HAVING,
    SEEING,
    SIGNED_IN,
    STATUSES,
    World,
    open_worlds,
    world_of,
)

ROOT = "/exports/api/v1/exports/"
ACTIVE, WITHOUT_FILE = ("queued", "running"), ("failed", "cancelled", "expired")
ALLOWED: Mapping[str, tuple[set[str], dict[str, int]]] = {
    "get": (SEEING, {**dict.fromkeys(STATUSES, 200), "expired": 410}),
    "cancel": (CHANGING, {**dict.fromkeys(STATUSES, 409), **dict.fromkeys(ACTIVE, 200)}),
    "expire": (CHANGING, {**dict.fromkeys(STATUSES, 409), "ready": 200}),
    "delete": (CHANGING, {**dict.fromkeys(STATUSES, 204), **dict.fromkeys(ACTIVE, 409)}),
    "retry": (SEEING, {**dict.fromkeys(STATUSES, 409), **dict.fromkeys(WITHOUT_FILE, 201)}),
}
"""Who is not refused by each operation, and the codes by status."""


@pytest.fixture(scope="module")
def worlds(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, World]]:
    """The exports and the client of every user, made once; each test is rolled back."""
    with django_db_blocker.unblock(), open_worlds(), transaction.atomic():
        yield {name: world_of(name) for name in EVERYBODY}
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def db(worlds: dict[str, World]) -> Iterator[None]:
    """Roll back each test. pytest-django's fixture would make the worlds again for each."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def send(client: Client, operation: str, pk: UUID) -> HttpResponse:
    if operation in ("get", "delete"):
        return getattr(client, operation)(f"{ROOT}{pk}/")
    return client.post(f"{ROOT}{pk}/{operation}/", b"", "application/json")


def comparable(response: HttpResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return response.status_code, response.content, sorted(response.items())


def rows_as_stored() -> list[Any]:
    return list(FileRequest.objects.order_by("pk").values())


def expected_of(operation: str, name: str, status: str) -> int:
    if name not in SIGNED_IN:
        return 401
    who, codes = ALLOWED[operation]
    if name not in who:
        return 404
    if operation == "retry" and name != "owner":
        is_refused_owner = name == "refused owner" and codes[status] == 409
        return 409 if is_refused_owner else 403
    return codes[status]


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("operation", ALLOWED)
def test_each_operation_answers_as_the_table_says(worlds: dict[str, World], operation: str, name: str):
    world = worlds[name]
    missing = comparable(send(world.client, operation, uuid4()))
    for status in STATUSES:
        before, expected = rows_as_stored(), expected_of(operation, name, status)
        response = send(world.client, operation, world.requests[status].pk)
        assert response.status_code == expected, (status, response.content)
        if expected >= 400 and expected != 410:
            assert rows_as_stored() == before
        if expected in (401, 404):
            assert comparable(response) == missing


@pytest.mark.parametrize("name", sorted(SEEING))
def test_only_users_who_may_have_the_file_get_a_ticket(worlds: dict[str, World], name: str):
    state = send(worlds[name].client, "get", worlds[name].requests["ready"].pk).json()
    assert (state["urls"]["ticket"] is not None) == (name in HAVING)


@pytest.mark.parametrize("name", sorted(SIGNED_IN))
def test_lists_have_the_own_exports_alone(worlds: dict[str, World], name: str):
    listed = {each["id"] for each in worlds[name].client.get(f"{ROOT}?limit=100").json()["exports"]}
    is_own = name in ("owner", "refused owner")
    assert listed == ({str(each.pk) for each in worlds[name].requests.values()} if is_own else set())


# Tokens


def program(owner: User, **scope: Any) -> Client:
    _token, text = tokens.create(owner, "script", Actor.of(owner), **scope)
    return Client(headers={"authorization": f"Bearer {text}"})


def test_a_token_for_other_types_finds_nothing(worlds: dict[str, World]):
    world = worlds["owner"]
    client = program(world.owner, can_create=True, exporters=["long"])
    before = rows_as_stored()
    for operation in ALLOWED:
        missing = comparable(send(client, operation, uuid4()))
        for request in world.requests.values():
            assert comparable(send(client, operation, request.pk)) == missing
    assert client.get(ROOT).json()["exports"] == []
    assert [each["type"] for each in client.get("/exports/api/v1/types/").json()["types"]] == ["long"]
    body = {"criteria": {"month": 4}}
    answers = [
        client.get("/exports/api/v1/types/report/"),
        client.get("/exports/api/v1/types/report/presets/"),
        client.post("/exports/api/v1/types/report/estimate/", body, "application/json"),
        client.post("/exports/api/v1/types/report/presets/", {**body, "name": "x"}, "application/json"),
        client.post(ROOT, {**body, "type": "report"}, "application/json"),
    ]
    assert {each.content for each in answers} == {client.get("/exports/api/v1/types/nothing/").content}
    assert rows_as_stored() == before


def test_a_token_that_only_reads_changes_nothing(worlds: dict[str, World]):
    world = worlds["owner"]
    client = program(world.owner)
    before = rows_as_stored()
    assert send(client, "get", world.requests["ready"].pk).json()["urls"]["ticket"]
    for operation in ALLOWED.keys() - {"get"}:
        for request in world.requests.values():
            response = send(client, operation, request.pk)
            assert (response.status_code, response.json()["code"]) == (403, "read_only_token"), operation
    body = {"criteria": {"month": 4}, "type": "report"}
    assert client.post(ROOT, body, "application/json").json()["code"] == "read_only_token"
    assert rows_as_stored() == before


def test_a_revoked_token_is_no_user(worlds: dict[str, World]):
    owner = worlds["owner"].owner
    token, text = tokens.create(owner, "script", Actor.of(owner))
    assert tokens.revoke(token, Actor.of(owner))
    client = Client(headers={"authorization": f"Bearer {text}"})
    assert send(client, "get", worlds["owner"].requests["ready"].pk).status_code == 401
