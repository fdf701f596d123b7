"""Declared columns against the model: what is filled in, what is refused."""

import pytest
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Lower, TruncMonth
from django.utils import translation
from django.utils.translation import gettext_lazy

from exports.exceptions import UnknownColumn
from exports.tabular.columns import Column
from exports.tabular.readers import resolve
from tests.shop.models import Customer, Order


def resolved(queryset: QuerySet, *columns: Column | str) -> list[Column]:
    return resolve.resolve(queryset, [each if isinstance(each, Column) else Column(each) for each in columns])


def test_kinds_come_from_the_model():
    kinds = {column.name: column.kind for column in resolved(Order.objects.all(), *KINDS_OF_ORDER)}
    assert kinds == KINDS_OF_ORDER


KINDS_OF_ORDER = {
    "id": "integer",
    "pk": "integer",
    "number": "text",
    "note": "text",
    "status": "text",
    "customer": "integer",
    "customer_id": "integer",
    "customer__tier": "text",
    "quantity": "integer",
    "units": "integer",
    "price": "decimal",
    "weight": "float",
    "is_paid": "boolean",
    "ordered_on": "date",
    "placed_at": "datetime",
    "placed_at__year": "integer",
    "placed_at__date": "date",
    "opens_at": "time",
    "preparation": "duration",
    "details": "json",
    "details__size": "",
    "reference": "uuid",
}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (F("quantity") - F("units"), "integer"),
        (F("quantity") * F("price"), "decimal"),
        (Lower("customer__name"), "text"),
        (TruncMonth("placed_at"), "datetime"),
        (Count("customer__orders"), "integer"),
        (Q(quantity__gt=1), "boolean"),
        (Value("x"), "text"),
        (lambda order: order.number, ""),
    ],
)
def test_kinds_come_from_an_expression_but_not_from_a_callable(source, kind):
    assert resolved(Order.objects.all(), Column("c", source=source))[0].kind == kind


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("number", "Order number"),
        ("is_paid", "Paid"),
        ("customer", "Customer"),
        ("customer__name", "Customer full name"),
        ("placed_at__year", "Placed at year"),
        ("details__size", "Details size"),
    ],
)
def test_headers_come_from_verbose_names(name, header):
    assert resolved(Order.objects.all(), name)[0].header == header


def test_the_header_of_an_expression_comes_from_the_name_of_the_column():
    [gain, label] = resolved(
        Order.objects.all(), Column("gain_minutes", source=F("quantity") - 1), Column("label", source=str)
    )
    assert (gain.header, label.header) == ("Gain minutes", "Label")


def test_what_is_declared_stays():
    declared = Column("price", "Cost", kind="float", width=9, format="0.0", source="price")
    assert resolved(Order.objects.all(), declared) == [declared]


def test_a_lazy_header_is_in_the_language_of_the_moment():
    with translation.override("de"):
        [column] = resolved(Order.objects.all(), Column("number", gettext_lazy("Yes")))
    assert (column.header, type(column.header)) == ("Ja", str)


def test_decimals_are_shown_with_the_places_of_their_field():
    [price, bare, float_] = resolved(
        Order.objects.all(), "price", Column("p", source=F("price") / 2), Column("price", kind="float")
    )
    assert (price.format, bare.format, float_.format) == ("0.00", "", "")
    assert (price.places, bare.places, float_.places) == (2, None, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nmuber", "Column 'nmuber': there is no 'nmuber' in Order. Did you mean 'number'"),
        ("customer__nmae", "Column 'customer__nmae': there is no 'nmae' in Customer. Did you mean 'name'"),
        ("customer__zzzzz", "in Customer. Known: city, id, name, orders, tier."),
        ("number__zzz", "there is no 'zzz' in number"),
        ("totle", "Did you mean 'total'"),
    ],
)
def test_a_path_that_leads_nowhere_names_what_comes_close(name, message):
    with pytest.raises(UnknownColumn) as caught:
        resolved(Order.objects.annotate(total=F("price")), name)
    assert message in str(caught.value)


def test_an_expression_of_unknown_fields_or_types_is_refused():
    with pytest.raises(UnknownColumn, match="Column 'c': Cannot resolve keyword 'nope'"):
        resolved(Order.objects.all(), Column("c", source=F("nope")))
    with pytest.raises(UnknownColumn, match=r"Column 'c': .*output_field"):
        resolved(Order.objects.all(), Column("c", source=F("price") + F("weight")))


def test_a_path_with_many_values_a_row_is_refused():
    with pytest.raises(UnknownColumn, match=r"'orders' has many values for each row\. Use an aggregate or a callable"):
        resolved(Customer.objects.all(), "orders__number")


def test_annotations_and_aliases_are_columns():
    queryset = Order.objects.annotate(twice=F("quantity") * 2).alias(thrice=F("quantity") * 3)
    assert [column.kind for column in resolved(queryset, "twice", "thrice")] == ["integer", "integer"]


def test_values_resolve_their_kinds():
    queryset = Order.objects.values("customer__name").annotate(total=Sum("price"))
    assert [(c.kind, c.header) for c in resolved(queryset, "customer__name", "total")] == [
        ("text", "Customer full name"), ("decimal", "Total"),
    ]  # fmt: skip
