"""Two hundred exports at once, followed by programs in Python, in Node and with the bare bytes of a WebSocket."""

import asyncio
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from django.contrib.auth.models import User

from exports import services
from exports.access import tokens
from exports.client import AsyncClient, ExportFailed
from exports.client.asynchronous import AsyncExport
from exports.client.following import ACTIVE
from exports.models import Actor, FileRequest
from exports.models.audit import SYSTEM
from exports.state import serialize
from tests import asyncapi
from tests.office import node, raw_frames, rows
from tests.office.pages import made
from tests.office.processes import Worker
from tests.office.wires import daphne_with
from tests.servers import Valkey

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.django_db(transaction=True)]

COUNT = 200
ENDS = {"ready": 160, "failed": 20, "cancelled": 20}
# The worker fails those whose criteria are none.
CRITERIA = {0: "month=99"}
CANCELLED = 1
State = dict[str, Any]


def known(state: State) -> State:
    """Return a state without its ticket, which is signed again for each reader."""
    urls = {name: url for name, url in state["urls"].items() if not name.startswith("ticket")}
    return {**state, "urls": urls}


async def end_of(export: AsyncExport) -> State:
    try:
        await export.wait()
    except ExportFailed:
        assert export.status in ("failed", "cancelled")
    return export.state


def last_of(states: list[State]) -> dict[str, State]:
    return {state["id"]: state for state in states}


def told_raw(messages: list[State]) -> dict[str, State]:
    return last_of([message["export"] for message in messages if message["type"] == "export.changed"])


async def heard_all(messages: list[State], host: str, token: str) -> None:
    """Wait until all exports have ended by these messages. One that was lost comes with the next connection."""

    async def until_ended(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while any(state["status"] in ACTIVE for state in told_raw(messages).values()):
                await asyncio.sleep(0.05)

    try:
        await until_ended(10)
    except TimeoutError:
        async with raw_frames.following(host, token, messages):
            await until_ended(60)


def cancel_some(owner: User) -> None:
    for export in FileRequest.objects.filter(filename=f"{CANCELLED}.csv"):
        services.cancel(export, Actor.of(owner))


def request_all(owner: User) -> list[State]:
    return [
        serialize(rows.queued(owner, criteria=CRITERIA.get(number % 10, "month=4"), filename=f"{number % 10}.csv"))
        for number in range(COUNT)
    ]


@pytest.mark.usefixtures("channel_layer")
@pytest.mark.skipif(not node.has_websocket(), reason="Node is missing or older than 20.10")
async def test_every_subscriber_of_two_hundred_exports_sees_each_end_as_the_row_has_it(owner: User, valkey: Valkey):
    messages: list[State] = []
    _, token = await made(tokens.create, owner, "nightly", SYSTEM, can_create=True)
    states = await made(request_all, owner)
    with daphne_with(valkey) as daphne, closing(Worker(**daphne.changes)) as worker:
        site = f"http://{daphne.host}"
        async with AsyncClient(site, token) as client, raw_frames.following(daphne.host, token, messages):
            async with node.following(site, token, states) as told_in_node:
                ends = [asyncio.create_task(end_of(AsyncExport(client._site, state))) for state in states]
                await made(cancel_some, owner)
                await made(worker.start)
                told_in_python = await asyncio.wait_for(asyncio.gather(*ends), 120)
            await heard_all(messages, daphne.host, token)
    truth = {str(export.pk): known(await made(serialize, export)) async for export in FileRequest.objects.all()}
    assert Counter(state["status"] for state in truth.values()) == ENDS
    assert [errors for message in messages for errors in asyncapi.errors_of(message)] == []
    for told in (last_of(told_in_python), last_of(told_in_node), told_raw(messages)):
        assert {export_id: known(state) for export_id, state in told.items()} == truth
