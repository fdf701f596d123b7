"""Instances that are made the short way are those that the ORM makes; moments likewise."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import pytest
from django.db import DataError, connection, models, transaction
from django.db.models import F, QuerySet, Value
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init, pre_init

from exports.tabular.columns import Column
from exports.tabular.readers import psycopg_internals, querysets
from exports.tabular.readers.django_internals import PlainIterable, with_plain_instances
from tests.shop.models import Customer, Order, SortedOrder
from tests.test_read_strategies import Everything, needs_postgres

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NOON = datetime(2026, 3, 29, 12, 0, 0, 500_000, tzinfo=UTC)

JSONS = [1, "[1", "2]", None, Value(None, models.JSONField()), {"a": [1.5, "x, y"]}, "\ue000between\ue000", True, "ä"]


class Seat(models.Model):
    pk = models.CompositePrimaryKey("line", "number")
    line = models.CharField(max_length=5)
    number = models.IntegerField()

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"{self.line}{self.number}"


class Begun:
    """What a model may have beside Model, and what then has to be called."""

    def __init__(self) -> None:
        self.number = "begun"


class Begins(Order, Begun):
    class Meta:
        proxy = True
        app_label = "shop"


class Counted(models.base.ModelBase):
    def __call__(cls, *args: Any, **kwargs: Any) -> models.Model:
        return super().__call__(*args, **kwargs)


class IsCounted(Order, metaclass=Counted):
    class Meta:
        proxy = True
        app_label = "shop"


class Naive:
    """A data descriptor that cannot be asked of the class."""

    def __get__(self, instance: models.Model | None, owner: object = None) -> object:
        return vars(instance)["_doubled"]

    def __set__(self, instance: models.Model, value: object) -> None:
        vars(instance)["_doubled"] = value


class Doubles(Order):
    doubled = Naive()

    class Meta:
        proxy = True
        app_label = "shop"


class Speaks(Order):
    class Meta:
        proxy = True
        app_label = "shop"

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value.upper() if name == "number" else value)


class Loads(Order):
    class Meta:
        proxy = True
        app_label = "shop"

    @classmethod
    def from_db(cls, *args: Any) -> models.Model:
        order = super().from_db(*args)
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
    "a composite key": Seat.objects.all,
    "nothing deferred": lambda: Order.objects.defer("note").defer(None),
}
OTHERS: dict[str, Callable[[], QuerySet]] = {
    "joined": lambda: Order.objects.select_related("customer"),
    "deferred": lambda: Order.objects.defer("note"),
    "only": lambda: Order.objects.only("number"),
    "extra": lambda: Order.objects.extra(select={"one": "1"}),
    "known": lambda: Customer.objects.get(name="Ann").orders.all(),
    "a file": Everything.objects.all,
    "an annotation by the name of an attribute": lambda: Order.objects.annotate(get_status_display=Value("x")),
    "a composite key once more": lambda: Seat.objects.annotate(key=F("pk")),
    "an annotation by the name of a descriptor": lambda: Doubles.objects.annotate(doubled=F("quantity") * 2),
    "counted": IsCounted.objects.all,
    "begun by somebody else": Begins.objects.all,
    "sets by itself": Speaks.objects.all,
    "loads by itself": Loads.objects.all,
}


@pytest.fixture(autouse=True)
def rows() -> None:
    ann = Customer.objects.create(name="Ann", city="Ulm")
    for number in range(3):
        Order.objects.create(number=f"o{number}", customer=ann, quantity=number, placed_at=NOON, details={"n": number})
    Everything.objects.create(name="e", file="a/b.txt")
    Seat.objects.create(line="A", number=1)


def parts(queryset: QuerySet) -> list[list[Any]]:
    """All that there is of the instances, but which objects they are."""
    return [parts_of(instance) for instance in queryset.iterator(chunk_size=2)]


def parts_of(instance: models.Model) -> list[Any]:
    held = vars(instance) | {"_state": None}
    prefetched = held.pop("_prefetched_objects_cache", {})
    # Their order counts too.
    held = list(held.items())
    state = instance._state
    found = {name: list(map(parts_of, objects)) for name, objects in prefetched.items()}
    return [type(instance), held, found, state.adding, state.db, list(state.fields_cache), sorted(vars(state))]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_instances_are_those_of_the_orm(name):
    quick, usual = with_plain_instances(PLAIN[name]()), PLAIN[name]()
    assert (quick._iterable_class, usual._iterable_class) == (PlainIterable, ModelIterable)
    assert parts(quick) == parts(usual)


def test_json_is_what_the_orm_reads():
    for number, details in enumerate(JSONS, start=3):
        Order.objects.create(number=f"o{number}", details=details)
    usual = Order.objects.order_by("pk")
    assert parts(with_plain_instances(usual)) == parts(usual)
    given = [type(order.details) for order in with_plain_instances(usual).iterator()][3:]
    assert given == [int, str, str, NoneType, NoneType, dict, str, bool, str]


@pytest.mark.parametrize("name", OTHERS)
def test_all_others_are_made_by_the_orm(name):
    assert with_plain_instances(OTHERS[name]())._iterable_class is ModelIterable


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_whoever_hears_of_instances_hears_of_these(signal):
    def hear(**kwargs: object) -> None:
        heard.append(kwargs["sender"])

    heard: list[object] = []
    signal.connect(hear, sender=Order)
    try:
        list(querysets.batches(Order.objects.all(), [Column("c", source=str)]))
    finally:
        signal.disconnect(hear, sender=Order)
    assert heard == [Order] * 3


@pytest.mark.parametrize(("model", "made"), [(Speaks, ["O0", "O1", "O2"]), (Loads, ["loaded"] * 3)])
def test_beside_a_callable_a_column_is_still_what_the_database_has(model, made):
    queryset = model.objects.order_by("number")
    [batch] = querysets.batches(queryset, [Column("number"), Column("c", source=lambda order: order.number)])
    assert list(batch[0]) == ["o0", "o1", "o2"]
    assert list(batch[1]) == made


def test_a_model_with_rows_of_its_own_is_asked_once():
    class Kept(QuerySet):
        def all(self) -> QuerySet:
            return super().all().filter(quantity__gt=0)

    kept = Kept(Order).order_by("number")[:2]
    assert [order.number for order in with_plain_instances(kept).iterator()] == ["o0", "o1"]


def test_an_instance_can_be_saved_followed_and_compared():
    quick = with_plain_instances(Order.objects.order_by("number"))
    order = quick.get(number="o1")
    order.note = "saved"
    order.save()
    assert order == Order.objects.get(note="saved")
    assert order.customer.name == "Ann"
    assert [order.number for order in quick.iterator() if not order._state.adding] == ["o0", "o1", "o2"]


@pytest.mark.parametrize("size", [1, 7, 100, 150, 1000])
def test_batches_have_the_size_that_was_asked_for(size):
    Order.objects.bulk_create(Order(number=f"many{number}") for number in range(348))
    batches = list(querysets.batches(Order.objects.all(), [Column("number"), Column("c", source=str)], size=size))
    lengths = [len(batch[0]) for batch in batches]
    assert lengths == [size] * (351 // size) + [351 % size] * bool(351 % size)
    assert [number for batch in batches for number in batch[0]] == [name for batch in batches for name in batch[1]]


TEXTS = [
    "2026-03-29 12:00:00.5+00",
    "2026-03-29 12:00:00+00",
    "2026-03-29 12:00:00.000001+00",
    "0001-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00",
]


def moments(texts: list[str]) -> list[datetime]:
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT text::timestamptz FROM unnest(%s::text[]) AS text", [texts])
        return [moment for [moment] in cursor.fetchall()]


@needs_postgres
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_quick_moments_are_the_usual_ones_in_any_zone_of_the_session(zone):
    with transaction.atomic():
        connection.cursor().execute("SELECT set_config('TimeZone', %s, true)", [zone])
        texts = TEXTS if zone == "UTC" else TEXTS[:3]
        usual = moments(texts)
        with psycopg_internals.fast_datetimes(connection):
            quick = moments(texts)
    assert quick == usual
    assert [moment.tzinfo for moment in quick] == [UTC] * len(texts)
    assert list(map(repr, quick)) == list(map(repr, usual))


@needs_postgres
@pytest.mark.parametrize("text", ["infinity", "0044-03-15 12:00:00+00 BC", "20000-01-01 00:00:00+00"])
def test_what_is_no_moment_of_pythons_fails_as_ever(text):
    errors = []
    for _ in range(2):
        with pytest.raises(DataError) as caught, transaction.atomic():
            moments([text])
        errors.append(str(caught.value))
        with psycopg_internals.fast_datetimes(connection), pytest.raises(DataError) as caught, transaction.atomic():
            moments([text])
        errors.append(str(caught.value))
    assert len(set(errors)) == 1


def loader() -> type:
    """What makes this connection's moments."""
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    return adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)


@needs_postgres
def test_reads_that_end_in_any_order_leave_the_connection_as_it_was():
    before = loader()
    for _ in range(2):
        first, second = psycopg_internals.fast_datetimes(connection), psycopg_internals.fast_datetimes(connection)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert loader() is before


@needs_postgres
def test_many_reads_make_one_loader():
    with psycopg_internals.fast_datetimes(connection):
        one = loader()
    with psycopg_internals.fast_datetimes(connection):
        assert loader() is one


@needs_postgres
def test_the_connection_is_as_it_was_afterwards():
    before = loader()
    batches = querysets.batches(Order.objects.all(), [Column("placed_at"), Column("c", source=str)], size=1)
    assert list(next(batches)[0]) == [NOON]
    assert loader() is not before
    batches.close()
    assert loader() is before
