"""What PostgreSQL alone can do: COPY, the types of a query's values, rows without Python objects, estimates."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import repeat
from threading import Lock
from typing import Any, Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

ENDED: Final = -1


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


def statement_timeout(connection: BaseDatabaseWrapper) -> str:
    """After what time PostgreSQL ends a statement of this connection, in its words; "" for never."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        [timeout] = cursor.fetchone()
    return "" if timeout == "0" else timeout


def text_cursor(connection: BaseDatabaseWrapper, types: Sequence[int]) -> Any:
    """A cursor that gives the values of these types as PostgreSQL writes them."""
    from psycopg.types.string import TextLoader

    cursor = chunked_cursor(connection)
    for oid in types:
        cursor.adapters.register_loader(oid, TextLoader)
    return cursor


def copied(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], size: int) -> Iterator[tuple[bytes, int]]:
    """The rows of a query in COPY's text format, `size` at a time, each time with how many there are.

    Until it ends or is closed, the connection refuses all else with OperationalError. Closing it early cancels the
    query; the savepoint keeps that from a transaction of the caller's.
    """
    from psycopg import ClientCursor

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor, connection.wrap_database_errors:
        query = ClientCursor(connection.connection).mogrify(sql, params)
        with cursor.copy(f"COPY ({query}) TO STDOUT"):
            rows = size
            while rows == size:
                buffer = BytesIO()
                rows = connection.connection.wait(_lines(connection.connection.pgconn, buffer, size))
                if rows:
                    with _unlocked(connection.connection.lock):
                        yield buffer.getvalue(), rows


@contextmanager
def _unlocked(lock: Lock) -> Iterator[None]:
    """psycopg holds its connection's lock while it copies: a query in between would wait for ever, and not fail."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def _lines(pgconn: Any, buffer: BytesIO, size: int) -> Generator[Any, Any, int]:
    """Write up to `size` rows to `buffer`, and return how many. A generator as psycopg's own: it yields to wait.

    The same as `Copy.read` for each row in half the time, because it waits only when nothing has arrived.
    """
    from psycopg.generators import fetch_many
    from psycopg.waiting import Wait

    rows, state = 0, 0
    while rows < size and state != ENDED:
        for state, line in map(pgconn.get_copy_data, repeat(1, size - rows)):
            if state < 1:
                break
            buffer.write(line)
            rows += 1
        if state == 0:
            yield Wait.R
            pgconn.consume_input()
    if state == ENDED:
        _check(pgconn, (yield from fetch_many(pgconn)))
    return rows


def _check(pgconn: Any, results: Sequence[Any]) -> None:
    """Raise what ended the query, if it did not end well."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, encoding="utf-8")


def chunked_cursor(connection: BaseDatabaseWrapper) -> Any:
    """A cursor that leaves the rows on the server, where the settings allow it."""
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        return connection.cursor()
    return connection.chunked_cursor()
