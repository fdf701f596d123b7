"""The queue on huey and Redis: the only module that knows huey.

A message only says that a worker should look for due exports. Messages are JSON under an HMAC-SHA256, so someone who
can write to Redis can make a worker look, and nothing else. huey is imported inside functions: sites in cron mode need
not install it. The internals of huey that `consumer` overrides were checked against huey 3.5.4; pyproject.toml allows
no 3.6.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from exports import failures, faults, signing
from exports.conf import config, key_prefix
from exports.queue import presence, redis
from exports.queue.looks import Looks

if TYPE_CHECKING:
    from huey import RedisHuey
    from huey.consumer import Consumer
    from huey.registry import Message

log = logging.getLogger("exports.queue.huey")

TASK_NAME = "wake"
PURPOSE = "exports.queue"
WAIT_SECONDS = 2.0  # longer than the second for which huey lets the server hold an empty answer back
STOP_SECONDS = 25.0

Callback = Callable[[], object]


class SignedJSONSerializer:
    """huey messages as JSON, signed with the first of EXPORTS["QUEUE_KEYS"], verified with any of them."""

    def serialize(self, message: "Message") -> bytes:
        return signing.seal(json.dumps(list(message), separators=(",", ":")).encode(), PURPOSE)

    def deserialize(self, data: bytes) -> "Message":
        """Return the message. Raise BadMessage for a pickle, and for one that is not signed with a current key."""
        from huey.registry import Message

        return Message(*json.loads(signing.unseal(data, PURPOSE)))


def wake(queue_name: str) -> bool:
    """Send a message to the workers of this queue. Return False, and log why, if the queue's server is down."""
    try:
        from redis.exceptions import ConnectionError, ReadOnlyError

        huey, new_message = _sender(queue_name, config.REDIS_URL, key_prefix())
        faults.point("before_wake")
        try:
            huey.enqueue(new_message())
        except (ConnectionError, ReadOnlyError):
            # After a failover the first answer ends the connection to the old server; a new one leads to the other.
            huey.enqueue(new_message())
    except Exception as error:
        failures.report_outage(log, f"queue {queue_name} not woken", error)
        return False
    return True


def listen(queue_name: str, on_wake: Callback, **callbacks: Any) -> None:
    """Run a worker of this queue until the process is told to stop: see `queue.base.QueueBackend`."""
    consumer(queue_name, on_wake, **callbacks).run()


def is_served(queue_name: str) -> bool:
    """Return True if a worker of this queue has left a sign of life lately. Raise redis' errors."""
    workers = (sign for sign in presence.signs() if sign.role == presence.WORKER and sign.is_fresh)
    return any(sign.queue_name == queue_name for sign in workers)


def _nothing() -> None:
    """Do nothing: the default of callbacks."""


def consumer(
    queue_name: str,
    on_wake: Callback,
    *,
    stop: threading.Event,
    on_start: Callback = _nothing,
    on_poll: Callback = _nothing,
    on_exit: Callback = _nothing,
    on_ready: Callback = _nothing,
) -> "Consumer":
    """Return the huey consumer that `listen` runs, with one worker thread."""
    from huey.consumer import Consumer, Worker

    class WakeWorker(Worker):  # type: ignore[misc] # huey has no type hints
        def loop(self, now: datetime | None = None) -> None:
            # A process that was told to stop takes no more messages: they are for another worker.
            if stop.is_set():
                self.stop_flag.wait()
            else:
                # Called from the loop itself: a worker that hangs must not look like one that waits.
                on_poll()
                if time.monotonic() >= looks.next_at:
                    # Messages may be lost, or the server may refuse to give them.
                    look_for_exports.func()
                super().loop(now)
                if self.huey.is_down:
                    self.sleep()  # huey's own backoff, up to max_delay

    class WakeConsumer(Consumer):  # type: ignore[misc] # huey has no type hints
        worker_class = WakeWorker

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # SIGINT ends the process gracefully, as SIGTERM does.
            self._signal_actions[signal.SIGINT] = self._signal_actions[signal.SIGTERM]

        def start(self) -> None:
            super().start()
            on_ready()

        def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
            stop.set()
            super()._handle_signal(signum, frame)

    huey, looks = open_queue(queue_name), Looks(queue_name, on_wake, log)

    @huey.task(name=TASK_NAME)  # type: ignore[untyped-decorator] # huey has no type hints
    def look_for_exports() -> None:
        looks.look()
        if stop.is_set():
            # This message is used up, but the exports it was sent for may still wait.
            wake(queue_name)

    huey.on_startup(name="start")(on_start)
    huey.on_shutdown(name="exit")(on_exit)
    return WakeConsumer(
        huey,
        workers=1,
        worker_type="thread",
        periodic=False,
        # Measured after 30 s without Redis: a worker continues after 0.2 s, and after 2.4 s with huey's default.
        max_delay=1.0,
        shutdown_timeout=STOP_SECONDS,
        graceful_signal="TERM",
    )


def open_queue(queue_name: str, *, answer_seconds: float = WAIT_SECONDS) -> "RedisHuey":
    """Return a huey instance for one queue, without tasks. The project's own HUEY is left alone."""
    from huey import RedisHuey
    from redis.exceptions import RedisError

    class WakeQueue(RedisHuey):  # type: ignore[misc] # huey has no type hints
        is_down = False

        def dequeue(self) -> Any:
            """Return the next task, or None.

            huey itself would log a traceback for each message that is not signed and each try to reach the server.
            """
            try:
                task = super().dequeue()
            except signing.BadMessage as error:
                log.warning("%s", error)
                return None
            except RedisError as error:
                failures.report_outage(log, f"queue {queue_name}: its server is down, trying again", error)
                self.is_down = True
                return None
            if self.is_down:
                failures.end_outage()
                log.info("queue %s: its server is back", queue_name)
            self.is_down = False
            return task

        def execute(self, task: Any, timestamp: datetime | None = None) -> Any:
            """Run a task.

            huey would ask its result store first whether the task was revoked, where anyone who can write to Redis
            could stop the queue.
            """
            return task.execute()

        def read_schedule(self, timestamp: datetime | None = None) -> list[Any]:
            """Return no tasks: none is ever scheduled, so huey's scheduler need not ask the server every second."""
            return []

    return WakeQueue(
        f"{key_prefix()}.{queue_name}",
        clean_name=False,
        connection_pool=redis.connection_pool(config.REDIS_URL, answer_seconds),
        immediate=False,
        results=False,
        serializer=SignedJSONSerializer(),
    )


def pending(queue_name: str) -> int:
    """Return how many messages no worker has taken yet. Raise redis' errors."""
    return int(_sender(queue_name, config.REDIS_URL, key_prefix())[0].pending_count())


def is_signed_here(queue_name: str) -> bool:
    """Return True if the newest waiting message, if any, is signed with a key of this process. Raise redis' errors."""
    huey, _ = _sender(queue_name, config.REDIS_URL, key_prefix())
    newest = redis.client().lindex(huey.storage.queue_key, 0)
    try:
        return newest is None or bool(huey.serializer.deserialize(newest))
    except (ValueError, TypeError):
        return False


@cache
def _sender(queue_name: str, url: str, prefix: str) -> tuple["RedisHuey", Callable[[], Any]]:
    """Return the instance that sends, and what makes a message. Requests wait for it, so its timeout is short."""
    huey = open_queue(queue_name, answer_seconds=redis.SEND_SECONDS)
    # The registered name is this module's and TASK_NAME, as that of the worker's task.
    return huey, huey.task(name=TASK_NAME)(_nothing).s
