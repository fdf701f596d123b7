"""Check what is unsafe once other people use the site: `manage.py check --deploy`.

What Django checks itself (DEBUG, SECRET_KEY, cookies, HTTPS) is left to Django.
"""

import math
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from exports import notifications
from exports.checks.registration import check_each, register, registered_classes
from exports.conf import DAY, config
from exports.exporters import QuerySetExport
from exports.exporters.base import TableExport

# A leaked link, in a log or on a screenshot, opens the file until it expires.
MAX_TICKET_AGE_SECONDS = 300
LIMITS = {
    "MAX_QUEUED_PER_USER": "one user can fill the queue",
    "MAX_RUNNING_PER_USER": "one user can occupy every worker",
    "MAX_PER_USER_PER_DAY": "one user can request any number of files",
    "MAX_RUNTIME_SECONDS": "a run can occupy its worker forever",
    "MAX_ROWS": "a file can grow until the disk is full",
    "MAX_BYTES": "a file can grow until the disk is full",
}
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
DEVELOPMENT_MAIL_BACKENDS = ("console", "locmem", "dummy", "filebased")


@register(deploy=True)
def check_base_url() -> Iterator[CheckMessage]:
    """Report a BASE_URL with which links in mails do not work, or work without HTTPS."""
    hint = "Set EXPORTS['BASE_URL'] to the address that users open, such as 'https://example.com'."
    if callable(config.BASE_URL):
        return
    parts = urlsplit(config.BASE_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"EXPORTS['BASE_URL'] is {config.BASE_URL!r}, not an absolute URL: links in mails do not work."
        yield checks.Error(message, hint=hint, id="exports.E035")
    elif parts.hostname in LOCAL_HOSTS:
        message = f"Links in mails lead to {config.BASE_URL}, the recipient's own machine."
        yield checks.Warning(message, hint=hint, id="exports.W002")
    elif parts.scheme != "https":
        yield checks.Warning(f"Links in mails lead to {config.BASE_URL}, without HTTPS.", hint=hint, id="exports.W002")


@register(deploy=True)
def check_limits() -> Iterator[CheckMessage]:
    """Warn about limits that are off, so that one user or one query can take everything."""
    for name, consequence in LIMITS.items():
        if getattr(config, name) in (None, math.inf):
            hint = f"Set EXPORTS[{name!r}] to a number; docs/settings.md has the default."
            yield checks.Warning(f"EXPORTS[{name!r}] is not set: {consequence}.", hint=hint, id="exports.W030")
    uses_postgresql = any(connection.vendor == "postgresql" for connection in connections.all())
    if uses_postgresql and not config.STATEMENT_TIMEOUT_SECONDS:
        hint = "Set EXPORTS['STATEMENT_TIMEOUT_SECONDS'] to the seconds after which PostgreSQL cancels a statement."
        yield checks.Warning("A query may outlive the run that started it.", hint=hint, id="exports.W031")


@register(deploy=True)
def check_retention() -> Iterator[CheckMessage]:
    """Warn about files that are never deleted, and about links that are valid for long."""
    hint = "Set the seconds after which files, criteria and errors are deleted; two days are the default."
    if config.RETENTION_SECONDS in (None, math.inf):
        message = "EXPORTS['RETENTION_SECONDS'] is not set: files are never deleted."
        yield checks.Warning(message, hint=hint, id="exports.W032")
    for export in registered_classes(TableExport):
        if export.retention_seconds == math.inf:
            message = f"The files of {export.__name__} are never deleted."
            yield checks.Warning(message, hint=hint, obj=export, id="exports.W032")
    if config.TICKET_MAX_AGE_SECONDS > MAX_TICKET_AGE_SECONDS:
        message = f"Download links are valid for {config.TICKET_MAX_AGE_SECONDS} s."
        hint = "Set EXPORTS['TICKET_MAX_AGE_SECONDS'] to about a minute: pages get a new link for each click."
        yield checks.Warning(message, hint=hint, id="exports.W033")
    if config.TOKEN_MAX_AGE_SECONDS is None or config.TOKEN_MAX_AGE_SECONDS > 30 * DAY:
        hint = "Set EXPORTS['TOKEN_MAX_AGE_SECONDS'] to about a day: a token is enough to download its file."
        yield checks.Warning("Tokens are valid for more than a month.", hint=hint, id="exports.W034")


@check_each(QuerySetExport, deploy=True)
def check_formula_escaping(export: type[QuerySetExport]) -> Iterator[CheckMessage]:
    """Warn about exports that may be downloaded without escaped formulas, and about such columns."""
    if export.for_machines:
        message = f"{export.__name__} can be downloaded without escaped formulas."
        hint = "Remove `for_machines` unless only programs read these files, or silence this check."
        yield checks.Warning(message, hint=hint, obj=export, id="exports.W035")
    if raw := [column.name for column in export.columns if column.formulas == "raw"]:
        message = f"{export.__name__} writes columns without escaped formulas: {', '.join(raw)}."
        hint = "Remove formulas='raw' from columns whose text a user can choose, or silence this check."
        yield checks.Warning(message, hint=hint, obj=export, id="exports.W035")


@register(deploy=True)
def check_mail_backend() -> Iterator[CheckMessage]:
    """Warn about a mail backend that delivers nothing."""
    backend = notifications.backend_path()
    if any(f".{name}." in backend for name in DEVELOPMENT_MAIL_BACKENDS):
        hint = "Set EMAIL_BACKEND and EMAIL_HOST to a mail server; from Django 6.1 on, MAILERS."
        yield checks.Warning(f"{backend} delivers no mail.", hint=hint, id="exports.W036")


def channel_layer_backend() -> str:
    """Return the dotted path of the default channel layer, or "" if there is none."""
    backend: str = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND", "")
    return backend


@register(deploy=True)
def check_channel_layer() -> Iterator[CheckMessage]:
    """Warn about a channel layer that connects nothing. Without any layer pages poll, which is fine."""
    if channel_layer_backend().endswith("InMemoryChannelLayer"):
        message = "The channel layer lives in the memory of one process: the others do not receive its events."
        hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer, or no channel layer: pages then poll."
        yield checks.Warning(message, hint=hint, id="exports.W037")


@register()
def check_idle_sockets() -> Iterator[CheckMessage]:
    """Warn about the core layer of channels_redis with redis-py 8, whose timeout ends its wait for messages.

    The layer asks the server to hold an empty answer back for five seconds (channels_redis issue 422).
    """
    if channel_layer_backend() != "channels_redis.core.RedisChannelLayer" or int(version("redis").split(".")[0]) < 8:
        return
    layer: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
    hosts = layer.get("CONFIG", {}).get("hosts") or [""]
    if not all(isinstance(host, dict) and "socket_timeout" in host for host in hosts):
        message = "With redis-py 8 the core layer of channels_redis closes idle sockets every five seconds."
        hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer, redis<8, or hosts with 'socket_timeout': None."
        yield checks.Warning(message, hint=hint, id="exports.W058")


@register(deploy=True)
def check_socket_origins() -> Iterator[CheckMessage]:
    """Warn about origins without HTTPS whose pages may open a socket."""
    for origin in config.SOCKET_ALLOWED_ORIGINS:
        if not origin.startswith("https://"):
            hint = "Name only https origins in EXPORTS['SOCKET_ALLOWED_ORIGINS'], exactly as browsers send them."
            yield checks.Warning(f"Pages of {origin!r} may open a socket.", hint=hint, id="exports.W038")
