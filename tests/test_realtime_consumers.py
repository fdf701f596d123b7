"""What a socket sends to a page, and what a page may send to its socket."""

import asyncio
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import override_settings
from django.utils import timezone

from exports.models import FileRequest, transitions
from exports.realtime import events
from exports.realtime.consumers import SEND_INTERVAL_SECONDS
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import signed_in, url_of
from tests.office.pages import ALL, QUIET, made, moved, one, opened, page_of, sent, written

LOGGER = "exports.realtime.consumers"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


# The states sent on connect


async def test_a_new_socket_sends_active_and_recent_exports_oldest_first(owner: User):
    long_ago = timezone.now() - timedelta(hours=25)

    @sync_to_async
    def history() -> list[str]:
        old = rows.ready(owner)
        FileRequest.objects.filter(pk=old.pk).update(finished_at=long_ago)
        rows.queued(people.user("other"))
        shown = [rows.queued(owner, requested_at=long_ago), *(make(owner) for make in rows.IN_STATUS.values())]
        return [str(export.pk) for export in shown]

    expected = await history()
    async with opened(owner) as page:
        states = [await page.next_state() for _ in expected]
        assert [state["id"] for state in states] == expected
        assert await page.receive_nothing(QUIET)


async def test_a_new_socket_sends_only_as_many_exports_as_the_setting_allows(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "SNAPSHOT_MAX_EXPORTS": 3}
    exports = [await made(rows.queued, owner) for _ in range(5)]
    async with opened(owner) as page:
        assert [(await page.next_state())["id"] for _ in range(3)] == [str(export.pk) for export in exports[2:]]
        assert await page.receive_nothing(QUIET)


async def test_a_site_without_a_channel_layer_refuses_the_socket(owner: User):
    client = await sync_to_async(signed_in)(owner)
    with override_settings(CHANNEL_LAYERS={}):
        is_open, _ = await page_of(client, ALL).connect()
    assert not is_open


async def test_a_layer_that_hears_no_worker_refuses_the_socket(owner: User, settings: LazySettings):
    client = await sync_to_async(signed_in)(owner)
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": "tests.shop.exports.RecordingQueue"}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    is_open, _ = await page_of(client, ALL).connect()
    assert not is_open


async def test_the_page_of_an_export_names_its_socket_to_owner_and_staff(owner: User):
    export, staff = await made(rows.running, owner), await made(people.staff, "staff", people.VIEW)
    for reader in (owner, staff):
        client = await sync_to_async(signed_in)(reader)
        page = (await sync_to_async(client.get)(url_of("page", export))).content.decode()
        assert f'socket="{one(export)}"' in page


# Changes


async def test_every_transition_arrives_as_a_whole_state_with_a_greater_number(owner: User):
    async with opened(owner) as page:
        export, claim = await made(rows.claimed, owner)
        await sync_to_async(events.send_state)(export)
        states = [await page.next_state()]
        for rows_done in (10, 20):
            await written(claim, rows_done, began_phase=rows_done == 10)
            states.append(await page.next_state())
        export = await moved(rows.publish, claim)
        states.append(await page.next_state())
    assert [state["progress"]["rows_done"] for state in states] == [0, 10, 20, 2000]
    assert [state["status"] for state in states] == ["running", "running", "running", "ready"]
    assert [state["seq"] for state in states] == sorted({state["seq"] for state in states})
    assert {frozenset(state) for state in states} == {frozenset(await sync_to_async(serialize)(export))}


async def test_a_socket_sends_no_changes_of_exports_that_it_does_not_follow(owner: User):
    other = await made(people.user, "other")
    theirs, first, second = [await made(rows.queued, user) for user in (other, owner, owner)]
    async with opened(owner, one(second)) as single, opened(owner) as all_exports:
        assert (await single.next_state())["id"] == str(second.pk)
        assert [(await all_exports.next_state())["id"] for _ in range(2)] == [str(first.pk), str(second.pk)]
        for export in (theirs, first, second):
            await moved(transitions.cancel, export)
        assert (await single.next_state())["id"] == str(second.pk)
        assert {(await all_exports.next_state())["id"] for _ in range(2)} == {str(first.pk), str(second.pk)}
        assert await single.receive_nothing(QUIET)
        assert await all_exports.receive_nothing(QUIET)


async def test_only_the_newest_state_of_an_export_waits_to_be_sent(owner: User):
    export = await made(rows.running, owner)
    state = await sync_to_async(serialize)(export)

    async def send(*numbers: int) -> None:
        for number in numbers:
            await sent(events.message(state | {"seq": export.seq + number}), events.group_of_user(owner.pk))

    async with opened(owner) as page:
        await page.next_state()
        await send(9, 7, 8)
        assert (await page.next_state())["seq"] == export.seq + 9
        began = time.monotonic()
        await send(*range(10, 311))
        states = await page.states_until(lambda each: each["seq"] == export.seq + 310)
        assert len(states) <= (time.monotonic() - began) / SEND_INTERVAL_SECONDS + 2
        assert await page.receive_nothing(QUIET)


async def test_a_ready_export_arrives_with_a_ticket_that_serves_this_user_only(owner: User):
    client, export = await sync_to_async(signed_in)(owner), await made(rows.ready, owner)
    # The channel layer carries the same message for every user, so it has no ticket.
    assert events.message(await sync_to_async(serialize)(export))["export"]["urls"]["ticket"] is None
    async with opened(client) as page:
        state = await page.next_state()
    assert await sync_to_async(lambda: client.get(state["urls"]["ticket"]).getvalue())() == rows.CONTENT
    stranger = await sync_to_async(lambda: signed_in(people.user("stranger")).get(state["urls"]["ticket"]))()
    assert stranger.status_code == 404


async def test_a_ready_export_that_has_expired_meanwhile_is_sent_as_expired(owner: User):
    export = await made(rows.ready, owner)
    async with opened(owner) as page:
        assert (await page.next_state())["status"] == "ready"
        assert await sync_to_async(transitions.expire)(export)
        await sync_to_async(events.send_state)(export)
        assert (await page.next_state())["status"] == "expired"


async def test_a_ready_export_that_was_deleted_meanwhile_is_not_sent(owner: User):
    deleted, other = await made(rows.ready, owner), await made(rows.queued, owner)
    async with opened(owner) as page:
        await page.next_state()
        await page.next_state()
        state = await sync_to_async(serialize)(deleted)
        await sync_to_async(deleted.delete)()
        await sent(events.message(state), events.group_of_user(owner.pk))
        await moved(transitions.cancel, other)
        assert (await page.next_state())["id"] == str(other.pk)


# Frames of the page


@pytest.mark.parametrize("status", ["ready", "failed"])
async def test_a_page_reports_that_its_owner_has_seen_how_the_export_ended(owner: User, status: str):
    export = await made(rows.IN_STATUS[status], owner)
    async with opened(owner) as page:
        await page.next_state()
        await page.send_json_to({"type": "seen", "id": str(export.pk)})
        await page.send_json_to({"type": "ping"})
        assert await page.next() == {"type": "pong"}
    assert (await made(rows.fresh, export)).seen_at is not None


async def test_only_the_owner_can_report_an_export_as_seen(owner: User):
    export = await made(rows.ready, owner)
    staff = await made(people.staff, "staff", people.VIEW, people.CHANGE, people.ANY)
    for user, path in ((staff, one(export)), (staff, ALL), (await made(people.user, "stranger"), ALL)):
        async with opened(user, path) as page:
            for export_id in (export.pk, uuid4()):
                await page.send_json_to({"type": "seen", "id": str(export_id)})
            await page.send_json_to({"type": "ping"})
            while (await page.next())["type"] != "pong":
                pass
    assert (await made(rows.fresh, export)).seen_at is None


MALFORMED = [
    "x", "{", "null", "7", '"ping"', "[]", '["ping"]', "{}", '{"type": null}', '{"type": "run"}', '{"type": ["ping"]}',
    '{"type": "seen"}', '{"type": "seen", "id": 7}', '{"type": "seen", "id": "x"}', '{"type": "seen", "id": null}',
    '{"type": "export.changed", "export": {}}', "[" * 600, "1" * 1000, '{"type": "ping", "x": "' + "x" * 1000 + '"}',
    '{"type": "ping", "x": "' + "é" * 501 + '"}', '{"type": "ping"}'.ljust(1025), b"binary", b'{"type": "ping"}',
]  # fmt: skip


@pytest.mark.parametrize("frame", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_frame_closes_the_socket_and_logs_one_line(
    owner: User, frame: str | bytes, log_lines, caplog: pytest.LogCaptureFixture
):
    async with opened(owner) as page:
        for _ in range(2):
            await page.send_to(**{"bytes_data" if isinstance(frame, bytes) else "text_data": frame})
        assert await page.close_code() == 4400
        assert await page.receive_nothing(QUIET)
    assert log_lines(LOGGER) == ["socket closed with 4400: malformed frame"]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_frame_of_1024_bytes_is_answered(owner: User):
    async with opened(owner) as page:
        await page.send_to(text_data='{"type": "ping"}'.ljust(1024))
        assert await page.next() == {"type": "pong"}


async def test_the_sixth_frame_within_a_second_closes_the_socket(owner: User, log_lines):
    async with opened(owner) as page:
        for _ in range(8):
            await page.send_json_to({"type": "ping"})
        for _ in range(5):
            assert await page.next() == {"type": "pong"}
        assert await page.close_code() == 4429
        assert await page.receive_nothing(QUIET)
    assert log_lines(LOGGER) == ["socket closed with 4429: too many frames"]


async def test_a_silent_socket_is_closed_and_one_that_pings_is_not(owner: User, settings: LazySettings):
    changes = {"SOCKET_IDLE_TIMEOUT_SECONDS": 1.5, "SOCKET_MAX_FRAMES_PER_SECOND": 100}
    settings.EXPORTS = {**settings.EXPORTS, **changes}
    async with opened(owner) as silent, opened(owner) as alive:
        for _ in range(12):
            await alive.send_json_to({"type": "ping"})
            assert await alive.next() == {"type": "pong"}
            await asyncio.sleep(0.2)
        assert await silent.close_code() == 4408
        assert await alive.receive_nothing(0.05)
