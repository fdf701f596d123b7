"""Who may do what, as a table; and that what is not yours and what is not there are the same answer."""

from collections.abc import Iterator, Mapping
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from exports.models import Download, FileRequest
from exports.serializers import personalize, serialize
from exports.signing import Ticket
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for
from tests.office.exports import open_office
from tests.office.pages import IN_TIME, leave, page_of

SIGN_IN = 302
EVERYBODY = tuple(people.PEOPLE)

# Each row: a door, the status of the request behind it, and the answer to each of EVERYBODY: to a browser, to a script.
OWN = {"owner", "refused owner"}
SIGNED_IN = {*EVERYBODY} - {"anonymous", "deactivated owner"}
SEEING = OWN | {"viewer", "changer", "downloader"}
CHANGING = OWN | {"changer"}

TABLE: dict[str, tuple[str, str, Mapping[str, tuple[int, int]]]] = {
    "list": ("get", "ready", dict.fromkeys(SIGNED_IN, (200, 200))),
    "form": ("get", "ready", dict.fromkeys(SIGNED_IN, (200, 200))),
    "ask": ("post", "ready", dict.fromkeys(SIGNED_IN, (303, 202)) | {"refused owner": (403, 403)}),
    "detail": ("get", "ready", dict.fromkeys(SEEING, (200, 200))),
    "detail while it waits": ("get", "queued", dict.fromkeys(SEEING, (200, 200))),
    "detail of a failure": ("get", "failed", dict.fromkeys(SEEING, (200, 200))),
    "detail once expired": ("get", "expired", dict.fromkeys(SEEING, (410, 410))),
    "page": ("get", "ready", dict.fromkeys(SEEING, (200, 200))),
    "page while it runs": ("get", "running", dict.fromkeys(SEEING, (200, 200))),
    "cancel": ("post", "queued", dict.fromkeys(CHANGING, (303, 200))),
    "cancel while it runs": ("post", "running", dict.fromkeys(CHANGING, (303, 200))),
    "cancel too late": ("post", "ready", dict.fromkeys(CHANGING, (303, 409))),
    "expire": ("post", "ready", dict.fromkeys(CHANGING, (303, 200))),
    "expire too early": ("post", "running", dict.fromkeys(CHANGING, (303, 409))),
    "revoke": ("post", "ready", dict.fromkeys(CHANGING, (303, 200))),
    "revoke too late": ("post", "expired", dict.fromkeys(CHANGING, (303, 409))),
    "seen": ("post", "ready", dict.fromkeys(SEEING, (303, 200))),
    "retry": ("post", "failed", dict.fromkeys(SEEING, (403, 403)) | {"owner": (303, 201)}),
    "retry too early": ("post", "ready", dict.fromkeys(SEEING, (403, 403)) | dict.fromkeys(OWN, (409, 409))),
    "download": ("get", "ready", dict.fromkeys(("owner", "downloader"), (302, 302))),
    "download once expired": ("get", "expired", dict.fromkeys(SEEING, (302, 302))),
    "file": ("get", "ready", dict.fromkeys(("owner", "downloader"), (200, 200))),
    "file of the owner's ticket": ("get", "ready", {"owner": (200, 200)}),
    "file once expired": ("get", "expired", {}),
}
# These say 401 and 404 as JSON, whoever asks.
JSON_ONLY = ("detail",)


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner(db: None) -> User:
    return people.user("owner")


def entered(owner: User, name: str) -> tuple[Client, User | None]:
    """A browser of this person, signed in before anything happened to them."""
    client = Client()
    if name == "anonymous":
        return client, None
    if name == "deactivated owner":
        client.force_login(owner)
    someone = people.PEOPLE[name](owner)
    if name != "deactivated owner":
        client.force_login(someone)
    return client, someone


def address_of(door: str, request: FileRequest, someone: User | None) -> str:
    name = door.split()[0]
    if name == "list":
        return reverse("exports:list")
    if name in ("form", "ask"):
        return reverse("exports:form", args=["report"])
    if name == "file":
        return ticket_for(request, request.requester if "owner" in door or someone is None else someone)
    return reverse(f"exports:{name}", args=[request.pk])


def knock(client: Client, method: str, address: str, headers: dict[str, str]) -> HttpResponse:
    response = getattr(client, method)(
        address, {"month": "4", "format": "csv"} if method == "post" else None, headers=headers
    )
    response.getvalue()
    return response


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("door", TABLE)
@pytest.mark.parametrize("shape", ["html", "json"])
def test_a_door_opens_for_those_in_the_table_alone(owner: User, door: str, name: str, shape: str):
    method, status, allowed = TABLE[door]
    request = rows.IN_STATUS[status](owner)
    client, someone = entered(owner, name)
    response = knock(client, method, address_of(door, request, someone), JSON if shape == "json" else HTML)
    is_signed_in, speaks_json = name in SIGNED_IN, shape == "json" or door.startswith(JSON_ONLY)
    if name in allowed:
        assert response.status_code == allowed[name][shape == "json"]
    elif not is_signed_in:
        assert response.status_code == (401 if speaks_json else SIGN_IN)
        assert speaks_json or response["Location"].startswith("/accounts/login/?next=/exports/")
    else:
        assert response.status_code == 404
    if response.status_code in (401, 404) and speaks_json:
        assert set(response.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize("name", [name for name in EVERYBODY if name not in CHANGING])
def test_nobody_else_can_change_a_request(owner: User, name: str):
    requests = [make(owner) for make in rows.IN_STATUS.values()]
    client, _ = entered(owner, name)
    before = list(FileRequest.objects.order_by("pk").values())
    for request in requests:
        for verb in ("cancel", "retry", "seen", "expire", "revoke"):
            knock(client, "post", reverse(f"exports:{verb}", args=[request.pk]), JSON)
    assert list(FileRequest.objects.order_by("pk").values()) == before


# Not yours and not there


def all_of(response: HttpResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return response.status_code, response.content, sorted(response.items())


DOORS_OF_ONE = {
    "detail": "get", "page": "get", "download": "get",
    "cancel": "post", "retry": "post", "seen": "post", "expire": "post", "revoke": "post",
}  # fmt: skip


@pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("door", DOORS_OF_ONE)
def test_what_is_not_yours_and_what_is_not_there_are_the_same_answer(owner: User, door: str, headers: dict[str, str]):
    client = signed_in(people.user("stranger"))

    def answer(pk: UUID) -> tuple[int, bytes, list[tuple[str, str]]]:
        return all_of(knock(client, DOORS_OF_ONE[door], reverse(f"exports:{door}", args=[pk]), headers))

    nothing = answer(uuid4())
    assert nothing[0] == 404
    assert {str(answer(make(owner).pk)) for make in rows.IN_STATUS.values()} == {str(nothing)}


@pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])
def test_every_ticket_that_does_not_open_is_the_same_answer(owner: User, headers: dict[str, str]):
    stranger, request, gone = people.user("stranger"), rows.ready(owner), rows.expired(owner)
    client = signed_in(stranger)
    addresses = [
        "/exports/file/nonsense/",
        ticket_for(request, owner),
        ticket_for(request, stranger),
        ticket_for(gone, stranger),
        ticket_for(FileRequest(pk=uuid4()), stranger),
        ticket_for(request, stranger, seconds=-5),
    ]
    answers = [all_of(knock(client, "get", address, headers)) for address in addresses]
    assert {str(answer) for answer in answers} == {str(answers[0])}
    assert answers[0][0] == 404
    assert not Download.objects.exists()


def test_a_request_without_an_owner_belongs_to_nobody_who_asks(owner: User):
    request = rows.ready(None)
    for client in (Client(), signed_in(owner), signed_in(people.staff("bare"))):
        response = client.get(reverse("exports:detail", args=[request.pk]))
        assert response.status_code in (401, 404)
    assert (
        signed_in(people.staff("viewer", people.VIEW)).get(reverse("exports:detail", args=[request.pk])).status_code
        == 200
    )


def test_an_anonymous_reader_learns_nothing_about_what_is_there(owner: User):
    for make in rows.IN_STATUS.values():
        here, there = make(owner).pk, uuid4()
        for door, method in DOORS_OF_ONE.items():
            for headers in (JSON, HTML):
                one = knock(Client(), method, reverse(f"exports:{door}", args=[here]), headers)
                other = knock(Client(), method, reverse(f"exports:{door}", args=[there]), headers)
                location = other.get("Location", "").replace(str(there), str(here))
                assert (one.status_code, one.content) == (other.status_code, other.content)
                assert one.get("Location", "") == location


def test_permissions_of_change_or_download_mean_nothing_without_that_of_view(owner: User):
    request = rows.ready(owner)
    client = signed_in(people.staff("half", people.CHANGE, people.ANY))
    for door, method in DOORS_OF_ONE.items():
        assert knock(client, method, reverse(f"exports:{door}", args=[request.pk]), JSON).status_code == 404
    assert knock(client, "get", ticket_for(request, User.objects.get(username="half")), JSON).status_code == 404


def test_no_state_that_anybody_reads_holds_a_secret(owner: User):
    for make in rows.IN_STATUS.values():
        request = make(owner)
        state = str(personalize(serialize(request), request, owner))
        for secret in ("month=4", "secret detail", request.lease_owner, request.filehandle.name, owner.email):
            assert not secret or secret not in state


def test_a_state_that_is_not_personal_has_no_ticket(owner: User):
    assert serialize(rows.ready(owner))["urls"]["ticket"] is None


def test_a_ticket_names_its_user_and_its_epoch(owner: User):
    request = rows.ready(owner)
    text = personalize(serialize(request), request, owner)["urls"]["ticket"].split("/")[-2]
    ticket = Ticket.read(text)
    assert (ticket.request_id, ticket.epoch, ticket.user_id) == (request.pk, request.epoch, str(owner.pk))


# The sockets

LISTENING = SIGNED_IN
SOCKETS = {"/ws/exports/": LISTENING, "/ws/exports/{pk}/": SEEING}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("path", SOCKETS)
async def test_a_socket_opens_for_those_in_the_table_alone(name: str, path: str):
    request, client = await sync_to_async(prepared)(name)
    assert await is_admitted(client, path.format(pk=request.pk)) == (name in SOCKETS[path])


@pytest.mark.django_db(transaction=True)
async def test_nobody_can_listen_to_what_is_not_there():
    _, client = await sync_to_async(prepared)("owner")
    assert not await is_admitted(client, f"/ws/exports/{uuid4()}/")


async def is_admitted(client: Client, path: str) -> bool:
    socket = page_of(client, path)
    is_open, _ = await socket.connect(timeout=IN_TIME)
    if is_open:
        await socket.disconnect(timeout=IN_TIME)
    await leave()
    return is_open


def prepared(name: str) -> tuple[FileRequest, Client]:
    owner = people.user("owner")
    request = rows.ready(owner)
    return request, entered(owner, name)[0]


# The admin

LISTS = ("filerequest", "notification", "download")


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("model", LISTS)
def test_the_admin_opens_for_staff_with_the_permission_alone(owner: User, name: str, model: str):
    client, _ = entered(owner, name)
    response = client.get(reverse(f"admin:exports_{model}_changelist"))
    if name in ("viewer", "changer", "downloader"):
        assert response.status_code == (200 if model == "filerequest" else 403)
    else:
        assert response.status_code == (403 if name == "bare staff" else SIGN_IN)
