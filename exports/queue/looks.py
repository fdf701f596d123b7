"""When a worker looks for due exports, besides when it is woken."""

import logging
import time
from collections.abc import Callable

from django.db import close_old_connections

from exports import failures
from exports.conf import config

LOOK_AGAIN_SECONDS = 1.0
"""How long after a look that failed the next one begins; twice as long after each further failure."""


class Looks:
    """Looks for due exports of a queue: when a message came, and at `next_at` (of time.monotonic) at the latest."""

    def __init__(self, queue_name: str, on_wake: Callable[[], object], log: logging.Logger) -> None:
        self.next_at = 0.0
        self._queue_name, self._on_wake, self._log = queue_name, on_wake, log
        self._failed_in_a_row = 0

    def look(self) -> None:
        """Look now. After an error, which is logged, the next look is soon: no further message may come."""
        try:
            close_old_connections()
            self._on_wake()
        except Exception as error:
            pause = min(LOOK_AGAIN_SECONDS * 2**self._failed_in_a_row, config.WAKE_AGAIN_SECONDS)
            self._failed_in_a_row = min(self._failed_in_a_row + 1, 16)
            message = "queue %s: the look for exports failed, the next is in %.0f s: %s"
            failures.report(self._log, message, self._queue_name, pause, error=error)
        else:
            pause, self._failed_in_a_row = config.WAKE_AGAIN_SECONDS, 0
        self.next_at = time.monotonic() + pause
