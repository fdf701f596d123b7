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
    "LEASE": 60.0,
    "HEARTBEAT": 15.0,
    "REPORT_INTERVAL": 0.25,
    "STALL": 600.0,
    "MAX_RUNTIME": 6 * HOUR,
    "GRACE": 20.0,
    "STATEMENT_TIMEOUT": 6 * HOUR,
    "MAX_ROWS": 50_000_000,
    "MAX_BYTES": 50 * GIB,
    "MIN_FREE_DISK": GIB,
    "MAX_ATTEMPTS": 3,
    "MAX_CRASHES": 3,
    "RETRY_DELAY": 5.0,
    "BATCH_ROWS": 500,
    "MAX_PROCESSES": None,
    "DEFLATE_ENGINE": None,
    "DEFLATE_LEVEL": None,
    "WORK_DIR": "",
    # The queue
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DOORBELL": "exports.doorbell.ring",
    "QUEUE_PREFIX": "exports",
    "QUEUE_KEYS": None,
    "LANES": ("large", "small"),
    "SMALL_ROWS": 10_000,
    "MAX_QUEUED_PER_USER": 20,
    "MAX_RUNNING_PER_USER": 2,
    "MAX_PER_DAY": 500,
    "REUSE_FRESH": 0,
    "MAX_WAIT": DAY,
    "RING_AGAIN": 20.0,
    "SWEEP": 15.0,
    # Files and links
    "UPLOAD_TO": "",
    "STORAGE": None,
    "RETENTION": 2 * DAY,
    "LEEWAY": HOUR,
    "HISTORY": 30 * DAY,
    "TICKET_KEYS": None,
    "TICKET_MAX_AGE": 60,
    "PUBLIC_LINK_MAX_AGE": HOUR,
    "ACCEL_REDIRECT": None,
    "THRESHOLD": 1000,
    # Tokens and criteria of dj-bgfiles' patterns
    "SIGNER": None,
    "KEY": None,
    "SALT": None,
    "SERIALIZER": None,
    "MAX_AGE": DAY,
    "CRITERIA_ENCODING": None,
    # The mail
    "BASE_URL": "",
    "FROM_EMAIL": None,
    "MAIL_GRACE": 10.0,
    "MAIL_ATTEMPTS": 8,
    # The socket
    "ORIGINS": (),
    "SOCKET_SILENCE": 75.0,
    "SOCKET_FRAME_BYTES": 1024,
    "SOCKET_FRAMES_PER_SECOND": 5,
    "SOCKET_RECHECK": 60.0,
    "SOCKETS_PER_USER": 5,
    "SNAPSHOT_REQUESTS": 50,
    # Operations
    "METRICS_TOKEN": None,
    "METRICS_WINDOW": HOUR,
}


# The names that dj-bgfiles and its like use, which count where EXPORTS says nothing.
ORIGINALS = {
    "SIGNER": "BGFILES_DEFAULT_SIGNER",
    "KEY": "BGFILES_DEFAULT_KEY",
    "SALT": "BGFILES_DEFAULT_SALT",
    "SERIALIZER": "BGFILES_DEFAULT_SERIALIZER",
    "MAX_AGE": "BGFILES_DEFAULT_MAX_AGE",
    "STORAGE": "BG_FILES_STORAGE",
    "THRESHOLD": "ASYNC_EXPORT_THRESHOLD",
    "UPLOAD_TO": "BG_FILES_UPLOAD_TO",
    "CRITERIA_ENCODING": "BG_FILES_CRITERIA_ENCODING",
}


class Settings:
    """`config.LEASE` is the host's value or the default. An unknown name raises AttributeError."""

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
