"""The receiving side of the bell, in this process: what a message makes a worker do."""

import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from huey.consumer import Consumer
from huey.exceptions import HueyException
from huey.registry import Message

from exports import services
from exports.models import FileRequest
from exports.queue import huey as huey_queue
from exports.worker import loop, runner
from tests.office import people, rows
from tests.office.exports import open_office
from tests.servers import Valkey
from tests.test_doorbell import Bomb

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield
    runner.stopping.clear()


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


@pytest.fixture
def consumer(valkey: Valkey) -> Consumer:
    return consumer_of("small")


def consumer_of(queue_name: str) -> Consumer:
    return huey_queue.consumer(queue_name, loop.WorkerLoop(queue_name).run_due, stop=runner.stopping)


def asked(owner: User, month: int = 4) -> FileRequest:
    return services.request_export(owner, "report", {"month": month}, format="csv")[0]


def take_one(consumer: Consumer) -> None:
    """What its worker thread does with the next message."""
    consumer.huey.execute(consumer.huey.dequeue())


def test_a_bell_makes_the_worker_make_what_was_asked_for(consumer: Consumer, owner: User):
    request = asked(owner)
    assert consumer.huey.pending_count() == 1
    take_one(consumer)
    assert rows.fresh(request).status == "ready"
    assert consumer.huey.pending_count() == 0


def test_one_bell_is_enough_for_all_that_waits_and_the_others_find_nothing(consumer: Consumer, owner: User):
    requests = [asked(owner, month) for month in (1, 2, 3)]
    for _ in range(3):
        take_one(consumer)
    assert [rows.fresh(each).status for each in requests] == ["ready"] * 3
    assert [rows.fresh(each).epoch for each in requests] == [1] * 3


def test_a_bell_of_one_lane_is_not_heard_in_another(valkey: Valkey, owner: User):
    asked(owner)
    assert consumer_of("large").huey.pending_count() == 0


def test_a_worker_knows_one_task_and_the_bell_names_it(consumer: Consumer):
    assert list(consumer.huey._registry._registry) == [f"{huey_queue.__name__}.{huey_queue.TASK_NAME}"]


def test_a_bell_leaves_nothing_behind_in_the_queue_server(consumer: Consumer, owner: User, valkey: Valkey):
    asked(owner)
    take_one(consumer)
    with valkey.client() as client:
        assert client.keys("*exports*") == []


def test_a_message_that_is_not_ours_runs_nothing(consumer: Consumer, valkey: Valkey, tmp_path: Path):
    left = tmp_path / "left"
    good = huey_queue.SignedJSONSerializer().serialize
    for data in (pickle.dumps(Bomb(left)), b"x", b"." + pickle.dumps(Bomb(left))):
        with valkey.client() as client:
            client.lpush(consumer.huey.storage.queue_key, data)
        assert consumer.huey.dequeue() is None
    assert consumer.huey.pending_count() == 0
    with valkey.client() as client:
        client.lpush(consumer.huey.storage.queue_key, good(["id", "os.system", *[None] * (len(Message._fields) - 2)]))
    with pytest.raises(HueyException):
        consumer.huey.dequeue()
    assert not left.exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_is_told_to_the_run_and_lets_it_give_back(consumer: Consumer, signum: int):
    before = signal.getsignal(signum)
    try:
        consumer._handle_signal(signum, None)
        assert runner.stopping.is_set()
        assert consumer._graceful
        assert not consumer._restart
    finally:
        signal.signal(signum, before)


def test_a_worker_that_stops_makes_nothing_new_and_passes_the_bell_on(consumer: Consumer, owner: User):
    request = asked(owner)
    runner.stopping.set()
    take_one(consumer)
    assert rows.fresh(request).status == "queued"
    assert consumer.huey.pending_count() == 1


def test_a_worker_that_stops_takes_no_bell(consumer: Consumer, owner: User):
    asked(owner)
    runner.stopping.set()
    consumer.stop_flag.set()
    worker, _thread = consumer.worker_threads[0]
    worker.loop()
    assert consumer.huey.pending_count() == 1
