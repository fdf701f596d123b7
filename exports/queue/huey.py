"""huey's send side. A message is a bell that says "look"; what there is to do, and who does it, is on the rows.

Messages are JSON under an HMAC-SHA256, so whoever can write to Redis can make a worker look, and nothing else.
"""

import hashlib
import hmac
import json
import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from exports import faults
from exports.conf import config, secret_keys

if TYPE_CHECKING:
    from huey import RedisHuey
    from huey.registry import Message
    from redis import ConnectionPool, Redis

log = logging.getLogger("exports.queue.huey")

TASK_MODULE = "exports.worker.consumer"
TASK_NAME = "look"
CONNECT_SECONDS = 1.0
RING_SECONDS = 1.0
WAIT_SECONDS = 2.0  # longer than the second for which huey lets the server hold an empty answer back


class BadMessage(ValueError):
    """Not a message that this site signed: it is dropped, and nothing of it runs."""


class SignedJSONSerializer:
    """huey messages as JSON, signed with the first of EXPORTS["QUEUE_KEYS"], verified with any of them."""

    def serialize(self, message: "Message") -> bytes:
        body = json.dumps(list(message), separators=(",", ":")).encode()
        return _signature(secret_keys("QUEUE_KEYS")[0], body) + b"." + body

    def deserialize(self, data: bytes) -> "Message":
        """Raises BadMessage for a pickle, an unsigned message, or one under a key that is not ours any more."""
        from huey.registry import Message

        signature, _, body = data.partition(b".")
        if not any(hmac.compare_digest(signature, _signature(key, body)) for key in secret_keys("QUEUE_KEYS")):
            raise BadMessage("A message in the queue is not signed with EXPORTS['QUEUE_KEYS']; it was dropped.")
        return Message(*json.loads(body))


def wake(queue_name: str) -> bool:
    """Ask a worker of this queue to look. A queue that is down is logged: housekeeping rings again."""
    try:
        huey, bell = _sender(queue_name, config.REDIS_URL, config.QUEUE_PREFIX)
        faults.point("before_wake")
        huey.enqueue(bell())
    except Exception as error:
        log.warning("bell of queue %s not rung: %s", queue_name, type(error).__name__)
        return False
    return True


def queue(queue_name: str, *, answer_seconds: float = WAIT_SECONDS) -> "RedisHuey":
    """A huey of our own for one queue, with no task registered. The host's own HUEY is left alone."""
    from huey import RedisHuey

    return RedisHuey(
        f"{config.QUEUE_PREFIX}.{queue_name}",
        clean_name=False,
        connection_pool=_pool(config.REDIS_URL, answer_seconds),
        immediate=False,
        results=False,
        serializer=SignedJSONSerializer(),
    )


def bells(queue_name: str) -> int:
    """How many no worker has heard yet. Raises redis' errors."""
    return _sender(queue_name, config.REDIS_URL, config.QUEUE_PREFIX)[0].pending_count()


def is_ours(queue_name: str) -> bool:
    """Whether the newest bell that waits is signed with a key of this process. Raises redis' errors."""
    huey = _sender(queue_name, config.REDIS_URL, config.QUEUE_PREFIX)[0]
    newest = server().lindex(huey.storage.queue_key, 0)
    try:
        return newest is None or bool(huey.serializer.deserialize(newest))
    except (BadMessage, ValueError, TypeError):
        return False


def server() -> "Redis":
    """A client of the queue's server. It waits no longer than a door does, and raises redis' own errors."""
    return _server(config.REDIS_URL)


@cache
def _server(url: str) -> "Redis":
    from redis import Redis

    return Redis(connection_pool=_pool(url, RING_SECONDS))


def _pool(url: str, answer_seconds: float) -> "ConnectionPool":
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return ConnectionPool.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )


@cache
def _sender(queue_name: str, url: str, prefix: str) -> tuple["RedisHuey", Any]:
    """Made once for each queue. A door waits for it, so it is given less time than a worker is."""
    from huey.api import Task

    huey = queue(queue_name, answer_seconds=RING_SECONDS)
    bell = type(TASK_NAME, (Task,), {"__module__": TASK_MODULE})
    huey._registry.register(bell)
    return huey, bell


def _signature(key: str, body: bytes) -> bytes:
    return hmac.new(hashlib.sha256(b"exports.queue" + key.encode()).digest(), body, hashlib.sha256).hexdigest().encode()
