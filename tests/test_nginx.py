"""Sites behind a real nginx, with the configuration of docs/deploying.md and with usual changes of it."""

import random
import re
import socket
import time
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.office import rows
from tests.office.browsers import JSON, signed_in, ticket_for, url_of
from tests.office.markup import HtmlPage
from tests.office.nginx import Nginx, program
from tests.office.pages import made, moved
from tests.office.wires import cookie_of, daphne_with, handshake_status, next_state, opened
from tests.servers import NotInstalled, Valkey

MEBIBYTE = 1 << 20

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer", "nginx")]


@pytest.fixture(scope="module")
def nginx() -> None:
    """Skip the tests if nginx is not installed."""
    try:
        program()
    except NotInstalled as error:
        pytest.skip(str(error))


def at(server: Nginx, browser: Client) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{server.host}", headers={"Cookie": cookie_of(browser)})


def below_a_path(text: str) -> str:
    return text.replace("location / {", "location /files/ {")


def without_the_path(text: str) -> str:
    return re.sub(r"(proxy_pass http://[^;]+);", r"\1/;", below_a_path(text))


def without_upgrade(text: str) -> str:
    return re.sub(r".*proxy_set_header (Upgrade|Connection) .*\n", "", text)


@pytest.mark.shows("nginx with X-Accel-Redirect")
@pytest.mark.parametrize("accel", [None, "/finished/"], ids=["streamed", "by nginx"])
async def test_sockets_and_files_pass(valkey: Valkey, owner: User, browser: Client, folder: Path, accel: str | None):
    export, claim = await made(rows.claimed, owner)
    site = daphne_with(valkey, ACCEL_REDIRECT=accel)
    with site, Nginx(site, folder) as server:
        async with at(server, browser) as client:
            page = await client.get(url_of("page", export))
            async with opened(server, browser, HtmlPage(page.text).config["socket"]) as socket:
                assert (await next_state(socket))["status"] == "running"
                await moved(rows.publish, claim)
                ready = await next_state(socket)
            ticket = ready["urls"]["ticket"]
            whole = await client.get(ticket)
            part = await client.get(ticket, headers={"Range": "bytes=100-199"})
    assert (whole.status_code, whole.content) == (200, rows.CONTENT)
    assert (part.status_code, part.content) == (206, rows.CONTENT[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(rows.CONTENT)}"
    for answer in (whole, part):
        assert answer.headers["Content-Length"] == str(len(answer.content))
        assert answer.headers.get("Content-Encoding", "identity") == "identity"


@pytest.mark.parametrize("change", [below_a_path, without_the_path])
async def test_below_a_path_pages_sockets_and_files_pass(valkey: Valkey, owner: User, browser: Client, change):
    export, claim = await made(rows.claimed, owner)
    site = daphne_with(valkey)
    site.root = "/files"
    with site, Nginx(site, change=change) as server:
        async with at(server, browser) as client:
            page = await client.get(f"/files{url_of('page', export)}")
            async with opened(server, browser, HtmlPage(page.text).config["socket"]) as socket:
                assert (await next_state(socket))["urls"]["self"] == f"/files{url_of('detail', export)}"
                await moved(rows.publish, claim)
                ready = await next_state(socket)
            assert (await client.get(ready["urls"]["ticket"])).content == rows.CONTENT


async def test_without_the_upgrade_header_sockets_are_refused_and_polling_works(
    valkey: Valkey, owner: User, browser: Client
):
    export, _ = await made(rows.claimed, owner)
    with daphne_with(valkey) as site, Nginx(site, change=without_upgrade) as server:
        assert await handshake_status(server, browser) == 404
        async with at(server, browser) as client:
            polled = await client.get(url_of("detail", export), headers=JSON)
    assert (polled.status_code, polled.json()["status"], polled.headers["Retry-After"]) == (200, "running", "2")


def test_a_client_that_reads_slowly_gets_the_whole_file_from_nginxs_buffers(valkey: Valkey, owner: User):
    content = random.Random(1).randbytes(16 * MEBIBYTE)
    export = rows.ready(owner, content)
    cookie, ticket = cookie_of(signed_in(owner)), ticket_for(export, owner)
    with daphne_with(valkey) as site, Nginx(site) as server, socket.socket() as connection:
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"GET {ticket} HTTP/1.0\r\nHost: {server.host}\r\nCookie: {cookie}\r\n\r\n".encode())
        time.sleep(1)
        received = b"".join(iter(lambda: connection.recv(MEBIBYTE), b""))
    assert received.partition(b"\r\n\r\n")[2] == content
