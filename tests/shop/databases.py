"""Marks for tests of one database, and other connections to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections

needs_postgres = pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
needs_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="needs SQLite")


@contextmanager
def other_cursor() -> Iterator[Any]:
    """A cursor of a second connection, as another process has it."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


@contextmanager
def statement_timeout(timeout: str) -> Iterator[None]:
    """PostgreSQL: this connection's own statement_timeout."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", [timeout])
        try:
            yield
        finally:
            cursor.execute("RESET statement_timeout")


@contextmanager
def connection_zone(zone: str | None) -> Iterator[None]:
    """Inside, the connection has this TIME_ZONE in its settings."""

    def change(zone: str | None) -> None:
        connection.settings_dict["TIME_ZONE"] = zone
        for cached in ("timezone", "timezone_name"):
            vars(connections[connection.alias]).pop(cached, None)
        connection.ensure_timezone()

    before = connection.settings_dict["TIME_ZONE"]
    change(zone)
    try:
        yield
    finally:
        change(before)
