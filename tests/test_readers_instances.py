"""Instances and datetimes that are created a faster way are the same as those of Django and psycopg."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import django
import pytest
from django.db import DataError, connection, models, transaction
from django.db.models import F, QuerySet, Value
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init, pre_init

from exports.tabular.columns import Column
from exports.tabular.readers import psycopg_internals, querysets
from exports.tabular.readers.django_internals import PlainIterable, with_plain_instances
from tests.shop.databases import needs_postgres
from tests.shop.models import Customer, EveryField, Order, Seat, SortedOrder

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NOON = datetime(2026, 3, 29, 12, 0, 0, 500_000, tzinfo=UTC)
NUMBER = Column("number")
NUMBER_OF_INSTANCE = Column("c", source=lambda order: order.number)


class ProxyMeta:
    proxy = True
    app_label = "shop"


class InitMixin:
    """A base class after Model, whose __init__ has to be called."""

    def __init__(self) -> None:
        self.number = "set in __init__"


class WithInit(Order, InitMixin):
    Meta = ProxyMeta


class CallMeta(models.base.ModelBase):
    def __call__(cls, *args: Any, **kwargs: Any) -> models.Model:
        return super().__call__(*args, **kwargs)


class WithMetaclass(Order, metaclass=CallMeta):
    Meta = ProxyMeta


class InstanceOnlyDescriptor:
    """A data descriptor that fails when it is read from the class."""

    def __get__(self, instance: models.Model | None, owner: object = None) -> object:
        return vars(instance)["_doubled"]

    def __set__(self, instance: models.Model, value: object) -> None:
        vars(instance)["_doubled"] = value


class WithDescriptor(Order):
    doubled = InstanceOnlyDescriptor()

    Meta = ProxyMeta


class WithSetattr(Order):
    Meta = ProxyMeta

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value.upper() if name == "number" else value)


class WithFromDb(Order):
    Meta = ProxyMeta

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> models.Model:
        order = super().from_db(*args, **kwargs)
        order.number = "loaded"
        return order


PLAIN: dict[str, Callable[[], QuerySet]] = {
    "all": Order.objects.all,
    "filtered": lambda: Order.objects.filter(quantity__gt=1),
    "empty": Order.objects.none,
    "proxy": SortedOrder.objects.all,
    "annotated": lambda: Order.objects.annotate(doubled=F("quantity") * 2, city=F("customer__city")),
    "prefetched": lambda: Customer.objects.prefetch_related("orders"),
    "union": lambda: Order.objects.filter(quantity=1).union(Order.objects.filter(quantity=2)).order_by("number"),
    "composite key": Seat.objects.all,
    "nothing deferred": lambda: Order.objects.defer("note").defer(None),
}
NOT_PLAIN: dict[str, Callable[[], QuerySet]] = {
    "select_related": lambda: Order.objects.select_related("customer"),
    "defer": lambda: Order.objects.defer("note"),
    "only": lambda: Order.objects.only("number"),
    "extra": lambda: Order.objects.extra(select={"one": "1"}),
    "known related object": lambda: Customer.objects.get(name="Ann").orders.all(),
    "file field": EveryField.objects.all,
    "annotation named like a method": lambda: Order.objects.annotate(get_status_display=Value("x")),
    "annotation of a composite key": lambda: Seat.objects.annotate(key=F("pk")),
    "annotation named like a descriptor": lambda: WithDescriptor.objects.annotate(doubled=F("quantity") * 2),
    "metaclass": WithMetaclass.objects.all,
    "__init__ of a mixin": WithInit.objects.all,
    "__setattr__": WithSetattr.objects.all,
    "from_db": WithFromDb.objects.all,
}


@pytest.fixture(autouse=True)
def rows() -> None:
    ann = Customer.objects.create(name="Ann", city="Ulm")
    for number in range(3):
        Order.objects.create(number=f"o{number}", customer=ann, quantity=number, placed_at=NOON, details={"n": number})
    EveryField.objects.create(name="e", file="a/b.txt")
    Seat.objects.create(line="A", number=1)


def attributes(queryset: QuerySet) -> list[list[Any]]:
    """All attributes of the instances in their order, with those of prefetched ones, and their state."""
    return [attributes_of(instance) for instance in queryset.iterator(chunk_size=2)]


def attributes_of(instance: models.Model) -> list[Any]:
    held = vars(instance) | {"_state": None}
    prefetched = held.pop("_prefetched_objects_cache", {})
    state = instance._state
    found = {name: list(map(attributes_of, objects)) for name, objects in prefetched.items()}
    return [
        type(instance), list(held.items()), found, state.adding, state.db, list(state.fields_cache), set(vars(state)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_plain_instances_equal_those_of_the_orm(name):
    plain, usual = with_plain_instances(PLAIN[name]()), PLAIN[name]()
    assert (plain._iterable_class, usual._iterable_class) == (PlainIterable, ModelIterable)
    assert attributes(plain) == attributes(usual)


@pytest.mark.skipif(django.VERSION < (6, 1), reason="fetch modes are new in Django 6.1")
def test_related_objects_of_peers_are_fetched_in_one_query(django_assert_num_queries):
    orders = Order.objects.fetch_mode(models.FETCH_PEERS)
    assert with_plain_instances(orders)._iterable_class is PlainIterable
    with django_assert_num_queries(2):
        assert read(orders, Column("customer", source=lambda order: order.customer.name)) == [["Ann"] * 3]


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_all_other_instances_are_created_by_the_orm(name):
    assert with_plain_instances(NOT_PLAIN[name]())._iterable_class is ModelIterable


def test_json_of_plain_instances_equals_that_of_the_orm():
    null = Value(None, models.JSONField())
    stored = [1, "[1", "2]", None, null, {"a": [1.5, "x, y"]}, "\ue000between\ue000", True, "ä"]
    Order.objects.all().delete()
    Order.objects.bulk_create(Order(details=details) for details in stored)
    usual = Order.objects.order_by("pk")
    assert attributes(with_plain_instances(usual)) == attributes(usual)
    found = [type(order.details) for order in with_plain_instances(usual).iterator()]
    assert found == [int, str, str, NoneType, NoneType, dict, str, bool, str]


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_receivers_of_init_signals_are_called(signal):
    def receive(**kwargs: object) -> None:
        senders.append(kwargs["sender"])

    senders: list[object] = []
    signal.connect(receive, sender=Order)
    try:
        list(querysets.batches(Order.objects.all(), [NUMBER_OF_INSTANCE]))
    finally:
        signal.disconnect(receive, sender=Order)
    assert senders == [Order] * 3


def read(queryset: QuerySet, *columns: Column) -> list[list[object]]:
    [batch] = querysets.batches(queryset, columns)
    return [list(column) for column in batch]


@pytest.mark.parametrize(("model", "changed"), [(WithSetattr, ["O0", "O1", "O2"]), (WithFromDb, ["loaded"] * 3)])
def test_a_path_has_the_stored_value_even_if_the_model_changes_it(model, changed):
    found = read(model.objects.order_by("quantity"), NUMBER, NUMBER_OF_INSTANCE)
    assert found == [["o0", "o1", "o2"], changed]


def test_a_path_has_the_stored_value_even_if_a_receiver_changes_it():
    def shout(instance: Order, **kwargs: object) -> None:
        instance.number = instance.number.upper()

    post_init.connect(shout, sender=Order)
    try:
        assert read(Order.objects.all(), NUMBER, NUMBER_OF_INSTANCE) == [["o0", "o1", "o2"], ["O0", "O1", "O2"]]
    finally:
        post_init.disconnect(shout, sender=Order)


def test_a_path_has_the_stored_value_even_if_a_callable_changes_it():
    change = Column("c", source=lambda order: setattr(order, "number", "changed"))
    assert read(Order.objects.all(), change, NUMBER)[1] == ["o0", "o1", "o2"]


def test_deferred_fields_are_read():
    columns = [NUMBER, Column("customer__name"), NUMBER_OF_INSTANCE]
    assert read(Order.objects.only("quantity"), *columns) == [["o0", "o1", "o2"], ["Ann"] * 3, ["o0", "o1", "o2"]]


def test_a_queryset_class_that_overrides_all_is_not_filtered_again():
    class Filtered(QuerySet):
        def all(self) -> QuerySet:
            return super().all().filter(quantity__gt=0)

    queryset = Filtered(Order).order_by("number")[:2]
    assert [order.number for order in with_plain_instances(queryset).iterator()] == ["o0", "o1"]


def test_a_plain_instance_can_be_saved_followed_and_compared():
    queryset = with_plain_instances(Order.objects.order_by("number"))
    order = queryset.get(number="o1")
    order.note = "saved"
    order.save()
    assert order == Order.objects.get(note="saved")
    assert order.customer.name == "Ann"
    assert [order.number for order in queryset.iterator() if not order._state.adding] == ["o0", "o1", "o2"]


@pytest.mark.parametrize("size", [1, 7, 100, 150, 1000])
def test_batches_of_instances_have_the_requested_size(size):
    Order.objects.bulk_create(Order(number=f"many{number}") for number in range(348))
    batches = list(querysets.batches(Order.objects.all(), [NUMBER, NUMBER_OF_INSTANCE], size=size))
    lengths = [len(batch[0]) for batch in batches]
    assert lengths == [size] * (351 // size) + [351 % size] * bool(351 % size)
    assert [number for batch in batches for number in batch[0]] == [name for batch in batches for name in batch[1]]


# Datetimes of psycopg


def datetimes(*texts: str) -> list[datetime]:
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT text::timestamptz FROM unnest(%s::text[]) AS text", [list(texts)])
        return [moment for [moment] in cursor.fetchall()]


@needs_postgres
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_fast_datetimes_equal_those_of_psycopg_in_any_zone_of_the_session(zone):
    texts = ["2026-03-29 12:00:00.5+00", "2026-03-29 12:00:00+00", "2026-03-29 12:00:00.000001+00"]
    if zone == "UTC":
        texts += ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"]
    with transaction.atomic():
        connection.cursor().execute("SELECT set_config('TimeZone', %s, true)", [zone])
        usual = datetimes(*texts)
        with psycopg_internals.fast_datetimes(connection):
            fast = datetimes(*texts)
    assert [moment.tzinfo for moment in fast] == [UTC] * len(texts)
    assert list(map(repr, fast)) == list(map(repr, usual))


@needs_postgres
@pytest.mark.parametrize("text", ["infinity", "0044-03-15 12:00:00+00 BC", "20000-01-01 00:00:00+00"])
def test_datetimes_that_python_cannot_hold_raise_the_same_error(text):
    with pytest.raises(DataError) as usual, transaction.atomic():
        datetimes(text)
    with psycopg_internals.fast_datetimes(connection), pytest.raises(DataError) as fast, transaction.atomic():
        datetimes(text)
    assert str(fast.value) == str(usual.value)


def loader() -> type:
    """The class that parses this connection's datetimes."""
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    return adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)


@needs_postgres
def test_reads_that_end_in_any_order_restore_the_connection():
    before, loaders = loader(), set()
    for _ in range(2):
        first, second = (querysets.batches(Order.objects.all(), [NUMBER_OF_INSTANCE], size=1) for _ in range(2))
        next(first)
        next(second)
        loaders.add(loader())
        first.close()
        second.close()
        assert loader() is before
    # psycopg keeps each loader class for ever, so there is only one.
    assert len(loaders - {before}) == 1
