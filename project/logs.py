"""Logging to stderr, one line a record, so that any collector of lines can carry it: as text, or as JSON."""

import json
import logging
import re
import traceback
from copy import copy
from datetime import UTC, datetime
from typing import Any

FORMATS = ("text", "json")
EXCEPTIONS = PLACES, FULL = ("places", "full")

# What Django's signer makes with a time in it: download links and tokens, which open a file for whoever has one.
SIGNED = re.compile(r"[\w.=-]+:[0-9A-Za-z]{6}:[\w-]{43}")
# How the app names a request in its messages.
REQUEST, EPOCH = "request %s", "request %s epoch %d"


class OneLine(logging.Formatter):
    """A record on a line. Of an exception its type and places, not its message, which may hold row data.

    With `exceptions` "full" the whole traceback, its lines joined by " | ": for development.
    """

    def __init__(self, fmt: str | None = None, *, exceptions: str = PLACES) -> None:
        super().__init__(fmt)
        self._exceptions = exceptions

    def format(self, record: logging.LogRecord) -> str:
        lines = self._lines(record) if self._exceptions == FULL else self._lines_without_words(record)
        return without_tickets(" | ".join(line for line in lines if line.strip()))

    def _lines(self, record: logging.LogRecord) -> list[str]:
        return super().format(record).splitlines()

    def _lines_without_words(self, record: logging.LogRecord) -> list[str]:
        # A copy: other handlers get the record too, and one before may have left its traceback on it.
        bare = copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        lines = self._lines(bare)
        if record.exc_info and record.exc_info[0] is not None:
            lines += [record.exc_info[0].__name__, *places(record.exc_info)]
        return lines


class JSONLines(logging.Formatter):
    """A JSON object a line. Of an exception its type and places, not its message, which may hold row data."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= named(record) | getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"exception": record.exc_info[0].__name__, "trace": places(record.exc_info)}
        return without_tickets(json.dumps(line, default=str, ensure_ascii=False))


class NotProbes(logging.Filter):
    """Drops what Django says of the health pages: a balancer asks every second, and the app logs each change."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(getattr(record, "request", None), "path", "").startswith("/health/")


def without_tickets(line: str) -> str:
    return SIGNED.sub("(signed)", line)


def named(record: logging.LogRecord) -> dict[str, Any]:
    """The request, and the epoch, that a message begins with."""
    if not (isinstance(record.msg, str) and isinstance(record.args, tuple) and record.msg.startswith(REQUEST)):
        return {}
    names = ("request", "epoch") if record.msg.startswith(EPOCH) else ("request",)
    return dict(zip(names, (str(record.args[0]), *record.args[1:]), strict=False))


def places(exc_info: Any) -> list[str]:
    """Where an exception came by, the innermost last."""
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(exc_info[2])]


def configuration(level: str, *, format: str = "text", exceptions: str = PLACES) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": "project.logs.OneLine",
                "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
                "exceptions": exceptions,
            },
            "json": {"()": "project.logs.JSONLines"},
        },
        "filters": {"not probes": {"()": "project.logs.NotProbes"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": format, "filters": ["not probes"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # Below INFO it logs every query with its values, which are row data.
            "django.db.backends": {"level": "INFO"},
            # A traceback for every probe of a service that is away; the app logs one line when that changes.
            "health_check": {"level": "CRITICAL"},
            # Below INFO they log requests with their signatures.
            "boto3": {"level": "INFO"},
            "botocore": {"level": "INFO"},
            "s3transfer": {"level": "INFO"},
            "urllib3": {"level": "INFO"},
            "daphne": {"level": "WARNING"},
            "twisted": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }
