"""The bell: signed messages, and a door that never waits long for a queue."""

import json
import logging
import pickle
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from huey.registry import Message

from exports.queue import huey as huey_queue
from exports.queue.huey import BadMessage, SignedJSONSerializer
from tests.servers import Valkey

SOON = 2.0

Logged = Callable[[], list[str]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    caplog.set_level(logging.WARNING, "exports.queue.huey")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "exports.queue.huey"]


@pytest.fixture
def message() -> Message:
    """A bell as huey hands it to its serializer."""
    from huey import MemoryHuey
    from huey.api import Task

    huey = MemoryHuey(serializer=SignedJSONSerializer(), immediate=False)
    bell = type("wake", (Task,), {"__module__": "exports.queue.huey"})
    huey._registry.register(bell)
    return huey._registry.create_message(bell())


def plain(message: Message) -> list[Any]:
    """A message as JSON has it: a tuple comes back as a list."""
    return json.loads(json.dumps(list(message)))


def read(data: bytes) -> list[Any]:
    return plain(SignedJSONSerializer().deserialize(data))


def with_keys(settings: LazySettings, *keys: str) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_KEYS": list(keys) or None}


def test_a_signed_message_reads_back_the_same_and_is_plain_json(message: Message):
    data = SignedJSONSerializer().serialize(message)
    assert read(data) == plain(message)
    assert json.loads(data.partition(b".")[2]) == plain(message)


@dataclass
class Bomb:
    """What it leaves behind when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def bad_messages(good: bytes, bomb: bytes) -> dict[str, bytes]:
    signature, _, body = good.partition(b".")
    return {
        "nothing": b"",
        "a pickle": bomb,
        "a pickle behind a signature": signature + b"." + bomb,
        "unsigned": body,
        "an empty signature": b"." + body,
        "another body": signature + b"." + body.replace(b"wake", b"kewa"),
        "cut at the end": good[:-1],
        "cut at the start": good[1:],
        "the signature alone": signature,
        "upper case": signature.upper() + b"." + body,
        "not text": bytes(range(256)),
    }


def test_what_is_not_signed_here_is_not_read_and_runs_nothing(message: Message, tmp_path: Path):
    left = tmp_path / "left"
    good = SignedJSONSerializer().serialize(message)
    for name, data in bad_messages(good, pickle.dumps(Bomb(left))).items():
        with pytest.raises(BadMessage):
            SignedJSONSerializer().deserialize(data)
        assert not left.exists(), name


def test_another_key_signs_nothing_that_counts(message: Message, settings: LazySettings):
    with_keys(settings, "theirs")
    data = SignedJSONSerializer().serialize(message)
    with_keys(settings, "ours")
    with pytest.raises(BadMessage):
        SignedJSONSerializer().deserialize(data)


def test_an_old_key_verifies_until_it_is_removed(message: Message, settings: LazySettings):
    with_keys(settings, "old")
    data = SignedJSONSerializer().serialize(message)
    with_keys(settings, "new", "old")
    assert read(data) == plain(message)
    with_keys(settings, "new")
    with pytest.raises(BadMessage):
        SignedJSONSerializer().deserialize(data)


def test_the_first_key_signs(message: Message, settings: LazySettings):
    with_keys(settings, "new", "old")
    data = SignedJSONSerializer().serialize(message)
    with_keys(settings, "new")
    assert read(data) == plain(message)


def test_one_key_given_as_text_is_one_key_and_not_one_of_its_letters(message: Message, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_KEYS": "secret"}
    data = SignedJSONSerializer().serialize(message)
    assert read(data) == plain(message)
    with_keys(settings, *"secret")
    with pytest.raises(BadMessage):
        SignedJSONSerializer().deserialize(data)


def test_without_keys_of_its_own_the_site_key_signs(message: Message, settings: LazySettings):
    data = SignedJSONSerializer().serialize(message)
    settings.SECRET_KEY = "another"
    with pytest.raises(BadMessage):
        SignedJSONSerializer().deserialize(data)


def test_ringing_leaves_one_signed_message_in_the_queue_of_that_lane(valkey: Valkey):
    assert huey_queue.wake("small")
    small, large = huey_queue.open_queue("small"), huey_queue.open_queue("large")
    assert (small.pending_count(), large.pending_count()) == (1, 0)
    with valkey.client() as client:
        data = client.lpop(small.storage.queue_key)
    assert SignedJSONSerializer().deserialize(data).name == "exports.queue.huey.wake"


def test_two_sites_on_one_server_differ_by_their_prefix(valkey: Valkey, settings: LazySettings):
    assert huey_queue.wake("small")
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_PREFIX": "another"}
    assert huey_queue.open_queue("small").pending_count() == 0
    assert huey_queue.wake("small")
    assert huey_queue.open_queue("small").pending_count() == 1


def test_a_queue_that_is_down_costs_a_door_no_time_and_is_logged(valkey: Valkey, logged: Logged):
    valkey.stop()
    began = time.perf_counter()
    assert not huey_queue.wake("small")
    assert time.perf_counter() - began < SOON
    assert logged() == ["queue small not woken: ConnectionError"]


@pytest.mark.parametrize("was_used", [True, False])
def test_a_queue_that_is_silent_costs_a_door_less_than_two_seconds(valkey: Valkey, logged: Logged, was_used: bool):
    huey_queue._sender.cache_clear()
    assert not was_used or huey_queue.wake("small")
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        began = time.perf_counter()
        assert not huey_queue.wake("small")
        assert time.perf_counter() - began < SOON
    finally:
        valkey.process.send_signal(signal.SIGCONT)
    assert logged() == ["queue small not woken: TimeoutError"]


def test_the_bell_rings_again_when_the_queue_is_back(valkey: Valkey):
    assert huey_queue.wake("small")
    valkey.restart()
    assert huey_queue.wake("small")


def test_a_queue_whose_address_makes_no_sense_is_a_bell_not_rung(settings: LazySettings, logged: Logged):
    settings.EXPORTS = {**settings.EXPORTS, "REDIS_URL": "gopher://nowhere"}
    assert not huey_queue.wake("small")
    assert logged() == ["queue small not woken: ValueError"]
