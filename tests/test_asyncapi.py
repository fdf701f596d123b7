"""docs/asyncapi.yaml is what the code says, and what sockets send is what it says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from exports import services
from exports.models.audit import Actor
from exports.realtime.protocol import parse_frame
from exports.state import serialize
from tests import asyncapi, docs_tables
from tests.office import rows
from tests.office.pages import made, moved, opened

ID = "7d9f6c1e-2b0a-4c57-9d53-0f4f6a1c8a11"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_document_is_what_the_code_says():
    written = (docs_tables.DOCS / "asyncapi.yaml").read_text()
    assert written == asyncapi.text(), "Write it again: python -m tests.docs_tables"


def test_every_reference_of_the_document_leads_somewhere():
    document = yaml.safe_load((docs_tables.DOCS / "asyncapi.yaml").read_text())
    found = [*references(document)]
    assert found
    for reference in found:
        place = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


@pytest.mark.parametrize("name", asyncapi.RECEIVED)
def test_the_server_reads_each_message_of_a_client(name: str):
    fields = {"id": ID, "token": "secret", "epoch": None, "known": {ID: 3}}
    frame = {"type": name, **{field: fields[field] for field in asyncapi.FIELDS.get(name, {})}}
    assert parse_frame(json.dumps(frame))["type"] == name


@pytest.mark.django_db
@pytest.mark.parametrize("status", rows.IN_STATUS)
def test_the_state_of_each_status_is_valid(owner: User, status: str):
    export = rows.IN_STATUS[status](owner)
    assert asyncapi.errors_of({"type": "export.changed", "export": serialize(export)}) == []
    state = services.state_for(owner, export)
    assert asyncapi.errors_of({"type": "export.changed", "export": state}) == []


def test_a_state_with_a_missing_or_another_key_is_not_valid():
    assert asyncapi.errors_of({"type": "export.changed", "export": {"id": ID}})
    assert asyncapi.errors_of({"type": "export.removed", "id": ID, "file_type": "flights"})
    assert asyncapi.errors_of({"type": "export.opened"})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("channel_layer")
async def test_the_messages_of_a_whole_export_are_valid(owner: User):
    export, claim = await made(rows.claimed, owner)
    async with opened(owner) as page:
        sent = [await page.next()]
        await moved(rows.publish, claim)
        sent.append(await page.next())
        await page.send_json_to({"type": "ping"})
        sent.append(await page.next())
        await sync_to_async(services.remove)(await made(rows.fresh, export), Actor.of(owner))
        sent.append(await page.next())
    assert [message["type"] for message in sent] == ["export.changed", "export.changed", "pong", "export.removed"]
    assert [asyncapi.errors_of(message) for message in sent] == [[]] * 4
