"""The WebSocket door: what a page hears, and what it says."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from exports.models import FileRequest, transitions
from exports.realtime import events
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import signed_in, url_of
from tests.office.exports import open_office
from tests.office.pages import ALL, QUIET, leave, made, moved, one, opened, page_of
from tests.servers import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("layer")]


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
async def layer(valkey: Valkey) -> AsyncIterator[None]:
    yield
    await leave()


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


# The snapshot


async def test_on_connect_come_what_is_under_way_and_what_ended_lately_oldest_first(owner: User):
    long_ago = timezone.now() - timedelta(hours=25)

    @sync_to_async
    def history() -> list[str]:
        old = rows.ready(owner)
        FileRequest.objects.filter(pk=old.pk).update(finished_at=long_ago)
        rows.queued(people.user("other"))
        shown = [rows.queued(owner, requested_at=long_ago), *(make(owner) for make in rows.IN_STATUS.values())]
        return [str(request.pk) for request in shown]

    expected = await history()
    async with opened(owner) as page:
        states = [await page.next_state() for _ in expected]
        assert [state["id"] for state in states] == expected
        assert await page.receive_nothing(QUIET)


async def test_the_snapshot_has_an_end(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "SNAPSHOT_MAX_EXPORTS": 3}
    requests = [await made(rows.queued, owner) for _ in range(5)]
    async with opened(owner) as page:
        assert [(await page.next_state())["id"] for _ in range(3)] == [str(each.pk) for each in requests[2:]]
        assert await page.receive_nothing(QUIET)


async def test_the_socket_of_one_request_tells_of_that_one_alone(owner: User):
    first, second = await made(rows.queued, owner), await made(rows.queued, owner)
    async with opened(owner, one(second)) as page:
        assert (await page.next_state())["id"] == str(second.pk)
        await moved(transitions.cancel, first, request=first)
        await moved(transitions.cancel, second, request=second)
        assert (await page.next_state())["id"] == str(second.pk)
        assert await page.receive_nothing(QUIET)


@pytest.mark.parametrize("status", list(rows.IN_STATUS))
async def test_a_socket_and_a_poll_say_the_same_but_for_the_ticket(owner: User, status: str):
    request = await made(rows.IN_STATUS[status], owner)
    client = await sync_to_async(signed_in)(owner)
    async with opened(client) as page:
        by_socket = await page.next_state()
    by_poll = (await sync_to_async(client.get)(url_of("detail", request))).json()
    for state in (by_socket, by_poll):
        assert (state["urls"].pop("ticket") is None) == (status != "ready")
        state["urls"].pop("ticket_expires_at")
    assert by_socket == by_poll


# Changes


async def test_every_move_arrives_as_a_whole_state_with_a_greater_number(owner: User):
    async with opened(owner) as page:
        request, claim = await made(rows.claimed, owner)
        await sync_to_async(events.publish)(request)
        states = [await page.next_state()]
        for done in (10, 20):
            progress = rows.progress(done)
            await moved(
                transitions.renew_lease, claim, progress, request=request, began_phase=done == 10, progressed=True
            )
            states.append(await page.next_state())
        request = await moved(rows.publish, claim, request=request)
        states.append(await page.next_state())
    assert [state["progress"]["rows_done"] for state in states] == [0, 10, 20, 2000]
    assert [state["status"] for state in states] == ["running", "running", "running", "ready"]
    assert [state["seq"] for state in states] == sorted({state["seq"] for state in states})
    assert {frozenset(state) for state in states} == {frozenset(await sync_to_async(serialize)(request))}


async def test_only_the_latest_state_of_a_request_waits_for_its_reader(owner: User):
    request = await made(rows.running, owner)
    state = await sync_to_async(serialize)(request)
    async with opened(owner) as page:
        await page.next_state()
        for number in range(1, 301):
            message = events.message(state | {"seq": request.seq + number})
            await get_channel_layer().group_send(events.group_of_user(owner.pk), message)
        states = await page.states_until(lambda each: each["seq"] == request.seq + 300)
        print(f"{len(states)} frames for 300 changes")
        assert len(states) < 60
        assert await page.receive_nothing(QUIET)


async def test_an_older_state_never_takes_the_place_of_a_newer_one_that_waits(owner: User):
    request = await made(rows.running, owner)
    state = await sync_to_async(serialize)(request)
    async with opened(owner) as page:
        await page.next_state()
        for number in (9, 7, 8):
            message = events.message(state | {"seq": request.seq + number})
            await get_channel_layer().group_send(events.group_of_user(owner.pk), message)
        assert (await page.next_state())["seq"] == request.seq + 9


async def test_a_change_of_somebody_elses_request_never_arrives(owner: User):
    other = await made(people.user, "other")
    theirs, mine = await made(rows.queued, other), await made(rows.queued, owner)
    async with opened(owner) as page:
        assert (await page.next_state())["id"] == str(mine.pk)
        await moved(transitions.cancel, theirs, request=theirs)
        await moved(transitions.cancel, mine, request=mine)
        assert (await page.next_state())["id"] == str(mine.pk)


async def test_ready_carries_a_ticket_of_its_reader_that_really_downloads(owner: User):
    client = await sync_to_async(signed_in)(owner)
    request, claim = await made(rows.claimed, owner)
    async with opened(client) as page:
        assert (await page.next_state())["urls"]["ticket"] is None
        await moved(rows.publish, claim, request=request)
        state = await page.next_state()
    assert (state["status"], state["phase"], state["progress"]["fraction"]) == ("ready", "done", 1.0)
    assert await sync_to_async(lambda: client.get(state["urls"]["ticket"]).getvalue())() == rows.CONTENT
    stranger = await sync_to_async(lambda: signed_in(people.user("stranger")).get(state["urls"]["ticket"]))()
    assert stranger.status_code == 404


async def test_ready_that_has_been_overtaken_is_told_as_it_is_now(owner: User):
    request = await made(rows.ready, owner)
    async with opened(owner) as page:
        assert (await page.next_state())["status"] == "ready"
        assert await sync_to_async(transitions.expire)(request)
        await sync_to_async(events.publish)(request)
        assert (await page.next_state())["status"] == "expired"


@pytest.mark.parametrize(("permissions", "has_ticket"), [((people.VIEW,), False), ((people.VIEW, people.ANY), True)])
async def test_staff_follow_one_request_and_get_a_ticket_only_if_they_may_have_the_file(
    owner: User, permissions: tuple[str, ...], has_ticket: bool
):
    staff = await made(people.staff, "staff", *permissions)
    request, claim = await made(rows.claimed, owner)
    client = await sync_to_async(signed_in)(staff)
    async with opened(client, one(request)) as page, opened(staff) as all_of_mine:
        await page.next_state()
        await moved(rows.publish, claim, request=request)
        state = await page.next_state()
        assert await all_of_mine.receive_nothing(QUIET)
    assert (state["urls"]["ticket"] is not None) == has_ticket
    if has_ticket:
        assert await sync_to_async(lambda: client.get(state["urls"]["ticket"]).getvalue())() == rows.CONTENT


async def test_the_page_of_a_request_names_the_socket_that_tells_of_it_to_whoever_may_look(owner: User):
    request, staff = await made(rows.running, owner), await made(people.staff, "staff", people.VIEW)
    for reader in (owner, staff):
        client = await sync_to_async(signed_in)(reader)
        page = (await sync_to_async(client.get)(url_of("page", request))).content.decode()
        assert f'socket="{one(request)}"' in page


# What a page says


async def test_a_ping_is_answered(owner: User):
    async with opened(owner) as page:
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}


@pytest.mark.parametrize("status", ["ready", "failed"])
async def test_the_owners_page_says_that_it_has_shown_the_end(owner: User, status: str):
    request = await made(rows.IN_STATUS[status], owner)
    async with opened(owner) as page:
        await page.next_state()
        await page.send_json_to({"type": "seen", "id": str(request.pk)})
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}
    assert (await made(rows.fresh, request)).seen_at is not None


async def test_nobody_else_can_say_so(owner: User):
    request = await made(rows.ready, owner)
    staff = await made(people.staff, "staff", people.VIEW, people.CHANGE, people.ANY)
    for user, path in ((staff, one(request)), (staff, ALL), (await made(people.user, "stranger"), ALL)):
        async with opened(user, path) as page:
            for request_id in (request.pk, uuid4()):
                await page.send_json_to({"type": "seen", "id": str(request_id)})
            await page.send_json_to({"type": "ping"})
            while (await page.next())["type"] != "pong":
                pass
    assert (await made(rows.fresh, request)).seen_at is None


def test_no_frame_that_the_door_sends_is_a_secret_of_the_group(owner: User):
    """What goes over the channel layer is the same for every reader: a ticket is made at each reader's own socket."""
    message = json.dumps(events.message(serialize(rows.ready(owner))))
    assert '"ticket": null' in message


async def test_a_site_without_a_channel_layer_refuses_the_socket_and_its_pages_poll(owner: User):
    client = await sync_to_async(signed_in)(owner)
    with override_settings(CHANNEL_LAYERS={}):
        is_open, _ = await page_of(client, ALL).connect()
    assert not is_open
