"""The queue of development: its workers are threads of the process that serves the pages, so nothing is to be started.

`exports.http.development` starts them. A wake-up from another process, such as a shell, is not heard: the workers find
its exports after WAKE_AGAIN_SECONDS.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from exports.queue.looks import Looks

log = logging.getLogger("exports.queue.local")

POLL_SECONDS = 1.0

Callback = Callable[[], object]

_woken: defaultdict[str, threading.Event] = defaultdict(threading.Event)
_workers: dict[str, threading.Thread] = {}


def wake(queue_name: str) -> None:
    """Wake the worker of this queue, if it is a thread of this process."""
    _woken[queue_name].set()


def listen(
    queue_name: str,
    on_wake: Callback,
    *,
    stop: threading.Event,
    on_start: Callback,
    on_poll: Callback,
    on_exit: Callback,
    on_ready: Callback,
) -> None:
    """Work in the calling thread until `stop` is set: see `queue.base.QueueBackend`."""
    woken = _woken[queue_name]
    _workers[queue_name] = threading.current_thread()
    looks = Looks(queue_name, on_wake, log)
    try:
        on_start()
        on_ready()
        while not stop.is_set():
            on_poll()
            if woken.is_set() or time.monotonic() >= looks.next_at:
                woken.clear()
                looks.look()
            woken.wait(POLL_SECONDS)
    finally:
        on_exit()


def is_served(queue_name: str) -> bool | None:
    """Return True while the worker of this queue lives in this process; None in a process that has had none."""
    worker = _workers.get(queue_name)
    return None if worker is None else worker.is_alive()
