"""Who gets which answer at which HTTP door about a request in which status: every cell of the table.

A refusal is the same answer, byte for byte, as that for a request that does not exist, and changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse

from exports.models import Download, FileRequest, Notification
from tests.office.browsers import HTML, JSON, ticket_for
from tests.office.worlds import (
    CHANGING,
    EVERYBODY,
    HAVING,
    OWN,
    SEEING,
    SIGNED_IN,
    STATUSES,
    World,
    open_worlds,
    world_of,
)

SIGN_IN, OK, LED, NOT_FOUND = (302, 401), (200, 200), (303, 200), (404, 404)
FORBIDDEN, TOO_LATE, MADE_ANEW = (403, 403), (303, 409), (303, 201)
ACTIVE, ENDED_WITHOUT = ("queued", "running"), ("failed", "cancelled", "expired")

Answer = tuple[int, int]
Cells = Mapping[str, Answer]
"""To a browser, to a script."""

Told = tuple[int, bytes, list[tuple[str, str]]]
Kept = Mapping[UUID, list[Any]]
Nothing = Callable[[str, str, str], Told]


def in_every_status(answer: Answer, **others: Answer) -> dict[str, Answer]:
    return dict.fromkeys(STATUSES, answer) | others


def in_these(statuses: tuple[str, ...], answer: Answer, otherwise: Answer) -> dict[str, Answer]:
    return in_every_status(otherwise) | dict.fromkeys(statuses, answer)


@dataclass(frozen=True)
class Door:
    """`opens` says for each person what they are answered, by status; everybody else is refused."""

    method: str
    opens: Mapping[str, Cells]
    is_for_anybody: bool = False
    posted: Mapping[str, str] = field(default_factory=dict)


def for_all(people: set[str], cells: Cells, **others: Cells) -> dict[str, Cells]:
    return dict.fromkeys(people, cells) | {name.replace("_", " "): given for name, given in others.items()}


ASKED = {"month": "4", "format": "csv"}
CANCELS = in_these(ACTIVE, LED, TOO_LATE)
ENDS_LINKS = in_these(("ready",), LED, TOO_LATE)
RETRIES = in_these(ENDED_WITHOUT, MADE_ANEW, (409, 409))
RETRIES_REFUSED = in_these(ENDED_WITHOUT, FORBIDDEN, (409, 409))
GETS_TICKET = in_every_status((302, 302))
SEES_NO_FILE = in_every_status((302, 302), ready=NOT_FOUND)
GETS_FILE = in_these(("ready",), OK, NOT_FOUND)
SHARES = in_these(("ready",), LED, TOO_LATE)

DOORS: dict[str, Door] = {
    "list": Door("get", for_all(SIGNED_IN, in_every_status(OK))),
    "form": Door("get", for_all(SIGNED_IN, in_every_status(OK))),
    "ask": Door(
        "post",
        for_all(SIGNED_IN, in_every_status((303, 202)), refused_owner=in_every_status(FORBIDDEN)),
        posted={**ASKED, "month": "5"},
    ),
    "detail": Door("get", for_all(SEEING, in_every_status(OK, expired=(410, 410)))),
    "page": Door("get", for_all(SEEING, in_every_status(OK))),
    "cancel": Door("post", for_all(CHANGING, CANCELS)),
    "expire": Door("post", for_all(CHANGING, ENDS_LINKS)),
    "revoke": Door("post", for_all(CHANGING, ENDS_LINKS)),
    "seen": Door("post", for_all(SEEING, in_every_status(LED))),
    "retry": Door(
        "post", for_all(SEEING, in_every_status(FORBIDDEN), owner=RETRIES, refused_owner=RETRIES_REFUSED), posted=ASKED
    ),
    "share": Door("post", for_all(CHANGING, in_every_status(FORBIDDEN), owner=SHARES, steward=SHARES)),
    "ticket": Door("get", for_all(SEEING, SEES_NO_FILE) | for_all(HAVING, GETS_TICKET)),
    "file": Door("get", for_all(HAVING, GETS_FILE)),
    "file of the owner's ticket": Door("get", {"owner": GETS_FILE}),
    "public": Door(
        "get",
        for_all({*EVERYBODY}, GETS_FILE, refused_owner=in_every_status(NOT_FOUND))
        | {"deactivated owner": in_every_status(NOT_FOUND)},
        is_for_anybody=True,
    ),
}
JSON_ONLY = ("detail",)
# They are about no request, so its status does not matter.
ABOUT_NONE = ("list", "form", "ask")
CELLS = [
    (door, name, status)
    for door in DOORS
    for name in EVERYBODY
    for status in (STATUSES if door not in ABOUT_NONE else ("ready",))
]


@pytest.fixture(scope="module")
def worlds(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, World]]:
    """Everybody's world, made once; what a cell does to it is undone after it."""
    with django_db_blocker.unblock(), open_worlds(), transaction.atomic():
        yield {name: world_of(name) for name in EVERYBODY}
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def db(worlds: dict[str, World]) -> Iterator[None]:
    """In place of pytest-django's, which would make all of it anew for every cell."""
    point = transaction.savepoint()
    yield
    transaction.savepoint_rollback(point)


def address_of(door: str, world: World, request: FileRequest, link: str) -> str:
    name = door.split()[0]
    if name == "list":
        return reverse("exports:list")
    if name in ("form", "ask"):
        return reverse("exports:form", args=["report"])
    if name == "public":
        return reverse("exports:public", args=[link])
    if name == "file":
        return ticket_for(request, world.owner if "owner" in door else world.someone or world.owner)
    return reverse(f"exports:{'download' if name == 'ticket' else name}", args=[request.pk])


def address_of_nothing(door: str) -> tuple[str, str]:
    """The same door about what is not there, and what of the address stands for it."""
    if door.startswith(("file", "public")):
        return reverse(f"exports:{door.split()[0]}", args=["nonsense"]), "nonsense"
    nothing = uuid4()
    name = "download" if door == "ticket" else door
    return reverse(f"exports:{name}", args=[nothing]), str(nothing)


def knock(world: World, door: str, address: str, headers: dict[str, str]) -> HttpResponse:
    method = DOORS[door].method
    posted = DOORS[door].posted if method == "post" else None
    response = getattr(world.client, method)(address, posted, headers=headers)
    response.getvalue()
    return response


@pytest.fixture(scope="module")
def before(worlds: dict[str, World]) -> Kept:
    """What there is of every request before anybody knocks."""
    return {request.pk: kept(request) for world in worlds.values() for request in world.requests.values()}


@pytest.fixture(scope="module")
def nothing(worlds: dict[str, World]) -> Nothing:
    """What somebody is answered at a door about what is not there."""

    @cache
    def answered(name: str, door: str, shape: str) -> Told:
        address, echoed = address_of_nothing(door)
        return answer_of(knock(worlds[name], door, address, HTML if shape == "browser" else JSON), echoed)

    return answered


def kept(request: FileRequest) -> list[Any]:
    """What a refusal leaves as it is: the request, and how much else there is."""
    counts = [table.objects.count() for table in (FileRequest, Notification, Download)]
    return [*counts, FileRequest.objects.filter(pk=request.pk).values().get()]


def answer_of(response: HttpResponse, echoed: str) -> Told:
    """All of an answer but the time, and the id that it repeats as the address to come back to after signing in."""
    headers = [(name, unquote(value).replace(echoed, "ID")) for name, value in response.items() if name != "Expires"]
    return response.status_code, response.content, sorted(headers)


def speaks_json(door: str, shape: str) -> bool:
    return shape == "script" or door in JSON_ONLY


def refusal_of(door: str, name: str, shape: str) -> int:
    needs_signing_in = name not in SIGNED_IN and not DOORS[door].is_for_anybody
    return (SIGN_IN if needs_signing_in else NOT_FOUND)[speaks_json(door, shape)]


def expected_of(door: str, name: str, status: str, shape: str) -> int:
    cells = DOORS[door].opens.get(name)
    return cells[status][shape == "script"] if cells else refusal_of(door, name, shape)


@pytest.mark.parametrize("shape", ["browser", "script"])
@pytest.mark.parametrize(("door", "name", "status"), CELLS)
def test_a_door_answers_as_the_table_says(
    worlds: dict[str, World], before: Kept, nothing: Nothing, door: str, name: str, status: str, shape: str
) -> None:
    world, headers = worlds[name], HTML if shape == "browser" else JSON
    request, link, expected = world.requests[status], world.links[status], expected_of(door, name, status, shape)
    is_refusal = expected in (401, 404) or (name not in SIGNED_IN and expected == 302)
    address = address_of(door, world, request, link)
    response = knock(world, door, address, headers)
    assert response.status_code == expected
    if is_refusal or expected in (403, 409):
        assert kept(request) == before[request.pk]
    if is_refusal and door not in ABOUT_NONE:
        told = address.rstrip("/").rpartition("/")[2] if door.startswith(("file", "public")) else str(request.pk)
        assert answer_of(response, told) == nothing(name, door, shape)
    if expected == 404 and not speaks_json(door, shape):
        assert str(request.pk).encode() not in response.content


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", sorted(SEEING))
def test_only_whoever_may_have_the_file_is_shown_the_way_to_it(
    worlds: dict[str, World], name: str, status: str
) -> None:
    state = worlds[name].client.get(reverse("exports:detail", args=[worlds[name].requests[status].pk])).json()
    is_shown = status == "ready" and name in HAVING
    assert (state["urls"]["ticket"] is not None, state["urls"]["download"] is not None) == (is_shown, is_shown)
    if name == "refused owner" and status == "ready":
        assert (state["error"]["code"], state["file"]) == ("permission_lost", None)
    else:
        assert (state["error"] is not None, state["file"] is not None) == (status == "failed", status == "ready")


# The admin

LISTS = ("filerequest", "notification", "download")
IN_ADMIN = SEEING - OWN


def admin_refusal(name: str) -> int:
    return 403 if name == "bare staff" else 302


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("model", LISTS)
def test_the_admin_lists_for_staff_with_the_permission_alone(worlds: dict[str, World], name: str, model: str) -> None:
    response = worlds[name].client.get(reverse(f"admin:exports_{model}_changelist"))
    assert response.status_code == (
        (200 if model == "filerequest" else 403) if name in IN_ADMIN else admin_refusal(name)
    )


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
def test_the_admin_shows_a_request_to_staff_who_may_view_it_alone(
    worlds: dict[str, World], name: str, status: str
) -> None:
    client, pk = worlds[name].client, worlds[name].requests[status].pk
    response = client.get(reverse("admin:exports_filerequest_change", args=[pk]))
    assert response.status_code == (200 if name in IN_ADMIN else admin_refusal(name))
    if name not in IN_ADMIN:
        other = client.get(reverse("admin:exports_filerequest_change", args=[(nothing := uuid4())]))
        assert answer_of(response, str(pk)) == answer_of(other, str(nothing))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("action", ["cancel_requests", "expire_files"])
def test_the_admin_changes_requests_for_staff_who_may_change_them_alone(
    worlds: dict[str, World], action: str, name: str, status: str
) -> None:
    client, request = worlds[name].client, worlds[name].requests[status]
    client.post(
        reverse("admin:exports_filerequest_changelist"), {"action": action, "_selected_action": [str(request.pk)]}
    )
    moves_it = status in (ACTIVE if action == "cancel_requests" else ("ready",))
    is_moved = FileRequest.objects.get(pk=request.pk).status != status
    assert is_moved == (moves_it and name in ("changer", "steward"))


@pytest.mark.parametrize("method", ["add", "delete", "history"])
@pytest.mark.parametrize("name", EVERYBODY)
def test_the_admin_lets_nobody_add_or_delete(worlds: dict[str, World], name: str, method: str) -> None:
    arguments = [] if method == "add" else [worlds[name].requests["ready"].pk]
    address = reverse(f"admin:exports_filerequest_{method}", args=arguments)
    expected = 200 if method == "history" else 403
    assert worlds[name].client.get(address).status_code == (expected if name in IN_ADMIN else admin_refusal(name))
