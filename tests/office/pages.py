"""Pages with an open socket, in this process, and transitions that are published to them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from exports.models import FileRequest, transitions
from exports.models.transitions import Claim
from exports.realtime import events
from exports.realtime.routing import websocket_application
from tests.office import rows
from tests.office.browsers import signed_in

ALL = "/ws/exports/"
IN_TIME = 5
QUIET = 0.3


class Page(WebsocketCommunicator):
    """A page of the site with its socket.

    Channels' own class keeps old database connections open meanwhile, for tests inside a transaction. These are not.
    """

    send_input = ApplicationCommunicator.send_input
    receive_output = ApplicationCommunicator.receive_output
    receive_nothing = ApplicationCommunicator.receive_nothing
    wait = ApplicationCommunicator.wait

    async def next(self) -> dict[str, Any]:
        return await self.receive_json_from(timeout=IN_TIME)

    async def next_state(self) -> dict[str, Any]:
        message = await self.next()
        assert message["type"] == "export.changed"
        return message["export"]

    async def states_until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        states = [await self.next_state()]
        while not is_last(states[-1]):
            states.append(await self.next_state())
        return states

    async def close_code(self) -> int:
        """Return the code of the close message, which must come next."""
        message = await self.receive_output(IN_TIME)
        assert message["type"] == "websocket.close", message
        return message["code"]


def one(export: FileRequest) -> str:
    """Return the path of the socket that follows one export."""
    return f"{ALL}{export.pk}/"


def page_of(client: Client, path: str, host: str = "testserver") -> Page:
    """Return a page of this client whose socket is not open yet."""
    headers = {"host": host, "origin": f"http://{host}"}
    if cookie := client.cookies.get(settings.SESSION_COOKIE_NAME):
        headers["cookie"] = f"{cookie.key}={cookie.value}"
    if token := client.defaults.get("HTTP_AUTHORIZATION"):
        headers["authorization"] = token
    return Page(websocket_application, path, headers=[(n.encode(), v.encode()) for n, v in headers.items()])


@asynccontextmanager
async def opened(user: User | Client, path: str = ALL, host: str = "testserver") -> AsyncIterator[Page]:
    """Open a page of this user or client, with its socket."""
    client = user if isinstance(user, Client) else await sync_to_async(signed_in)(user)
    page = page_of(client, path, host)
    is_open, _ = await page.connect(timeout=IN_TIME)
    assert is_open
    try:
        yield page
    finally:
        await page.disconnect(timeout=IN_TIME)


@sync_to_async
def made(make: Callable[..., Any], *arguments: Any, **columns: Any) -> Any:
    """Call a builder of tests/office in the thread that may use the database."""
    return make(*arguments, **columns)


@sync_to_async
def moved(transition: Callable[..., bool], target: FileRequest | Claim, **options: Any) -> FileRequest:
    """Make a transition that must succeed, publish it, and return the present row."""
    assert transition(target, **options)
    pk = target.request_id if isinstance(target, Claim) else target.pk
    export = FileRequest.objects.select_related("requester").get(pk=pk)
    events.send_state(export)
    return export


async def written(claim: Claim, rows_done: int, *, began_phase: bool = False) -> FileRequest:
    """Report this progress of a running export, publish it, and return the present row."""
    options = {"progress": rows.progress(rows_done), "began_phase": began_phase, "progressed": True}
    return await moved(transitions.renew_lease, claim, **options)


async def sent(event: dict[str, Any], group: str) -> None:
    """Send an event to the sockets of a group, as the site does."""
    await get_channel_layer().group_send(group, events.seal(event, group))


async def leave() -> None:
    """Close what an async test has opened: the channel layer and the database connections of its threads."""
    await get_channel_layer().flush()
    await sync_to_async(connections.close_all)()
