"""Who is here: a worker that waits for bells and a housekeeper leave signs of life in the queue's server.

A worker that makes a file needs none, since it renews the lease of its row. No sign is written into the database.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exports.conf import config
from exports.queue import huey as huey_queue

log = logging.getLogger("exports.worker.registry")

WORKER, HOUSEKEEPER = "worker", "housekeeper"
SHOW_SECONDS = 5.0
FRESH_SECONDS = 20.0
KEEP_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Sign:
    """The last that was seen of a process: what it is, the queue of a worker, host:pid, and how many seconds ago."""

    role: str
    queue_name: str
    owner: str
    age: float

    @property
    def is_fresh(self) -> bool:
        return self.age < FRESH_SECONDS


class Presence:
    """The signs of one process. A queue that is down only means that it is not seen."""

    def __init__(self, role: str, queue_name: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._role, self._queue_name = role, queue_name
        self._clock = clock
        self._shown_at: float | None = None

    def show(self) -> None:
        """Leave a sign, at most one in SHOW_SECONDS. In cron mode there is neither a queue nor a process to be seen."""
        if not config.QUEUE_BACKEND:
            return
        now = self._clock()
        if self._shown_at is None or now - self._shown_at >= SHOW_SECONDS:
            self._shown_at = now
            self._try(self._write)

    def leave(self) -> None:
        """The process ends in good order, so nobody has to wait until its sign is old."""
        self._try(lambda: huey_queue.server().zrem(_key(), self._name()))

    def _name(self) -> str:
        return f"{self._role} {self._queue_name or '-'} {process_name()}"

    def _write(self) -> None:
        client = huey_queue.server()
        # By the server's clock: those of the hosts need not agree.
        now = _now(client)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(_key(), {self._name(): now})
            pipeline.zremrangebyscore(_key(), 0, now - KEEP_SECONDS)
            pipeline.expire(_key(), KEEP_SECONDS)
            pipeline.execute()

    def _try(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except Exception as error:
            log.debug("no sign of life left: %s", type(error).__name__)


def signs() -> list[Sign]:
    """Of the last day, the newest first. Raises redis' errors when the queue's server does not answer."""
    client = huey_queue.server()
    now = _now(client)
    return [_sign(name.decode(), now - at) for name, at in client.zrange(_key(), 0, -1, desc=True, withscores=True)]


def process_name() -> str:
    """Return host:pid of this process; the owner of a lease begins with it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _sign(name: str, age: float) -> Sign:
    role, queue_name, process = name.split(" ", 2)
    return Sign(role, "" if queue_name == "-" else queue_name, process, max(age, 0.0))


def _now(client: Any) -> float:
    seconds, microseconds = client.time()
    return seconds + microseconds / 1e6


def _key() -> str:
    return f"{config.QUEUE_PREFIX}.present"
