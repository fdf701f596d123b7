"""A project's own pool of connections to PostgreSQL, across a restart of the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import environ
import pytest
from django.core.checks import run_checks
from django.db import DatabaseError, connection, connections

from tests.servers import Postgres


@contextmanager
def pooled(url: str, *, has_checks: bool) -> Iterator[Any]:
    """Yield a connection to this database from a pool of three."""
    given = environ.Env.db_url_config(url) | {"CONN_HEALTH_CHECKS": has_checks}
    given["OPTIONS"] |= {"pool": {"min_size": 3, "max_size": 3}}
    connections.databases["pooled"] = connections.configure_settings({"default": {}, "pooled": given})["pooled"]
    try:
        yield connections["pooled"]
    finally:
        connections["pooled"].close()
        connections["pooled"].close_pool()
        del connections["pooled"], connections.databases["pooled"]


@pytest.mark.parametrize(("has_checks", "failures"), [(True, 0), (False, 3)])
def test_only_health_checks_hide_a_restart_from_the_users_of_a_pool(
    postgres: Postgres, django_db_blocker: Any, has_checks: bool, failures: int
):
    with django_db_blocker.unblock(), pooled(postgres.create_database("pooled"), has_checks=has_checks) as pool:
        pool.pool.open(wait=True)
        postgres.restart()
        failed = 0
        for _ in range(5):
            try:
                with pool.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except DatabaseError:
                failed += 1
            pool.close()
    assert failed == failures


@pytest.mark.parametrize(
    ("pool", "is_checked", "is_a_warning"), [(True, False, True), (True, True, False), (None, False, False)]
)
def test_a_connection_pool_without_health_checks_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, pool: bool | None, is_checked: bool, is_a_warning: bool
):
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"pool": pool})
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", is_checked)
    hints = [message.hint for message in run_checks() if message.id == "exports.W024"]
    assert hints == ["Set DATABASES['default']['CONN_HEALTH_CHECKS'] = True."] * is_a_warning
