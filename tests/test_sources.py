"""Querysets as batches of columns, on whatever database the tests run on."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Count, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Lower
from django.test.utils import CaptureQueriesContext

from exports.exceptions import UnknownColumn
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Column
from exports.tabular.readers import querysets
from tests.shop.models import Customer, Order, SortedOrder

pytestmark = pytest.mark.django_db


@contextmanager
def other_connection() -> Iterator[Any]:
    """A cursor of a connection of its own, as another process has it."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


needs_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="needs PostgreSQL")
needs_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="needs SQLite")


@pytest.fixture
def customers() -> list[Customer]:
    return [
        Customer.objects.create(name="Ann", city="Berlin", tier="gold"),
        Customer.objects.create(name="Bob", city="Berlin"),
        Customer.objects.create(name="Cid", city="Athens"),
    ]


@pytest.fixture
def orders(customers) -> list[Order]:
    """Seven orders: two of Ann, four of Bob, one of nobody."""
    owners = [0, 1, 1, 0, 1, 1, None]
    return [
        Order.objects.create(
            number=f"o{number}",
            customer=None if owner is None else customers[owner],
            quantity=number % 3,
            price=Decimal("10.50") * number,
            details={"size": number, "tag": "x"},
        )
        for number, owner in enumerate(owners)
    ]


def rows(queryset: QuerySet, *columns: Column | str, size: int = 3) -> list[tuple]:
    declared = [column if isinstance(column, Column) else Column(column) for column in columns]
    batches = querysets.batches(queryset, declared, size=size)
    return [row for batch in batches for row in zip(*map(values, batch), strict=True)]


def values(column: Sequence[Any]) -> Sequence[Any]:
    """The values of a column, whether they came as they are or as texts."""
    if not isinstance(column, RawColumn):
        return column
    return [None if text is None else VALUES[column.family](text) for text in column]


VALUES = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "float": float,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "utc datetime": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    "time": time.fromisoformat,
    "uuid": uuid.UUID,
    "json": json.loads,
}


def test_every_kind_of_value_arrives_as_python_has_it():
    values = {
        "number": "o1",
        "quantity": -5,
        "units": 2**60,
        "price": Decimal("12.50"),
        "weight": 0.1,
        "is_paid": True,
        "ordered_on": date(2013, 1, 2),
        "placed_at": datetime(2013, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "opens_at": time(3, 4),
        "preparation": timedelta(days=2, seconds=3),
        "details": {"a": [1, None]},
        "reference": uuid.UUID(int=7),
    }
    Order.objects.create(**values)
    assert rows(Order.objects.all(), *values) == [tuple(values.values())]
    assert rows(Order.objects.all(), *values, Column("c", source=str)) == [(*values.values(), "o1")]


def test_rows_come_in_batches_of_columns(orders):
    batches = list(querysets.batches(Order.objects.all(), [Column("number"), Column("quantity")], size=3))
    assert [[list(values(column)) for column in batch] for batch in batches] == [
        [["o0", "o1", "o2"], [0, 1, 2]],
        [["o3", "o4", "o5"], [0, 1, 2]],
        [["o6"], [0]],
    ]


def test_no_rows_are_no_batches():
    assert list(querysets.batches(Order.objects.all(), [Column("number")])) == []
    assert list(querysets.batches(Order.objects.none(), [Column("number")])) == []


def test_a_path_an_expression_and_a_callable_stand_side_by_side(orders):
    columns = [
        Column("customer__name"),
        Column("customer"),
        Column("total", source=F("quantity") * F("price")),
        Column("label", source=lambda order: f"{order.number}!"),
        Column("details__size"),
    ]
    expected = [("Ann", orders[0].customer_id, Decimal("0.00"), "o0!", 0)]
    assert rows(Order.objects.all(), *columns)[:1] == expected
    assert rows(Order.objects.all(), *columns[:3], columns[4])[:1] == [(*expected[0][:3], 0)]
    assert rows(Order.objects.all(), *columns)[6][0] is None


def test_annotations_and_aliases_are_columns(orders):
    queryset = Order.objects.annotate(twice=F("quantity") * 2).alias(thrice=F("quantity") * 3)
    assert rows(queryset, "number", "twice", "thrice")[2] == ("o2", 4, 6)


def test_two_columns_may_have_the_same_source(orders):
    columns = [Column("a", source="number"), Column("b", source="number"), Column("number")]
    assert rows(Order.objects.all(), *columns)[0] == ("o0", "o0", "o0")


def test_generated_names_stay_clear_of_fields_and_annotations(orders):
    queryset = Order.objects.annotate(export_0=Value("mine"), xexport_0=Value("too"))
    assert rows(queryset, Column("a", source=Lower("number")), "export_0")[0] == ("o0", "mine")
    assert rows(queryset, Column("a", source=Lower("number")), Column("b", source=str))[0] == ("o0", "o0")


def test_callables_and_paths_cost_no_query_for_each_row(orders, django_assert_num_queries):
    columns = [Column("customer__name"), Column("label", source=lambda order: order.number)]
    with django_assert_num_queries(1):
        rows(Order.objects.only("number"), *columns, Column("note"))


def test_a_callable_is_called_once_a_row(orders):
    seen: list[int] = []
    rows(Order.objects.all(), Column("n", source=lambda order: seen.append(order.pk)), "number")
    assert seen == [order.pk for order in orders]


def test_prefetched_objects_cost_a_query_for_each_batch(orders, django_assert_num_queries):
    column = Column("orders", source=lambda customer: len(customer.orders.all()))
    queryset = Customer.objects.prefetch_related("orders")
    with django_assert_num_queries(1 + 2):
        assert rows(queryset, "name", column, size=2) == [("Ann", 2), ("Bob", 4), ("Cid", 0)]
    with CaptureQueriesContext(connection) as queries:
        assert rows(queryset, "name") == [("Ann",), ("Bob",), ("Cid",)]
    assert not [query for query in queries if "shop_order" in query["sql"]]


def test_aggregates_group_by_row(orders):
    columns = [Column("name"), Column("count", source=Count("orders")), Column("sum", source=Sum("orders__quantity"))]
    assert rows(Customer.objects.all(), *columns) == [("Ann", 2, 0), ("Bob", 4, 6), ("Cid", 0, None)]
    assert rows(Customer.objects.annotate(n=Count("orders")), "name", "n")[1] == ("Bob", 4)


def test_subqueries_are_columns(orders):
    last = Order.objects.filter(customer=OuterRef("pk")).order_by("-pk").values("number")[:1]
    assert rows(Customer.objects.all(), "name", Column("last", source=Subquery(last)))[0] == ("Ann", "o3")


def test_extra_columns_are_columns(orders):
    queryset = Order.objects.extra(select={"one": "1"})
    assert rows(queryset, "number", "one")[0] == ("o0", 1)
    assert rows(queryset, "one", Column("c", source=str))[0] == (1, "o0")


# Whose rows


def test_an_unordered_queryset_is_in_the_order_of_its_keys(orders):
    assert [number for [number] in rows(Order.objects.all(), "number")] == [f"o{number}" for number in range(7)]


def test_equals_are_in_the_order_of_their_keys(orders):
    found = rows(Order.objects.order_by("-quantity"), "quantity", "number")
    assert [number for _, number in found] == ["o2", "o5", "o1", "o4", "o0", "o3", "o6"]


def test_a_reversed_queryset_is_reversed(orders):
    assert rows(Order.objects.order_by("pk").reverse(), "number")[0] == ("o6",)


def test_choosing_columns_does_not_merge_distinct_rows(customers):
    assert rows(Customer.objects.distinct(), "city") == [("Berlin",), ("Berlin",), ("Athens",)]
    assert querysets.count(Customer.objects.distinct()) == 3


def test_rows_doubled_by_a_join_are_merged_by_distinct(orders):
    queryset = Customer.objects.filter(orders__quantity__gte=0)
    assert len(rows(queryset, "city")) == querysets.count(queryset) == 6
    assert len(rows(queryset.distinct(), "city")) == querysets.count(queryset.distinct()) == 2


def test_a_distinct_slice_keeps_its_rows(customers):
    queryset = Customer.objects.order_by("name").distinct()[:2]
    assert rows(queryset, "city", Column("up", source=Lower("city"))) == [("Berlin", "berlin")] * 2
    assert querysets.count(queryset) == 2


def test_a_slice_is_the_slice(orders):
    queryset = Order.objects.order_by("number")[2:5]
    label = Column("label", source=lambda order: order.number)
    assert rows(queryset, "number") == [("o2",), ("o3",), ("o4",)]
    assert rows(queryset, "customer__name", Column("q", source=F("quantity") + 1), label)[0] == ("Bob", 3, "o2")
    assert querysets.count(queryset) == 3


def test_a_union_has_the_rows_of_both_not_merged_by_the_chosen_columns(customers):
    union = Customer.objects.filter(name="Ann").union(Customer.objects.filter(city="Berlin")).order_by("name")
    assert rows(union, "city") == [("Berlin",), ("Berlin",)]
    assert rows(union, "name", Column("c", source=str)) == [("Ann", "Ann"), ("Bob", "Bob")]
    assert querysets.count(union) == 2


def test_a_union_follows_paths_and_keys(orders):
    union = Order.objects.filter(number="o0").union(Order.objects.filter(number="o6")).order_by("number")
    found = rows(union, "number", "customer__name", "customer", "customer_id", "pk")
    key = orders[0].customer_id
    assert found == [("o0", "Ann", key, key, orders[0].pk), ("o6", None, None, None, orders[6].pk)]


def test_a_union_computes_nothing(customers):
    union = Customer.objects.all().union(Customer.objects.all())
    with pytest.raises(UnknownColumn, match="cannot be computed over a union"):
        rows(union, Column("c", source=Lower("name")))
    with pytest.raises(UnknownColumn, match=r"there is no 'nmae' in Customer\. Did you mean 'name'"):
        rows(union, "nmae")


def test_values_keep_their_groups_whatever_is_chosen(orders):
    queryset = Order.objects.values("customer__name", "quantity").annotate(n=Count("pk"))
    found = rows(queryset, "n", "customer__name")
    assert sorted(found, key=str) == [(1, None), (2, "Ann"), (2, "Bob"), (2, "Bob")]
    assert querysets.count(queryset) == 4


def test_distinct_values_stay_distinct_in_all_their_values(customers):
    queryset = Customer.objects.values_list("city", "tier").distinct()
    assert rows(queryset, "city") == [("Athens",), ("Berlin",), ("Berlin",)]


def test_values_have_only_their_own_columns_and_no_instances(customers):
    queryset = Customer.objects.values("city")
    with pytest.raises(UnknownColumn, match=r"there is no 'name' in values of this queryset\. Known: city\."):
        rows(queryset, "name")
    with pytest.raises(UnknownColumn, match="made from a model instance, but this queryset gives values"):
        rows(queryset, Column("c", source=str))


@needs_postgres
def test_distinct_on_takes_the_first_by_key(orders):
    assert rows(Order.objects.distinct("quantity"), "quantity", "number") == [(0, "o0"), (1, "o1"), (2, "o2")]


def test_the_order_of_the_model_is_kept(orders):
    assert [number for [number] in rows(SortedOrder.objects.all(), "number")] == [
        "o2",
        "o5",
        "o1",
        "o4",
        "o0",
        "o3",
        "o6",
    ]


# The snapshot


@pytest.mark.django_db(transaction=True)
class TestSnapshot:
    @needs_postgres
    def test_all_rows_are_of_one_moment(self, orders):
        batches = querysets.batches(Order.objects.all(), [Column("number")], size=1)
        next(batches)
        with other_connection() as cursor:
            cursor.execute("UPDATE shop_order SET number = 'changed'")
        assert [list(column) for [column] in batches][-1] == ["o6"]

    @needs_postgres
    def test_postgresql_reads_in_a_read_only_transaction_through_a_cursor(self, orders):
        with CaptureQueriesContext(connection) as queries:
            batches = querysets.batches(Order.objects.all(), [Column("number"), Column("preparation")], size=1)
            next(batches)
            with connection.cursor() as cursor:
                cursor.execute("SELECT statement FROM pg_cursors")
                assert "WITH HOLD" not in cursor.fetchone()[0]
                cursor.execute("SHOW transaction_read_only")
                assert cursor.fetchone() == ("on",)
                cursor.execute("SHOW transaction_isolation")
                assert cursor.fetchone() == ("repeatable read",)
            batches.close()
        assert "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY" in [q["sql"] for q in queries]

    def test_the_transaction_ends_with_the_rows_or_when_closed_early(self, orders):
        for end in (list, lambda batches: (next(batches), batches.close())):
            end(querysets.batches(Order.objects.all(), [Column("number")], size=1))
            assert not connection.in_atomic_block
            Order.objects.update(note="written after")

    def test_the_transaction_ends_with_an_error(self, orders):
        with pytest.raises(ZeroDivisionError):
            rows(Order.objects.all(), Column("c", source=lambda order: 1 / 0))
        assert not connection.in_atomic_block

    @needs_sqlite
    def test_sqlite_reads_outside_a_transaction_and_holds_no_lock_for_writing(self, orders):
        batches = querysets.batches(Order.objects.all(), [Column("number")], size=1)
        next(batches)
        assert not connection.in_atomic_block
        with other_connection() as cursor:
            cursor.execute("UPDATE shop_order SET number = 'changed'")
        batches.close()

    def test_inside_a_transaction_it_just_reads(self, orders):
        with transaction.atomic(), querysets.snapshot("default"):
            Order.objects.update(note="x")
            assert rows(Order.objects.all(), "note") == [("x",)] * 7

    def test_a_snapshot_of_the_caller_holds_for_the_count_and_the_rows(self, orders):
        with querysets.snapshot("default"):
            assert querysets.count(Order.objects.all()) == len(rows(Order.objects.all(), "number"))
        assert not connection.in_atomic_block
