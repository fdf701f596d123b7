"""The interface to the queue: wake the workers of a queue, and listen to one.

A message only says that a worker should look for due exports. It carries no work, so it may be lost or doubled:
housekeeping wakes again what was not picked up. EXPORTS["QUEUE_BACKEND"] is the dotted path of the implementation, a
module with `wake` and `listen` as in `QueueBackend`, or a class with both as static methods. It is None where cron runs
the exports.

Where workers of another library make the files, as Celery's do, a backend has no `listen`. It has WORKER_COMMAND, which
starts one of them, and they call `run_due`.
"""

import logging
import threading
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from exports import failures
from exports.conf import config

log = logging.getLogger("exports.queue")


class QueueBackend(Protocol):
    """What EXPORTS["QUEUE_BACKEND"] names."""

    def wake(self, queue_name: str) -> object:
        """Send a message to the workers of a queue. Errors are logged by the caller."""

    def listen(
        self,
        queue_name: str,
        on_wake: Callable[[], object],
        *,
        stop: threading.Event,
        on_start: Callable[[], object],
        on_poll: Callable[[], object],
        on_exit: Callable[[], object],
        on_ready: Callable[[], object],
    ) -> None:
        """Call `on_wake` for each message, at the start, and every WAKE_AGAIN_SECONDS, until told to stop.

        Args:
            queue_name: The queue.
            on_wake: Runs what is due. It is called in one thread, one call after the other. If it raises, it is called
                again soon without a message: the message that it was called for is used up.
            stop: Set on SIGTERM and SIGINT, so that `on_wake` returns soon.
            on_start: Called in that thread before it listens.
            on_poll: Called in that thread about once a second while it waits.
            on_exit: Called in that thread when it ends.
            on_ready: Called once messages and signals are listened to.

        """


def wake(queue_name: str) -> None:
    """Ask a worker of this queue to look for due exports. Does nothing in cron mode; an error is logged."""
    if not config.QUEUE_BACKEND:
        return
    try:
        backend().wake(queue_name)
    except Exception as error:
        failures.report(log, "queue %s not woken: %s", queue_name, error=error)


def listen(queue_name: str, on_wake: Callable[[], object], **callbacks: Any) -> None:
    """Run a worker of this queue until the process is told to stop: see `QueueBackend.listen`.

    Raise ImproperlyConfigured in cron mode, where no worker is woken, and if workers of another library make the files.
    """
    if not config.QUEUE_BACKEND:
        raise ImproperlyConfigured("EXPORTS['QUEUE_BACKEND'] is None: run manage.py exports process instead.")
    if not has_own_workers():
        raise ImproperlyConfigured(f"{config.QUEUE_BACKEND} has workers already: run {worker_command(queue_name)}")
    backend().listen(queue_name, on_wake, **callbacks)


def run_due(queue_name: str) -> None:
    """Run the due exports of a queue in this process, a worker of another library."""
    # By its name, because workers import the queue.
    work_once: Callable[[str], int] = resolve_name("exports.worker.loop:work_once")
    work_once(queue_name)


def has_own_workers() -> bool:
    """Return True if `manage.py exports work` makes the files. Such workers leave signs of life in Redis."""
    return bool(config.QUEUE_BACKEND) and not hasattr(backend(), "WORKER_COMMAND")


def worker_command(queue_name: str) -> str:
    """Return the command that starts a worker of this queue."""
    command: str = getattr(backend(), "WORKER_COMMAND", "manage.py exports work {queue_name}")
    return command.format(queue_name=queue_name)


def backend() -> QueueBackend:
    """Return the implementation that EXPORTS["QUEUE_BACKEND"] names. Raise ImportError or AttributeError."""
    found: QueueBackend = resolve_name(config.QUEUE_BACKEND or "")
    return found
