"""Wake the workers of a queue."""

import logging

from django.utils.module_loading import import_string

from exports.conf import config
from exports.exceptions import describe_error

log = logging.getLogger("exports.queue")


def wake(queue_name: str) -> None:
    """Ring the bell of a queue, where one is configured; in cron mode there is none. Housekeeping rings again for a
    bell that is broken."""
    if not config.QUEUE_BACKEND:
        return
    try:
        import_string(config.QUEUE_BACKEND)(queue_name)
    except Exception as error:
        log.warning("bell of queue %s not rung: %s", queue_name, describe_error(error))
