"""Which user may open which socket in which status of an export, and what the socket sends: each cell of the table."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.urls import reverse

from tests.office.pages import ALL, IN_TIME, leave, one, page_of
from tests.office.worlds import (
    EVERYBODY,
    HAVING,
    OWN,
    SEEING,
    SIGNED_IN,
    STATUSES,
    TOKENS,
    World,
    open_worlds,
    with_token,
    world_of,
)

State = dict[str, Any]
QUIET_SECONDS = 0.15


@pytest.fixture(scope="module")
def worlds(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, World]]:
    """A world for each user, committed, since sockets read it over their own database connections."""
    with django_db_blocker.unblock(), open_worlds():
        made = {name: world_of(name) for name in EVERYBODY}
        yield made | {name: with_token(made[given.owner], given) for name, given in TOKENS.items()}
        call_command("flush", verbosity=0, interactive=False)


@pytest.fixture(autouse=True)
def db(worlds: dict[str, World]) -> None:
    """Replace pytest-django's fixture, which would empty the database for each cell. Sockets change nothing here."""


async def received(world: World, path: str, *, everything: bool = False) -> dict[str, State] | int:
    """Return the first state that a socket sends, or all, by id; or the code with which it is refused."""
    socket = page_of(world.client, path)
    is_open, code = await socket.connect(timeout=IN_TIME)
    if not is_open:
        return code
    states = [] if everything else [await socket.next_state()]
    while everything and not await socket.receive_nothing(timeout=QUIET_SECONDS):
        states.append(await socket.next_state())
    await socket.disconnect(timeout=IN_TIME)
    return {state["id"]: state for state in states}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
async def test_the_socket_of_an_export_opens_for_whom_the_table_allows(
    worlds: dict[str, World], name: str, status: str
) -> None:
    world, export = worlds[name], worlds[name].requests[status]
    states = await received(world, one(export))
    if name not in SEEING:
        assert isinstance(states, int)
        # An export of another user is refused like one that does not exist.
        assert states == await received(world, f"{ALL}{uuid4()}/")
    else:
        [state] = states.values()
        assert_state(state, world, status, name)
        polled = (await sync_to_async(world.client.get)(reverse("exports:detail", args=[export.pk]))).json()
        for each in (polled, state):
            each["urls"].pop("ticket"), each["urls"].pop("ticket_expires_at")
            # It grows from one answer to the next.
            (each["worker"] or {}).pop("silent_seconds", None)
        assert state == polled
    await leave()


@pytest.mark.parametrize("name", EVERYBODY)
async def test_the_socket_of_a_user_sends_all_own_exports_and_no_other(worlds: dict[str, World], name: str) -> None:
    world = worlds[name]
    states = await received(world, ALL, everything=True)
    if name not in SIGNED_IN:
        assert isinstance(states, int)
    else:
        own = {str(export.pk): status for status, export in world.requests.items()} if name in OWN else {}
        assert set(states) == set(own)
        for export_id, status in own.items():
            assert_state(states[export_id], world, status, name)
    await leave()


@pytest.mark.parametrize("name", TOKENS)
async def test_the_sockets_of_a_program_open_for_what_its_token_opens(worlds: dict[str, World], name: str) -> None:
    world, like = worlds[name], TOKENS[name].like or TOKENS[name].owner
    none = await received(world, f"{ALL}{uuid4()}/")
    for status, export in world.requests.items():
        states = await received(world, one(export))
        if like in SEEING:
            [state] = states.values()
            assert_state(state, world, status, like)
        else:
            assert isinstance(states, int)
            assert states == none
    all_of_user = await received(world, ALL, everything=True)
    if like == "anonymous":
        assert isinstance(all_of_user, int)
    else:
        assert set(all_of_user) == ({str(export.pk) for export in world.requests.values()} if like in OWN else set())
    await leave()


def assert_state(state: State, world: World, status: str, name: str) -> None:
    """Assert that the state has links only for users who may have the file, and no file for a refused owner."""
    assert (state["id"], state["status"]) == (str(world.requests[status].pk), status)
    has_links = status == "ready" and name in HAVING
    assert (state["urls"]["ticket"] is not None, state["urls"]["download"] is not None) == (has_links, has_links)
    is_refused = status == "ready" and name == "refused owner"
    assert (state["file"] is None) == (status != "ready" or is_refused)
    assert ((state["error"] or {}).get("code") == "permission_lost") == is_refused
    assert "secret detail" not in json.dumps(state)
