"""A query that takes too long: PostgreSQL cancels it, the export fails with the reason, the connection goes on."""

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F, Func, TextField, Value

from exports import services
from exports.exceptions import QueryTooSlow
from exports.models import Status
from exports.state import error_of
from exports.tabular.columns import Column
from exports.tabular.plan import TimeLimits
from exports.tabular.readers import explain, querysets
from exports.worker import loop
from tests.shop.databases import needs_postgres, needs_sqlite, statement_timeout
from tests.shop.exports import OrderExport, registered
from tests.shop.models import Order

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

NUMBER = Column("number")
SLEEP = Column("slept", source=Func(Value(30.0), function="pg_sleep", output_field=TextField()))


class SlowExport(OrderExport):
    """PostgreSQL needs half a minute for each row."""

    file_type = "slow"
    columns = (NUMBER, SLEEP)


@pytest.fixture(autouse=True)
def order() -> Order:
    return Order.objects.create(number="o1")


@needs_postgres
def test_an_export_whose_query_takes_too_long_fails_with_advice(settings):
    settings.EXPORTS = {**settings.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": 0.3}
    with registered(SlowExport):
        export, _ = services.request_export(User.objects.create_user("ada"), "slow", {}, format="csv")
        assert loop.dispatch(export.pk)
        export.refresh_from_db()
        assert (export.status, export.error_code, export.attempts) == (Status.FAILED, "query_too_slow", 1)
        assert "narrow the filter" in error_of(export)["message"]
        assert "STATEMENT_TIMEOUT_SECONDS" in export.error_detail


@needs_postgres
@pytest.mark.parametrize(("run_seconds", "strategy"), [(0.2, "copy"), (9.0, "cursor")])
def test_every_strategy_is_canceled_and_the_connection_goes_on(run_seconds, strategy):
    limits = TimeLimits(0.3, run_seconds)
    assert explain.explain(Order.objects.all(), [NUMBER, SLEEP], limits=limits).strategy == strategy
    with pytest.raises(QueryTooSlow):
        list(querysets.batches(Order.objects.all(), [NUMBER, SLEEP], limits=limits))
    assert Order.objects.count() == 1


@needs_postgres
@pytest.mark.parametrize(("own", "limits", "strategy"), [
    ("0", TimeLimits(None, 60), "copy"), ("0", TimeLimits(60, 60), "copy"), ("0", TimeLimits(30, 60), "cursor"),
    ("0", TimeLimits(30, None), "cursor"), ("30s", TimeLimits(60, 60), "cursor"),
    ("30s", TimeLimits(None, None), "cursor"),
])  # fmt: skip
def test_copy_is_used_if_a_statement_may_take_as_long_as_a_run(own, limits, strategy):
    with statement_timeout(own):
        explained = explain.explain(Order.objects.all(), [NUMBER], limits=limits)
    assert explained.strategy == strategy
    expected = "COPY is one statement, and the database ends statements after 30 s (statement_timeout)."
    assert explained.reasons == ([expected] if strategy == "cursor" else [])


@needs_postgres
@pytest.mark.parametrize(
    ("own", "seconds", "effective"), [("0", 60, "1min"), ("10s", 60, "10s"), ("2min", 60, "1min"), ("0", None, "0")]
)
def test_the_shorter_timeout_applies_while_rows_are_read(own, seconds, effective):
    def current() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return cursor.fetchone()[0]

    with statement_timeout(own):
        with querysets.snapshot("default", seconds):
            assert current() == effective
        assert current() == own


@needs_postgres
def test_other_errors_of_a_query_are_raised_unchanged():
    declared = [NUMBER, Column("ratio", source=Value(1) / (F("id") - F("id")))]
    with pytest.raises(Exception, match="division by zero") as raised:
        list(querysets.batches(Order.objects.all(), declared))
    assert not isinstance(raised.value, QueryTooSlow)


@needs_sqlite
def test_sqlite_has_no_statement_timeout():
    batches = querysets.batches(Order.objects.all(), [NUMBER], limits=TimeLimits(0.001, None))
    assert [len(batch[0]) for batch in batches] == [1]


@needs_postgres
def test_a_count_that_takes_too_long_is_given_up_and_the_transaction_goes_on():
    slow = Order.objects.extra(where=["pg_sleep(9) IS NOT NULL"])
    with transaction.atomic():
        assert querysets.count_within(slow, 0.2) is None
        assert querysets.count_within(Order.objects.all(), 5) == 1
        assert Order.objects.count() == 1
