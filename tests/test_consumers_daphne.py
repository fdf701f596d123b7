"""The WebSocket door on a real server: what only a client can see, from the handshake to the close."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import httpx
import psutil
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from exports.http import responses
from exports.models import FileRequest, transitions
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import second_window, signed_in, ticket_for, url_of
from tests.office.exports import open_office
from tests.office.pages import ALL, IN_TIME, leave, made, moved, one
from tests.office.processes import Daphne
from tests.office.wires import close_code, cookie_of, next_state, opened, refusal
from tests.servers import Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SILENCE = 6.0
RECHECK = 0.4

Logged = Callable[[], list[str]]


@pytest.fixture(scope="module")
def daphne(valkey_server: Valkey, django_db_setup: None) -> Iterator[Daphne]:
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [valkey_server.url]}}
    changes = {
        "REDIS_URL": valkey_server.url,
        "SOCKET_IDLE_TIMEOUT_SECONDS": SILENCE,
        "SOCKET_RECHECK_SECONDS": RECHECK,
    }
    with Daphne(CHANNEL_LAYERS={"default": layer}, EXPORTS={**django_settings.EXPORTS, **changes}) as server:
        yield server


@pytest.fixture(autouse=True)
async def office(valkey: Valkey) -> AsyncIterator[None]:
    with open_office():
        yield
    await leave()


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


@pytest.fixture
def browser(owner: User) -> Client:
    return signed_in(owner)


@pytest.fixture
def since(daphne: Daphne) -> Logged:
    """What the server has logged since the test began, but for its record of who came and went."""
    before = len(daphne.words())

    def lines() -> list[str]:
        return [line for line in daphne.words()[before:].splitlines() if not line.startswith("127.0.0.1:")]

    return lines


async def test_a_page_hears_of_a_change_and_its_ticket_downloads(daphne: Daphne, owner: User, browser: Client):
    request, claim = await made(rows.claimed, owner)
    async with opened(daphne, browser) as socket:
        assert (await next_state(socket))["status"] == "running"
        await moved(rows.publish, claim, request=request)
        state = await next_state(socket)
    address = f"http://{daphne.host}{state['urls']['ticket']}"
    async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as visitor:
        whole = await visitor.get(address)
        part = await visitor.get(address, headers={"Range": "bytes=10-19"})
    assert (whole.status_code, whole.content) == (200, rows.CONTENT)
    assert (part.status_code, part.content) == (206, rows.CONTENT[10:20])
    assert whole.headers["content-disposition"] == 'attachment; filename="report.csv"'
    assert (await made(rows.fresh, request)).seen_at is not None


async def test_the_socket_says_what_the_poll_says(daphne: Daphne, owner: User, browser: Client):
    request = await made(rows.running, owner)
    async with opened(daphne, browser, one(request)) as socket:
        by_socket = await next_state(socket)
    async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as visitor:
        by_poll = (await visitor.get(f"http://{daphne.host}{url_of('detail', request)}")).json()
    assert by_socket == by_poll == json.loads(json.dumps(await sync_to_async(serialize)(request)))


async def test_nobody_without_a_session_or_without_the_request_gets_past_the_handshake(daphne: Daphne, owner: User):
    request = await made(rows.running, owner)
    stranger = await sync_to_async(lambda: signed_in(people.user("stranger")))()
    assert await refusal(daphne, None) == 403
    assert await refusal(daphne, None, one(request)) == 403
    assert await refusal(daphne, stranger, one(request)) == 403
    assert await refusal(daphne, stranger, f"{ALL}{uuid4()}/") == 403
    async with opened(daphne, stranger):
        pass


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://{host}", "http://127.0.0.1", "http://127.0.0.1:1", "http://{host}.evil.example",
     "http://u@{host}", "http://localhost:{port}", "null", None],
)  # fmt: skip
async def test_a_page_of_another_origin_is_refused_before_its_cookie_is_looked_at(
    daphne: Daphne, browser: Client, origin: str | None, since: Logged
):
    named = origin.format(host=daphne.host, port=daphne.port) if origin else origin
    assert await refusal(daphne, browser, origin=named) in (400, 403)
    assert since() == []


async def test_an_address_that_there_is_not_is_refused_without_a_traceback(
    daphne: Daphne, browser: Client, since: Logged
):
    for path in ("/ws/", "/ws/exports/x/", "/ws/exports/%00/", "/"):
        assert await refusal(daphne, browser, path) == 403
    assert since() == []


@pytest.mark.parametrize(
    "frame",
    ["x", "[]", '{"type": "run"}', b"binary", b"", "", '{"type": "ping"}'.ljust(1025), "x" * 200_000, "é" * 600],
    ids=["text", "list", "unknown", "binary", "no bytes", "no text", "long", "very long", "long in bytes"],
)
async def test_the_client_sees_4400_for_a_malformed_frame_and_the_log_one_line(
    daphne: Daphne, browser: Client, frame: str | bytes, since: Logged
):
    async with opened(daphne, browser) as socket:
        for _ in range(3):
            await socket.send(frame)
        assert await close_code(socket) == 4400
    [line] = since()
    assert line.endswith("socket closed with 4400: malformed frame")


async def test_a_frame_of_a_kibibyte_is_answered(daphne: Daphne, browser: Client):
    async with opened(daphne, browser) as socket:
        await socket.send('{"type": "ping"}'.ljust(1024))
        assert json.loads(await asyncio.wait_for(socket.recv(), IN_TIME)) == {"type": "pong"}


async def test_the_client_sees_4429_for_too_many_frames(daphne: Daphne, browser: Client, since: Logged):
    async with opened(daphne, browser) as socket:
        for _ in range(50):
            await socket.send('{"type": "ping"}')
        assert await close_code(socket) == 4429
    [line] = since()
    assert line.endswith("socket closed with 4429: too many frames")


async def test_the_client_sees_4408_when_it_was_silent(daphne: Daphne, browser: Client):
    async with opened(daphne, browser) as socket:
        assert await close_code(socket) == 4408


async def test_the_client_sees_4401_once_it_has_signed_out(daphne: Daphne, owner: User, browser: Client):
    window = second_window(browser)
    async with opened(daphne, window) as socket:
        await sync_to_async(browser.logout)()
        assert await close_code(socket) == 4401
    assert await refusal(daphne, window) == 403


async def test_a_reader_that_does_not_read_gets_few_frames_and_the_last_one_is_the_newest(
    daphne: Daphne, owner: User, browser: Client
):
    request, claim = await made(rows.claimed, owner)
    async with opened(daphne, browser) as socket:
        for done in range(1, 301):
            await moved(
                transitions.renew_lease, claim, rows.progress(done), request=request, began_phase=False, progressed=True
            )
        await moved(rows.publish, claim, request=request)
        states = [await next_state(socket)]
        while states[-1]["status"] != "ready":
            states.append(await next_state(socket))
    numbers = [state["seq"] for state in states]
    print(f"{len(states)} frames for 301 changes")
    assert numbers == sorted(numbers)
    assert len(states) < 150
    assert states[-1]["progress"]["rows_done"] == 2000


async def test_a_socket_hears_again_when_the_server_of_the_layer_is_back(
    daphne: Daphne, owner: User, browser: Client, valkey: Valkey
):
    request, claim = await made(rows.claimed, owner)
    async with opened(daphne, browser) as socket:
        await next_state(socket)
        await sync_to_async(valkey.restart)()
        heard = asyncio.create_task(next_state(socket))
        done = 0
        while not heard.done():
            done += 1
            await moved(
                transitions.renew_lease, claim, rows.progress(done), request=request, began_phase=False, progressed=True
            )
            await socket.send('{"type": "ping"}') if done % 8 == 0 else None
            await asyncio.sleep(0.25)
        assert (await heard)["progress"]["rows_done"] > 0


async def test_without_the_layers_server_a_handshake_fails_in_time_and_works_again_afterwards(
    daphne: Daphne, owner: User, browser: Client, valkey: Valkey
):
    await sync_to_async(valkey.stop)()
    assert await refusal(daphne, browser) in (403, 500, 503)
    await sync_to_async(valkey.start)()
    request = await made(rows.running, owner)

    while await refusal(daphne, browser) != 101:
        await asyncio.sleep(0.25)
    async with opened(daphne, browser) as socket:
        assert (await next_state(socket))["id"] == str(request.pk)


async def test_whoever_leaves_in_the_middle_of_a_download_leaves_no_file_open(
    daphne: Daphne, owner: User, browser: Client, since: Logged
):
    request = await made(rows.ready, owner, content=b"\0" * (64 * responses.BLOCK))
    address = f"http://{daphne.host}{await sync_to_async(ticket_for)(request, owner)}"
    async with (
        httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as visitor,
        visitor.stream("GET", address) as response,
    ):
        async for _ in response.aiter_bytes(1024):
            break
    await sync_to_async(wait_until)(lambda: not open_files(daphne, request), seconds=IN_TIME)
    assert since() == []


def open_files(daphne: Daphne, request: FileRequest) -> list[str]:
    return [each.path for each in psutil.Process(daphne.process.pid).open_files() if str(request.pk) in each.path]
