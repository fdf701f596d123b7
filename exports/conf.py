"""The settings of the app: `EXPORTS = {...}` in the host's settings, read when used. `docs/settings.md` lists them.

All durations are seconds, all sizes bytes.
"""

from typing import Any

from django.conf import settings as django_settings

HOUR = 3600
DAY = 24 * HOUR
GIB = 1 << 30

DEFAULTS: dict[str, Any] = {
    # The run
    "LEASE_SECONDS": 60.0,
    "HEARTBEAT_SECONDS": 15.0,
    "PROGRESS_INTERVAL_SECONDS": 0.25,
    "STALL_TIMEOUT_SECONDS": 600.0,
    "MAX_RUNTIME_SECONDS": 6 * HOUR,
    "SHUTDOWN_GRACE_SECONDS": 20.0,
    "STATEMENT_TIMEOUT_SECONDS": 6 * HOUR,
    "MAX_ROWS": 50_000_000,
    "MAX_BYTES": 50 * GIB,
    "MIN_FREE_DISK_BYTES": GIB,
    "MAX_ATTEMPTS": 3,
    "MAX_CRASHES": 3,
    "RETRY_DELAY_SECONDS": 5.0,
    "BATCH_ROWS": 500,
    "MAX_PROCESSES": None,
    "DEFLATE_ENGINE": None,
    "DEFLATE_LEVEL": None,
    "WORK_DIR": "",
    # The queue
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "QUEUE_BACKEND": "exports.queue.huey.wake",
    "QUEUE_PREFIX": "exports",
    "QUEUE_KEYS": None,
    "QUEUES": ("large", "small"),
    "SMALL_QUEUE_MAX_ROWS": 10_000,
    "MAX_QUEUED_PER_USER": 20,
    "MAX_RUNNING_PER_USER": 2,
    "MAX_PER_USER_PER_DAY": 500,
    "REUSE_WITHIN_SECONDS": 0,
    "QUEUE_TIMEOUT_SECONDS": DAY,
    "WAKE_AGAIN_SECONDS": 20.0,
    "HOUSEKEEPING_INTERVAL_SECONDS": 15.0,
    # Files and links
    "UPLOAD_TO": "",
    "STORAGE": None,
    "RETENTION_SECONDS": 2 * DAY,
    "FILE_DELETE_DELAY_SECONDS": HOUR,
    "HISTORY_SECONDS": 30 * DAY,
    "TICKET_KEYS": None,
    "TICKET_MAX_AGE_SECONDS": 60,
    "PUBLIC_LINK_MAX_AGE_SECONDS": HOUR,
    "ACCEL_REDIRECT": None,
    "INLINE_MAX_ROWS": 1000,
    # Tokens and criteria of dj-bgfiles' patterns
    "TOKEN_SIGNER": None,
    "TOKEN_KEY": None,
    "TOKEN_SALT": None,
    "TOKEN_SERIALIZER": None,
    "TOKEN_MAX_AGE_SECONDS": DAY,
    "CRITERIA_ENCODING": None,
    # The mail
    "BASE_URL": "",
    "FROM_EMAIL": None,
    "MAIL_DELAY_SECONDS": 10.0,
    "MAIL_MAX_ATTEMPTS": 8,
    # The socket
    "SOCKET_ALLOWED_ORIGINS": (),
    "SOCKET_IDLE_TIMEOUT_SECONDS": 75.0,
    "SOCKET_MAX_FRAME_BYTES": 1024,
    "SOCKET_MAX_FRAMES_PER_SECOND": 5,
    "SOCKET_RECHECK_SECONDS": 60.0,
    "MAX_SOCKETS_PER_USER": 5,
    "SNAPSHOT_MAX_EXPORTS": 50,
    # Operations
    "METRICS_TOKEN": None,
    "METRICS_WINDOW_SECONDS": HOUR,
}


# The names that dj-bgfiles and its like use, which count where EXPORTS says nothing.
ORIGINALS = {
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


class Settings:
    """`config.LEASE_SECONDS` is the host's value or the default. An unknown name raises AttributeError."""

    def __getattr__(self, name: str) -> Any:
        if name not in DEFAULTS:
            raise AttributeError(f"EXPORTS has no setting named {name!r}.")
        if name not in self.given() and name in ORIGINALS:
            return getattr(django_settings, ORIGINALS[name], DEFAULTS[name])
        return self.given().get(name, DEFAULTS[name])

    def given(self) -> dict[str, Any]:
        return getattr(django_settings, "EXPORTS", {})

    def unknown(self) -> list[str]:
        return sorted(set(self.given()) - set(DEFAULTS))


config = Settings()


def secret_keys(name: str) -> list[str]:
    """Return the keys of the setting `name`, the newest first, or SECRET_KEY alone where it is not set.

    The first key signs, all of them verify.
    """
    given = getattr(config, name) or django_settings.SECRET_KEY
    # One key given as text must not be taken for a list of keys of one letter each.
    return [given] if isinstance(given, str) else list(given)
