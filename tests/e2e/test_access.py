"""Permissions on the running site. tests/test_http_access.py has every user, status and view, in one process."""

from uuid import uuid4

import httpx
import pytest

from tests.e2e.stack import Client, Stack, State

GETS = ("self", "page", "download")
POSTS = ("cancel", "retry", "seen", "expire", "revoke")

# The statuses that each user gets for a READY export of ada's, asked as a browser asks.
STATUSES = {
    "ada": {"self": 200, "page": 200, "download": 302, "cancel": 303, "retry": 409, "seen": 303},
    "grace": dict.fromkeys(GETS + POSTS, 404),
    "staff": {"self": 200, "page": 200, "download": 302, "cancel": 303, "retry": 403, "seen": 303},
    None: dict.fromkeys(GETS + POSTS, 302) | {"self": 401},
}


@pytest.fixture(scope="module")
def clients(stack: Stack) -> dict[str | None, Client]:
    clients = {name: stack.client(name) for name in STATUSES}
    # The login page sets the cookie with the CSRF token.
    clients[None].get("/login/")
    return clients


@pytest.fixture(scope="module")
def ready(clients: dict[str | None, Client]) -> State:
    return clients["ada"].make("weather", origin="JFK")


def ask(client: Client, export_id: str, action: str, *, json: bool = False) -> httpx.Response:
    path = f"/exports/{export_id}/" + ("" if action == "self" else f"{action}/")
    if action in POSTS:
        return client.send_form(path, json=json)
    return client.get(path, headers={"Accept": "application/json" if json else "text/html"})


@pytest.mark.parametrize("who", STATUSES)
def test_each_action_answers_as_the_table_says(clients, ready, who):
    answers = {action: ask(clients[who], ready["id"], action).status_code for action in STATUSES[who]}
    assert answers == STATUSES[who]


@pytest.mark.parametrize("json", [False, True], ids=["html", "json"])
@pytest.mark.parametrize("action", GETS + POSTS)
def test_another_users_export_answers_byte_for_byte_like_a_missing_one(clients, ready, action, json):
    other, missing = (ask(clients["grace"], id, action, json=json) for id in (ready["id"], str(uuid4())))
    assert other.status_code == missing.status_code == 404
    assert other.content == missing.content
    assert dict(other.headers) | {"date": ""} == dict(missing.headers) | {"date": ""}


def test_a_ticket_serves_only_the_user_it_was_made_for(clients, ready):
    ticket = clients["ada"].state(ready)["urls"]["ticket"]
    answers = {who: client.get(ticket).status_code for who, client in clients.items()}
    assert answers == {"ada": 200, "grace": 404, "staff": 404, None: 302}
    landed = clients["staff"].get(ready["urls"]["download"], follow_redirects=True)
    assert (landed.status_code, len(landed.content)) == (200, ready["file"]["size"])


@pytest.mark.parametrize("who", ["ada", "staff"])
def test_revoke_ends_tickets_and_expire_ends_the_file(clients, who):
    ada, state = clients["ada"], clients["ada"].make("weather", origin="LGA")
    assert ask(clients[who], state["id"], "revoke").status_code == 303
    assert ada.get(state["urls"]["ticket"]).status_code == 404
    assert ada.get(state["urls"]["download"], follow_redirects=True).status_code == 200
    assert ask(clients[who], state["id"], "expire").status_code == 303
    answer = ada.get(state["urls"]["self"])
    assert (answer.status_code, answer.json()["status"]) == (410, "expired")
    assert ask(ada, state["id"], "retry", json=True).status_code == 201
