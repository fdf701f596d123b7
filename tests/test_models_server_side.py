"""Statements that PostgreSQL prepares for a connection, and what happens where it cannot or does not know them."""

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from exports.models import FileRequest, Status, server_side, transitions
from tests.pooler import behind_pooler
from tests.shop.requests import after, made, queued, row
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _new_connection(settings: LazySettings) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite runs in the process.")
    configure(settings, MAX_RUNNING_PER_USER=2)
    connection.close()
    yield
    connection.close()


def claim_and_publish(*, times: int = 1) -> None:
    for _ in range(times):
        queued(counts_toward_quota=True, requested_at=after(0))
        assert transitions.publish(take(), made())


def take() -> transitions.Claim:
    attempt = transitions.Attempt("csv", 600)
    claimed = transitions.claim_first("large", ["orders"], owner="host:1:1", attempt=lambda export: attempt)
    assert claimed is not None
    return claimed[1]


def prepared() -> list[str]:
    """Return the names of the statements that the server keeps for this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def test_a_statement_is_prepared_when_the_connection_runs_it_again() -> None:
    claim_and_publish()
    assert prepared() == []
    claim_and_publish()
    # The first request, the lock of an owner, the start; the lock of a request's owner, the end.
    assert len(prepared()) == 5

    queued(counts_toward_quota=True)
    with CaptureQueriesContext(connection) as context:
        assert transitions.publish(take(), made())
    statements = [each["sql"] for each in context.captured_queries]
    assert not any("UPDATE" in sql or "INSERT" in sql for sql in statements), statements


def test_a_plan_is_made_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    claim_and_publish(times=2)
    before = prepared()
    monkeypatch.setattr(server_side, "KEPT_SECONDS", 0.0)
    claim_and_publish()
    assert len(prepared()) == len(before)
    assert not set(prepared()) & set(before)


def test_other_connections_prepare_their_own() -> None:
    claim_and_publish(times=3)
    before = prepared()
    connection.close()
    claim_and_publish(times=2)
    assert len(prepared()) == 5
    # A pool may hand a connection with the statements of another session to this one.
    assert not set(prepared()) & set(before)


def test_a_setting_for_pools_of_connections_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    claim_and_publish(times=3)
    assert prepared() == []


def test_a_claim_that_finds_its_statement_forgotten_sends_it_whole() -> None:
    claim_and_publish(times=2)
    forget()
    claim_and_publish(times=3)
    assert prepared() == []


def test_an_end_that_finds_its_statement_forgotten_changes_nothing_and_can_be_repeated() -> None:
    claim_and_publish(times=2)
    queued(counts_toward_quota=True)
    claim = take()
    forget()
    with pytest.raises(server_side.Stale):
        transitions.publish(claim, made())
    assert row(claim.request_id)["status"] == Status.RUNNING
    assert transitions.publish(claim, made())


def test_a_name_that_is_taken_sends_the_statement_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "token_hex", lambda size: "a")
    claim_and_publish()
    with connection.cursor() as cursor:
        cursor.execute("PREPARE exports_a_0 AS SELECT 1")
    claim_and_publish(times=2)
    assert prepared() == ["exports_a_0"]


def forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")


def test_a_migration_that_changes_a_column_does_not_stop_a_worker() -> None:
    claim_and_publish(times=2)
    try:
        alter_label(300)
        claim_and_publish(times=2)
    finally:
        alter_label(200)


def alter_label(length: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{FileRequest._meta.db_table}" ALTER COLUMN "label" TYPE varchar({length})')


def test_nothing_is_prepared_behind_a_pool_of_connections() -> None:
    with behind_pooler():
        claim_and_publish(times=3)
        assert prepared() == []
