"""What one request may cost the web process, measured at a real daphne and a real uvicorn."""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, suppress

import psutil
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from exports.http.responses import RECHECK_SECONDS
from exports.models import transitions
from exports.models.audit import SYSTEM
from exports.signing import PublicLink, Ticket
from tests.office import rows
from tests.office.browsers import signed_in, ticket_for
from tests.office.pages import made
from tests.office.processes import Daphne, Uvicorn
from tests.office.wires import cookie_of, next_state, opened
from tests.servers import wait_until

LIMIT = 1 << 18
MEBIBYTE = 1 << 20
MOST_SECONDS, MOST_BYTES = 0.05, 10 << 20
FORM, PARTS = b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"
PART = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n'

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", params=[Daphne, Uvicorn])
def server(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[Daphne]:
    with request.param() as process:
        # The first request imports the application's modules.
        answer(process, post(b"", FORM))
        yield process


def post(body: bytes, content_type: bytes, *, length: int | None = None) -> bytes:
    """Return a POST of a browser that is not signed in, with this Content-Length or that of the body.

    With the cookie Django reads the form, since the token may be in it.
    """
    lines = (
        b"POST /exports/new/report/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: csrftoken=%b\r\n"
        b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n"
    )
    return lines % (b"t" * 32, content_type, len(body) if length is None else length) + body


def chunked(block: bytes, count: int) -> bytes:
    head = b"POST /exports/new/report/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n" % (len(block), block) * count


def answer(server: Daphne, request: bytes) -> bytes:
    """Send this and return the answer."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def seconds_of(server: Daphne) -> float:
    used = psutil.Process(server.process.pid).cpu_times()
    return used.user + used.system


def memory_of(server: Daphne) -> int:
    return psutil.Process(server.process.pid).memory_info().rss


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\n" * LIMIT, FORM), (b"&" * LIMIT, FORM), (b"\n" * LIMIT, PARTS), (PART * (LIMIT // len(PART)), PARTS)],
    ids=["line breaks", "empty fields", "line breaks in parts", "small parts"],
)
def test_a_form_of_the_longest_body_costs_little(server: Daphne, body: bytes, content_type: bytes):
    memory, times, costs = memory_of(server), 5, []
    for _ in range(3):
        before = seconds_of(server)
        for _ in range(times):
            assert answer(server, post(body, content_type))[:13] in (b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")
        costs.append((seconds_of(server) - before) / times)
    # The least of three, since the server may still be busy with the end of an earlier request.
    assert min(costs) < MOST_SECONDS
    assert memory_of(server) - memory < MOST_BYTES


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(server: Daphne):
    assert answer(server, post(b"", FORM, length=LIMIT + 1)).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_length_is_refused_once_it_is_too_long(server: Daphne):
    memory = memory_of(server)
    assert answer(server, chunked(b"x" * 65536, LIMIT // 65536 + 1)).startswith(b"HTTP/1.1 413 ")
    assert memory_of(server) - memory < MOST_BYTES


def test_200_mebibytes_are_thrown_away_unread(server: Daphne):
    memory, block = memory_of(server), b"x" * MEBIBYTE
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.sendall(post(b"", FORM, length=200 * MEBIBYTE))
        # Until the server closes the connection.
        with suppress(OSError):
            for _ in range(200):
                connection.sendall(block)
    wait_until(lambda: memory_of(server) - memory < MOST_BYTES, seconds=5)


# Clients that do not read


def get(path: str, user: User) -> bytes:
    cookie = cookie_of(signed_in(user))
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()


def wait_until_idle(server: Daphne) -> None:
    """Wait until the server has used no processor time for half a second."""
    used, since = seconds_of(server), time.monotonic()

    def is_idle() -> bool:
        nonlocal used, since
        if seconds_of(server) > used + 0.02:
            used, since = seconds_of(server), time.monotonic()
        return time.monotonic() - since > 0.5

    wait_until(is_idle)


def test_twelve_clients_that_do_not_read_fill_no_memory(server: Daphne, owner: User):
    export = rows.ready(owner, b"\0" * 16 * MEBIBYTE)
    request, memory = get(ticket_for(export, owner), owner), memory_of(server)
    with ExitStack() as connections:
        for _ in range(12):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            connections.enter_context(closing(connection))
            connection.sendall(request)
            assert connection.recv(12) == b"HTTP/1.1 200"
        wait_until_idle(server)
        assert memory_of(server) - memory < 12 * 2 * MEBIBYTE


def test_a_client_that_pauses_gets_the_whole_file(server: Daphne, owner: User):
    content = random.Random(1).randbytes(4 * MEBIBYTE)
    request = get(ticket_for(rows.ready(owner, content), owner), owner)
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.sendall(request)
        wait_until_idle(server)
        received = b""
        while not received.endswith(content[-16:]):
            received += connection.recv(MEBIBYTE)
    assert received.partition(b"\r\n\r\n")[2] == content


def test_a_download_ends_short_when_its_links_are_revoked(server: Daphne, owner: User):
    export = rows.ready(owner, b"\0" * 32 * MEBIBYTE)
    request, began = get(ticket_for(export, owner), owner), time.monotonic()
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        connection.sendall(request)
        head = connection.recv(1024)
        wait_until(lambda: time.monotonic() - began > RECHECK_SECONDS + 0.5)
        assert transitions.revoke_links(export, SYSTEM)
        received = len(head.partition(b"\r\n\r\n")[2])
        # Until the server ends the connection, which otherwise stays open for the next request.
        with suppress(ConnectionResetError):
            while block := connection.recv(MEBIBYTE):
                received += len(block)
    assert received < export.size
    wait_until(lambda: rows.downloads().get(export=export.pk).outcome == "aborted")


async def test_sockets_do_not_read_the_criteria_of_what_they_show(server: Daphne, owner: User):
    for _ in range(20):
        await made(rows.running, owner, criteria="month=4&note=" + "x" * MEBIBYTE)
    memory, browser = memory_of(server), await sync_to_async(signed_in)(owner)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            page = await stack.enter_async_context(opened(server, browser))
            for _ in range(20):
                await next_state(page)
        assert memory_of(server) - memory < MOST_BYTES


def test_no_log_of_the_server_has_a_link(server: Daphne, owner: User):
    export = rows.ready(owner)
    links = [PublicLink(export.pk, export.epoch, 2_000_000_000).sign(), Ticket(export.pk, 1, "1", 2_000_000_000).sign()]
    for link in links:
        for method in ("GET", "OPTIONS", "POST"):
            for path in (f"/exports/public/{link}/", f"/exports/file/{link.replace(':', '%3A')}/"):
                answer(server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    wait_until(lambda: server.words().count("/exports/file/(signed)/") >= 6)
    assert not any(link.rpartition(":")[2] in server.words() for link in links)
