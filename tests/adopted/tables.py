"""Tables of django-tables2 in the shapes that public projects have."""

import itertools

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.utils.html import format_html

from tests.shop.models import Book, Order


class WholeModelTable(tables.Table):
    class Meta:
        model = Order


class AccessorTable(tables.Table):
    number = tables.Column(verbose_name="No.")
    buyer = tables.Column(accessor="customer__name", verbose_name="Buyer", default="unknown")
    city = tables.Column(accessor="customer__city")

    class Meta:
        model = Order
        fields = ("number", "buyer", "city", "status")
        order_by = ("-number",)


class RenderedTable(tables.Table):
    weight = tables.Column()
    price = tables.Column()

    class Meta:
        model = Order
        fields = ("number", "price", "weight", "is_paid")

    def render_number(self, value: str, record: Order) -> str:
        return format_html("<b>{}</b> {}", value, record.status)

    def value_number(self, value: str) -> str:
        return value

    def render_price(self, value: object) -> str:
        return f"{value} EUR"

    def render_weight(self, value: float, column: tables.Column) -> str:
        return f"{value:.1f} kg"


class ManageTable(tables.Table):
    """With columns that are not data."""

    selection = tables.CheckBoxColumn(accessor="pk", exclude_from_export=True)
    number = tables.LinkColumn("admin:index", text=lambda order: f"Order {order.number}")
    actions = tables.TemplateColumn("<a href='#'>edit {{ record.pk }}</a>", exclude_from_export=True)
    summary = tables.TemplateColumn("<i>{{ record.number }}</i> &amp; {{ record.quantity }}", orderable=False)

    class Meta:
        model = Order
        fields = ("selection", "number", "summary", "quantity", "actions")
        sequence = ("selection", "number", "quantity", "...")


class TypedTable(tables.Table):
    is_paid = tables.BooleanColumn()
    ordered_on = tables.DateColumn(format="d.m.Y")
    opens_at = tables.TimeColumn()
    counter = tables.Column(empty_values=(), orderable=False)
    details = tables.JSONColumn()

    class Meta:
        model = Order
        fields = ("counter", "number", "is_paid", "ordered_on", "opens_at", "details")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.numbers = itertools.count(1)

    def render_counter(self) -> int:
        return next(self.numbers)


class OrderedTable(tables.Table):
    worth = tables.Column(accessor="price", order_by=("price", "quantity"))

    class Meta:
        model = Order
        exclude = ("id", "reference", "note", "placed_at", "details", "preparation")
        order_by = ("worth",)

    def order_worth(self, queryset: QuerySet[Order], is_descending: bool) -> tuple[QuerySet[Order], bool]:
        return queryset.order_by(F("price").desc(nulls_last=True), "pk"), True


class ManyTable(tables.Table):
    tags = tables.ManyToManyColumn()
    author = tables.Column(linkify=lambda record: f"/authors/{record.author_id}/")

    class Meta:
        model = Book
        fields = ("title", "author", "tags", "pages")


TABLES = (WholeModelTable, AccessorTable, RenderedTable, ManageTable, TypedTable, OrderedTable, ManyTable)
