"""Declared columns are completed from the model; columns that a queryset does not have are refused."""

import pytest
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Lower, TruncMonth
from django.utils import translation
from django.utils.translation import gettext_lazy

from exports.exceptions import UnknownColumn
from exports.tabular.columns import Column
from exports.tabular.readers.resolve import resolve
from tests.shop.models import EveryField, Order


def resolved(queryset: QuerySet, *columns: Column | str) -> list[Column]:
    return resolve(queryset, [each if isinstance(each, Column) else Column(each) for each in columns])


KINDS_OF_ORDER = {
    "id": "integer", "pk": "integer", "number": "text", "note": "text", "status": "text", "customer_id": "integer",
    "customer__tier": "text", "quantity": "integer", "units": "integer", "price": "decimal",
    "weight": "float", "is_paid": "boolean", "ordered_on": "date", "placed_at": "datetime",
    "placed_at__year": "integer", "placed_at__date": "date", "opens_at": "time", "preparation": "duration",
    "details": "json", "details__size": "", "reference": "uuid",
}  # fmt: skip
KINDS_OF_EVERY_FIELD = {
    "doubled": "integer", "remark__pk": "integer", "remark__text": "text", "file": "text", "content": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("queryset", "kinds"), [(Order.objects.all(), KINDS_OF_ORDER), (EveryField.objects.all(), KINDS_OF_EVERY_FIELD)]
)
def test_kinds_come_from_the_model(queryset, kinds):
    assert {column.name: column.kind for column in resolved(queryset, *kinds)} == kinds


@pytest.mark.parametrize(("source", "kind"), [
    (F("quantity") - F("units"), "integer"), (F("quantity") * F("price"), "decimal"), (Lower("customer__name"), "text"),
    (TruncMonth("placed_at"), "datetime"), (Count("customer__orders"), "integer"), (Q(quantity__gt=1), "boolean"),
    (Value("x"), "text"), (lambda order: order.number, ""),
])  # fmt: skip
def test_the_kind_of_an_expression_is_known_that_of_a_callable_is_not(source, kind):
    assert resolved(Order.objects.all(), Column("c", source=source))[0].kind == kind


def test_annotations_and_aliases_have_kinds():
    queryset = Order.objects.annotate(twice=F("quantity") * 2).alias(thrice=F("quantity") * 3)
    assert [column.kind for column in resolved(queryset, "twice", "thrice")] == ["integer", "integer"]


def test_values_have_kinds_and_headers():
    queryset = Order.objects.values("customer__name").annotate(total=Sum("price"))
    found = [(column.kind, column.header) for column in resolved(queryset, "customer__name", "total")]
    assert found == [("text", "Customer full name"), ("decimal", "Total")]


@pytest.mark.parametrize(("column", "header"), [
    (Column("number"), "Order number"), (Column("is_paid"), "Paid"), (Column("customer_id"), "Customer ID"),
    (Column("customer__name"), "Customer full name"),
    (Column("placed_at__year"), "Placed at year"), (Column("details__size"), "Details size"),
    (Column("gain_minutes", source=F("quantity") - 1), "Gain minutes"),
    (Column("label", source=str), "Label"),
])  # fmt: skip
def test_headers_come_from_verbose_names_or_the_name(column, header):
    assert resolved(Order.objects.all(), column)[0].header == header


def test_the_header_of_a_reverse_relation_is_the_name_of_its_model():
    assert resolved(EveryField.objects.all(), "remark__text")[0].header == "Remark text"


def test_a_lazy_header_is_in_the_active_language():
    with translation.override("de"):
        [column] = resolved(Order.objects.all(), Column("number", gettext_lazy("Yes")))
    assert (column.header, type(column.header)) == ("Ja", str)


def test_declared_properties_are_kept():
    declared = Column("price", "Cost", kind="float", width=9, format="0.0", source="price")
    assert resolved(Order.objects.all(), declared) == [declared]


def test_decimals_have_the_places_of_their_field():
    columns = resolved(Order.objects.all(), "price", Column("p", source=F("price") / 2), Column("price", kind="float"))
    assert [(column.format, column.places) for column in columns] == [("0.00", 2), ("", None), ("", None)]


@pytest.mark.parametrize(("column", "message"), [
    ("nmuber", "Column 'nmuber': there is no 'nmuber' in Order. Did you mean 'number'"),
    ("customer__nmae", "Column 'customer__nmae': there is no 'nmae' in Customer. Did you mean 'name'"),
    ("customer__zzzzz", "in Customer. Known: city, id, name, orders, tier."),
    ("number__zzz", "there is no 'zzz' in number. Known: nothing."),
    ("totle", "Did you mean 'total'"),
    ("customer__orders__number", "'orders' has many values for each row. Use an aggregate or a callable"),
    (Column("c", source=F("nope")), "Column 'c': Cannot resolve keyword 'nope'"),
    (Column("c", source=F("price") + F("weight")), "You must set output_field"),
])  # fmt: skip
def test_columns_that_do_not_exist_are_refused_with_similar_names(column, message):
    with pytest.raises(UnknownColumn) as caught:
        resolved(Order.objects.annotate(total=F("price")), column)
    assert message in str(caught.value)
