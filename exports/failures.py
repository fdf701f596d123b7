"""What staff and logs learn of an exception, and whether another attempt may help."""

import logging
import sysconfig
import threading
import time
import traceback
from pathlib import Path

import django
from django.conf import settings
from django.db import InterfaceError, OperationalError

from exports.conf import config
from exports.exceptions import CellPlace, ExportError, RetryableError

# Code that is not the project's: of this app, of Django and of Python.
LIBRARIES = (Path(__file__).parent, Path(django.__file__).parent, Path(sysconfig.get_path("stdlib")))
# Where other packages are installed, and perhaps the project itself.
PACKAGES = ("site-packages", "dist-packages")

# The errors of SQLite's connection, files and locks. Everything else is due to the statement or the database.
PASSING_SQLITE_CODES = {
    *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_IOERR", "SQLITE_FULL"),
    *("SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_SCHEMA"),
}
# Of PostgreSQL: connections, serialization, resources, locks, shutdown and system errors.
PASSING_SQLSTATE_CLASSES = ("08", "40", "53", "55", "57", "58")
QUERY_CANCELED = "57014"

OUTAGE_SECONDS = 60.0
"""How long an outage that was reported is not reported again."""
REDIS = "redis"
_reported: dict[str, float] = {}
_reporting = threading.Lock()


def describe_error(error: BaseException, *, with_message: bool = False) -> str:
    """Return the exception's type, its place in the project's code, and the column and row, for staff.

    An ExportError's message is added. Others may hold row data: they are added in development and `with_message`.
    """
    code = _database_code(error)
    shows_message = with_message or isinstance(error, ExportError) or (settings.DEBUG and logs_exceptions())
    message = f": {error}" if shows_message else ""
    places = [f"; {note}" for note in getattr(error, "__notes__", ()) if isinstance(note, CellPlace)]
    return f"{type(error).__name__}{f' [{code}]' if code else ''}{message}{_place(error)}{''.join(places)}"


def report(
    log: logging.Logger, message: str, *args: object, error: BaseException, level: int = logging.WARNING
) -> None:
    """Log `message` with `args` and the description of `error`, and the traceback if EXPORTS["LOG_EXCEPTIONS"].

    A server that refuses the connection, such as that of mails, is no error in code: it gets no traceback.
    """
    exc_info = error if logs_exceptions() and not isinstance(error, ConnectionRefusedError) else None
    log.log(level, message, *args, describe_error(error), exc_info=exc_info, stacklevel=2)


def report_outage(log: logging.Logger, message: str, error: BaseException) -> None:
    """Log `message` and `error` in one line, at most once in OUTAGE_SECONDS for each message, and for Redis as a whole.

    The queue and the channel layer often share a server, and each request and page meets its outage.
    """
    now, of_redis = time.monotonic(), is_redis(error)
    key = REDIS if of_redis else f"{message} {type(error).__name__}"
    with _reporting:
        if now - _reported.get(key, -OUTAGE_SECONDS) < OUTAGE_SECONDS:
            return
        _reported[key] = now
    # Errors of redis say which server did not answer, and hold no data.
    reason = f"{type(error).__name__}: {error}" if of_redis else describe_error(error)
    log.warning("%s: %s (said at most once a minute)", message, reason)


def is_redis(error: BaseException) -> bool:
    """Return True if a client of Redis has raised this."""
    return type(error).__module__.startswith("redis.")


class WithoutOutages(logging.Filter):
    """Let a logger of another library pass on an outage of Redis as one line a minute, without its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not is_redis(error):
            return True
        report_outage(logging.getLogger("exports.realtime"), "the channel layer does not answer", error)
        return False


def end_outage() -> None:
    """Let the next outage of Redis be reported at once."""
    with _reporting:
        _reported.pop(REDIS, None)


def logs_exceptions() -> bool:
    """Return EXPORTS["LOG_EXCEPTIONS"], or DEBUG if it is None."""
    return bool(settings.DEBUG if config.LOG_EXCEPTIONS is None else config.LOG_EXCEPTIONS)


def may_pass(error: BaseException) -> bool:
    """Return True if another attempt may succeed: a network, a database or a storage may soon be back."""
    return is_outage(error) or isinstance(error, RetryableError | ConnectionError | TimeoutError)


def is_outage(error: BaseException) -> bool:
    """Return True if a database refused or lost a statement that it may accept later.

    SQLite raises OperationalError for wrong statements too, PostgreSQL for too many columns.
    """
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    code = _database_code(error)
    if code.startswith("SQLITE_"):
        return "_".join(code.split("_")[:2]) in PASSING_SQLITE_CODES
    return not code or (code[:2] in PASSING_SQLSTATE_CLASSES and code != QUERY_CANCELED)


def _database_code(error: BaseException) -> str:
    """Return SQLite's or PostgreSQL's code of an error that Django has wrapped, or ""."""
    names = ("sqlite_errorname", "sqlstate", "pgcode")
    return next((code for name in names if (code := getattr(error.__cause__, name, None))), "")


def _place(error: BaseException) -> str:
    """Return where the error or its cause was raised, in the innermost of the project's functions if there is any."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    frames = [frame for each in chain for frame in reversed(traceback.extract_tb(each.__traceback__))]
    if not frames:
        return ""
    not_ours = [
        frame
        for frame in frames
        if not (frame.filename.startswith("<") or any(Path(frame.filename).is_relative_to(each) for each in LIBRARIES))
    ]
    # Compiled modules have relative names, such as "pandas/_libs/lib.pyx".
    projects = [
        frame
        for frame in not_ours
        if Path(frame.filename).is_absolute() and not any(name in frame.filename for name in PACKAGES)
    ]
    frame = [*projects, *not_ours, *frames][0]
    return f" at {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} in {frame.name}"
