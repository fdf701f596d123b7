"""What a program that can write to Redis cannot tell the clients: they show what the rows have, and nothing else."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User

from exports.access import tokens
from exports.client import AsyncClient, ExportFailed, Progress
from exports.models import transitions
from exports.models.audit import SYSTEM
from exports.realtime import events
from exports.state import serialize
from tests.office import node, rows
from tests.office.pages import made, moved, written
from tests.office.wires import daphne_with
from tests.servers import Valkey, wait_until
from tests.test_realtime_forged import FORGED

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]

NO_MESSAGES = (b"", b"\xc1", b"\x93", b"x" * 100_000, b"\x91" * 5000)


def shown(state: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a client shows of a state."""
    urls = state["urls"]
    return state["id"], state["seq"], state["status"], state["progress"]["rows_done"], urls["download"], urls["cancel"]


@pytest.mark.servers
@pytest.mark.skipif(not node.has_websocket(), reason="Node is missing or older than 20.10")
async def test_a_forged_message_shows_nothing_to_a_program(owner: User, valkey: Valkey):
    export, claim = await made(rows.claimed, owner)
    _, token = await made(tokens.create, owner, "nightly", SYSTEM, can_create=True)
    groups = [events.group_of_user(owner.pk), events.group_of_request(export.pk)]
    told_in_python: list[dict[str, Any]] = []

    def note(progress: Progress) -> None:
        told_in_python.append(dict(progress.state))

    async def until_both_tell(state: dict[str, Any]) -> None:
        async with asyncio.timeout(10):
            while not all(told and shown(told[-1]) == shown(state) for told in (told_in_python, told_in_node)):
                await asyncio.sleep(0.02)

    async def forge(state: dict[str, Any]) -> None:
        for group in groups:
            for forged in FORGED.values():
                await get_channel_layer().group_send(group, forged(export, state, group))
        with valkey.client() as client:
            for channel in client.pubsub_channels():
                for data in NO_MESSAGES:
                    client.publish(channel, data)

    def are_heard() -> bool:
        with valkey.client() as client:
            channels = b" ".join(client.pubsub_channels()).decode()
        return all(group in channels for group in groups)

    with daphne_with(valkey) as daphne:
        site = f"http://{daphne.host}"
        async with AsyncClient(site, token) as client:
            followed = await client.get(str(export.pk))
            first = followed.state
            async with node.following(site, token, [first]) as told_in_node:
                waiting = asyncio.create_task(followed.wait(note))
                await sync_to_async(wait_until)(are_heard)
                await forge(first)
                second = await made(serialize, await written(claim, 500))
                await until_both_tell(second)
                await forge(second)
                last = await made(serialize, await moved(transitions.cancel, export))
                await until_both_tell(last)
                with pytest.raises(ExportFailed, match="cancelled"):
                    await waiting
        assert "a message on the channel layer was dropped" in daphne.words()
    truth = {shown(state) for state in (first, second, last)}
    for told in (told_in_python, told_in_node):
        assert {shown(state) for state in told} <= truth
