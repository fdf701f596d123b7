"""Logging to stderr with one line per record, as text or as JSON, so that any log collector can read it."""

import json
import logging
import traceback
from copy import copy
from datetime import UTC, datetime
from typing import Any

from exports.signing import SIGNED

FORMATS = ("text", "json")
EXCEPTIONS = PLACES, FULL = ("places", "full")

# The beginning of the app's messages about one request.
REQUEST, EPOCH = "request %s", "request %s epoch %d"


class OneLine(logging.Formatter):
    """Format a record as one line. Of an exception it shows the type and places, not the message with its row data.

    With `exceptions` "full" the message and the whole traceback follow on indented lines: for development.
    """

    def __init__(self, fmt: str | None = None, *, exceptions: str = PLACES) -> None:
        super().__init__(fmt)
        self._exceptions = exceptions

    def format(self, record: logging.LogRecord) -> str:
        if self._exceptions == FULL:
            # Indented, so that no line of a message looks like another record.
            return SIGNED.sub("(signed)", "\n    ".join(super().format(record).splitlines()))
        # A copy without a traceback, which another handler may have cached on the record.
        bare = copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        lines = super().format(bare).splitlines()
        if record.exc_info and record.exc_info[0] is not None:
            lines += [record.exc_info[0].__name__, *places(record.exc_info)]
        return SIGNED.sub("(signed)", " | ".join(line for line in lines if line.strip()))


class JSONLines(logging.Formatter):
    """Format a record as a JSON object on one line, with the type and places of an exception, not its message.

    With `exceptions` "full" it has the message and the whole traceback too.
    """

    def __init__(self, *, exceptions: str = PLACES) -> None:
        super().__init__()
        self._exceptions = exceptions

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.msg, str) and isinstance(record.args, tuple) and record.msg.startswith(REQUEST):
            line["request"] = str(record.args[0])
            if record.msg.startswith(EPOCH):
                line["epoch"] = record.args[1]
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"exception": record.exc_info[0].__name__, "trace": places(record.exc_info)}
            if self._exceptions == FULL:
                line["traceback"] = self.formatException(record.exc_info)
        return SIGNED.sub("(signed)", json.dumps(line, default=str, ensure_ascii=False))


class NotProbes(logging.Filter):
    """Drop Django's records about the health pages, which a load balancer requests every second."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(getattr(record, "request", None), "path", "").startswith("/health/")


def places(exc_info: Any) -> list[str]:
    """Return the places of a traceback, the innermost last."""
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(exc_info[2])]


def configuration(level: str, *, format: str = "text", exceptions: str = PLACES) -> dict[str, Any]:
    """Return Django's LOGGING setting."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": "project.logs.OneLine",
                "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
                "exceptions": exceptions,
            },
            "json": {"()": "project.logs.JSONLines", "exceptions": exceptions},
        },
        "filters": {"not probes": {"()": "project.logs.NotProbes"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": format, "filters": ["not probes"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # Below INFO it logs every query with its values, which are row data.
            "django.db.backends": {"level": "INFO"},
            # It logs a traceback for each check that fails; the app logs one line when the result changes.
            "health_check": {"level": "CRITICAL"},
            # Below INFO they log requests with their signatures.
            **{name: {"level": "INFO"} for name in ("boto3", "botocore", "s3transfer", "urllib3")},
            **{name: {"level": "WARNING"} for name in ("daphne", "twisted", "asyncio")},
        },
    }
