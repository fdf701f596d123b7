"""The worker registry: idle workers and housekeepers leave signs of life in the queue's server.

A worker that runs an export needs none: it renews the lease of its row. The database is not written to.
"""

import logging
import os
import socket
import time
from collections.abc import Callable

from exports.conf import DAY
from exports.queue import base as queue
from exports.queue import redis
from exports.queue.presence import FRESH_SECONDS, HOUSEKEEPER, WORKER, Sign, key, server_time, signs

__all__ = ("FRESH_SECONDS", "HOUSEKEEPER", "WORKER", "Presence", "Sign", "process_name", "signs")

log = logging.getLogger("exports.worker.registry")

SHOW_SECONDS = 5.0
KEEP_SECONDS = DAY


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
            at = server_time(client)
            with client.pipeline(transaction=False) as pipeline:
                pipeline.zadd(key(), {self._name: at})
                pipeline.zremrangebyscore(key(), 0, at - KEEP_SECONDS)
                pipeline.expire(key(), KEEP_SECONDS)
                pipeline.execute()
        except Exception as error:
            log.debug("no sign of life left: %s", type(error).__name__)

    def leave(self) -> None:
        """Remove the sign of a process that ends in good order."""
        try:
            if queue.has_own_workers():
                redis.client().zrem(key(), self._name)
        except Exception as error:
            log.debug("the sign of life is not removed: %s", type(error).__name__)


def process_name() -> str:
    """Return host:pid of this process; the owner of a lease begins with it."""
    return f"{socket.gethostname()}:{os.getpid()}"
