"""What somebody who can write to the queue's server achieves with a real worker: it looks, and nothing else."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User

from exports import services
from exports.conf import config
from exports.models import Artifact, Status
from exports.queue import huey as huey_queue
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

IN_TIME = 15.0
KEYS = ["a key of this site that is long enough", "an older one that is long enough"]
REMOVED = "a key that was removed from the list"


@dataclass
class Bomb:
    """What it leaves behind when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture
def site(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> Iterator[Valkey]:
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_KEYS": KEYS, "WORK_DIR": str(tmp_path / "work")}
    with open_office():
        yield valkey


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def message(*, key: str = KEYS[0], task: str = "wake") -> bytes:
    """A message as huey would queue it, signed with this key, for the task of this name."""
    huey, new_message = huey_queue._sender("small", config.REDIS_URL, config.QUEUE_PREFIX)
    body = huey.serializer.serialize(huey._registry.create_message(new_message())).partition(b".")[2]
    body = body.replace(b"exports.queue.huey.wake", f"exports.queue.huey.{task}".encode())
    return huey_queue._signature(key, body) + b"." + body


def push(valkey: Valkey, *messages: bytes) -> None:
    with valkey.client() as client:
        client.lpush(huey_queue.open_queue("small").storage.queue_key, *messages)


def asked_for(owner: User, month: int) -> Any:
    return services.request_export(owner, "report", {"month": month}, format="csv")[0]


def is_ready(request: Any) -> bool:
    return rows.fresh(request).status == Status.READY


def test_a_worker_runs_nothing_of_what_is_not_signed_here_and_goes_on(
    site: Valkey, owner: User, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    good, bomb = message(), pickle.dumps(Bomb(left))
    signature, _, body = good.partition(b".")
    hostile = [
        b"", bomb, signature + b"." + bomb, body, b"." + body, b".", b"\x1f\x8b" + bomb,
        message(key=REMOVED), good.replace(b"huey.wake", b"huey.walk"), good[:-1] + b" ]", good + b" ",
        signature[:-1] + (b"0" if signature[-1:] != b"0" else b"1") + b"." + body,
    ]  # fmt: skip
    with Worker() as worker:
        push(site, *hostile)
        request = asked_for(owner, 4)
        wait_until(lambda: is_ready(request), seconds=IN_TIME, describe=worker.words)
        wait_until(lambda: huey_queue.pending("small") == 0, seconds=IN_TIME, describe=worker.words)
        assert worker.is_running
        words = worker.words()
    assert not left.exists()
    assert rows.fresh(request).attempts == 1
    assert "Traceback" not in words
    assert words.count("not signed with EXPORTS['QUEUE_KEYS']") == len(hostile)


def test_a_message_that_is_signed_but_names_no_task_of_ours_runs_nothing(site: Valkey, owner: User) -> None:
    with Worker() as worker:
        push(site, message(task="wipe"), message(task="__class__"))
        request = asked_for(owner, 5)
        wait_until(lambda: is_ready(request), seconds=IN_TIME, describe=worker.words)
        assert worker.is_running


def test_a_bell_that_is_replayed_makes_a_worker_look_and_runs_nothing_twice(site: Valkey, owner: User) -> None:
    bell = message()
    request = asked_for(owner, 6)
    push(site, *[bell] * 50, message(key=KEYS[1]))
    with Worker() as worker, Worker() as other:
        wait_until(
            lambda: is_ready(request) and huey_queue.pending("small") == 0, seconds=IN_TIME, describe=worker.words
        )
        push(site, *[bell] * 50)
        wait_until(lambda: huey_queue.pending("small") == 0, seconds=IN_TIME, describe=worker.words)
        words = worker.words() + other.words()
    assert (rows.fresh(request).attempts, rows.fresh(request).epoch) == (1, 1)
    assert Artifact.objects.filter(request=request).count() == 1
    assert "Traceback" not in words
