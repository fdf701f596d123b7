"""The settings of the app: `EXPORTS = {...}` in the project's settings, read each time they are used.

`docs/settings.md` lists them. Durations are in seconds and sizes in bytes.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.urls import URLResolver, get_resolver, get_urlconf, reverse
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from pathlib import Path

    from django.core.files.storage import Storage

HOUR = 3600
DAY = 24 * HOUR
GIB = 1 << 30
HUEY, LOCAL = "exports.queue.huey", "exports.queue.local"
"""The queue of production, and that of a development server."""


class Settings:
    """Each setting with its type and its default."""

    # Runs
    LEASE_SECONDS: float = 60.0
    HEARTBEAT_SECONDS: float = 15.0
    PROGRESS_INTERVAL_SECONDS: float = 0.25
    STALL_TIMEOUT_SECONDS: float = 600.0
    MAX_RUNTIME_SECONDS: float | None = 6 * HOUR
    SHUTDOWN_GRACE_SECONDS: float = 20.0
    STATEMENT_TIMEOUT_SECONDS: float | None = 6 * HOUR
    MAX_ROWS: int | None = 50_000_000
    MAX_BYTES: int | None = 50 * GIB
    MIN_FREE_DISK_BYTES: int = GIB
    MAX_ATTEMPTS: int = 3
    MAX_CRASHES: int = 3
    RETRY_DELAY_SECONDS: float = 5.0
    BATCH_ROWS: int = 500
    MAX_PROCESSES: int | None = None
    DEFLATE_ENGINE: str | None = None
    DEFLATE_LEVEL: int | None = None
    WORK_DIR: str | Path = ""
    # The queue
    REDIS_URL: str = "redis://127.0.0.1:6379/0"
    QUEUE_BACKEND: str | None = ""
    QUEUE_PREFIX: str = "exports"
    QUEUE_KEYS: str | Sequence[str] | None = None
    QUEUES: Sequence[str] = ("large", "small")
    SMALL_QUEUE_MAX_ROWS: int = 10_000
    MAX_QUEUED_PER_USER: int | None = 20
    MAX_RUNNING_PER_USER: int | None = 2
    MAX_PER_USER_PER_DAY: int | None = 500
    REUSE_WITHIN_SECONDS: float = 3.0
    QUEUE_TIMEOUT_SECONDS: float = DAY
    WAKE_AGAIN_SECONDS: float = 20.0
    HOUSEKEEPING_INTERVAL_SECONDS: float = 15.0
    # Requests
    MAX_BODY_BYTES: int = 1 << 18
    MAX_CRITERIA_BYTES: int = 1 << 16
    MAX_ESTIMATES_PER_MINUTE: int = 60
    ESTIMATE_SECONDS: float = 1.0
    MAX_WAIT_SECONDS: float = 30.0
    MAX_DOWNLOADS_PER_USER: int | None = 16
    # Files and links
    UPLOAD_TO: str = ""
    STORAGE: Storage | Callable[[], Storage] | str | None = None
    RETENTION_SECONDS: float | None = 2 * DAY
    FILE_DELETE_DELAY_SECONDS: float = HOUR
    HISTORY_SECONDS: float = 30 * DAY
    TICKET_KEYS: str | Sequence[str] | None = None
    TICKET_MAX_AGE_SECONDS: int = 60
    PUBLIC_LINK_MAX_AGE_SECONDS: float = HOUR
    BUCKET_URL_MAX_AGE_SECONDS: int = HOUR
    ACCEL_REDIRECT: str | None = None
    FEED_WAIT_SECONDS: float = 20.0
    INLINE_MAX_ROWS: int = 1000
    STORED_MAX_ROWS: int = 100_000
    # Tokens and criteria of dj-bgfiles' patterns
    # Any object with `load`, `dump` and `max_age`; any class with `dumps` and `loads`; or the dotted path of one.
    TOKEN_SIGNER: Any = None
    TOKEN_KEY: str | None = None
    TOKEN_SALT: str | None = None
    TOKEN_SERIALIZER: Any = None
    TOKEN_MAX_AGE_SECONDS: int | None = DAY
    CRITERIA_ENCODING: str | None = None
    # Mail
    BASE_URL: str | Callable[[str], str] = ""
    FROM_EMAIL: str | None = None
    MAIL_DELAY_SECONDS: float = 10.0
    MAIL_RETRY_SECONDS: float = 3 * DAY
    MAIL_UNSUBSCRIBE_URL: str | None = None
    SEND_MAILS: bool | str = True
    # Webhooks
    WEBHOOKS: bool = False
    WEBHOOK_KEYS: str | Sequence[str] | None = None
    WEBHOOK_ALLOWED_NETWORKS: Sequence[str] = ()
    WEBHOOK_TIMEOUT_SECONDS: float = 10.0
    WEBHOOK_RETRY_SECONDS: float = 3 * DAY
    WEBHOOK_DISABLE_SECONDS: float = 5 * DAY
    WEBHOOK_ROTATION_SECONDS: float = DAY
    # Users and tenants
    AUTHENTICATE: Callable[..., Any] | str | None = None
    ACCESS_TOKENS: bool = True
    ACCESS_TOKEN_MAX_AGE_SECONDS: float | None = 365 * DAY
    TENANT_OF: Callable[..., Any] | str | None = None
    TENANT_CONTEXT: Callable[..., Any] | str | None = None
    # WebSockets
    SOCKET_ALLOWED_ORIGINS: Sequence[str] = ()
    SOCKET_IDLE_TIMEOUT_SECONDS: float = 75.0
    SOCKET_MAX_FRAME_BYTES: int = 1024
    SOCKET_MAX_FRAMES_PER_SECOND: int = 5
    SOCKET_RECHECK_SECONDS: float = 60.0
    MAX_SOCKETS_PER_USER: int | None = 5
    SNAPSHOT_MAX_EXPORTS: int = 50
    # Permissions
    SENSITIVE_FIELDS: Sequence[str] = (
        *("*password*", "*secret*", "token", "*_token", "api_key", "*_api_key", "private_key", "*_private_key"),
        *("session_key", "session_data"),
    )
    # The audit log
    AUDIT_RETENTION_SECONDS: float | None = 365 * DAY
    AUDIT_KEYS: str | Sequence[str] | None = None
    TRUSTED_PROXIES: Sequence[str] = ()
    # Operations
    LOG_EXCEPTIONS: bool | None = None
    METRICS_TOKEN: str | None = None
    METRICS_WINDOW_SECONDS: float = HOUR

    def unknown(self) -> list[str]:
        """Return the names in EXPORTS that are not settings of this app."""
        return sorted(set(getattr(django_settings, "EXPORTS", {})) - set(DEFAULTS))


DEFAULTS: dict[str, Any] = {name: default for name, default in vars(Settings).items() if name.isupper()}

# The names of dj-bgfiles and similar helpers. They apply to settings that EXPORTS does not contain.
DJ_BGFILES_NAMES = {
    "TOKEN_SIGNER": "BGFILES_DEFAULT_SIGNER",
    "TOKEN_KEY": "BGFILES_DEFAULT_KEY",
    "TOKEN_SALT": "BGFILES_DEFAULT_SALT",
    "TOKEN_SERIALIZER": "BGFILES_DEFAULT_SERIALIZER",
    "TOKEN_MAX_AGE_SECONDS": "BGFILES_DEFAULT_MAX_AGE",
    "STORAGE": "BG_FILES_STORAGE",
    "INLINE_MAX_ROWS": "ASYNC_EXPORT_THRESHOLD",
    "UPLOAD_TO": "BG_FILES_UPLOAD_TO",
    "CRITERIA_ENCODING": "BG_FILES_CRITERIA_ENCODING",
}


class _LiveSettings(Settings):
    def __getattribute__(self, name: str) -> Any:
        if name not in DEFAULTS:
            if name.isupper():
                raise AttributeError(f"EXPORTS has no setting named {name!r}.")
            return super().__getattribute__(name)
        given: dict[str, Any] = getattr(django_settings, "EXPORTS", {})
        if name in given:
            return given[name]
        if name == "QUEUE_BACKEND":
            # huey where its server is configured, else the queue of development under DEBUG, else none.
            return HUEY if "REDIS_URL" in given else LOCAL if django_settings.DEBUG else ""
        if name in DJ_BGFILES_NAMES:
            return getattr(django_settings, DJ_BGFILES_NAMES[name], DEFAULTS[name])
        return DEFAULTS[name]


config: Settings = _LiveSettings()
"""`config.LEASE_SECONDS` is the project's value, else the default. An unknown name raises AttributeError."""


def function_of(name: str) -> Callable[..., Any] | None:
    """Return the function that the setting `name` is or whose dotted path it has; None if it is not set."""
    given = getattr(config, name)
    found: Callable[..., Any] | None = import_string(given) if isinstance(given, str) else given
    return found


def url_of(name: str, *args: object) -> str:
    """Return the URL of a view of the app, below whatever namespaces the project includes `exports.urls`.

    Raise NoReverseMatch if the project does not include them.
    """
    return reverse(":".join([*_namespaces(get_urlconf() or django_settings.ROOT_URLCONF), name]), args=args)


def secret_keys(name: str) -> list[str]:
    """Return the keys in the setting `name`, newest first, or SECRET_KEY alone if it is not set.

    The first key signs, all of them verify.
    """
    given: str | Sequence[str] = getattr(config, name) or django_settings.SECRET_KEY
    # A single key given as a string must not be taken for a list of one-letter keys.
    return [given] if isinstance(given, str) else list(given)


def key_prefix() -> str:
    """Return the beginning of this site's names in Redis: EXPORTS["QUEUE_PREFIX"] and a digest of its oldest queue key.

    Thus two sites on one server never take each other's messages, even with the same prefix, and a new key that is
    added in front changes no name.
    """
    return f"{config.QUEUE_PREFIX}.{_digest(secret_keys('QUEUE_KEYS')[-1])}"


@cache
def _namespaces(urlconf: Any) -> tuple[str, ...]:
    """Return the namespaces under which these URLs include `exports.urls`, from the outermost to its own.

    Any: the path of a module, a module or a sequence of URL patterns.
    """

    def search(resolver: URLResolver, above: tuple[str, ...]) -> tuple[str, ...] | None:
        for each in resolver.url_patterns:
            if isinstance(each, URLResolver):
                here = (*above, each.namespace) if each.namespace else above
                # The patterns are the same list, too, where the project has given them another name.
                own = getattr(sys.modules.get("exports.urls"), "urlpatterns", None)
                if each.app_name == "exports" or each.url_patterns is own:
                    return here
                if (found := search(each, here)) is not None:
                    return found
        return None

    found = search(get_resolver(urlconf), ())
    return ("exports",) if found is None else found


@cache
def _digest(key: str) -> str:
    return hashlib.sha256(f"exports.names:{key}".encode()).hexdigest()[:12]
