"""Querysets as batches of columns: which rows and values, in which order, from one snapshot, in flat memory."""

import tracemalloc
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import Count, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Lower
from django.test.utils import CaptureQueriesContext

from exports.exceptions import UnknownColumn
from exports.tabular.cells.raw_columns import RawColumn, row_count
from exports.tabular.columns import Column
from exports.tabular.readers import querysets
from exports.tabular.readers import rows as row_reader
from tests.shop.databases import needs_postgres, needs_sqlite, other_cursor
from tests.shop.models import Customer, Order, SortedOrder

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def customers() -> list[Customer]:
    return [
        Customer.objects.create(name="Ann", city="Berlin", tier="gold"),
        Customer.objects.create(name="Bob", city="Berlin"),
        Customer.objects.create(name="Cid", city="Athens"),
    ]


@pytest.fixture
def orders(customers) -> list[Order]:
    """Seven orders: two of Ann, four of Bob, one without a customer."""
    return [
        Order.objects.create(
            number=f"o{number}",
            customer=None if owner is None else customers[owner],
            quantity=number % 3,
            price=Decimal("10.50") * number,
            details={"size": number, "tag": "x"},
        )
        for number, owner in enumerate([0, 1, 1, 0, 1, 1, None])
    ]


PARSERS = {"text": str, "integer": int, "decimal": Decimal}


def values(column: Sequence[Any]) -> Sequence[Any]:
    """The Python values of a column that may hold text of the database."""
    if not isinstance(column, RawColumn):
        return column
    return [None if text is None else PARSERS[column.family](text) for text in column]


def rows(queryset: QuerySet, *columns: Column | str, size: int = 3) -> list[tuple]:
    declared = [column if isinstance(column, Column) else Column(column) for column in columns]
    batches = querysets.batches(queryset, declared, size=size)
    return [row for batch in batches for row in zip(*map(values, batch), strict=True)]


# Values


def test_rows_come_in_batches_of_columns(orders):
    batches = list(querysets.batches(Order.objects.all(), [Column("number"), Column("quantity")], size=3))
    assert [[list(values(column)) for column in batch] for batch in batches] == [
        [["o0", "o1", "o2"], [0, 1, 2]],
        [["o3", "o4", "o5"], [0, 1, 2]],
        [["o6"], [0]],
    ]


def test_a_queryset_without_rows_yields_no_batch():
    for queryset in (Order.objects.all(), Order.objects.none()):
        assert list(querysets.batches(queryset, [Column("number")])) == []


def test_dictionaries_come_in_batches_of_columns():
    batches = row_reader.batches([{"a": 1, "b": 2}, {"a": 3}, {"b": 4}], [Column("a"), Column("b")], ["a", "b"], size=2)
    assert list(batches) == [[[1, 3], [2, None]], [[None], [4]]]


def test_paths_expressions_and_callables_can_be_mixed(orders):
    columns = [
        Column("customer__name"), Column("customer_id"), Column("total", source=F("quantity") * F("price")),
        Column("details__size"), Column("label", source=lambda order: f"{order.number}!"),
    ]  # fmt: skip
    expected = ("Ann", orders[0].customer_id, Decimal("0.00"), 0, "o0!")
    found = rows(Order.objects.all(), *columns)
    assert (found[0], found[6][0]) == (expected, None)
    assert rows(Order.objects.all(), *columns[:4])[0] == expected[:4]


def test_two_columns_may_have_the_same_source(orders):
    columns = [Column("a", source="number"), Column("b", source="number"), Column("number")]
    assert rows(Order.objects.all(), *columns)[0] == ("o0", "o0", "o0")


def test_generated_names_avoid_fields_and_annotations(orders):
    queryset = Order.objects.annotate(export_0=Value("mine"), xexport_0=Value("too"))
    assert rows(queryset, Column("a", source=Lower("number")), "export_0")[0] == ("o0", "mine")
    assert rows(queryset, Column("a", source=Lower("number")), Column("b", source=str))[0] == ("o0", "o0")


def test_annotations_aliases_aggregates_and_subqueries_are_columns(orders):
    queryset = Order.objects.annotate(twice=F("quantity") * 2).alias(thrice=F("quantity") * 3)
    assert rows(queryset, "number", "twice", "thrice")[2] == ("o2", 4, 6)
    columns = [Column("name"), Column("count", source=Count("orders")), Column("sum", source=Sum("orders__quantity"))]
    assert rows(Customer.objects.all(), *columns) == [("Ann", 2, 0), ("Bob", 4, 6), ("Cid", 0, None)]
    last = Order.objects.filter(customer=OuterRef("pk")).order_by("-pk").values("number")[:1]
    assert rows(Customer.objects.all(), "name", Column("last", source=Subquery(last)))[0] == ("Ann", "o3")


def test_extra_columns_are_columns(orders):
    queryset = Order.objects.extra(select={"one": "1"})
    assert rows(queryset, "number", "one")[0] == ("o0", 1)
    assert rows(queryset, "one", Column("c", source=str))[0] == (1, "o0")


# Queries


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


# Which rows, in which order


@pytest.mark.parametrize(("order", "numbers"), [
    (lambda: Order.objects.all(), "0123456"),
    (lambda: Order.objects.order_by("-quantity"), "2514036"),
    (lambda: SortedOrder.objects.all(), "2514036"),
    (lambda: Order.objects.order_by("pk").reverse(), "6543210"),
    (lambda: Order.objects.order_by("number")[2:5], "234"),
], ids=["unordered", "equal rows", "order of the model", "reversed", "slice"])  # fmt: skip
def test_rows_keep_their_order_and_equal_rows_that_of_their_keys(orders, order, numbers):
    expected = [f"o{number}" for number in numbers]
    assert [number for [number] in rows(order(), "number")] == expected
    assert [number for number, _ in rows(order(), "number", Column("label", source=str))] == expected
    assert querysets.count(order()) == len(expected)


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


@needs_postgres
def test_distinct_on_takes_the_first_row_by_key(orders):
    assert rows(Order.objects.distinct("quantity"), "quantity", "number") == [(0, "o0"), (1, "o1"), (2, "o2")]


def test_a_union_keeps_rows_that_are_equal_in_the_chosen_columns(customers):
    union = Customer.objects.filter(name="Ann").union(Customer.objects.filter(city="Berlin")).order_by("name")
    assert rows(union, "city") == [("Berlin",), ("Berlin",)]
    assert rows(union, "name", Column("c", source=str)) == [("Ann", "Ann"), ("Bob", "Bob")]
    assert querysets.count(union) == 2


def test_a_union_follows_paths_and_keys(orders):
    union = Order.objects.filter(number="o0").union(Order.objects.filter(number="o6")).order_by("number")
    found = rows(union, "number", "customer__name", "customer_id", "pk")
    key = orders[0].customer_id
    assert found == [("o0", "Ann", key, orders[0].pk), ("o6", None, None, orders[6].pk)]


def test_values_keep_their_groups_whatever_is_chosen(orders):
    queryset = Order.objects.values("customer__name", "quantity").annotate(n=Count("pk"))
    found = rows(queryset, "n", "customer__name")
    assert sorted(found, key=str) == [(1, None), (2, "Ann"), (2, "Bob"), (2, "Bob")]
    assert querysets.count(queryset) == 4


def test_distinct_values_stay_distinct_in_all_their_values(customers):
    queryset = Customer.objects.values_list("city", "tier").distinct()
    assert rows(queryset, "city") == [("Athens",), ("Berlin",), ("Berlin",)]


@pytest.mark.parametrize(("queryset", "column", "message"), [
    (lambda: Customer.objects.values("city"), Column("name"), r"'name' in values of this queryset\. Known: city\."),
    (lambda: Customer.objects.values("city"), Column("c", source=str), "but this queryset gives values"),
    (
        lambda: Customer.objects.all().union(Customer.objects.all()),
        Column("c", source=Lower("name")),
        "cannot be computed over a union",
    ),
    (
        lambda: Customer.objects.all().union(Customer.objects.all()),
        Column("nmae"),
        r"there is no 'nmae' in Customer\. Did you mean 'name'",
    ),
])  # fmt: skip
def test_columns_that_values_or_a_union_do_not_have_are_refused(queryset, column, message):
    with pytest.raises(UnknownColumn, match=message):
        rows(queryset(), column)


@needs_postgres
def test_postgresql_estimates_the_number_of_rows():
    many_orders(1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE shop_order")
    assert querysets.estimate(Order.objects.all()) == 1000
    assert querysets.estimate(Order.objects.all()[:10]) == 10
    assert querysets.estimate(Order.objects.none()) == 0


@needs_sqlite
def test_other_databases_estimate_nothing():
    assert querysets.estimate(Order.objects.all()) is None


# Memory, connections, snapshots

NUMBER, CALLABLE, CURSOR = Column("number"), Column("c", source=str), Column("preparation")


def many_orders(count: int) -> list[Column]:
    Order.objects.bulk_create(
        (Order(number=f"o{n}", quantity=n, details={"n": n}) for n in range(count)), batch_size=5000
    )
    return [NUMBER, Column("quantity"), Column("placed_at"), Column("details")]


def test_memory_does_not_grow_with_the_rows():
    declared = many_orders(20_000)
    tracemalloc.start()
    for batch in querysets.batches(Order.objects.all(), declared, size=500):
        for column in batch:
            assert len(column) == 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.django_db(transaction=True)
class TestConnection:
    @pytest.mark.parametrize("extra", [[], [CURSOR], [CALLABLE]])
    def test_closing_early_frees_the_connection(self, extra):
        batches = querysets.batches(Order.objects.all(), [*many_orders(3000), *extra], size=10)
        next(batches)
        batches.close()
        assert not connection.in_atomic_block
        assert Order.objects.update(note="written after") == 3000

    @pytest.mark.parametrize("extra", [[], [CURSOR]])
    def test_closing_early_keeps_a_transaction_of_the_caller(self, extra):
        declared = [*many_orders(3000), *extra]
        with transaction.atomic():
            Order.objects.filter(number="o1").update(note="mine")
            batches = querysets.batches(Order.objects.all(), declared, size=10)
            next(batches)
            batches.close()
            assert Order.objects.filter(note="mine").count() == 1
        assert Order.objects.filter(note="mine").count() == 1

    def test_the_transaction_ends_with_the_rows_or_with_an_error(self, orders):
        rows(Order.objects.all(), "number")
        assert not connection.in_atomic_block
        with pytest.raises(ZeroDivisionError):
            rows(Order.objects.all(), Column("c", source=lambda order: 1 / 0))
        assert not connection.in_atomic_block

    @needs_postgres
    def test_during_a_copy_another_query_fails_and_does_not_wait(self):
        batches = querysets.batches(Order.objects.all(), many_orders(3000), size=10)
        next(batches)
        with pytest.raises(OperationalError, match="another command is already in progress"):
            Order.objects.count()
        assert sum(map(row_count, batches)) == 2990
        assert Order.objects.count() == 3000

    @needs_postgres
    def test_an_error_in_the_middle_of_a_copy_is_raised(self):
        many_orders(3000)
        declared = [NUMBER, Column("ratio", source=Value(1) / (F("quantity") - 2000))]
        with pytest.raises(Exception, match="division by zero"):
            list(querysets.batches(Order.objects.all(), declared, size=10))
        assert Order.objects.count() == 3000

    @needs_postgres
    @pytest.mark.parametrize("column", [NUMBER, CALLABLE])
    def test_all_rows_are_from_one_snapshot(self, orders, column):
        batches = querysets.batches(Order.objects.all(), [column], size=1)
        next(batches)
        with other_cursor() as cursor:
            cursor.execute("UPDATE shop_order SET number = 'changed'")
        assert [list(column) for [column] in batches][-1] == ["o6"]

    @needs_postgres
    def test_postgresql_reads_in_a_read_only_transaction_through_a_cursor(self, orders):
        with CaptureQueriesContext(connection) as queries:
            batches = querysets.batches(Order.objects.all(), [NUMBER, CURSOR], size=1)
            next(batches)
            with connection.cursor() as cursor:
                cursor.execute("SELECT statement FROM pg_cursors")
                assert "WITH HOLD" not in cursor.fetchone()[0]
                cursor.execute("SHOW transaction_read_only")
                assert cursor.fetchone() == ("on",)
                cursor.execute("SHOW transaction_isolation")
                assert cursor.fetchone() == ("repeatable read",)
            batches.close()
        assert "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY" in [query["sql"] for query in queries]

    @needs_postgres
    def test_server_side_cursors_can_be_disabled(self, orders, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
        batches = querysets.batches(Order.objects.all(), [NUMBER, CURSOR], size=1)
        next(batches)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_cursors")
            assert cursor.fetchone() == (0,)
        assert sum(map(row_count, batches)) == 6

    @needs_sqlite
    def test_sqlite_reads_outside_a_transaction_and_does_not_lock_writers(self, orders):
        batches = querysets.batches(Order.objects.all(), [NUMBER], size=1)
        next(batches)
        assert not connection.in_atomic_block
        with other_cursor() as cursor:
            cursor.execute("UPDATE shop_order SET number = 'changed'")
        batches.close()

    def test_inside_a_transaction_of_the_caller_a_snapshot_does_nothing(self, orders):
        with transaction.atomic(), querysets.snapshot("default"):
            Order.objects.update(note="x")
            assert rows(Order.objects.all(), "note") == [("x",)] * 7

    def test_a_snapshot_of_the_caller_covers_the_count_and_the_rows(self, orders):
        with querysets.snapshot("default"):
            assert querysets.count(Order.objects.all()) == len(rows(Order.objects.all(), "number"))
        assert not connection.in_atomic_block
