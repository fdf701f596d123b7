"""The worker of a development server: threads beside those that serve the pages, for EXPORTS["QUEUE_BACKEND"] local.

They start with the first request or socket that this process serves: so neither in other management commands nor in
the process that only watches the files for changes.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import DatabaseError, InterfaceError, connections

from exports import failures, housekeeping
from exports.conf import LOCAL, config
from exports.exceptions import UnsafeWorkDir
from exports.models import FileRequest, Status, transitions
from exports.queue import base as queue
from exports.worker import loop, runner

log = logging.getLogger("exports.development")

TRY_AGAIN_SECONDS = 2.0

_starting = threading.Lock()
# Functions of atexit are called after the thread pools of Python have closed, in which a run may be compressing: it
# would fail instead of being given back. Those of threading come before. Checked in Python 3.11 to 3.14.
_at_exit: Callable[..., object] = getattr(threading, "_register_atexit", atexit.register)


def on_request(sender: Any, **kwargs: Any) -> None:
    """Start the workers when a server calls Django's handler. Receiver of `request_started`; test clients differ."""
    if isinstance(sender, type) and issubclass(sender, ASGIHandler | WSGIHandler):
        start()


def start() -> None:
    """Start the workers and housekeeping in this process, once; do nothing with any other queue."""
    if config.QUEUE_BACKEND == LOCAL:
        with _starting:
            _start(os.getpid())


@cache
def _start(pid: int) -> None:
    """Start the threads of this process; a forked child starts its own."""
    log.warning("exports are made by threads of this process: the queue %s is for development only", LOCAL)
    threads = [threading.Thread(target=_work, args=[name], name=f"exports-{name}") for name in config.QUEUES]
    threads.append(threading.Thread(target=_housekeep, name="exports-housekeep"))
    _at_exit(_stop, threads)
    for thread in threads:
        thread.daemon = True
        thread.start()


def _stop(threads: list[threading.Thread]) -> None:
    """Let each run give its export back, which the next process makes: a server restarts whenever a file changes."""
    runner.stopping.set()
    for name in config.QUEUES:
        queue.wake(name)
    ends_at = time.monotonic() + config.SHUTDOWN_GRACE_SECONDS
    for thread in threads:
        thread.join(max(ends_at - time.monotonic(), 0.0))


def _work(queue_name: str) -> None:
    try:
        _wait_for_tables()
        _release_orphans(queue_name)
        loop.work(queue_name, may_exit_process=False)
    except UnsafeWorkDir as error:
        log.error("no worker of queue %s: %s", queue_name, error)
    finally:
        connections.close_all()


def _housekeep() -> None:
    try:
        _wait_for_tables()
        housekeeping.run_forever(runner.stopping)
    finally:
        connections.close_all()


def _wait_for_tables() -> None:
    """Return once the tables of the app can be read: a server may run before `manage.py migrate`."""
    while not runner.stopping.is_set():
        try:
            FileRequest.objects.exists()
        except (DatabaseError, InterfaceError) as error:
            failures.report_outage(log, "no exports are made: has manage.py migrate been run?", error)
            connections.close_all()
            runner.stopping.wait(TRY_AGAIN_SECONDS)
        else:
            return


def _release_orphans(queue_name: str) -> None:
    """Give back what a killed process of this host was making, which would wait for its lease to expire.

    uvicorn ends the process by a signal when a file changes, without a chance to stop the run.
    """
    owned = FileRequest.objects.filter(status=Status.RUNNING, queue_name=queue_name)
    for export in owned.filter(lease_owner__startswith=f"{socket.gethostname()}:"):
        pid = int(export.lease_owner.split(":")[-2])
        if pid == os.getpid() or not _is_running(pid):
            transitions.release(transitions.Claim(export.pk, export.epoch, "", export.file_type))


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        # There, the signal 0 would end the process.
        return True
    try:
        os.kill(pid, 0)
    except OSError as error:
        # Of a process of another user it says that this one may not signal it.
        return not isinstance(error, ProcessLookupError)
    return True
