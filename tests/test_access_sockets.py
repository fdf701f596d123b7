"""Who may listen at which socket to a request in which status, and what they hear: every cell of the table."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.urls import reverse

from tests.office.pages import ALL, IN_TIME, leave, one, page_of
from tests.office.worlds import EVERYBODY, HAVING, OWN, SEEING, SIGNED_IN, STATUSES, World, open_worlds, world_of

State = dict[str, Any]
QUIET_SECONDS = 0.15


@pytest.fixture(scope="module")
def worlds(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, World]]:
    """Everybody's world, committed, since the sockets read it over connections of their own."""
    with django_db_blocker.unblock(), open_worlds():
        yield {name: world_of(name) for name in EVERYBODY}
        call_command("flush", verbosity=0, interactive=False)


@pytest.fixture(autouse=True)
def db(worlds: dict[str, World]) -> None:
    """In place of pytest-django's, which would make all of it anew for every cell. Sockets change nothing here."""


async def heard(world: World, address: str, *, everything: bool = False) -> dict[str, State] | int:
    """The state that a socket tells first, or all that it tells, by id; or the code by which it was refused."""
    socket = page_of(world.client, address)
    is_open, code = await socket.connect(timeout=IN_TIME)
    if not is_open:
        return code
    told = [] if everything else [await socket.next_state()]
    while everything and not await socket.receive_nothing(timeout=QUIET_SECONDS):
        told.append(await socket.next_state())
    await socket.disconnect(timeout=IN_TIME)
    return {state["id"]: state for state in told}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
async def test_the_socket_of_a_request_opens_as_the_table_says(
    worlds: dict[str, World], name: str, status: str
) -> None:
    world, request = worlds[name], worlds[name].requests[status]
    told = await heard(world, one(request))
    if name in SEEING:
        check_told(told, world, status, name)
    else:
        # Not yours and not there are refused alike.
        assert told == await heard(world, f"{ALL}{uuid4()}/")
        assert isinstance(told, int)
    await leave()


@pytest.mark.parametrize("name", EVERYBODY)
async def test_the_socket_of_ones_own_tells_of_them_and_of_no_others(worlds: dict[str, World], name: str) -> None:
    world = worlds[name]
    told = await heard(world, ALL, everything=True)
    if name not in SIGNED_IN:
        assert isinstance(told, int)
    else:
        own = {str(request.pk) for request in world.requests.values()} if name in OWN else set()
        assert set(told) == own
        for status in STATUSES if own else ():
            check_told({str(world.requests[status].pk): told[str(world.requests[status].pk)]}, world, status, name)
    await leave()


def check_told(told: Any, world: World, status: str, name: str) -> None:
    """The state of this request alone; the way to its file for whoever may have it, and nothing of it for an owner
    whom the export refuses now."""
    [state] = told.values()
    assert (state["id"], state["status"]) == (str(world.requests[status].pk), status)
    is_shown = status == "ready" and name in HAVING
    assert (state["urls"]["ticket"] is not None, state["urls"]["download"] is not None) == (is_shown, is_shown)
    is_refused = status == "ready" and name == "refused owner"
    assert (state["file"] is None) == (status != "ready" or is_refused)
    assert ((state["error"] or {}).get("code") == "permission_lost") == is_refused
    assert "secret detail" not in json.dumps(state)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", sorted(SEEING))
async def test_a_socket_tells_what_the_door_tells(worlds: dict[str, World], name: str, status: str) -> None:
    world, request = worlds[name], worlds[name].requests[status]
    told = await heard(world, one(request))
    address = reverse("exports:detail", args=[request.pk])
    polled = (await sync_to_async(world.client.get)(address)).json()
    for state in (polled, *told.values()):
        state["urls"].pop("ticket"), state["urls"].pop("ticket_expires_at")
    assert list(told.values()) == [polled]
    await leave()
