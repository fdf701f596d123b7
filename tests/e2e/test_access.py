"""Who may see, cancel and download what. Not yours and not there are the same answer, byte for byte."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.stack import Client, Stack, State

GETS = ("self", "page", "download")
POSTS = ("cancel", "retry", "seen", "expire", "revoke")

# What each person is answered about a READY export of ada's, asked as a browser asks.
READY_TABLE = [
    ("ada", "self", 200),
    ("ada", "page", 200),
    ("ada", "download", 302),
    ("ada", "cancel", 303),
    ("ada", "retry", 409),
    ("ada", "seen", 303),
    ("grace", "self", 404),
    ("grace", "page", 404),
    ("grace", "download", 404),
    ("grace", "cancel", 404),
    ("grace", "retry", 404),
    ("grace", "seen", 404),
    ("grace", "expire", 404),
    ("grace", "revoke", 404),
    ("staff", "self", 200),
    ("staff", "page", 200),
    ("staff", "download", 302),
    ("staff", "cancel", 303),
    ("staff", "retry", 403),
    ("staff", "seen", 303),
    (None, "self", 401),
    (None, "page", 302),
    (None, "download", 302),
    (None, "cancel", 302),
    (None, "retry", 302),
    (None, "seen", 302),
    (None, "expire", 302),
    (None, "revoke", 302),
]
QUEUED_TABLE = [("grace", "cancel", 404), (None, "cancel", 302), ("staff", "cancel", 303)]


@pytest.fixture(scope="module")
def people(stack: Stack) -> dict[str | None, Client]:
    people = {name: stack.client(name) for name in ("ada", "grace", "staff", None)}
    # Nobody has a form to post either, but a token is for everybody.
    people[None].get("/login/")
    return people


@pytest.fixture(scope="module")
def ready(people: dict[str | None, Client]) -> State:
    return people["ada"].make("weather", origin="JFK")


@pytest.fixture
def queued(slowly: None, stack: Stack, people: dict[str | None, Client]) -> Iterator[State]:
    """Ada's export, waiting or under way."""
    yield people["ada"].request_export()
    stack.cancel_all()


def ask(client: Client, export_id: str, verb: str, *, json: bool = False) -> httpx.Response:
    address = f"/exports/{export_id}/" + ("" if verb == "self" else f"{verb}/")
    if verb in POSTS:
        return client.send_form(address, json=json)
    return client.get(address, headers={"Accept": "application/json" if json else "text/html"})


@pytest.mark.parametrize(("who", "verb", "status"), READY_TABLE)
def test_who_may_do_what_with_a_file(people, ready, who, verb, status):
    assert ask(people[who], ready["id"], verb).status_code == status


@pytest.mark.parametrize("who", ["ada", "staff"])
def test_a_cancel_that_comes_too_late_changes_nothing_and_says_so(people, ready, who):
    answer = ask(people[who], ready["id"], "cancel", json=True)
    assert (answer.status_code, answer.json()["status"]) == (409, "ready")


@pytest.mark.parametrize(("who", "verb", "status"), QUEUED_TABLE)
def test_who_may_cancel(people, queued, who, verb, status):
    assert ask(people[who], queued["id"], verb).status_code == status
    is_cancelled = people["ada"].state(queued)["status"] == "cancelled"
    assert is_cancelled == (status == 303)


@pytest.mark.parametrize("json", [False, True], ids=["html", "json"])
@pytest.mark.parametrize("verb", GETS + POSTS)
def test_not_yours_is_not_there_byte_for_byte(people, ready, verb, json):
    not_yours, not_there = (ask(people["grace"], id, verb, json=json) for id in (ready["id"], str(uuid4())))
    assert not_yours.status_code == not_there.status_code == 404
    assert not_yours.content == not_there.content
    assert told(not_yours) == told(not_there)


def told(answer: httpx.Response) -> dict[str, str]:
    """The headers, but for the clock."""
    return {name: value for name, value in answer.headers.items() if name != "date"}


def test_a_ticket_serves_the_one_it_was_made_for(people, ready):
    ticket = people["ada"].state(ready)["urls"]["ticket"]
    answers = {who: client.get(ticket).status_code for who, client in people.items()}
    assert answers == {"ada": 200, "grace": 404, "staff": 404, None: 302}


@pytest.mark.parametrize("who", ["ada", "staff"])
def test_revoking_ends_every_ticket_that_is_out_and_keeps_the_file(people, ready, who):
    old = people["ada"].state(ready)["urls"]["ticket"]
    assert ask(people[who], ready["id"], "revoke").status_code == 303
    assert people["ada"].get(old).status_code == 404
    assert people["ada"].get(ready["urls"]["download"], follow_redirects=True).status_code == 200


@pytest.mark.parametrize("who", ["ada", "staff"])
def test_a_file_let_go_is_gone_for_everybody_and_can_be_asked_for_again(people, who):
    state = people["ada"].make("weather", origin="LGA")
    assert ask(people[who], state["id"], "expire").status_code == 303
    assert people["ada"].get(state["urls"]["ticket"]).status_code == 404
    gone = people["ada"].get(state["urls"]["self"])
    assert (gone.status_code, gone.json()["status"]) == (410, "expired")
    assert ask(people["ada"], state["id"], "retry", json=True).status_code == 201


def test_staff_download_with_a_ticket_of_their_own(people, ready):
    landed = people["staff"].get(ready["urls"]["download"], follow_redirects=True)
    assert landed.status_code == 200
    assert len(landed.content) == ready["file"]["size"]


def test_the_file_is_an_attachment_that_nobody_may_sniff_or_keep(people, ready):
    landed = people["ada"].get(ready["urls"]["download"], follow_redirects=True)
    assert landed.headers["Content-Disposition"] == f'attachment; filename="{ready["file"]["name"]}"'
    assert landed.headers["X-Content-Type-Options"] == "nosniff"
    assert {"private", "no-store"} <= set(landed.headers["Cache-Control"].split(", "))


def test_a_part_of_the_file_can_be_asked_for(people, ready):
    ticket = people["ada"].state(ready)["urls"]["ticket"]
    whole, part = people["ada"].get(ticket), people["ada"].get(ticket, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert people["ada"].head(ticket).headers["Content-Length"] == str(ready["file"]["size"])


@pytest.mark.parametrize("path", ["/ws/exports/", "/ws/exports/{id}/"])
def test_a_socket_opens_for_its_owner_and_shows_the_state(stack, people, ready, path):
    with knock(stack, people["ada"], path, ready) as socket:
        assert ready["id"] in socket.recv(timeout=10)


@pytest.mark.parametrize(
    ("who", "path"), [(None, "/ws/exports/"), (None, "/ws/exports/{id}/"), ("grace", "/ws/exports/{id}/")]
)
def test_a_socket_stays_shut_for_others(stack, people, ready, who, path):
    with pytest.raises(InvalidStatus, match="403"):
        knock(stack, people[who], path, ready)


def test_a_socket_stays_shut_for_pages_of_another_origin(stack, people, ready):
    with pytest.raises(InvalidStatus, match="403"):
        knock(stack, people["ada"], "/ws/exports/", ready, origin="http://evil.example")


def knock(stack: Stack, client: Client, path: str, state: State, *, origin: str | None = None):
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    address = stack.url.replace("http", "ws") + path.format(id=state["id"])
    return connect(address, origin=origin or stack.url, additional_headers={"Cookie": cookies}, proxy=None)
