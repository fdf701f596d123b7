"""A development server makes its exports itself; without any queue requests fail, and a missing worker is said."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.test.client import ClientHandler
from django.utils import timezone

from exports import services
from exports.conf import HUEY, LOCAL, config
from exports.http import development
from exports.models import FileRequest, Status
from exports.queue import base as queue
from exports.queue import huey as huey_queue
from exports.queue import local
from exports.realtime import events
from exports.state import serialize
from exports.worker import registry as worker_registry
from exports.worker import runner
from tests.office import pages
from tests.office.browsers import JSON, signed_in, url_of
from tests.servers import Valkey, wait_until
from tests.shop import requests
from tests.shop.runs import claimed_now

SOON = 2.0


class UnservedQueue:
    """A queue without workers."""

    @staticmethod
    def wake(queue_name: str) -> None:
        pass

    @staticmethod
    def is_served(queue_name: str) -> bool:
        return False


def use(settings: LazySettings, backend: str, **changes: Any) -> None:
    queue._answers.clear()
    settings.EXPORTS = {**settings.EXPORTS, **changes, "QUEUE_BACKEND": backend}


@pytest.fixture
def development_queue(settings: LazySettings) -> Iterator[None]:
    use(settings, LOCAL)
    yield
    local._workers.clear()


@pytest.fixture
def unserved(settings: LazySettings) -> None:
    use(settings, f"{__name__}.UnservedQueue")


def queued(owner: User) -> FileRequest:
    return requests.queued(requester=owner, requested_at=timezone.now())


def running(export: FileRequest) -> FileRequest:
    return claimed_now(export)[0]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("exports-")}


# The workers


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("folder", "development_queue")
def test_a_server_makes_files_in_threads_until_it_ends(owner: User, monkeypatch: pytest.MonkeyPatch):
    at_exit: list[Any] = []
    monkeypatch.setattr(development, "_at_exit", lambda function, *arguments: at_exit.append((function, arguments)))
    development._start.cache_clear()
    development.on_request(WSGIHandler)
    development.on_request(WSGIHandler)
    assert threads() >= {"exports-large", "exports-small", "exports-housekeep"}
    [(stop, arguments)] = at_exit
    try:
        export = queued(owner)
        local.wake(export.queue_name)
        wait_until(lambda: FileRequest.objects.get(pk=export.pk).status == Status.READY, seconds=10)
        assert queue.is_served("large")
    finally:
        stop(*arguments)
        runner.stopping.clear()
        connections.close_all()
    assert not {"exports-large", "exports-small", "exports-housekeep"} & threads()


@pytest.mark.parametrize(("sender", "backend"), [(ClientHandler, LOCAL), (WSGIHandler, HUEY)])
def test_neither_test_clients_nor_other_queues_start_workers(
    settings: LazySettings, sender: type, backend: str, monkeypatch: pytest.MonkeyPatch
):
    started: list[int] = []
    monkeypatch.setattr(development, "_start", started.append)
    use(settings, backend)
    development.on_request(sender)
    assert started == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("folder", "development_queue")
def test_what_a_killed_server_was_making_is_made_again_at_once(owner: User):
    host, dead = socket.gethostname(), 2**22 + 1
    exports = [running(queued(owner)) for _ in range(4)]
    owners = (f"{host}:{dead}:1", f"{host}:{os.getpid()}:1", f"{host}:{os.getppid()}:1", f"elsewhere:{dead}:1")
    for export, lease_owner in zip(exports, owners, strict=True):
        FileRequest.objects.filter(pk=export.pk).update(lease_owner=lease_owner)
    development._release_orphans(exports[0].queue_name)
    states = [FileRequest.objects.get(pk=export.pk) for export in exports]
    assert [state.status for state in states] == [Status.QUEUED, Status.QUEUED, Status.RUNNING, Status.RUNNING]
    assert [state.attempts for state in states] == [0, 0, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_server_that_runs_before_migrate_says_so_and_waits(monkeypatch: pytest.MonkeyPatch, log_lines):
    monkeypatch.setattr(development, "TRY_AGAIN_SECONDS", 0.01)
    with monkeypatch.context() as before:
        before.setattr(FileRequest._meta, "db_table", "exports_not_yet")
        waiting = threading.Thread(target=lambda: (development._wait_for_tables(), connections.close_all()))
        waiting.start()
        wait_until(lambda: log_lines("exports.development"))
        assert waiting.is_alive()
    waiting.join(SOON)
    assert not waiting.is_alive()
    [line] = log_lines("exports.development")
    assert line.startswith("no exports are made: has manage.py migrate been run?: ")


@pytest.mark.usefixtures("development_queue")
def test_a_worker_process_of_the_development_queue_is_refused():
    with pytest.raises(CommandError, match="start runserver"):
        call_command("exports", "work", "large")


def test_a_worker_listens_until_it_is_stopped(development_queue: None):
    stop, woken, events_ = threading.Event(), threading.Event(), []
    callbacks = {
        name: (lambda name=name: events_.append(name)) for name in ("on_start", "on_poll", "on_exit", "on_ready")
    }
    worker = threading.Thread(target=local.listen, args=["small", woken.set], kwargs={"stop": stop, **callbacks})
    assert local.is_served("small") is None
    worker.start()
    assert woken.wait(SOON)
    woken.clear()
    local.wake("small")
    assert woken.wait(SOON)
    assert local.is_served("small")
    stop.set()
    local.wake("small")
    worker.join(SOON)
    assert local.is_served("small") is False
    assert (events_[:2], events_[-1]) == (["on_start", "on_ready"], "on_exit")


# Events in memory


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("development_queue")
async def test_a_thread_reaches_the_sockets_of_its_process_without_a_channel_layer(settings: LazySettings, owner: User):
    settings.CHANNEL_LAYERS = {}
    export = await sync_to_async(queued)(owner)
    async with pages.opened(owner) as page:
        await page.next_state()
        assert (await page.receive_nothing()) is True
        # From another thread, as a worker does; this event loop has nothing else to do meanwhile.
        threading.Thread(target=lambda: (events.send_state(export), connections.close_all())).start()
        async with asyncio.timeout(SOON):
            assert (await page.next_state())["id"] == str(export.pk)


# No queue


@pytest.mark.django_db
def test_a_request_without_a_queue_fails_and_says_what_to_set(settings: LazySettings, owner: User):
    settings.EXPORTS = {name: value for name, value in settings.EXPORTS.items() if name != "QUEUE_BACKEND"}
    with pytest.raises(ImproperlyConfigured, match=r"Set EXPORTS\['REDIS_URL'\]"):
        services.request_export(owner, "orders", {}, format="csv")
    assert not FileRequest.objects.exists()


@pytest.mark.django_db
def test_a_page_without_a_queue_answers_503_and_logs_what_to_set(
    settings: LazySettings, owner: User, caplog: pytest.LogCaptureFixture
):
    settings.EXPORTS = {name: value for name, value in settings.EXPORTS.items() if name != "QUEUE_BACKEND"}
    response = signed_in(owner).post("/exports/new/orders/", {"format": "csv"}, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_queue")
    assert "Set EXPORTS['REDIS_URL']" in caplog.text


@pytest.mark.parametrize(
    ("debug", "given", "expected"),
    [
        (True, {}, LOCAL),
        (False, {}, ""),
        (True, {"REDIS_URL": "redis://queue.example/0"}, HUEY),
        (False, {"REDIS_URL": "redis://queue.example/0"}, HUEY),
        (True, {"QUEUE_BACKEND": None}, None),
    ],
)
def test_the_queue_follows_from_debug_and_the_address_of_redis(
    settings: LazySettings, debug: bool, given: dict[str, Any], expected: str | None
):
    settings.DEBUG, settings.EXPORTS = debug, given
    assert expected == config.QUEUE_BACKEND


# No worker


@pytest.mark.django_db
@pytest.mark.usefixtures("unserved")
def test_state_names_the_queue_that_no_worker_serves(owner: User):
    export = queued(owner)
    assert serialize(export)["progress"]["unserved_queue"] == export.queue_name
    busy = running(queued(owner))
    assert serialize(export)["progress"]["unserved_queue"] is None
    assert serialize(busy)["progress"]["unserved_queue"] is None


@pytest.mark.django_db
@pytest.mark.usefixtures("unserved")
def test_pages_say_that_no_worker_runs_and_to_staff_how_one_is_started(owner: User, admin_user: User):
    export = queued(owner)
    own = page_text(signed_in(owner), export)
    assert "No worker is running" in own
    assert "exports work" not in own
    of_staff = page_text(signed_in(admin_user), export)
    assert f'data-part="detail">Start one: manage.py exports work {export.queue_name}</p>' in of_staff
    assert '"start_worker": "start one: manage.py exports work {queue}"' in of_staff


@pytest.mark.django_db
def test_without_knowledge_of_workers_a_page_says_that_the_export_waits(owner: User):
    assert "Waiting, next in line" in page_text(signed_in(owner), queued(owner))


def page_text(client: Client, export: FileRequest) -> str:
    return client.get(url_of("page", export)).text


def test_a_queue_on_redis_is_served_once_a_worker_has_left_a_sign(valkey: Valkey):
    assert not huey_queue.is_served("small")
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    assert huey_queue.is_served("small")
    assert not huey_queue.is_served("large")


def test_a_server_that_is_down_leaves_open_whether_a_worker_runs(valkey: Valkey, settings: LazySettings):
    queue._answers.clear()
    valkey.stop()
    assert queue.is_served("small") is None
    valkey.start()
    # It is asked once in a while.
    assert queue.is_served("small") is None
    queue._answers.clear()
    assert queue.is_served("small") is False
