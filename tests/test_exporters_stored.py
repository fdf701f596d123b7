"""Stored querysets and tagged JSON: read back unchanged, or refused with the reason."""

import datetime as dt
import json
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import models
from django.db.models import Count, Exists, F, Q, QuerySet
from django.db.models.functions import Coalesce, Lower
from django.db.models.lookups import Exact
from django.utils.safestring import SafeString

from exports.exceptions import UnstorableQuerySet
from exports.exporters import stored_querysets
from exports.exporters.tagged_json import from_json, to_json
from tests.shop.models import Book, Customer, EveryField, Order

STORABLE = {
    "all": lambda: Order.objects.all(),
    "equal": lambda: Order.objects.filter(status="open"),
    "and": lambda: Order.objects.filter(status="open", quantity__gte=3),
    "or": lambda: Order.objects.filter(Q(status="open") | Q(quantity__lt=2)),
    "not": lambda: Order.objects.filter(~Q(status="open")),
    "exclude a nullable": lambda: Order.objects.exclude(quantity=1),
    "nested": lambda: Order.objects.filter(~(Q(status="open") | Q(quantity=3)), Q(note="") | ~Q(number="A2")),
    "foreign key": lambda: Order.objects.filter(customer__city="Paris"),
    "exclude over a nullable foreign key": lambda: Order.objects.exclude(customer__city="Paris"),
    "instance": lambda: Order.objects.filter(customer=Customer.objects.get(name="Ada")),
    "null": lambda: Order.objects.filter(customer=None),
    "not null": lambda: Order.objects.filter(customer__isnull=False),
    "in": lambda: Order.objects.filter(quantity__in=(1, 2)),
    "range": lambda: Order.objects.filter(ordered_on__range=(dt.date(2026, 1, 1), dt.date(2026, 2, 1))),
    "transform": lambda: Order.objects.filter(ordered_on__year=2026),
    "contains": lambda: Order.objects.filter(number__icontains="a%_'\""),
    "decimal": lambda: Order.objects.filter(price=Decimal("1.20")),
    "moment": lambda: Order.objects.filter(placed_at__lt=dt.datetime(2026, 3, 1, tzinfo=dt.UTC)),
    "duration": lambda: Order.objects.filter(preparation__gt=dt.timedelta(minutes=5)),
    "uuid": lambda: Order.objects.filter(reference=UUID(int=1)),
    "boolean": lambda: Order.objects.filter(is_paid=True),
    "choice": lambda: Customer.objects.filter(tier=Customer.Tier.GOLD),
    "ordered": lambda: Order.objects.order_by("-quantity", "customer__name"),
    "unordered": lambda: Order.objects.order_by(),
    "values": lambda: Order.objects.filter(quantity=1).values("number", "customer__name"),
    "distinct": lambda: Order.objects.values("status").distinct(),
    "none": lambda: Order.objects.none(),
    "sliced": lambda: Order.objects.order_by("number")[1:3],
    "deferred": lambda: Order.objects.only("number"),
    "with related objects": lambda: Order.objects.select_related("customer").defer("note"),
    "bytes": lambda: EveryField.objects.filter(content=b"x"),
    "over many rows": lambda: Customer.objects.filter(orders__status="open", orders__quantity=1),
    "many to many": lambda: Book.objects.filter(tags__name__in=["x", "y"]),
    "reverse one-to-one": lambda: EveryField.objects.filter(remark__text="x"),
    "compared with a column": lambda: Order.objects.filter(Q(quantity=F("units")) | Q(note=F("customer__name"))),
    "ordered by F": lambda: Order.objects.order_by(F("quantity").desc(nulls_last=True), F("number")),
    "of another database": lambda: Order.objects.using("default").filter(quantity=1),
}
UNSTORABLE = {
    "annotated": (lambda: Customer.objects.annotate(count=Count("orders")), "annotated"),
    "union": (lambda: Order.objects.filter(quantity=1).union(Order.objects.filter(quantity=2)), "union"),
    "subquery": (lambda: Order.objects.filter(customer__in=Customer.objects.filter(city="Paris")), "compares"),
    "filtered by a function": (
        lambda: Order.objects.filter(Exact(Coalesce("note", "number"), "a")),
        "filters by Coalesce",
    ),
    "filtered by EXISTS": (lambda: Order.objects.filter(Exists(Customer.objects.all())), "filters by Exists"),
    "filters one after the other": (
        lambda: Customer.objects.filter(orders__status="open").filter(orders__quantity=1),
        "come back different",
    ),
    "extra": (lambda: Order.objects.extra(where=["quantity > 1"]), "ExtraWhere|extra"),
    "ordered by an expression": (lambda: Order.objects.order_by(Lower("number")), "ordered by an expression"),
}


@pytest.fixture
def orders(db: None) -> None:
    ada = Customer.objects.create(name="Ada", city="Paris", tier=Customer.Tier.GOLD)
    bob = Customer.objects.create(name="Bob", city="Rome")
    day = dt.date(2026, 1, 15)
    moment = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    Order.objects.create(number="A1", customer=ada, quantity=1, price="1.20", ordered_on=day, placed_at=moment)
    Order.objects.create(number="A2", customer=bob, quantity=None, status="sent", note="x", is_paid=True)
    Order.objects.create(number="a%_'\"", customer=None, quantity=3, reference=UUID(int=1))


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("make", STORABLE.values(), ids=STORABLE)
def test_a_stored_queryset_has_the_same_rows_in_the_same_order(make):
    queryset = make()
    text = stored_querysets.dump(queryset)
    assert list(stored_querysets.load(text)) == list(queryset)
    assert stored_querysets.dump(stored_querysets.load(text)) == text
    assert set(json.loads(text)) == {*stored_querysets.StoredQuery.__annotations__}


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(("make", "reason"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_a_queryset_that_cannot_be_stored_is_refused_with_a_way_out(make, reason):
    with pytest.raises(UnstorableQuerySet, match=rf"({reason}).*QuerySetExport"):
        stored_querysets.dump(make())


def test_the_filter_of_a_default_manager_is_stored():
    class SoldManager(models.Manager):
        def get_queryset(self) -> QuerySet:
            return super().get_queryset().filter(status="sent")

    class SoldOrder(Order):
        objects = SoldManager()

        class Meta:
            proxy = True
            app_label = "shop"

    queryset = SoldOrder.objects.filter(quantity=1)
    assert str(stored_querysets.load(stored_querysets.dump(queryset)).query) == str(queryset.query)


def test_a_field_that_no_longer_exists_is_reported():
    text = stored_querysets.dump(Order.objects.filter(quantity=1)).replace("quantity", "vanished")
    with pytest.raises(UnstorableQuerySet, match="no longer exists"):
        stored_querysets.load(text)


@pytest.mark.parametrize("value", [
    None, True, 2**70, "text", 1.5, Decimal("1.20"), UUID(int=7), dt.date(2026, 1, 2), dt.time(3, 4, 5, 6),
    dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), dt.timedelta(days=-1, microseconds=5), dt.timedelta(9**7, 0, 1),
    {"a": [1, {"b": Decimal(2)}], "$": "key"}, {1: None, None: 2, (3, 4): 5}, b"\x00x",
])  # fmt: skip
def test_a_value_is_read_back_unchanged(value):
    found = from_json(json.loads(json.dumps(to_json(value))))
    assert (found, type(found)) == (value, type(value))


class Level(int):
    """A subclass of a type that JSON has."""


@pytest.mark.parametrize(("value", "read"), [
    ((1, 2), [1, 2]), (range(2), [0, 1]), (Customer.Tier.GOLD, "gold"), (SafeString("a"), "a"), (Level(5), 5),
])  # fmt: skip
def test_values_of_similar_types_are_read_back_as_their_base_type(value, read):
    found = from_json(json.loads(json.dumps(to_json(value))))
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("value", [object(), 1j, memoryview(b"x")])
def test_a_value_without_exact_json_is_refused(value):
    with pytest.raises(TypeError, match="has no exact form in JSON"):
        to_json(value)
