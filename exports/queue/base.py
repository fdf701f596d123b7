"""The interface to the queue: wake the workers of a queue, and listen to one.

A message only says that a worker should look for due exports. It carries no work, so it may be lost or doubled:
housekeeping wakes again what was not picked up. EXPORTS["QUEUE_BACKEND"] is the dotted path of the implementation, a
module with `wake` and `listen` as in `QueueBackend`, or a class with both as static methods; `is_served`, as in
`exports.queue.huey`, is optional. It is None where cron runs the exports.

Where workers of another library make the files, as Celery's do, a backend has no `listen`. It has WORKER_COMMAND, which
starts one of them, and they call `run_due`.
"""

import logging
import threading
import time
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from exports import failures
from exports.conf import LOCAL, config

log = logging.getLogger("exports.queue")

ANSWER_SECONDS = 5.0
_answers: dict[tuple[str | None, str], tuple[float, bool | None]] = {}

NOT_CONFIGURED = (
    "EXPORTS names no queue, and DEBUG is off. Set EXPORTS['REDIS_URL'] to the Redis of the workers, "
    "or EXPORTS['QUEUE_BACKEND'] to another queue, or to None where cron or a test runs the exports."
)


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


class QueueNotConfigured(ImproperlyConfigured):
    """Raised for a request on a site without a queue."""


def ensure_configured() -> None:
    """Raise QueueNotConfigured, and log it, if no queue is configured: a request would wait for ever.

    Cron mode needs none.
    """
    if config.QUEUE_BACKEND == "":
        log.error(NOT_CONFIGURED)
        raise QueueNotConfigured(NOT_CONFIGURED)


def is_served(queue_name: str) -> bool | None:
    """Return False if no worker waits for exports of this queue, and None if that is not known; ANSWER_SECONDS old.

    A worker that is making a file may not count: its row has a lease.
    """
    asked_at, answer = _answers.get((config.QUEUE_BACKEND, queue_name), (-ANSWER_SECONDS, None))
    if time.monotonic() - asked_at < ANSWER_SECONDS or not config.QUEUE_BACKEND:
        return answer
    answer = None
    try:
        # Any: an optional method of QueueBackend.
        implementation: Any = backend()
        if hasattr(implementation, "is_served"):
            answer = implementation.is_served(queue_name)
    except Exception as error:
        failures.report_outage(log, f"the workers of queue {queue_name} are not known", error)
    _answers[config.QUEUE_BACKEND, queue_name] = (time.monotonic(), answer)
    return answer


def listen(queue_name: str, on_wake: Callable[[], object], **callbacks: Any) -> None:
    """Run a worker of this queue until the process is told to stop: see `QueueBackend.listen`.

    Raise ImproperlyConfigured in cron mode, where no worker is woken, and if workers of another library make the files.
    """
    ensure_configured()
    if not config.QUEUE_BACKEND:
        raise ImproperlyConfigured("EXPORTS['QUEUE_BACKEND'] is None: run manage.py exports process instead.")
    if hasattr(backend(), "WORKER_COMMAND"):
        raise ImproperlyConfigured(f"{config.QUEUE_BACKEND} has workers already: run {worker_command(queue_name)}")
    backend().listen(queue_name, on_wake, **callbacks)


def run_due(queue_name: str) -> None:
    """Run the due exports of a queue in this process, a worker of another library."""
    # By its name, because workers import the queue.
    work_once: Callable[[str], int] = resolve_name("exports.worker.loop:work_once")
    work_once(queue_name)


def has_own_workers() -> bool:
    """Return True if `manage.py exports work` makes the files. Such workers leave signs of life in Redis."""
    return config.QUEUE_BACKEND not in (None, "", LOCAL) and not hasattr(backend(), "WORKER_COMMAND")


def worker_command(queue_name: str) -> str:
    """Return the command that starts a worker of this queue."""
    command: str = getattr(backend(), "WORKER_COMMAND", "manage.py exports work {queue_name}")
    return command.format(queue_name=queue_name)


def backend() -> QueueBackend:
    """Return the implementation that EXPORTS["QUEUE_BACKEND"] names. Raise ImportError or AttributeError."""
    found: QueueBackend = resolve_name(config.QUEUE_BACKEND or "")
    return found
