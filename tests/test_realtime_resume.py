"""Sockets that connect again: the client says what it knows, and is sent only what it has missed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction

from exports import services
from exports.models import FileRequest
from exports.models.audit import Actor
from exports.realtime import admission, consumers, protocol, resume
from exports.realtime.consumers import ExportsConsumer
from exports.realtime.resume import Question
from tests import asyncapi
from tests.office import people, rows
from tests.office.pages import ALL, IN_TIME, QUIET, Page, made, moved, one, opened

pytestmark = [pytest.mark.django_db(transaction=True)]
RESUMING = f"{ALL}?resume=1"


@asynccontextmanager
async def resumed(user: User, known: dict[Any, int], epoch: str | None = None) -> AsyncIterator[tuple[Page, dict]]:
    """Open a page that knows these states, and yield it with the first answer."""
    async with opened(user, RESUMING) as page:
        said = {"type": "resume", "known": {str(export_id): seq for export_id, seq in known.items()}, "epoch": epoch}
        await page.send_json_to(said)
        answer = await page.next()
        assert (answer["type"], asyncapi.errors_of(answer)) == ("resumed", [])
        yield page, answer


@pytest.mark.usefixtures("channel_layer")
async def test_a_client_that_knows_all_is_told_nothing_and_hears_what_changes_then(owner: User):
    export, claim = await made(rows.claimed, owner)
    async with resumed(owner, {export.pk: export.seq}) as (page, answer):
        assert not answer["is_restored"]
        assert await page.receive_nothing(QUIET)
        await moved(rows.publish, claim)
        assert (await page.next_state())["status"] == "ready"


@pytest.mark.usefixtures("channel_layer")
async def test_a_client_is_told_what_is_new_what_changed_and_what_is_gone(owner: User):
    known, changed, new = [await made(rows.running, owner) for _ in range(3)]
    deleted = await made(rows.ready, owner)
    async with opened(owner) as earlier:
        await sync_to_async(services.remove)(deleted, Actor.of(owner))
        while (await earlier.next())["type"] != "export.removed":
            pass
    foreign, unknown = await made(rows.running, await made(people.user, "other")), uuid4()
    knows = {known.pk: known.seq, changed.pk: changed.seq - 1, deleted.pk: deleted.seq, foreign.pk: 1, unknown: 1}
    async with resumed(owner, knows) as (page, _):
        gone = [await page.next() for _ in range(3)]
        assert gone == [{"type": "export.removed", "id": str(pk)} for pk in (deleted.pk, foreign.pk, unknown)]
        assert [(await page.next_state())["id"] for _ in range(2)] == [str(changed.pk), str(new.pk)]
        assert await page.receive_nothing(QUIET)


@pytest.mark.usefixtures("channel_layer")
async def test_a_client_of_another_database_or_a_later_state_is_told_everything(owner: User):
    first, second = [await made(rows.running, owner) for _ in range(2)]
    known = {first.pk: first.seq, second.pk: second.seq}
    async with resumed(owner, known) as (_, answer):
        epoch = answer["epoch"]
    for knows, heard in ((known, "another"), (known | {first.pk: first.seq + 5}, epoch)):
        async with resumed(owner, knows, heard) as (page, answer):
            assert answer == {"type": "resumed", "epoch": epoch, "is_restored": True}
            assert [(await page.next_state())["id"] for _ in range(2)] == [str(first.pk), str(second.pk)]


@pytest.mark.usefixtures("channel_layer")
async def test_a_client_that_does_not_say_what_it_knows_is_told_everything(
    owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(consumers, "RESUME_TIMEOUT_SECONDS", 0.1)
    export = await made(rows.running, owner)
    async with opened(owner, RESUMING) as page:
        assert (await page.next())["type"] == "resumed"
        assert (await page.next_state())["id"] == str(export.pk)


@pytest.mark.usefixtures("channel_layer")
async def test_a_client_that_says_late_what_it_knows_is_answered_once(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(consumers, "RESUME_TIMEOUT_SECONDS", 0.1)
    said = {"type": "resume", "known": {str(uuid4()): 1}, "epoch": None}
    async with opened(owner, RESUMING) as page:
        assert (await page.next())["type"] == "resumed"
        await page.send_json_to(said)
        assert [(await page.next())["type"] for _ in range(2)] == ["resumed", "export.removed"]
        await page.send_json_to(said)
        assert await page.close_code() == 4400


@pytest.mark.usefixtures("channel_layer")
@pytest.mark.parametrize("says", [True, False], ids=["says what it knows", "says nothing"])
async def test_a_database_error_during_resume_makes_the_client_connect_again(
    owner: User, monkeypatch: pytest.MonkeyPatch, says: bool
):
    def broken(*_arguments: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(consumers, "RESUME_TIMEOUT_SECONDS", IN_TIME if says else 0.1)
    monkeypatch.setattr(resume, "compare", broken)
    async with opened(owner, RESUMING) as page:
        if says:
            await page.send_json_to({"type": "resume", "known": {}, "epoch": None})
        assert await page.close_code() == 1013


@pytest.mark.parametrize("most", [10, 200])
def test_a_client_may_know_fifty_exports_or_as_many_as_the_server_sends(settings: LazySettings, most: int):
    settings.EXPORTS = {**settings.EXPORTS, "SNAPSHOT_MAX_EXPORTS": most}
    known = {str(uuid4()): 123 for _ in range(max(50, most))}
    assert protocol.parse_frame(json.dumps({"type": "resume", "epoch": "0" * 16, "known": known}))


@pytest.mark.usefixtures("channel_layer")
@pytest.mark.parametrize(
    "frame",
    [
        {"known": {}}, {"known": [], "epoch": None}, {"known": {"x": 1}, "epoch": None}, {"known": {}, "epoch": 1},
        {"known": {str(uuid4()): True}, "epoch": None}, {"known": {str(uuid4()): "1"}, "epoch": None},
        {"known": {str(uuid4()): 1 for _ in range(200)}, "epoch": None},
    ],
)  # fmt: skip
async def test_a_malformed_resume_closes_the_socket(owner: User, frame: dict[str, Any]):
    async with opened(owner, RESUMING) as page:
        await page.send_json_to({"type": "resume", **frame})
        assert await page.close_code() == 4400


@pytest.mark.usefixtures("channel_layer")
async def test_only_a_socket_that_asked_for_it_resumes_and_only_once(owner: User):
    said = {"type": "resume", "known": {}, "epoch": None}
    async with opened(owner) as page:
        await page.send_json_to(said)
        assert await page.close_code() == 4400
    export = await made(rows.running, owner)
    async with opened(owner, f"{one(export)}?resume=1") as page:
        assert (await page.next_state())["id"] == str(export.pk)
        await page.send_json_to(said)
        assert await page.close_code() == 4400
    async with resumed(owner, {}) as (page, _):
        assert (await page.next_state())["id"] == str(export.pk)
        await page.send_json_to(said)
        assert await page.close_code() == 4400


async def test_of_many_who_ask_at_once_one_that_leaves_costs_the_others_nothing(owner: User, django_db_setup: None):
    asking = [asyncio.create_task(resume.missed(Question(owner.pk, {}, None), "")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), IN_TIME)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.changed for answer in answers[1:]] == [[]] * 4


@pytest.mark.usefixtures("channel_layer")
async def test_a_change_whose_event_was_lost_is_told_to_who_connects_next(owner: User):
    export, claim = await made(rows.claimed, owner)
    async with resumed(owner, {export.pk: export.seq}) as (first, _):
        await made(rows.publish, claim)
        assert await first.receive_nothing(QUIET)
        async with resumed(owner, {export.pk: export.seq}) as (second, _):
            assert (await second.next_state())["status"] == "ready"


def socket_of(export: FileRequest, told: list[str]) -> ExportsConsumer:
    """Return the consumer of an open socket of the owner, which adds what it sends to the list."""

    async def send(message: dict[str, Any]) -> None:
        told.append(json.loads(message["text"])["type"])

    consumer = ExportsConsumer()
    vars(consumer).update(base_send=send, scope={}, _is_closed=False, _waiting={})
    vars(consumer).update(_user_id=export.requester_id, _tenant="", _file_types=[])
    return consumer


@pytest.mark.both_databases
@pytest.mark.usefixtures("channel_layer")
async def test_ten_thousand_sockets_that_missed_nothing_cost_a_hundred_queries(monkeypatch: pytest.MonkeyPatch):
    def make_exports() -> list[FileRequest]:
        resume.epoch_of("")
        users = User.objects.bulk_create(User(username=f"user{number}") for number in range(100))
        exports = (FileRequest(requester=user, file_type="report", seq=3) for user in users)
        return FileRequest.objects.bulk_create(exports) * 100

    def note(execute: Any, query: str, *arguments: Any) -> Any:
        queries.append(query)
        return execute(query, *arguments)

    async def call(turns: admission.Turns, function: Any, *arguments: Any) -> Any:
        def noted() -> Any:
            with connection.execute_wrapper(note):
                return function(*arguments)

        return await call_in_turn(turns, noted)

    call_in_turn = admission.Turns.call
    monkeypatch.setattr(admission.Turns, "call", call)
    queries: list[str] = []
    told: list[str] = []
    exports = await made(make_exports)
    await asyncio.gather(*(socket_of(export, told)._resume({export.pk: 3}, None) for export in exports))
    assert told == ["resumed"] * 10_000
    assert len(queries) == 100


@pytest.mark.both_databases
def test_the_epoch_is_the_same_until_the_database_is_another_one(settings: LazySettings):
    resume.epoch_of.cache_clear()
    epoch = resume.epoch_of("")
    resume.epoch_of.cache_clear()
    assert resume.epoch_of("") == epoch
    assert resume.epoch_of("another tenant") != epoch
    assert json.dumps(epoch)


@pytest.mark.both_databases
def test_postgresql_need_not_tell_its_timeline():
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has one")
    resume.epoch_of.cache_clear()
    epoch = resume.epoch_of("")
    resume.epoch_of.cache_clear()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION public.pg_control_system() RETURNS TABLE (system_identifier bigint) LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE insufficient_privilege; END $$"
        )
        cursor.execute("SET LOCAL search_path = public, pg_catalog")
        assert resume.epoch_of("") != epoch
        assert FileRequest.objects.count() == 0
        transaction.set_rollback(True)
    resume.epoch_of.cache_clear()
    assert resume.epoch_of("") == epoch
