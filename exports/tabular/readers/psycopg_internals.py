"""What the readers need of psycopg 3 beyond Django's cursors: COPY, values as text, faster datetimes.

This module relies on internals of psycopg, checked against its source of version 3.3: which loader an adapters map
returns, and the lock that a connection holds while it copies. With any other version, or with psycopg2, `is_checked` is
False, and the readers take the rows from the ORM's public methods instead: slower, and correct.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    from psycopg.abc import Loader

CHECKED_VERSIONS: Final = ("3.3",)


def is_checked(connection: BaseDatabaseWrapper) -> bool:
    """Return True if this is a PostgreSQL connection over a version of psycopg that this module was checked against."""
    if connection.vendor != "postgresql":
        return False
    return ".".join(driver_of(connection).__version__.split(".")[:2]) in CHECKED_VERSIONS


# Any: a module, psycopg or psycopg2, whichever Django has loaded.
def driver_of(connection: BaseDatabaseWrapper) -> Any:
    """Return the driver that Django uses for this connection."""
    return connection.Database  # type: ignore[attr-defined]  # Not in the stubs.


def copy_rows(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], size: int, *, options: str, row_start: bytes
) -> Generator[bytes, None, None]:
    """Run a query as `COPY (...) TO STDOUT`; yield `size` rows at a time, each row preceded by `row_start`.

    Until it ends or is closed, the connection refuses everything else with OperationalError. Closing it early cancels
    the query; the savepoint protects a transaction of the caller's from that.
    """
    from psycopg import ClientCursor

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor, connection.wrap_database_errors:
        query = ClientCursor(connection.connection).mogrify(sql, params)
        with _wrong_answers_as_outages(), cursor.copy(f"COPY ({query}) TO STDOUT{options}") as copy:
            rows = iter(copy)
            lock = connection.connection.lock
            while True:
                # The memory of a row is reused for the next one once it is added: half the time of keeping a list.
                block = bytearray()
                for row in islice(rows, size):
                    block += row_start
                    block += row
                if not block:
                    return
                content = bytes(block)
                # While the consumer works, one copy of the block is enough.
                del block, row
                # psycopg holds this lock while it copies: another query would wait for ever instead of failing.
                lock.release()
                try:
                    yield content
                finally:
                    lock.acquire()


@contextmanager
def _wrong_answers_as_outages() -> Iterator[None]:
    """Raise OperationalError where the answer is not that to COPY, as from a pooler that has lost its server."""
    from psycopg import ProgrammingError

    try:
        yield
    except ProgrammingError as error:
        # The server gives each of its errors an SQLSTATE. This one is psycopg's.
        if error.sqlstate is None:
            raise OperationalError(str(error)) from error
        raise


def type_name(connection: BaseDatabaseWrapper, oid: int) -> str:
    """Return psycopg's name of a PostgreSQL type; "text" for types that it does not know, such as enumerations."""
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    known = adapters.types.get(oid)
    if known is not None:
        # The registry also answers the number of an array type, with the type of its members.
        return str(known.name) if known.oid == oid else f"{known.name}[]"
    return "text" if adapters.get_loader(oid, Format.TEXT) is None else str(oid)


def oids_within(connection: BaseDatabaseWrapper, oid: int) -> set[int]:
    """Return the number of a PostgreSQL type, and of the type of its members (an array) or bounds (a range)."""
    known = connection.connection.adapters.types.get(oid)
    return {oid} if known is None else {oid, known.oid, getattr(known, "subtype_oid", known.oid)}


# Any: Django's cursors are not typed.
def text_cursor(connection: BaseDatabaseWrapper, oids: Collection[int]) -> Any:
    """Open a cursor that returns values of these types as PostgreSQL writes them.

    The rows stay on the server, unless DISABLE_SERVER_SIDE_CURSORS is set.
    """
    from psycopg.types.string import TextLoader

    is_disabled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    cursor: Any = connection.cursor() if is_disabled else connection.chunked_cursor()
    for oid in oids:
        cursor.adapters.register_loader(oid, TextLoader)
    return cursor


@contextmanager
def fast_datetimes(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Parse datetimes in UTC ten times as fast on cursors opened inside: the same values, the same errors."""
    if not is_checked(connection) or connection.timezone is not UTC:
        yield
        return
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    oid = adapters.types["timestamptz"].oid
    found = adapters.get_loader(oid, Format.TEXT)
    # If two of these overlap, both restore the loader that was there before the first.
    original = getattr(found, "original", found)
    adapters.register_loader(oid, _fast_loader(original))
    try:
        yield
    finally:
        adapters.register_loader(oid, original)


@cache
def _fast_loader(original: "type[Loader]") -> "type[Loader]":
    """Subclass a loader of datetimes; the original one parses what is not simply a datetime in UTC.

    Cached, because psycopg keeps every loader class it has seen for ever.
    """
    # Any: a base class that is only known at run time.
    base: Any = original

    class FastLoader(base):  # type: ignore[misc]  # The base class is dynamic.
        original = base

        def load(self, data: bytes | bytearray | memoryview) -> Any:
            try:
                value = datetime.fromisoformat(str(data, "ascii"))
            except ValueError:
                return super().load(data)
            return value if value.tzinfo is UTC else super().load(data)

    return FastLoader
