"""exports.exporters.stored_querysets: a queryset as JSON, and back as the same queryset, or refused."""

import datetime as dt
import json
from decimal import Decimal
from uuid import UUID

import pytest
from django.db.models import Count, F, Q
from django.db.models.functions import Lower

from exports.exceptions import UnstorableQuerySet
from exports.exporters import stored_querysets
from tests.shop.models import Customer, Order

pytestmark = pytest.mark.django_db

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
}
UNSTORABLE = {
    "sliced": (lambda: Order.objects.all()[:3], "sliced"),
    "annotated": (lambda: Customer.objects.annotate(count=Count("orders")), "annotated"),
    "union": (lambda: Order.objects.filter(quantity=1).union(Order.objects.filter(quantity=2)), "union"),
    "compared with a column": (lambda: Order.objects.filter(quantity=F("units")), "compares"),
    "subquery": (lambda: Order.objects.filter(customer__in=Customer.objects.filter(city="Paris")), "compares"),
    "over many rows": (lambda: Customer.objects.filter(orders__status="open"), "several rows"),
    "extra": (lambda: Order.objects.extra(where=["quantity > 1"]), "ExtraWhere|extra"),
    "ordered by an expression": (lambda: Order.objects.order_by(Lower("number")), "ordered"),
}


@pytest.fixture(autouse=True)
def orders():
    ada = Customer.objects.create(name="Ada", city="Paris", tier=Customer.Tier.GOLD)
    bob = Customer.objects.create(name="Bob", city="Rome")
    day = dt.date(2026, 1, 15)
    moment = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    Order.objects.create(number="A1", customer=ada, quantity=1, price="1.20", ordered_on=day, placed_at=moment)
    Order.objects.create(number="A2", customer=bob, quantity=None, status="sent", note="x", is_paid=True)
    Order.objects.create(number="a%_'\"", customer=None, quantity=3, reference=UUID(int=1))


@pytest.mark.parametrize("make", STORABLE.values(), ids=STORABLE)
def test_it_comes_back_with_the_same_rows_in_the_same_order(make):
    queryset = make()
    assert list(stored_querysets.load(stored_querysets.dump(queryset))) == list(queryset)


@pytest.mark.parametrize("make", STORABLE.values(), ids=STORABLE)
def test_what_is_stored_is_plain_json_without_a_list_of_keys(make):
    text = stored_querysets.dump(make())
    assert set(json.loads(text)) == {"model", "filter", "order", "default_order", "values", "distinct"}
    assert stored_querysets.dump(stored_querysets.load(text)) == text


@pytest.mark.parametrize(("make", "reason"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_does_not_fit_is_refused_with_its_reason_and_the_way_out(make, reason):
    with pytest.raises(UnstorableQuerySet, match=rf"({reason}).*QuerySetExport"):
        stored_querysets.dump(make())


def test_a_field_that_is_gone_is_an_error_of_ours():
    text = stored_querysets.dump(Order.objects.filter(quantity=1)).replace("quantity", "vanished")
    with pytest.raises(UnstorableQuerySet, match="no longer exists"):
        stored_querysets.load(text)
