"""What PostgreSQL alone can do: COPY, the types of a query's values, rows without Python objects, estimates."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from threading import Lock
from typing import Any, Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

# PostgreSQL's documentation, appendix A: query_canceled.
CANCELLED: Final = "57014"


def has_copy(connection: BaseDatabaseWrapper) -> bool:
    """Whether this is PostgreSQL, through psycopg 3."""
    if connection.vendor != "postgresql":
        return False
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return is_psycopg3


def types_of(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> list[int]:
    """The numbers of the types of a query's values. The query is planned, not run."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({sql}) AS rows LIMIT 0", params)
        return [column.type_code for column in cursor.description]


def statement_timeout(connection: BaseDatabaseWrapper) -> int:
    """After how many milliseconds PostgreSQL ends a statement of this connection; 0 for never."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'")
        [timeout] = cursor.fetchone()
    return timeout


def bound_statements(connection: BaseDatabaseWrapper, milliseconds: int) -> None:
    """Until the transaction ends, no statement takes longer; a connection that allows less keeps what it allows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true) FROM pg_settings "
            "WHERE name = 'statement_timeout' AND (setting = '0' OR setting::int > %s)",
            [str(milliseconds), milliseconds],
        )


def is_cancelled(error: Exception) -> bool:
    """Whether the database has ended the statement, because of a timeout or because somebody told it to (57014)."""
    cause = error.__cause__
    return CANCELLED in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None))


def text_cursor(connection: BaseDatabaseWrapper, types: Sequence[int]) -> Any:
    """A cursor that gives the values of these types as PostgreSQL writes them."""
    from psycopg.types.string import TextLoader

    cursor = chunked_cursor(connection)
    for oid in types:
        cursor.adapters.register_loader(oid, TextLoader)
    return cursor


@contextmanager
def quick_moments(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Cursors that are opened within it make moments in UTC ten times as fast: the same values, the same errors."""
    if not has_copy(connection) or connection.timezone is not UTC:
        yield
        return
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    moment = adapters.types["timestamptz"].oid
    found = adapters.get_loader(moment, Format.TEXT)
    # Within another one, what is put back is what was there before both.
    usual = getattr(found, "usual", found)
    adapters.register_loader(moment, _quick(usual))
    try:
        yield
    finally:
        adapters.register_loader(moment, usual)


@cache
def _quick(usual: type) -> type:
    """A loader of psycopg's for moments that leaves to the usual one what is not simply a moment in UTC.

    psycopg keeps each loader that it has seen for ever.
    """

    class QuickLoader(usual):
        def load(self, data: bytes | memoryview) -> datetime:
            try:
                moment = datetime.fromisoformat(str(data, "ascii"))
            except ValueError:
                return super().load(data)
            return moment if moment.tzinfo is UTC else super().load(data)

    QuickLoader.usual = usual
    return QuickLoader


def copied(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], size: int, *, options: str, start: bytes
) -> Iterator[bytes]:
    """The rows of a query as COPY gives them with these options, `size` at a time; each begins with `start`.

    Until it ends or is closed, the connection refuses all else with OperationalError. Closing it early cancels the
    query; the savepoint keeps that from a transaction of the caller's.
    """
    from psycopg import ClientCursor

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor, connection.wrap_database_errors:
        query = ClientCursor(connection.connection).mogrify(sql, params)
        with cursor.copy(f"COPY ({query}) TO STDOUT{options}") as copy:
            found = iter(copy)
            while rows := _joined(islice(found, size), start):
                with _unlocked(connection.connection.lock):
                    yield rows


def _joined(rows: Iterable[bytes], start: bytes) -> bytes:
    """A row's memory is free for the next one as soon as it is added: half the time of keeping them all first."""
    joined = bytearray()
    for row in rows:
        joined += start
        joined += row
    return bytes(joined)


@contextmanager
def _unlocked(lock: Lock) -> Iterator[None]:
    """psycopg holds its connection's lock while it copies: a query in between would wait for ever, and not fail."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def chunked_cursor(connection: BaseDatabaseWrapper) -> Any:
    """A cursor that leaves the rows on the server, where the settings allow it."""
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        return connection.cursor()
    return connection.chunked_cursor()
