"""The MCP server, asked by the client of the protocol's own package over the pipes of a real process."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver.exceptions import ToolError

from exports.contrib.mcp import Agent
from exports.models import AuditEntry, FileRequest
from exports.models.audit import ActorKind
from exports.worker import loop
from tests.office import people, rows
from tests.office.processes import ROOT, environment

pytestmark = pytest.mark.usefixtures("office")

SECRET = "a-name-that-stands-in-the-rows"


@asynccontextmanager
async def agent_of(user: User, folder: Path) -> AsyncIterator[Client]:
    command = [str(ROOT / "manage.py"), "exports", "mcp", "--user", user.username]
    process = StdioServerParameters(command=sys.executable, args=command, env=environment(folder), cwd=ROOT)
    async with Client(process) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    text = result.content[0].text
    return text if result.is_error else json.loads(text)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
async def test_an_agent_asks_follows_and_gets_a_link_but_no_rows(owner: User, tmp_path: Path):
    await sync_to_async(people.user)(SECRET)
    async with agent_of(owner, tmp_path) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"list_types", "estimate_export", "create_export", "follow_export", "cancel_export"}
        types = await call(client, "list_types")
        assert "report" in [each["type"] for each in types["types"]]
        asked = {"type": "report", "criteria": {"month": 4}}
        estimated = await call(client, "estimate_export", **asked)
        assert estimated["rows"] == 2
        state = await call(client, "create_export", **asked, format="csv", columns=["username"])
        assert await sync_to_async(loop.dispatch)(state["id"])
        ended = await call(client, "follow_export", id=state["id"])
        assert (ended["status"], ended["receipt"]["rows"]) == ("ready", 2)
        assert ended["link"] == f"https://exports.example/exports/{state['id']}/page/"
        for told in (types, estimated, state, ended):
            assert SECRET not in json.dumps(told)
            assert "/file/" not in json.dumps(told)
        other = await call(client, "create_export", type="report", criteria={"month": 5})
        assert (await call(client, "cancel_export", id=other["id"]))["status"] == "cancelled"
        assert "too_late: " in await call(client, "cancel_export", id=other["id"])


# In this process


@pytest.fixture
def agent(owner: User) -> Agent:
    return Agent(owner.username)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"type": "nothing", "criteria": {}}, "not_found: There is no such export."),
        ({"type": "report", "criteria": {"mont": 4}}, "unknown_fields: .*mont"),
        ({"type": "report", "criteria": {"month": 1.5}}, 'invalid_criteria: .*"month": ..Enter a whole number'),
        ({"type": "report", "criteria": {"month": 4}, "columns": ["none"]}, "bad_option: .*'none'"),
    ],
)
def test_a_refusal_says_what_to_correct(agent: Agent, arguments: dict[str, Any], refusal: str):
    for tool in (agent.create_export, agent.estimate_export):
        with pytest.raises(ToolError, match=refusal):
            tool(**arguments)
    assert not FileRequest.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_exports_of_other_users_are_not_there(agent: Agent):
    other = rows.queued(people.user("grace"))
    for pk in (other.pk, uuid4()):
        for tool in (agent.follow_export, agent.cancel_export):
            with pytest.raises(ToolError, match=r"^not_found: There is no such export\.$"):
                tool(pk)
    assert rows.fresh(other).status == "queued"
    assert AuditEntry.objects.filter(outcome=AuditEntry.Outcome.DENIED, verb=AuditEntry.Verb.CANCEL).count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_audit_log_has_the_user_and_the_way(agent: Agent, owner: User):
    agent.create_export("report", {"month": 4})
    entry = AuditEntry.objects.get(verb=AuditEntry.Verb.REQUEST)
    assert (entry.actor_kind, entry.user, entry.actor_name) == (ActorKind.USER, owner, "mcp")


@pytest.mark.django_db(transaction=True)
def test_a_user_who_loses_the_permission_or_is_deactivated_gets_nothing_more(agent: Agent, owner: User):
    people.refuse(owner)
    with pytest.raises(ToolError, match=r"^not_allowed: "):
        agent.create_export("report", {"month": 4})
    people.deactivate(owner)
    with pytest.raises(ToolError, match="not active"):
        agent.list_types()


@pytest.mark.django_db
def test_a_server_for_nobody_does_not_start():
    with pytest.raises(CommandError, match="There is no user 'nobody'"):
        call_command("exports", "mcp", "--user", "nobody")
