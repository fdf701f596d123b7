"""An MCP server for agents: they ask for files and follow them as one user, and are told of each file, never its rows.

`manage.py exports mcp --user NAME` runs it over stdin and stdout. The user is read again for each call.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import connections
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from exports import services
from exports.access import tenants
from exports.conf import url_of
from exports.contrib.api.choices import chosen_by, criteria_of
from exports.contrib.api.described import describe_type, open_types
from exports.contrib.api.schemas import Choices, RenamedColumn
from exports.exceptions import UnknownFileType
from exports.exporters import permissions
from exports.http.bodies import BadBody, Number
from exports.http.estimates import check_rate, estimate
from exports.http.refusals import REFUSALS, refusal_of
from exports.http.waiting import wait_until_ended
from exports.models import Actor, AuditEntry, FileRequest
from exports.models.audit import ActorKind, record
from exports.models.request import AnyUser
from exports.queue.base import QueueNotConfigured

# Any: objects of JSON.
Values = dict[str, Any]
Columns = list[str | RenamedColumn]

ACTOR_NAME: Final = "mcp"
TOLD: Final = ("id", "status", "phase", "title", "label", "format", "progress", "file", "error", "receipt")
"""What an agent is told of STATE. The link leads to a page, where its user signs in: it gives an agent no rows."""
INSTRUCTIONS: Final = """
Makes files of the data of this site. Call list_types first: it has JSON Schemas of what may be chosen. Then call
create_export, and follow_export until the status is ready, failed, cancelled or expired. Give the link to the user, who
downloads the file there. You cannot read the rows; the receipt tells how many there are.
"""


class Agent:
    """The tools, each a method: its signature and its docstring are what a model reads."""

    def __init__(self, username: str, tenant: str = "") -> None:
        self.username = username
        self.tenant = tenant

    def list_types(self) -> Values:
        """List what can be exported, with JSON Schemas of the criteria, the columns and the options."""
        with self._acting() as (user, _actor):
            return {"types": [describe_type(user, exporter) for exporter in open_types(user)]}

    def estimate_export(
        self,
        type: str,
        criteria: Values,
        format: str = "",
        columns: Columns | None = None,
        options: Values | None = None,
    ) -> Values:
        """Tell how many rows a file would have, and about how many bytes and seconds. Requests nothing."""
        with self._acting() as (user, actor):
            exporter = permissions.find_exporter(user, type)
            check_rate(user)
            given = _choices(criteria, format, columns, options)
            fields = criteria_of(user, exporter, given)
            return {**estimate(user, services.check_request(user, type, fields, **chosen_by(given), actor=actor))}

    def create_export(
        self,
        type: str,
        criteria: Values,
        format: str = "",
        columns: Columns | None = None,
        options: Values | None = None,
    ) -> Values:
        """Request a file. Returns at once; the same request while it is made returns the same export."""
        with self._acting() as (user, actor):
            exporter = permissions.find_exporter(user, type)
            given = _choices(criteria, format, columns, options)
            fields = criteria_of(user, exporter, given)
            export, _is_new = services.request_export(user, type, fields, **chosen_by(given), actor=actor)
            return _told(user, export)

    def follow_export(self, id: UUID, wait_seconds: int = 20) -> Values:
        """Tell how far an export is: at once if it has ended, else after at most `wait_seconds`."""
        with self._acting() as (user, _actor):
            export = FileRequest.objects.visible_to(user).select_related("requester").get(pk=id)
            wait_until_ended(export, wait_seconds)
            return _told(user, FileRequest.objects.visible_to(user).select_related("requester").timed().get(pk=id))

    def cancel_export(self, id: UUID) -> Values:
        """Cancel an export that waits or is being made."""
        with self._acting() as (user, actor):
            export = FileRequest.objects.visible_to(user).select_related("requester").filter(pk=id).first()
            if export is None or not export.is_changeable_by(user):
                record(AuditEntry.Verb.CANCEL, id, actor, outcome=AuditEntry.Outcome.DENIED)
                raise FileRequest.DoesNotExist
            services.cancel(export, actor)
            return _told(user, export)

    @contextmanager
    def _acting(self) -> Iterator[tuple[AnyUser, Actor]]:
        """Yield the user as the database has them now, and the actor of the audit log; tell refusals to the model."""
        try:
            with tenants.active(self.tenant):
                user: AnyUser = get_user_model()._default_manager.get_by_natural_key(self.username)
                if not user.is_active:
                    raise ToolError("The user of this server is not active.")
                yield user, Actor(ActorKind.USER, user.pk, name=ACTOR_NAME)
        except (*REFUSALS, BadBody, UnknownFileType, ObjectDoesNotExist, QueueNotConfigured) as error:
            _refuse(error)
        finally:
            # A call runs in any thread of a pool.
            connections.close_all()


def server_for(username: str, tenant: str = "") -> MCPServer[Any]:
    """Return a server whose tools act as this user."""
    server = MCPServer("Live Exports", instructions=INSTRUCTIONS.strip(), log_level="WARNING")
    agent = Agent(username, tenant)
    tools: list[Callable[..., Values]] = [
        agent.list_types,
        agent.estimate_export,
        agent.create_export,
        agent.follow_export,
        agent.cancel_export,
    ]
    for tool in tools:
        server.add_tool(tool)
    return server


def _choices(criteria: Values, format: str, columns: Columns | None, options: Values | None) -> Choices:
    # Forms read the digits of numbers, as in a body of the API.
    fields = json.loads(json.dumps(criteria), parse_int=Number, parse_float=Number)
    return Choices(criteria=fields, format=format, columns=columns, options=options or {})


def _told(user: AnyUser, export: FileRequest) -> Values:
    state = services.state_for(user, export)
    told: Values = {name: value for name, value in state.items() if name in TOLD}
    return {**told, "link": tenants.absolute_url(url_of("page", export.pk), export.tenant)}


def _refuse(error: Exception) -> NoReturn:
    """Raise what the model reads: the code, the sentence, and the fields that are wrong."""
    if isinstance(error, UnknownFileType | ObjectDoesNotExist):
        raise ToolError("not_found: There is no such export.") from error
    if isinstance(error, QueueNotConfigured):
        raise ToolError("no_queue: No files can be made on this site at the moment.") from error
    if isinstance(error, BadBody):
        code, message, extra = error.code, str(error), error.extra
    else:
        refusal = refusal_of(error)
        code, message, extra = refusal.code, refusal.message, refusal.extra
    fields = f" {json.dumps(extra['fields'], ensure_ascii=False)}" if "fields" in extra else ""
    raise ToolError(f"{code}: {message}{fields}") from error
