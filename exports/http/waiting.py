"""Wait in a request for the end of an export, for clients that ask for it."""

import threading
import time
from collections import Counter
from typing import Final

from django.db import connection

from exports.conf import config
from exports.models import FileRequest

MAX_WAITING: Final = 16
MAX_WAITING_PER_USER: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.1
LAST_PAUSE_SECONDS: Final = 1.0

# How many requests of each user wait in this process.
_waiting: Counter[str] = Counter()
_counting = threading.Lock()


def wait_until_ended(export: FileRequest, seconds: float) -> float:
    """Wait until the export has ended, for at most `seconds` and EXPORTS["MAX_WAIT_SECONDS"], and read it again.

    Return for how many seconds it would have waited: 0 where it does not wait at all. A waiting request holds a thread,
    so only MAX_WAITING of a process wait, and MAX_WAITING_PER_USER of one user. Inside a transaction no request waits:
    no worker would see the export before it ends.
    """
    seconds = min(seconds, config.MAX_WAIT_SECONDS)
    user = str(export.requester_id)
    if seconds <= 0 or connection.in_atomic_block:
        return 0.0
    with _counting:
        if _waiting.total() >= MAX_WAITING or _waiting[user] >= MAX_WAITING_PER_USER:
            return 0.0
        _waiting[user] += 1
    try:
        active = FileRequest.objects.active().filter(pk=export.pk)
        ends, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
        while (left := ends - time.monotonic()) > 0 and active.exists():
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LAST_PAUSE_SECONDS)
    finally:
        with _counting:
            _waiting[user] -= 1
            if not _waiting[user]:
                del _waiting[user]
    export.refresh_from_db()
    return seconds
