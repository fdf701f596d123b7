"""What is unsafe once other people use the site: `manage.py check --deploy`. Each message says what to do.

What Django checks itself (DEBUG, SECRET_KEY, cookies, https) is left to it.
"""

import math
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from exports.conf import DAY, config
from exports.exporters import QuerySetExport, registry
from exports.exporters.base import TableExport

# A link that leaks, in a log or over a shoulder, opens the file for as long as it lasts.
LONGEST_TICKET = 300
UNBOUNDED = {
    "MAX_QUEUED_PER_USER": "one person can fill the queue",
    "MAX_RUNNING_PER_USER": "one person can hold every worker",
    "MAX_PER_USER_PER_DAY": "one person can ask without end",
    "MAX_RUNTIME_SECONDS": "a run may hold its worker for ever",
    "MAX_ROWS": "a file may grow until the disk is full",
    "MAX_BYTES": "a file may grow until the disk is full",
}
MAIL_FOR_DEVELOPMENT = ("console", "locmem", "dummy", "filebased")


def check_base_url(**kwargs: Any) -> Iterable[CheckMessage]:
    if not config.BASE_URL.startswith("https://"):
        hint = "Set EXPORTS['BASE_URL'] to the address people use, such as 'https://example.com'."
        yield checks.Warning("Mails need an https address to lead to.", hint=hint, id="exports.W002")


def check_abuse(**kwargs: Any) -> Iterable[CheckMessage]:
    """What one person, or one query, may take from all others."""
    for name, consequence in UNBOUNDED.items():
        if getattr(config, name) in (None, math.inf):
            hint = f"Give EXPORTS[{name!r}] a number; docs/settings.md has the default."
            yield checks.Warning(f"EXPORTS[{name!r}] is not set: {consequence}.", hint=hint, id="exports.W030")
    on_postgresql = any(connection.vendor == "postgresql" for connection in connections.all())
    if on_postgresql and not config.STATEMENT_TIMEOUT_SECONDS:
        hint = "Give EXPORTS['STATEMENT_TIMEOUT_SECONDS'] the seconds after which PostgreSQL ends a statement."
        yield checks.Warning("A query may outlive the run that asked for it.", hint=hint, id="exports.W031")


def check_retention(**kwargs: Any) -> Iterable[CheckMessage]:
    """Files that nobody removes, and links that last."""
    hint = "Give the seconds after which files, criteria and errors are removed; two days are the default."
    if config.RETENTION_SECONDS in (None, math.inf):
        yield checks.Warning(
            "EXPORTS['RETENTION_SECONDS'] is not set: files stay for ever.", hint=hint, id="exports.W032"
        )
    for export in _exports(TableExport):
        if export.retention_seconds == math.inf:
            yield checks.Warning(
                f"The files of {export.__name__} stay for ever.", hint=hint, obj=export, id="exports.W032"
            )
    if config.TICKET_MAX_AGE_SECONDS > LONGEST_TICKET:
        hint = "Set EXPORTS['TICKET_MAX_AGE_SECONDS'] to about a minute: pages get a new link for every click."
        yield checks.Warning(f"Links are good for {config.TICKET_MAX_AGE_SECONDS} s.", hint=hint, id="exports.W033")
    if config.TOKEN_MAX_AGE_SECONDS is None or config.TOKEN_MAX_AGE_SECONDS > 30 * DAY:
        hint = "Set EXPORTS['TOKEN_MAX_AGE_SECONDS'] to a day or so: a token is enough to get its file."
        yield checks.Warning("Tokens are good for more than a month.", hint=hint, id="exports.W034")


def check_content(**kwargs: Any) -> Iterable[CheckMessage]:
    for export in _exports(QuerySetExport):
        if export.for_machines:
            hint = "Leave `for_machines` out unless programs alone read these files, or silence this."
            yield checks.Warning(
                f"{export.__name__} may be had without the guard against formulas.",
                hint=hint,
                obj=export,
                id="exports.W035",
            )


def check_services(**kwargs: Any) -> Iterable[CheckMessage]:
    """Mails that nobody gets, events that no other process hears, pages that sockets trust."""
    if any(f".{name}." in settings.EMAIL_BACKEND for name in MAIL_FOR_DEVELOPMENT):
        hint = "Set EMAIL_BACKEND and EMAIL_HOST to a mail server."
        yield checks.Warning(f"{settings.EMAIL_BACKEND} mails nobody.", hint=hint, id="exports.W036")
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND", "")
    if layer.endswith("InMemoryChannelLayer"):
        hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer, or none at all: pages then ask for the state."
        yield checks.Warning("No process hears of what another one did.", hint=hint, id="exports.W037")
    for origin in config.SOCKET_ALLOWED_ORIGINS:
        if not origin.startswith("https://"):
            hint = "Name https origins alone in EXPORTS['SOCKET_ALLOWED_ORIGINS'], exactly as browsers send them."
            yield checks.Warning(f"Pages of {origin!r} may open a socket.", hint=hint, id="exports.W038")


def _exports(kind: type[Any]) -> list[Any]:
    handlers = dict.fromkeys(registry.handlers.values())
    return [handler for handler in handlers if isinstance(handler, type) and issubclass(handler, kind)]
