"""Statements that PostgreSQL keeps: a connection that runs one again prepares it, and then sends only its values.

Parsing and planning these statements takes longer than running them. They are prepared by SQL, since psycopg can send
only such statements together in one message.
"""

from collections.abc import Callable, Hashable
from itertools import count
from secrets import token_hex
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

KEPT_SECONDS = 10.0
"""A plan is made again after this time: it may be one for an empty table."""
STALE = ("26000", "42P05", "0A000")
"""Unknown or taken names of statements, behind a pool of connections; columns whose type a migration has changed."""


Numbered = tuple[str, list[Any], list[str]]
"""SQL with $1, $2, ... for the values of each run and %s for fixed ones, those, and the types of the others."""


class Stale(OperationalError):
    """A prepared statement could not be run. Run again, it is sent as a whole."""


class Session:
    """What one connection has run and prepared."""

    def __init__(self) -> None:
        self.may_prepare: bool | None = None
        self._run: set[Hashable] = set()
        # The name of a statement, and when it was prepared.
        self._prepared: dict[Hashable, tuple[str, float]] = {}
        # A pool may hand this connection to another session, whose statements must not have the same names.
        of_session = token_hex(8)
        self._names = (f"exports_{of_session}_{number}" for number in count())

    def name_of(self, connection: BaseDatabaseWrapper, key: Hashable, numbered: Callable[[], Numbered]) -> str | None:
        """Return the name of the prepared statement, or None if the SQL is to be sent."""
        if key not in self._run:
            self._run.add(key)
            return None
        if self.may_prepare is None:
            is_pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
            self.may_prepare = not is_pooled and is_direct(connection)
        if not self.may_prepare:
            return None
        name, prepared_at = self._prepared.get(key, ("", 0.0))
        if name and monotonic() - prepared_at < KEPT_SECONDS:
            return name
        self._prepared.pop(key, None)
        drop = f"DEALLOCATE {name}; " if name else ""
        name = next(self._names)
        sql, fixed, types = numbered()
        of_types = f" ({', '.join(types)})" if types else ""
        with connection.cursor() as cursor:
            cursor.execute(f"{drop}PREPARE {name}{of_types} AS {sql}", fixed)
        self._prepared[key] = (name, monotonic())
        return name


_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(connection: BaseDatabaseWrapper) -> Session:
    """Return the session of this connection, which ends when it is closed."""
    connection.ensure_connection()
    session = _sessions.get(connection.connection)
    if session is None:
        session = _sessions[connection.connection] = Session()
    return session


def is_stale(error: DatabaseError) -> bool:
    """Return True if a statement has failed since it was prepared."""
    return getattr(error.__cause__, "sqlstate", None) in STALE


def is_direct(connection: BaseDatabaseWrapper) -> bool:
    """Return True if no pool, such as PgBouncer, is between this connection and the server."""
    process = process_of(connection)
    # A pool reports another process than the server's.
    return bool(connection.connection.info.backend_pid == process)


def process_of(connection: BaseDatabaseWrapper) -> int:
    """Return the process of the server that runs the present transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [process] = cursor.fetchone()
    return int(process)
