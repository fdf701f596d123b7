"""huey's receiving side: a bell means look. A consumer of our own for each queue."""

import logging
import signal
from collections.abc import Callable
from datetime import datetime
from types import FrameType
from typing import Any

from django.db import close_old_connections
from huey.consumer import Consumer, Worker

from exports.queue import base as queue
from exports.queue import huey as huey_queue
from exports.worker import loop, runner
from exports.worker import registry as worker_registry

log = logging.getLogger("exports.worker")

STOP_SECONDS = 25.0


class QueueWorker(Worker):
    """huey's worker, which takes no bell any more once the process was told to stop: it is for another one.

    It shows that it is here from the very loop that listens, so a worker that is stuck is not taken for an idle one.
    """

    def loop(self, now: datetime | None = None) -> None:
        if runner.stopping.is_set():
            self.stop_flag.wait()
        else:
            self.huey.presence.show()
            super().loop(now)


class QueueConsumer(Consumer):
    """huey's consumer, telling the run in progress to stop on SIGTERM and SIGINT, so that it gives its request back.

    `on_ready` is called once it listens, to bells and to signals.
    """

    worker_class = QueueWorker

    def __init__(self, *args: Any, on_ready: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signal_actions[signal.SIGINT] = self._signal_actions[signal.SIGTERM]
        self._on_ready = on_ready

    def start(self) -> None:
        super().start()
        self._on_ready()

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
        runner.stopping.set()
        super()._handle_signal(signum, frame)


def consumer(queue_name: str, *, on_ready: Callable[[], None] = lambda: None) -> QueueConsumer:
    """One worker thread that looks for due requests of this queue whenever the bell rings, and once at the start."""
    huey = huey_queue.queue(queue_name)
    huey.dequeue = _only_ours(huey.dequeue)
    huey.presence = worker_registry.Presence(worker_registry.WORKER, queue_name)

    @huey.task(name=huey_queue.TASK_NAME)
    def look() -> None:
        close_old_connections()
        loop.work_off(queue_name)
        if runner.stopping.is_set():
            # The bell is used up, but what it was rung for may still wait.
            queue.wake(queue_name)

    huey.on_startup(name="sweep")(runner.sweep_work_dirs)
    huey.on_startup(name="look")(lambda: look.func())
    huey.on_shutdown(name="leave")(huey.presence.leave)
    return QueueConsumer(
        huey,
        workers=1,
        worker_type="thread",
        periodic=False,
        max_delay=1.0,
        shutdown_timeout=STOP_SECONDS,
        graceful_signal="TERM",
        on_ready=on_ready,
    )


def _only_ours(dequeue: Callable[[], Any]) -> Callable[[], Any]:
    """huey's `dequeue`, with a line for a message that was not signed here: huey would log a traceback, and wait."""

    def next_bell() -> Any:
        try:
            return dequeue()
        except huey_queue.BadMessage as error:
            log.warning("%s", error)
            return None

    return next_bell
