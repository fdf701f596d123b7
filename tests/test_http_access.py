"""What is not yours and what is not there are the same answer; who may change nothing; what no state holds.

The tables are in test_access_matrix and test_access_sockets.
"""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from exports import services
from exports.models import Download, FileRequest
from exports.signing import Ticket
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for
from tests.office.exports import open_office
from tests.office.worlds import CHANGING, EVERYBODY, entered


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner(db: None) -> User:
    return people.user("owner")


def knock(client: Client, method: str, address: str, headers: dict[str, str]) -> HttpResponse:
    response = getattr(client, method)(
        address, {"month": "4", "format": "csv"} if method == "post" else None, headers=headers
    )
    response.getvalue()
    return response


@pytest.mark.parametrize("name", [name for name in EVERYBODY if name not in CHANGING])
def test_nobody_else_can_change_a_request(owner: User, name: str):
    requests = [make(owner) for make in rows.IN_STATUS.values()]
    client = entered(owner, name, {}, {}).client
    before = list(FileRequest.objects.order_by("pk").values())
    for request in requests:
        for verb in ("cancel", "retry", "seen", "expire", "revoke", "share"):
            knock(client, "post", reverse(f"exports:{verb}", args=[request.pk]), JSON)
    assert list(FileRequest.objects.order_by("pk").values()) == before


# Not yours and not there


def all_of(response: HttpResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return response.status_code, response.content, sorted(response.items())


DOORS_OF_ONE = {
    "detail": "get", "page": "get", "download": "get",
    "cancel": "post", "retry": "post", "seen": "post", "expire": "post", "revoke": "post", "share": "post",
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
        state = str(services.state_for(owner, request))
        for secret in ("month=4", "secret detail", request.lease_owner, request.filehandle.name, owner.email):
            assert not secret or secret not in state


def test_a_state_that_is_not_personal_has_no_ticket(owner: User):
    assert serialize(rows.ready(owner))["urls"]["ticket"] is None


def test_a_ticket_names_its_user_and_its_epoch(owner: User):
    request = rows.ready(owner)
    text = services.state_for(owner, request)["urls"]["ticket"].split("/")[-2]
    ticket = Ticket.read(text)
    assert (ticket.request_id, ticket.epoch, ticket.user_id) == (request.pk, request.epoch, str(owner.pk))
