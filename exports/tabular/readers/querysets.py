"""Read the rows of a queryset in batches of columns, in a stable order, all from one snapshot of the database."""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from django.db import OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import QuerySet

from exports.exceptions import QueryTooSlow
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.plan import COPY, CURSOR, INSTANCES, NO_LIMITS, Plan, TimeLimits, make_plan
from exports.tabular.readers import copy, cursor, instances, labels, postgresql, psycopg_internals, sql_csv
from exports.tabular.readers.rows import Batch

Reader = Callable[[Plan, int], Generator[Batch, None, None]]
READERS: Final[Mapping[str, Reader]] = {
    COPY: copy.read,
    CURSOR: cursor.read,
    INSTANCES: instances.read,
}


SQLITE_STEPS: Final = 10_000
"""After how many steps of its virtual machine SQLite looks whether its time is up: about a millisecond."""


def count(queryset: QuerySet[Any]) -> int:
    """Return how many rows `batches` yields; slices, distinct and unions are taken into account."""
    if queryset.query.combinator and queryset.query.is_sliced:
        # Django 5.2 cannot count these if they are ordered, and the order does not change the number.
        queryset = queryset._chain()  # type: ignore[attr-defined]  # Private.
        queryset.query.clear_ordering(force=True)
    return queryset.count()


def count_within(queryset: QuerySet[Any], seconds: float) -> int | None:
    """Return `count`, or None if the database needs longer than `seconds`, or knows no such limit.

    The transaction of a caller goes on, with its own statement_timeout.
    """
    connection = connections[queryset.db]
    if connection.vendor not in ("postgresql", "sqlite"):
        return None
    try:
        if connection.vendor == "sqlite":
            with sqlite_time_limit(queryset.db, seconds):
                return count(queryset)
        with transaction.atomic(using=queryset.db):
            before = postgresql.statement_timeout(connection)
            # 0 would be no limit.
            postgresql.limit_statements(connection, max(seconds, 0.001))
            found = count(queryset)
            postgresql.set_statement_timeout(connection, before)
        return found
    except QueryTooSlow:
        return None
    except OperationalError as error:
        if not postgresql.is_query_canceled(error):
            raise
        return None


@contextmanager
def sqlite_time_limit(alias: str, seconds: float) -> Iterator[None]:
    """Let SQLite end a statement that runs when `seconds` are over: raise QueryTooSlow. Do nothing on other databases.

    PostgreSQL has `snapshot`, and a limit for each statement.
    """
    connection = connections[alias]
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    raw, ends = connection.connection, time.monotonic() + seconds
    # SQLite ends a statement if this returns True.
    raw.set_progress_handler(lambda: time.monotonic() > ends, SQLITE_STEPS)
    try:
        yield
    except OperationalError as error:
        if "interrupted" not in str(error):
            raise
        raise QueryTooSlow(f"SQLite did not end within {seconds} seconds.") from error
    finally:
        raw.set_progress_handler(None, 0)


def estimate(queryset: QuerySet[Any]) -> int | None:
    """Return about how many rows `batches` yields, by PostgreSQL's planner; None on other databases."""
    if connections[queryset.db].vendor != "postgresql":
        return None
    explained = queryset.explain(format="json")
    return int(json.loads(explained)[0]["Plan"]["Plan Rows"]) if explained else 0


def batches(
    queryset: QuerySet[Any],
    columns: Sequence[Column],
    *,
    size: int = 500,
    dialect: Dialect | None = None,
    limits: TimeLimits = NO_LIMITS,
) -> Generator[Batch, None, None]:
    """Yield batches of at most `size` rows, each a sequence of columns of values or of RawColumn (`cells.raw_columns`).

    The rows come in the queryset's order; equal rows in the order of their keys, rows of an unordered values() by all
    their values. A slice or a union keeps the order that the database gives it.

    The rows are read by the fastest strategy that gives the ORM's own values: docs/read-strategies.md. A callable is
    called once a row, prefetch_related works, and related objects on a path are joined, except in a union. A batch may
    create a column when it is asked for: ask once for each. With a `dialect`, PostgreSQL may write lines of CSV
    (SqlCsvBatch).

    Until the generator ends or is closed, on PostgreSQL this thread cannot write to that database; during "copy" it
    cannot read from it either. Raises UnknownColumn at the first row, QueryTooSlow like `snapshot`.
    """
    alias = queryset.db
    with snapshot(alias, limits.statement_seconds), psycopg_internals.fast_datetimes(connections[alias]):
        plan = make_plan(queryset.using(alias), columns, limits)
        if dialect is not None:
            plan = sql_csv.with_dialect(plan, dialect)
        finders = labels.label_finders(queryset.using(alias), columns)
        with closing(READERS[plan.strategy](plan, size)) as found:
            yield from (labels.labelled(batch, finders) for batch in found) if finders else found


@contextmanager
def snapshot(alias: str, statement_seconds: float | None = None) -> Iterator[bool]:
    """Let everything inside read one state of the database, and return True; False if that is not certain.

    Inside a transaction of the caller's, do nothing: on PostgreSQL its statements may each read another state.

    On PostgreSQL this is a transaction that is REPEATABLE READ and READ ONLY, in which no statement takes longer than
    `statement_seconds`: raises QueryTooSlow. Other databases than PostgreSQL and SQLite have no snapshot.
    """
    connection = connections[alias]
    if connection.in_atomic_block or connection.vendor not in ("postgresql", "sqlite"):
        yield connection.vendor == "sqlite"
    elif connection.vendor == "sqlite":
        with connection.cursor() as open_cursor:
            # A transaction might hold SQLite's only lock for writing. A SELECT of which only one of two rows was read
            # stays open, and keeps the state for all others of its connection.
            open_cursor.execute("SELECT 1 FROM sqlite_master LIMIT 2")
            yield True
    else:
        try:
            with transaction.atomic(using=alias):
                with connection.cursor() as settings_cursor:
                    settings_cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                if statement_seconds:
                    postgresql.limit_statements(connection, statement_seconds)
                yield True
        except OperationalError as error:
            if not postgresql.is_query_canceled(error):
                raise
            raise QueryTooSlow(
                "The database ended the query. EXPORTS['STATEMENT_TIMEOUT_SECONDS'] is its time limit."
            ) from error


@contextmanager
def copied(alias: str) -> Iterator[None]:
    """Let this thread read a copy of the database, and write nothing to it, where reading would refuse all writes.

    That is SQLite without WAL mode, where every write of other connections fails while rows are read. The copy is a
    temporary file as large as the database, in SQLITE_TMPDIR or TMPDIR. Inside a transaction of the caller's, do
    nothing.
    """
    connection = connections[alias]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        [journal_mode] = cursor.execute("PRAGMA journal_mode").fetchone()
        # No path: a database in memory, or already a copy.
        path = cursor.execute("PRAGMA database_list").fetchone()[2]
    if journal_mode == "wal" or not path:
        yield
        return
    original = connection.connection
    # SQLite removes a database without a name when it is closed, or its process ends.
    with closing(connection.get_new_connection({**connection.get_connection_params(), "database": ""})) as copy:
        with connection.wrap_database_errors:
            original.backup(copy)
        copy.isolation_level = original.isolation_level
        copy.execute("PRAGMA query_only = ON")
        connection.connection = copy
        try:
            # Projects add functions and collations to new connections.
            connection_created.send(sender=type(connection), connection=connection)
            yield
        finally:
            connection.connection = original
