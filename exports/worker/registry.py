"""The worker registry: idle workers and housekeepers leave signs of life in the queue's server.

A worker that runs an export needs none: it renews the lease of its row. The database is not written to.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exports.conf import DAY, key_prefix
from exports.queue import base as queue
from exports.queue import redis

log = logging.getLogger("exports.worker.registry")

WORKER, HOUSEKEEPER = "worker", "housekeeper"
SHOW_SECONDS = 5.0
FRESH_SECONDS = 20.0
KEEP_SECONDS = DAY


@dataclass(frozen=True)
class Sign:
    """The last sign of a process: its role, the queue of a worker, its host:pid, and the age in seconds."""

    role: str
    queue_name: str
    owner: str
    age: float

    @property
    def is_fresh(self) -> bool:
        return self.age < FRESH_SECONDS


class Presence:
    """The signs of life of this process. If the queue's server is down, the process is only not seen."""

    def __init__(self, role: str, queue_name: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._role_and_queue = f"{role} {queue_name or '-'}"
        self._clock = clock
        self._shown_at: float | None = None

    @property
    def _name(self) -> str:
        # Not kept: a forked child is another process.
        return f"{self._role_and_queue} {process_name()}"

    def show(self) -> None:
        """Leave a sign, at most once in SHOW_SECONDS. Does nothing where Redis is not the queue's server."""
        now = self._clock()
        if self._shown_at is not None and now - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = now
        try:
            if not queue.has_own_workers():
                return
            client = redis.client()
            # On the server's clock: those of the hosts may differ.
            at = _now(client)
            with client.pipeline(transaction=False) as pipeline:
                pipeline.zadd(_key(), {self._name: at})
                pipeline.zremrangebyscore(_key(), 0, at - KEEP_SECONDS)
                pipeline.expire(_key(), KEEP_SECONDS)
                pipeline.execute()
        except Exception as error:
            log.debug("no sign of life left: %s", type(error).__name__)

    def leave(self) -> None:
        """Remove the sign of a process that ends in good order."""
        try:
            if queue.has_own_workers():
                redis.client().zrem(_key(), self._name)
        except Exception as error:
            log.debug("the sign of life is not removed: %s", type(error).__name__)


def signs() -> list[Sign]:
    """Return the signs of the last day, the newest first. Raise redis' errors if the queue's server does not answer."""
    client = redis.client()
    now, found = _now(client), []
    for name, at in client.zrange(_key(), 0, -1, desc=True, withscores=True):
        role, *rest = name.decode(errors="replace").split(" ", 2)
        if role not in (WORKER, HOUSEKEEPER) or len(rest) != 2:
            continue  # Another program has written it.
        queue_name, process = rest
        found.append(Sign(role, "" if queue_name == "-" else queue_name, process, max(now - at, 0.0)))
    return found


def process_name() -> str:
    """Return host:pid of this process; the owner of a lease begins with it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _now(client: Any) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


def _key() -> str:
    return f"{key_prefix()}.present"
