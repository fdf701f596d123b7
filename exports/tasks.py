"""huey's receiving side: a bell means look. A consumer of our own for each lane."""

import logging
import signal
from types import FrameType
from typing import Any

from django.db import close_old_connections
from huey.consumer import Consumer

from exports import doorbell, runner
from exports.patterns import registry

log = logging.getLogger("exports.worker")

STOP_SECONDS = 25.0


class LaneConsumer(Consumer):
    """huey's consumer, telling the run in progress to stop on SIGTERM and SIGINT, so that it gives its request back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signal_actions[signal.SIGINT] = self._signal_actions[signal.SIGTERM]

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
        runner.stopping.set()
        super()._handle_signal(signum, frame)


def consumer(lane: str) -> LaneConsumer:
    """One worker thread that looks for due requests of this lane whenever the bell rings, and once at the start."""
    huey = doorbell.queue(lane)

    @huey.task(name=doorbell.TASK_NAME)
    def look() -> None:
        close_old_connections()
        registry.work_off(lane)

    huey.on_startup(name="sweep")(runner.sweep_work_dirs)
    huey.on_startup(name="look")(lambda: look.func())
    return LaneConsumer(
        huey,
        workers=1,
        worker_type="thread",
        periodic=False,
        max_delay=1.0,
        shutdown_timeout=STOP_SECONDS,
        graceful_signal="TERM",
    )
