"""How the strategies are read: flat memory, closing early, errors; and which strategy is said to be taken, and why."""

import tracemalloc
from itertools import islice

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F, Value
from django.db.models.signals import post_init

from exports.tabular.cells.raw_columns import row_count
from exports.tabular.columns import Column
from exports.tabular.readers import explain, querysets
from tests.shop.models import Customer, Order
from tests.test_read_strategies import PLAIN, Everything, needs_postgres, needs_sqlite

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def many(rows: int) -> list[Column]:
    Order.objects.bulk_create(
        (Order(number=f"o{n}", quantity=n, details={"n": n}) for n in range(rows)), batch_size=5000
    )
    return [Column("number"), Column("quantity"), Column("placed_at"), Column("details")]


def test_memory_does_not_grow_with_the_rows():
    declared = many(20_000)
    tracemalloc.start()
    for batch in querysets.batches(Order.objects.all(), declared, size=500):
        for column in batch:
            assert len(column) == 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.django_db(transaction=True)
class TestClosing:
    @pytest.mark.parametrize("extra", [[], [Column("preparation")], [Column("c", source=str)]])
    def test_closed_early_the_connection_is_free(self, extra):
        declared = [*many(3000), *extra]
        batches = querysets.batches(Order.objects.all(), declared, size=10)
        next(batches)
        batches.close()
        assert not connection.in_atomic_block
        assert Order.objects.count() == 3000

    @pytest.mark.parametrize("extra", [[], [Column("preparation")]])
    def test_closed_early_a_transaction_of_the_caller_goes_on(self, extra):
        declared = [*many(3000), *extra]
        with transaction.atomic():
            Order.objects.filter(number="o1").update(note="mine")
            batches = querysets.batches(Order.objects.all(), declared, size=10)
            next(batches)
            batches.close()
            assert Order.objects.filter(note="mine").count() == 1
        assert Order.objects.filter(note="mine").count() == 1

    @needs_postgres
    def test_while_rows_are_copied_another_query_fails_and_does_not_wait(self):
        batches = querysets.batches(Order.objects.all(), many(3000), size=10)
        next(batches)
        with pytest.raises(OperationalError, match="another command is already in progress"):
            Order.objects.count()
        assert sum(map(row_count, batches)) == 2990
        assert Order.objects.count() == 3000

    @needs_postgres
    def test_an_error_in_the_middle_of_a_copy_is_raised(self):
        declared = [Column("number"), Column("ratio", source=Value(1) / (F("quantity") - 2000))]
        many(3000)
        with pytest.raises(Exception, match="division by zero"):
            list(islice(querysets.batches(Order.objects.all(), declared, size=10), 300))
        assert Order.objects.count() == 3000

    @needs_postgres
    def test_a_statement_timeout_of_the_connection_leads_to_the_cursor(self):
        declared = many(10)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '30s'")
        try:
            explained = explain.explain(Order.objects.all(), declared)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")
        assert explained.strategy == "cursor"
        assert "the database ends statements after 30 s (statement_timeout)" in explained.reasons[0]


# Explaining


def test_it_is_said_which_column_forces_the_road():
    names = [*PLAIN, "shouted"]
    explained = explain.explain(Everything.objects.all(), list(map(Column, names)))
    assert explained.strategy == "cursor"
    assert explained.reasons == [
        "Column 'shouted': its field Shouted has from_db_value, so each value passes through Python."
    ]
    assert dict(explained.columns)["shouted"] == "as Python values"
    assert "shop_everything" in explained.sql


def test_a_callable_and_a_union_take_instances():
    [reason] = explain.explain(Order.objects.all(), [Column("c", source=str)]).reasons
    assert reason == "Column 'c' is made by a callable, which takes a model instance."
    union = Customer.objects.all().union(Customer.objects.all())
    explained = explain.explain(union, [Column("city")])
    assert (explained.strategy, explained.columns) == ("instances", [("city", "as Python values")])


def test_an_instance_has_its_own_fields_already():
    many(3)
    declared = [Column("number"), Column("customer"), Column("customer__name"), Column("c", source=str)]
    assert explain.explain(Order.objects.all(), declared).sql.count('"number"') == 1
    # What is deferred is asked for again, with the others.
    assert explain.explain(Order.objects.defer("number"), declared).sql.count('"number"') == 1
    [batch] = querysets.batches(Order.objects.only("quantity"), [*declared[:3], Column("c", source=lambda row: row.pk)])
    assert list(batch[0]) == ["o0", "o1", "o2"]


def test_a_callable_that_changes_its_instance_changes_no_other_column():
    many(3)
    declared = [Column("c", source=lambda order: setattr(order, "number", "changed")), Column("number")]
    [batch] = querysets.batches(Order.objects.all(), declared)
    assert list(batch[1]) == ["o0", "o1", "o2"]


def test_what_a_model_makes_of_its_field_changes_no_column_of_the_field():
    def shout(instance: Order, **kwargs: object) -> None:
        instance.number = instance.number.upper()

    many(1)
    post_init.connect(shout, sender=Order)
    try:
        [batch] = querysets.batches(Order.objects.all(), [Column("number"), Column("c", source=lambda o: o.number)])
    finally:
        post_init.disconnect(shout, sender=Order)
    assert (list(batch[0]), list(batch[1])) == (["o0"], ["O0"])


def test_no_rows_are_explained_too():
    assert explain.explain(Order.objects.none(), [Column("number")]).reasons == ["No row can match."]


@needs_postgres
def test_postgresql_estimates_how_many_rows_there_are():
    many(1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE shop_order")
    assert querysets.estimate(Order.objects.all()) == 1000
    assert querysets.estimate(Order.objects.all()[:10]) == 10
    assert querysets.estimate(Order.objects.none()) == 0


@needs_sqlite
def test_other_databases_estimate_nothing():
    assert querysets.estimate(Order.objects.all()) is None


@needs_postgres
def test_postgresql_copies_plain_columns():
    explained = explain.explain(Everything.objects.all(), list(map(Column, PLAIN)))
    assert (explained.strategy, explained.reasons) == ("copy", [])
