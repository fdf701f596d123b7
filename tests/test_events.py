"""Changes sent to the pages: fast, whole, in one thread, and never in the way of the work."""

import asyncio
import logging
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import LazySettings

from exports.models import FileRequest
from exports.realtime import events
from exports.state import serialize
from tests.office import people, processes, rows
from tests.office.exports import open_office
from tests.office.pages import leave
from tests.servers import Valkey, wait_until

A_FEW_MILLISECONDS = 0.005
RECEIVE_SECONDS = 5
MANY = 5 * events.BACKLOG

Logged = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield
    wait_until(nothing_is_sent)


def nothing_is_sent() -> bool:
    return not events._sending


@pytest.fixture
def request_row(transactional_db: None) -> FileRequest:
    return rows.running(people.user("owner"))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """The warnings of the sender so far."""
    caplog.set_level(logging.WARNING, "exports.realtime.events")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "exports.realtime.events"]


def elapsed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class Listener:
    """One channel in groups of the channel layer."""

    def __init__(self, channel: str) -> None:
        self.channel = channel

    @classmethod
    async def to(cls, *groups: str) -> "Listener":
        layer = get_channel_layer()
        listener = cls(await layer.new_channel())
        for group in groups:
            await layer.group_add(group, listener.channel)
        return listener

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(get_channel_layer().receive(self.channel), RECEIVE_SECONDS)


@pytest.fixture
async def layer(valkey: Valkey) -> AsyncIterator[None]:
    yield
    await leave()


@pytest.mark.usefixtures("layer")
async def test_the_whole_state_reaches_those_who_follow_the_request_and_its_owner(request_row: FileRequest):
    state = await sync_to_async(serialize)(request_row)
    for group in (events.group_of_request(request_row.pk), events.group_of_user(request_row.requester_id)):
        listener = await Listener.to(group)
        await sync_to_async(events.publish)(request_row)
        assert await listener.next() == {"type": "export.changed", "export": state}


@pytest.mark.usefixtures("layer")
async def test_a_request_without_an_owner_reaches_those_who_follow_it(transactional_db: None):
    request = await sync_to_async(rows.running)(None)
    listener = await Listener.to(events.group_of_request(request.pk))
    await sync_to_async(events.publish)(request)
    assert (await listener.next())["export"]["id"] == str(request.pk)


def test_sending_takes_the_caller_a_few_milliseconds_at_most(valkey: Valkey, request_row: FileRequest):
    times = [elapsed(lambda: events.publish(request_row)) for _ in range(100)]
    print(f"median {statistics.median(times) * 1000:.2f} ms, longest {max(times) * 1000:.2f} ms")
    assert statistics.median(times) < A_FEW_MILLISECONDS


def test_a_server_that_is_gone_delays_nobody_and_breaks_nothing(
    valkey: Valkey, request_row: FileRequest, logged: Logged
):
    valkey.stop()
    times = [elapsed(lambda: events.publish(request_row)) for _ in range(20)]
    assert statistics.median(times) < A_FEW_MILLISECONDS
    wait_until(nothing_is_sent)
    assert len(logged()) == 20
    assert all(line.startswith("event not sent: ") for line in logged())


@pytest.mark.usefixtures("layer")
async def test_events_arrive_again_when_the_server_is_back(valkey: Valkey, request_row: FileRequest):
    await sync_to_async(events.publish)(request_row)
    await sync_to_async(valkey.stop)()
    await sync_to_async(events.publish)(request_row)
    await sync_to_async(wait_until)(nothing_is_sent)
    await sync_to_async(valkey.start)()
    listener = await Listener.to(events.group_of_request(request_row.pk))
    await sync_to_async(events.publish)(request_row)
    assert (await listener.next())["export"]["id"] == str(request_row.pk)


def test_no_more_than_the_backlog_waits_for_a_server_that_is_silent(
    valkey: Valkey, request_row: FileRequest, logged: Logged
):
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        times = [elapsed(lambda: events.publish(request_row)) for _ in range(MANY)]
        assert len(events._sending) <= events.BACKLOG
        assert statistics.median(times) < A_FEW_MILLISECONDS
        assert sum(line.startswith("event dropped") for line in logged()) >= MANY - 2 * events.BACKLOG
        wait_until(nothing_is_sent)
        assert "event not sent: TimeoutError" in logged()
    finally:
        valkey.process.send_signal(signal.SIGCONT)


def test_a_row_that_cannot_be_told_of_is_logged_and_raises_nothing(request_row: FileRequest, logged: Logged):
    request_row.attempts = None
    events.publish(request_row)
    assert logged() == ["event not sent: TypeError"]


def test_without_a_channel_layer_nothing_is_sent(settings: LazySettings, request_row: FileRequest, logged: Logged):
    settings.CHANNEL_LAYERS = {}
    events.publish(request_row)
    assert logged() == []
    assert nothing_is_sent()


def test_a_group_name_is_within_the_alphabet_whatever_a_primary_key_looks_like():
    layer = get_channel_layer()
    for key in (1, "ü@example.com", "x" * 500, "", "a b", "../"):
        assert layer.require_valid_group_name(events.group_of_user(key))
    assert events.group_of_user(1) != events.group_of_user(2)


BLOCKED = "import sys; sys.modules.update(dict.fromkeys(('channels', 'channels.layers', 'channels_redis')))"
WITHOUT_CHANNELS = """
from exports import services
from exports.realtime import events
from exports.models import FileRequest
events.publish(FileRequest.objects.get())
services.cancel(FileRequest.objects.get())
print(FileRequest.objects.get().status)
"""


def test_without_channels_the_app_works_and_says_nothing(request_row: FileRequest, tmp_path: Path):
    apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "exports"]
    printed = processes.run(WITHOUT_CHANNELS, tmp_path, before=BLOCKED, CHANNEL_LAYERS={}, INSTALLED_APPS=apps)
    assert printed == "cancelled\n"


IN_MANY_THREADS = """
import threading
from exports.realtime import events
from exports.models import FileRequest
request, start = FileRequest.objects.get(), threading.Barrier(8)
def send():
    start.wait()
    events.publish(request)
threads = [threading.Thread(target=send) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print([thread.name for thread in threading.enumerate()].count("exports-events"))
"""


def test_one_thread_sends_for_the_whole_process(valkey: Valkey, request_row: FileRequest, tmp_path: Path):
    assert processes.run(IN_MANY_THREADS, tmp_path) == "1\n"


ENDS_AT_ONCE = """
from exports.realtime import events
from exports.models import FileRequest
events.publish(FileRequest.objects.get())
"""

FORKS = """
import os
from exports.realtime import events
from exports.models import FileRequest
request = FileRequest.objects.get()
events.publish(request)
child = os.fork()
events.publish(request)
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.usefixtures("layer")
@pytest.mark.parametrize(("code", "count"), [(ENDS_AT_ONCE, 1), (FORKS, 3)], ids=["ends at once", "forks"])
async def test_the_last_event_of_a_process_is_sent_before_it_ends(
    request_row: FileRequest, tmp_path: Path, code: str, count: int
):
    listener = await Listener.to(events.group_of_request(request_row.pk))
    await sync_to_async(processes.run)(code, tmp_path)
    for _ in range(count):
        assert (await listener.next())["export"]["id"] == str(request_row.pk)
