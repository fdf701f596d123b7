"""What the readers ask PostgreSQL for: the types of a query's values, and statement timeouts."""

from collections.abc import Sequence
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

# PostgreSQL's documentation, appendix A.
QUERY_CANCELED: Final = "57014"


def types_of(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> list[int]:
    """Return PostgreSQL's numbers (OIDs) of the types of a query's values. The query is planned, not run."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({sql}) AS rows LIMIT 0", params)
        return [column.type_code for column in cursor.description]


def statement_timeout(connection: BaseDatabaseWrapper) -> float:
    """Return the connection's statement_timeout in seconds; 0 for no limit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'")
        [milliseconds] = cursor.fetchone()
    return float(milliseconds / 1000)


def limit_statements(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Set statement_timeout until the transaction ends, unless the connection's own is shorter."""
    milliseconds = round(seconds * 1000)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true) FROM pg_settings "
            "WHERE name = 'statement_timeout' AND (setting = '0' OR setting::int > %s)",
            [str(milliseconds), milliseconds],
        )


def set_statement_timeout(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Set statement_timeout until the transaction ends; 0 for no limit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(round(seconds * 1000))])


def is_query_canceled(error: Exception) -> bool:
    """Return True if PostgreSQL canceled the statement, because of a timeout or on request."""
    cause = error.__cause__
    # psycopg calls the code sqlstate, psycopg2 pgcode.
    return QUERY_CANCELED in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None))
