"""Waking workers through huey: signed messages, queues that are down, and what a worker does with a message."""

import json
import logging
import pickle
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from huey import RedisHuey
from huey.consumer import Consumer
from huey.registry import Message
from redis import Redis

from exports import services, signing
from exports.conf import config, key_prefix
from exports.models import Artifact, FileRequest
from exports.queue import huey as huey_queue
from exports.queue import looks
from exports.queue.huey import SignedJSONSerializer
from exports.signing import BadMessage
from exports.worker import loop, runner
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until

SOON = 2.0
IN_TIME = 15.0
KEYS = ["a key of this site that is long enough", "an older one that is long enough"]
REMOVED = "a key that was removed from the list"

Logged = Callable[[], list[str]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    caplog.set_level(logging.WARNING, "exports.queue.huey")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "exports.queue.huey"]


@pytest.fixture
def message() -> Message:
    """A message as huey passes it to its serializer."""
    huey, new_message = huey_queue._sender("small", config.REDIS_URL, key_prefix())
    return huey._registry.create_message(new_message())


@dataclass
class Bomb:
    """Creates a file when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def as_list(message: Message) -> list[Any]:
    """A message as JSON has it: a tuple comes back as a list."""
    return json.loads(json.dumps(list(message)))


def read(data: bytes) -> list[Any]:
    return as_list(SignedJSONSerializer().deserialize(data))


def use_keys(settings: LazySettings, keys: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_KEYS": keys}


# Messages


def test_a_signed_message_is_plain_json_and_reads_back_the_same(message: Message):
    data = SignedJSONSerializer().serialize(message)
    assert read(data) == as_list(message)
    assert json.loads(data.partition(b".")[2]) == as_list(message)


def test_a_message_that_is_not_signed_is_refused_and_runs_nothing(message: Message, tmp_path: Path):
    left = tmp_path / "left"
    good, bomb = SignedJSONSerializer().serialize(message), pickle.dumps(Bomb(left))
    signature, _, body = good.partition(b".")
    bad = [
        b"", bomb, signature + b"." + bomb, body, b"." + body, signature + b"." + body.replace(b"wake", b"kewa"),
        good[:-1], good[1:], signature, signature.upper() + b"." + body, bytes(range(256)),
    ]  # fmt: skip
    for data in bad:
        with pytest.raises(BadMessage):
            SignedJSONSerializer().deserialize(data)
    assert not left.exists()


@pytest.mark.parametrize(
    ("signing", "reading", "is_read"),
    [
        (["theirs"], ["ours"], False),
        (["old"], ["new", "old"], True),
        (["old"], ["new"], False),
        (["new", "old"], ["new"], True),
        ("secret", "secret", True),
        ("secret", list("secret"), False),
        (None, ["new"], False),
    ],
)
def test_the_first_key_signs_and_any_key_of_the_list_verifies(
    message: Message, settings: LazySettings, signing: Any, reading: Any, is_read: bool
):
    use_keys(settings, signing)
    data = SignedJSONSerializer().serialize(message)
    use_keys(settings, reading)
    if is_read:
        assert read(data) == as_list(message)
    else:
        with pytest.raises(BadMessage):
            SignedJSONSerializer().deserialize(data)


def test_without_queue_keys_the_secret_key_signs(message: Message, settings: LazySettings):
    data = SignedJSONSerializer().serialize(message)
    assert read(data) == as_list(message)
    settings.SECRET_KEY = "another"
    with pytest.raises(BadMessage):
        SignedJSONSerializer().deserialize(data)


# Waking


def test_waking_leaves_one_signed_message_in_that_queue(valkey: Valkey):
    assert huey_queue.wake("small")
    assert (huey_queue.pending("small"), huey_queue.pending("large")) == (1, 0)
    assert huey_queue.is_signed_here("small")
    with valkey.client() as client:
        data = client.lpop(huey_queue.open_queue("small").storage.queue_key)
    assert SignedJSONSerializer().deserialize(data).name == "exports.queue.huey.wake"


@pytest.mark.parametrize("difference", [{"QUEUE_PREFIX": "another"}, {"QUEUE_KEYS": "the secret of another site"}])
def test_two_sites_on_one_server_are_kept_apart(valkey: Valkey, settings: LazySettings, difference: dict[str, str]):
    assert huey_queue.wake("small")
    settings.EXPORTS = {**settings.EXPORTS, **difference}
    assert huey_queue.pending("small") == 0
    assert huey_queue.wake("small")
    assert huey_queue.pending("small") == 1


def test_a_queue_that_is_down_is_logged_and_costs_no_time_until_it_is_back(valkey: Valkey, logged: Logged):
    assert huey_queue.wake("small")
    valkey.stop()
    began = time.perf_counter()
    assert not huey_queue.wake("small")
    assert time.perf_counter() - began < SOON
    assert not huey_queue.wake("large")
    [line] = logged()
    assert line.startswith("queue small not woken: ConnectionError: ")
    valkey.start()
    assert huey_queue.wake("small")


@pytest.mark.parametrize("was_used", [True, False])
def test_a_queue_that_does_not_answer_costs_less_than_two_seconds(valkey: Valkey, logged: Logged, was_used: bool):
    huey_queue._sender.cache_clear()
    assert not was_used or huey_queue.wake("small")
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        began = time.perf_counter()
        assert not huey_queue.wake("small")
        assert time.perf_counter() - began < SOON
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    [line] = logged()
    assert line.startswith("queue small not woken: TimeoutError")


def test_an_invalid_address_of_the_queue_is_logged(settings: LazySettings, logged: Logged):
    settings.EXPORTS = {**settings.EXPORTS, "REDIS_URL": "gopher://nowhere"}
    assert not huey_queue.wake("small")
    [line] = logged()
    assert line.startswith("queue small not woken: ValueError")


# A worker in this process


@pytest.fixture
def owner(transactional_db: None) -> Iterator[User]:
    with open_office():
        yield people.user("owner")
    runner.stopping.clear()


@pytest.fixture
def consumer(valkey: Valkey) -> Consumer:
    return huey_queue.consumer("small", loop.WorkerLoop("small").run_due, stop=runner.stopping)


def requested(owner: User, month: int = 4) -> FileRequest:
    return services.request_export(owner, "report", {"month": month}, format="csv")[0]


def handle_message(consumer: Consumer) -> None:
    """What the worker thread does with the next message."""
    consumer.huey.execute(consumer.huey.dequeue())


@pytest.mark.django_db(transaction=True)
def test_one_message_is_enough_for_all_due_exports_of_the_queue(consumer: Consumer, owner: User, valkey: Valkey):
    exports = [requested(owner, month) for month in (1, 2, 3)]
    handle_message(consumer)
    assert [rows.fresh(each).status for each in exports] == ["ready"] * 3
    for _ in range(2):
        handle_message(consumer)
    assert [rows.fresh(each).epoch for each in exports] == [1] * 3
    with valkey.client() as client:
        assert client.keys("*exports*") == []


@contextmanager
def refusing(action: int, table: str) -> Iterator[None]:
    """Let SQLite refuse this action on this table to every new connection."""

    def refuse(connection: BaseDatabaseWrapper, **_: Any) -> None:
        connection.connection.set_authorizer(
            lambda done, on, *_: sqlite3.SQLITE_DENY if (done, on) == (action, table) else sqlite3.SQLITE_OK
        )

    connection.close()
    connection_created.connect(refuse)
    try:
        yield
    finally:
        connection_created.disconnect(refuse)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("action", "table"), [(sqlite3.SQLITE_READ, "exports_filerequest"), (sqlite3.SQLITE_INSERT, "exports_auditentry")]
)
def test_a_look_that_fails_is_repeated_soon_without_a_message(
    consumer: Consumer, owner: User, logged: Logged, monkeypatch: pytest.MonkeyPatch, action: int, table: str
):
    """An export that cannot be read is not found; one whose start cannot be recorded is not claimed."""
    monkeypatch.setattr(looks, "LOOK_AGAIN_SECONDS", 0)
    huey_queue.wake("small")
    handle_message(consumer)
    export = requested(owner)
    with refusing(action, table):
        handle_message(consumer)
    connection.close()
    assert consumer.huey.pending_count() == 0
    assert rows.fresh(export).status == "queued"
    assert [line for line in logged() if "queue small: the look for exports failed" in line]
    worker, _thread = consumer.worker_threads[0]
    worker.loop()
    assert rows.fresh(export).status == "ready"


@pytest.mark.django_db
def test_the_pause_after_looks_that_fail_grows_to_the_usual_one(logged: Logged):
    outcomes = [OSError, OSError, OSError, OSError, OSError, OSError, None, OSError]

    def on_wake() -> None:
        if error := outcomes.pop(0):
            raise error

    worker, pauses = looks.Looks("small", on_wake, huey_queue.log), []
    while outcomes:
        worker.look()
        pauses.append(worker.next_at - time.monotonic())
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 20, 20, 1], abs=0.5)
    assert len(logged()) == 7


def test_a_worker_has_one_task_and_messages_name_it(consumer: Consumer, message: Message):
    assert list(consumer.huey._registry._registry) == [message.name]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_in_progress_and_the_worker_gracefully(consumer: Consumer, owner: User, signum: int):
    before = signal.getsignal(signum)
    try:
        consumer._handle_signal(signum, None)
        assert runner.stopping.is_set()
        assert consumer._graceful
        assert not consumer._restart
    finally:
        signal.signal(signum, before)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_stops_runs_nothing_and_wakes_another_worker(consumer: Consumer, owner: User):
    export = requested(owner)
    runner.stopping.set()
    handle_message(consumer)
    assert rows.fresh(export).status == "queued"
    assert consumer.huey.pending_count() == 1
    consumer.stop_flag.set()
    worker, _thread = consumer.worker_threads[0]
    worker.loop()
    assert consumer.huey.pending_count() == 1


# A worker process and hostile messages


def signed(*, key: str = KEYS[0], task: str = "wake") -> bytes:
    """A message as huey would queue it, signed with this key, for the task of this name."""
    huey, new_message = huey_queue._sender("small", config.REDIS_URL, key_prefix())
    body = huey.serializer.serialize(huey._registry.create_message(new_message())).partition(b".")[2]
    body = body.replace(b"exports.queue.huey.wake", f"exports.queue.huey.{task}".encode())
    return signing._mac(key, body, huey_queue.PURPOSE) + b"." + body


@pytest.fixture
def site(valkey: Valkey, owner: User, settings: LazySettings, tmp_path: Path) -> Valkey:
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_KEYS": KEYS, "WORK_DIR": str(tmp_path / "work")}
    return valkey


def push(valkey: Valkey, *messages: bytes) -> None:
    with valkey.client() as client:
        client.lpush(huey_queue.open_queue("small").storage.queue_key, *messages)


def wait_until_ready(export: FileRequest, worker: Worker) -> None:
    wait_until(
        lambda: rows.fresh(export).status == "ready" and huey_queue.pending("small") == 0,
        seconds=IN_TIME,
        describe=worker.words,
    )


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_worker_drops_messages_that_are_not_signed_and_goes_on(site: Valkey, owner: User, tmp_path: Path):
    left = tmp_path / "left"
    good, bomb = signed(), pickle.dumps(Bomb(left))
    signature, _, body = good.partition(b".")
    hostile = [
        b"", bomb, signature + b"." + bomb, body, b"." + body, b".", b"\x1f\x8b" + bomb, b"\x80\x04N.",
        signed(key=REMOVED), good.replace(b"huey.wake", b"huey.walk"), good[:-1] + b" ]", good + b" ",
        signature[:-1] + (b"0" if signature[-1:] != b"0" else b"1") + b"." + body,
    ]  # fmt: skip
    with Worker() as worker:
        push(site, *hostile)
        export = requested(owner)
        wait_until_ready(export, worker)
        assert worker.is_running
        output = worker.words()
    assert not left.exists()
    assert rows.fresh(export).attempts == 1
    assert "Traceback" not in output
    assert output.count("not signed with EXPORTS['QUEUE_KEYS']") == len(hostile)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_signed_message_for_an_unknown_task_runs_nothing(site: Valkey, owner: User):
    with Worker() as worker:
        push(site, signed(task="wipe"), signed(task="__class__"))
        wait_until_ready(requested(owner), worker)
        assert worker.is_running


def revoke_the_task(client: Redis, queue: RedisHuey) -> None:
    """Write into huey's result store what revokes every task of this name, as huey itself would."""
    for_ever = SignedJSONSerializer().serialize([None, False])
    client.hset(queue.storage.result_key, f"rt:{huey_queue.__name__}.wake", for_ever)


def break_the_result_store(client: Redis, queue: RedisHuey) -> None:
    client.set(queue.storage.result_key, "x")


def break_the_queue(client: Redis, queue: RedisHuey) -> None:
    client.delete(queue.storage.queue_key)
    client.set(queue.storage.queue_key, "x")


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attack", [revoke_the_task, break_the_result_store, break_the_queue])
def test_nothing_that_is_written_into_the_server_stops_a_queue(
    site: Valkey, owner: User, settings: LazySettings, attack: Callable[[Redis, RedisHuey], None]
):
    settings.EXPORTS = {**settings.EXPORTS, "WAKE_AGAIN_SECONDS": 1.0}
    with Worker() as worker:
        with site.client() as client:
            attack(client, huey_queue.open_queue("small"))
        export = requested(owner)
        wait_until(lambda: rows.fresh(export).status == "ready", seconds=IN_TIME, describe=worker.words)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_message_that_is_replayed_runs_nothing_twice(site: Valkey, owner: User):
    replayed = signed()
    export = requested(owner)
    push(site, *[replayed] * 50, signed(key=KEYS[1]))
    with Worker() as worker, Worker() as other:
        wait_until_ready(export, worker)
        push(site, *[replayed] * 50)
        wait_until_ready(export, worker)
        output = worker.words() + other.words()
    assert (rows.fresh(export).attempts, rows.fresh(export).epoch) == (1, 1)
    assert Artifact.objects.filter(request=export).count() == 1
    assert "Traceback" not in output


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_worker_logs_an_outage_of_the_queue_once_and_goes_on_afterwards(site: Valkey, owner: User):
    with Worker() as worker:
        before = worker.words()
        site.stop()
        time.sleep(3)  # the lines of three seconds are counted
        logged = worker.words().removeprefix(before).splitlines()
        site.start()
        wait_until_ready(requested(owner), worker)
    assert len(logged) == 1, logged
    assert "queue small: its server is down, trying again: ConnectionError" in logged[0]
