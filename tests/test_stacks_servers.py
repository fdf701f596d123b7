"""The web servers of docs/deploying.md as processes: pages, sockets and downloads; without sockets, polling."""

import shlex
import sys
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.office import rows
from tests.office.browsers import url_of
from tests.office.markup import HtmlPage
from tests.office.pages import made, moved
from tests.office.processes import Daphne
from tests.office.wires import cookie_of, daphne_with, handshake_status, next_state, opened
from tests.servers import Valkey
from tests.stacks.project import block

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]

ASGI, WSGI = (block("deploying", f"{kind} servers").splitlines() for kind in ("ASGI", "WSGI"))


def server_of(command: str) -> type[Daphne]:
    """Return the process of a command of the page, on a free port."""

    class Documented(Daphne):
        def command(self) -> list[str]:
            program, *arguments = shlex.split(command.replace("8000", str(self.port)))
            found = sys.executable if program == "python" else str(Path(sys.executable).parent / program)
            return [found, *arguments]

    return Documented


def program_of(command: str) -> str:
    words = command.split()
    return words[2] if words[0] == "python" else words[0]


@pytest.mark.shows("uvicorn, hypercorn, gunicorn, daphne")
@pytest.mark.parametrize("command", ASGI, ids=program_of)
async def test_an_asgi_server_serves_pages_sockets_and_files(
    valkey: Valkey, owner: User, browser: Client, command: str
):
    export, claim = await made(rows.claimed, owner)
    with daphne_with(valkey, server_of(command)) as site:
        async with httpx.AsyncClient(base_url=f"http://{site.host}", headers={"Cookie": cookie_of(browser)}) as client:
            page = await client.get(url_of("page", export))
            async with opened(site, browser, HtmlPage(page.text).config["socket"]) as socket:
                assert (await next_state(socket))["status"] == "running"
                await moved(rows.publish, claim)
                ready = await next_state(socket)
            part = await client.get(ready["urls"]["ticket"], headers={"Range": "bytes=100-199"})
            assert (part.status_code, part.content) == (206, rows.CONTENT[100:200])
        assert await handshake_status(site, None) == 403


@pytest.mark.shows("WSGI only")
@pytest.mark.parametrize("command", WSGI, ids=program_of)
async def test_a_wsgi_server_serves_pages_that_poll_and_files(
    valkey: Valkey, owner: User, browser: Client, command: str
):
    export, claim = await made(rows.claimed, owner)
    with daphne_with(valkey, server_of(command)) as site:
        async with httpx.AsyncClient(base_url=f"http://{site.host}", headers={"Cookie": cookie_of(browser)}) as client:
            page = HtmlPage((await client.get(url_of("page", export))).text)
            assert await handshake_status(site, browser, page.config["socket"]) == 404
            running = await client.get(page.states[0]["urls"]["self"])
            assert (running.json()["status"], running.headers["Retry-After"]) == ("running", "2")
            await moved(rows.publish, claim)
            ready = await client.get(page.states[0]["urls"]["self"])
            whole = await client.get(ready.json()["urls"]["ticket"])
            assert whole.content == rows.CONTENT
