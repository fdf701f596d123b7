"""Logging to stderr, one line a record, so that any collector of lines can carry it."""

import logging
from typing import Any


class OneLine(logging.Formatter):
    """A traceback goes onto the line of its record, its own lines joined by " | "."""

    def format(self, record: logging.LogRecord) -> str:
        return " | ".join(line for line in super().format(record).splitlines() if line.strip())


def configuration(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"()": "project.logs.OneLine", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # Below INFO it logs every query with its values, which are row data.
            "django.db.backends": {"level": "INFO"},
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
