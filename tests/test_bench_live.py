"""bench/live: how it counts, and its clients at a real daphne."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client

from bench import watching
from bench.watchers import Heard, Watchers, WebSocket
from tests.office import rows
from tests.office.pages import ALL, IN_TIME, made, moved
from tests.office.processes import Daphne
from tests.office.wires import daphne_with
from tests.servers import Valkey


def heard(*numbers: tuple[float, int]) -> Heard:
    return Heard([*numbers])


def test_a_client_that_skips_a_state_knows_it_with_the_next_one():
    events = [("a", 2, 10.0, False), ("a", 3, 11.0, False), ("b", 2, 11.5, True)]
    known = [heard((10.5, 2), (12.0, 4)), heard((11.5, 1), (11.75, 2))]
    latencies, ends, lost = watching.compared(known, ["a", "b"], events)
    assert (latencies, ends, lost) == ([0.5, 1.0, 0.25], [0.25], 0)


def test_an_end_that_a_client_never_hears_of_is_lost():
    events = [("a", 2, 10.0, False), ("a", 3, 11.0, True)]
    assert watching.compared([heard((10.5, 2)), heard((11.5, 3))], ["a", "a"], events) == ([0.5, 1.5, 0.5], [0.5], 1)


def test_percentiles_are_latencies_that_were_measured():
    assert [watching.milliseconds([0.004, 0.001, 0.002, 0.003], share) for share in (0.5, 0.99, 1.0)] == [2.0, 4.0, 4.0]
    assert watching.milliseconds([], 0.5) == 0.0


def test_a_quick_run_has_all_tools_and_servers_and_no_five_thousand():
    cases = watching.cases(watching.parser().parse_args(["--quick"]))
    assert {tool for tool, *_ in cases} == set(watching.TOOLS)
    assert {server for tool, server, *_ in cases if tool == "ours"} == set(watching.SERVERS)
    assert max(sockets for *_, sockets, _ in cases) == 1_000
    assert ("ours", "uvicorn", 5_000, "one") in watching.cases(watching.parser().parse_args([]))


@pytest.mark.parametrize("size", [10, 126, 70_000])
async def test_frames_are_read_however_they_are_cut(size: int):
    connection = WebSocket(b"", Heard())
    body = b'{"seq": 7, "x": "' + b"x" * size + b'"}'
    if len(body) < 126:
        length = bytes([len(body)])
    elif len(body) < 1 << 16:
        length = bytes([126]) + len(body).to_bytes(2, "big")
    else:
        length = bytes([127]) + len(body).to_bytes(8, "big")
    frame = b"\x81" + length + body
    data = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame + frame.replace(b": 7", b": 8")
    for start in range(0, len(data), 1009):
        connection.data_received(data[start : start + 1009])
    assert [number for _, number in connection.heard.numbers] == [7, 8]


@pytest.fixture
def daphne(valkey_server: Valkey, transactional_db: None) -> Iterator[Daphne]:
    with daphne_with(valkey_server) as server:
        yield server


@pytest.mark.usefixtures("channel_layer")
async def test_clients_hear_what_a_real_daphne_sends(daphne: Daphne, owner: User, browser: Client):
    export, claim = await made(rows.claimed, owner)
    clients = Watchers(daphne.port, WebSocket, [ALL] * 3, [browser.cookies["sessionid"].value] * 3)
    began = time.monotonic()
    clients.begin(delay=lambda place: 0.0)
    live_at = await clients.all_live(IN_TIME)
    assert live_at is not None
    assert began < live_at < time.monotonic()
    export = await moved(rows.publish, claim)
    async with asyncio.timeout(IN_TIME):
        while any(each.numbers[-1][1] < export.seq for each in clients.heard):
            await asyncio.sleep(0.05)
    await clients.end()
    assert [each.tries for each in clients.heard] == [1, 1, 1]
