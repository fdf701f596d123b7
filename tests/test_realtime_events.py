"""Events to the sockets: sent by one thread, without delaying the caller, and before the process ends."""

import asyncio
import signal
import statistics
import time
from collections.abc import Callable, Iterator
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
from tests.servers import Valkey, wait_until

LOGGER = "exports.realtime.events"
A_FEW_MILLISECONDS = 0.005
RECEIVE_SECONDS = 5
MANY = 5 * events.BACKLOG


@pytest.fixture(autouse=True)
def sent(office: None) -> Iterator[None]:
    yield
    wait_until(nothing_is_sent)


def nothing_is_sent() -> bool:
    return not events._sending


@pytest.fixture
def export(transactional_db: None) -> FileRequest:
    return rows.running(people.user("owner"))


def median_of_publishing(export: FileRequest, times: int) -> float:
    """Publish an export this often, and return the median of the seconds that each call took."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        events.send_state(export)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def listen(group: str) -> Callable[[], Any]:
    """Join a group of the channel layer, and return a function that awaits its next event."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)

    async def receive() -> Any:
        message = await asyncio.wait_for(get_channel_layer().receive(channel), RECEIVE_SECONDS)
        return events.unseal(message, [group])

    return receive


@pytest.mark.usefixtures("channel_layer")
async def test_the_whole_state_reaches_the_followers_of_the_export_and_its_owner(export: FileRequest):
    without_owner = await sync_to_async(rows.running)(None)
    for each, group in (
        (export, events.group_of_request(export.pk)),
        (export, events.group_of_user(export.requester_id)),
        (without_owner, events.group_of_request(without_owner.pk)),
    ):
        receive = await listen(group)
        await sync_to_async(events.send_state)(each)
        assert await receive() == {"type": "export.changed", "export": await sync_to_async(serialize)(each)}


def test_publishing_takes_a_few_milliseconds_at_most(valkey: Valkey, export: FileRequest):
    assert median_of_publishing(export, 100) < A_FEW_MILLISECONDS


def test_a_stopped_server_delays_no_caller_and_is_said_once_a_minute(
    valkey: Valkey, export: FileRequest, log_lines, monkeypatch
):
    valkey.stop()
    assert median_of_publishing(export, 20) < A_FEW_MILLISECONDS
    wait_until(nothing_is_sent)
    [line] = log_lines(LOGGER)
    assert line.startswith("event not sent: ConnectionError: ")
    monkeypatch.setattr("exports.failures.OUTAGE_SECONDS", 0)
    events.send_state(export)
    wait_until(lambda: len(log_lines(LOGGER)) == 2)


@pytest.mark.usefixtures("channel_layer")
async def test_events_arrive_again_when_the_server_is_back(valkey: Valkey, export: FileRequest):
    await sync_to_async(events.send_state)(export)
    await sync_to_async(valkey.stop)()
    await sync_to_async(events.send_state)(export)
    await sync_to_async(wait_until)(nothing_is_sent)
    await sync_to_async(valkey.start)()
    receive = await listen(events.group_of_request(export.pk))
    await sync_to_async(events.send_state)(export)
    assert (await receive())["export"]["id"] == str(export.pk)


def test_events_beyond_the_backlog_of_a_silent_server_are_dropped(valkey: Valkey, export: FileRequest, log_lines):
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        assert median_of_publishing(export, MANY) < A_FEW_MILLISECONDS
        assert len(events._sending) <= events.BACKLOG
        dropped = [line for line in log_lines(LOGGER) if line.startswith("event dropped")]
        assert len(dropped) == 1
        wait_until(lambda: any(line.startswith("event not sent: TimeoutError") for line in log_lines(LOGGER)))
    finally:
        valkey.process.send_signal(signal.SIGCONT)


def test_an_export_that_cannot_be_serialized_is_logged_and_raises_nothing(export: FileRequest, log_lines):
    export.attempts = None
    events.send_state(export)
    [line] = log_lines(LOGGER)
    assert line.startswith("event not sent: TypeError")


def test_without_a_channel_layer_nothing_is_sent(settings: LazySettings, export: FileRequest, log_lines):
    settings.CHANNEL_LAYERS = {}
    events.send_state(export)
    assert log_lines(LOGGER) == []
    assert nothing_is_sent()


def test_group_names_are_valid_for_any_primary_key():
    for key in (1, "ü@example.com", "x" * 500, "", "a b", "../"):
        assert get_channel_layer().require_valid_group_name(events.group_of_user(key))
    assert events.group_of_user(1) != events.group_of_user(2)


BLOCKED = "import sys; sys.modules.update(dict.fromkeys(('channels', 'channels.layers', 'channels_redis')))"
WITHOUT_CHANNELS = """
from exports import services
from exports.realtime import events
from exports.models import FileRequest
from exports.models.audit import SYSTEM
events.send_state(FileRequest.objects.get())
services.cancel(FileRequest.objects.get(), SYSTEM)
print(FileRequest.objects.get().status)
"""


def test_the_app_works_without_channels(export: FileRequest, tmp_path: Path):
    apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "exports"]
    printed = processes.run(WITHOUT_CHANNELS, tmp_path, before=BLOCKED, CHANNEL_LAYERS={}, INSTALLED_APPS=apps)
    assert printed == "cancelled\n"


IN_MANY_THREADS = """
import threading
from exports.realtime import events
from exports.models import FileRequest
export, start = FileRequest.objects.get(), threading.Barrier(8)
def send():
    start.wait()
    events.send_state(export)
threads = [threading.Thread(target=send) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print([thread.name for thread in threading.enumerate()].count("exports-events"))
"""


def test_one_thread_sends_for_the_whole_process(valkey: Valkey, export: FileRequest, tmp_path: Path):
    assert processes.run(IN_MANY_THREADS, tmp_path) == "1\n"


ENDS_AT_ONCE = """
from exports.realtime import events
from exports.models import FileRequest
export = FileRequest.objects.get()
events.send_state(export)
"""
FORKS = f"""
import os
{ENDS_AT_ONCE}
child = os.fork()
events.send_state(export)
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.usefixtures("channel_layer")
@pytest.mark.parametrize(("code", "count"), [(ENDS_AT_ONCE, 1), (FORKS, 3)], ids=["ends at once", "forks"])
async def test_the_last_event_of_a_process_is_sent_before_it_ends(
    export: FileRequest, tmp_path: Path, code: str, count: int
):
    receive = await listen(events.group_of_request(export.pk))
    await sync_to_async(processes.run)(code, tmp_path)
    for _ in range(count):
        assert (await receive())["export"]["id"] == str(export.pk)
