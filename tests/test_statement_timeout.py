"""A query that takes too long: PostgreSQL ends it, the request says why, and nobody waits for it any more."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Func, TextField, Value

from exports import services
from exports.exceptions import QueryTooSlow
from exports.exporters.base import time_limits
from exports.models import Status
from exports.state import error_of
from exports.tabular.columns import Column
from exports.tabular.readers import explain, querysets
from exports.worker import loop
from tests.shop.exports import OrderExport, registered
from tests.shop.models import Order
from tests.test_read_strategies import needs_postgres, needs_sqlite

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

SLEEP = Func(Value(30.0), function="pg_sleep", output_field=TextField())


class SlowExport(OrderExport):
    """Its rows take PostgreSQL half a minute each."""

    file_type = "slow"
    columns = (Column("number"), Column("slept", source=SLEEP))


@pytest.fixture
def slow() -> Iterator[None]:
    Order.objects.create(number="o1")
    with registered(SlowExport):
        yield


@needs_postgres
@pytest.mark.usefixtures("slow")
def test_a_request_whose_query_takes_too_long_fails_by_name_and_with_advice(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": 0.3}
    ada = User.objects.create_user("ada")
    request, _ = services.request_export(ada, "slow", {}, format="csv")
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, request.error_code, request.attempts) == (Status.FAILED, "query_too_slow", 1)
    assert "narrow the filter" in error_of(request)["message"]
    assert "STATEMENT_TIMEOUT_SECONDS" in request.error_detail


@needs_postgres
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("runtime", "strategy"), [(0.2, "copy"), (9.0, "cursor")])
def test_on_every_road_a_statement_ends_in_time_and_the_connection_goes_on(
    settings: LazySettings, runtime: float, strategy: str
):
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": 0.3, "MAX_RUNTIME_SECONDS": runtime}
    declared = [Column("number"), Column("slept", source=SLEEP)]
    assert explain.explain(Order.objects.all(), declared, limits=time_limits()).strategy == strategy
    with pytest.raises(QueryTooSlow):
        list(querysets.batches(Order.objects.all(), declared, limits=time_limits()))
    assert Order.objects.count() == 1


@needs_postgres
def test_statements_that_end_where_runs_do_not_are_short(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_RUNTIME_SECONDS": None}
    assert explain.explain(Order.objects.all(), [Column("number")], limits=time_limits()).strategy == "cursor"
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": None}
    assert explain.explain(Order.objects.all(), [Column("number")], limits=time_limits()).strategy == "copy"


@needs_postgres
@pytest.mark.parametrize(
    ("own", "ours", "left"), [("0", 60, "1min"), ("10s", 60, "10s"), ("2min", 60, "1min"), ("0", None, "0")]
)
def test_the_shorter_timeout_counts_and_only_while_rows_are_read(
    settings: LazySettings, own: str, ours: float | None, left: str
):
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": ours}
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", [own])
        try:
            with querysets.snapshot("default", ours):
                assert timeout(cursor) == left
            assert timeout(cursor) == own
        finally:
            cursor.execute("RESET statement_timeout")


@needs_postgres
@pytest.mark.usefixtures("slow")
def test_other_errors_of_a_query_keep_their_names():
    declared = [Column("number"), Column("ratio", source=Value(1) / (F("id") - F("id")))]
    with pytest.raises(Exception, match="division by zero") as raised:
        list(querysets.batches(Order.objects.all(), declared, limits=time_limits()))
    assert not isinstance(raised.value, QueryTooSlow)


@needs_sqlite
def test_sqlite_reads_without_one(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": 0.001}
    Order.objects.create(number="o1")
    assert [len(batch[0]) for batch in querysets.batches(Order.objects.all(), [Column("number")], limits=time_limits())] == [1]


def timeout(cursor: Any) -> str:
    cursor.execute("SHOW statement_timeout")
    return cursor.fetchone()[0]
