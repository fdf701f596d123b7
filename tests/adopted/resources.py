"""Resources of django-import-export in the shapes that public projects have."""

from typing import Any

from django.db.models import QuerySet
from import_export import fields, resources, widgets

from tests.shop.models import Book, Customer, EveryField, Order, Tag


class WholeModelResource(resources.ModelResource):
    class Meta:
        model = Order


class EveryKindResource(resources.ModelResource):
    class Meta:
        model = EveryField
        exclude = ("content",)


class ReportResource(resources.ModelResource):
    """Columns along relations, renamed and ordered."""

    customer_name = fields.Field(attribute="customer__name", column_name="Customer")
    city = fields.Field(attribute="customer__city", column_name="City")

    class Meta:
        model = Order
        fields = ("number", "status", "price", "customer_name", "city")
        export_order = ("customer_name", "number", "price", "status", "city")


class DehydratedResource(resources.ModelResource):
    full_title = fields.Field()
    total = fields.Field(column_name="Total", dehydrate_method="compute_total")

    class Meta:
        model = Order
        fields = ("id", "full_title", "total", "is_paid")

    def dehydrate_full_title(self, order: Order) -> str:
        return f"{order.number} for {order.customer or 'no customer'}"

    def dehydrate_is_paid(self, order: Order) -> str:
        return "paid" if order.is_paid else "due"

    def compute_total(self, order: Order) -> object:
        return None if order.price is None else order.price * (order.quantity or 0)


class NaturalKeysResource(resources.ModelResource):
    """People read names in place of keys."""

    author = fields.Field(attribute="author", column_name="author", widget=widgets.ForeignKeyWidget(Customer, "name"))
    tags = fields.Field(attribute="tags", widget=widgets.ManyToManyWidget(Tag, separator="|", field="name"))

    class Meta:
        model = Book
        fields = ("title", "author", "tags", "pages")
        export_order = ("title", "author", "tags", "pages")


class LocalFormatsResource(resources.ModelResource):
    ordered_on = fields.Field(attribute="ordered_on", widget=widgets.DateWidget(format="%d.%m.%Y"))
    placed_at = fields.Field(attribute="placed_at", widget=widgets.DateTimeWidget(format="%d.%m.%Y %H:%M"))
    price = fields.Field(attribute="price", widget=widgets.DecimalWidget(coerce_to_string=False))
    status = fields.Field(attribute="get_status_display", column_name="Status", readonly=True)

    class Meta:
        model = Order
        fields = ("number", "ordered_on", "placed_at", "price", "status")


class FilteredResource(resources.ModelResource):
    """Only some of the rows, and what `before_export` has found out."""

    rank = fields.Field()

    class Meta:
        model = Order
        fields = ("number", "quantity", "rank")

    def get_queryset(self) -> QuerySet[Order]:
        return super().get_queryset().select_related("customer").order_by("-quantity", "pk")

    def before_export(self, queryset: QuerySet[Order], **kwargs: Any) -> None:
        self.largest = max((order.quantity or 0 for order in Order.objects.all()), default=0)

    def filter_export(self, queryset: QuerySet[Order], **kwargs: Any) -> QuerySet[Order]:
        return queryset.filter(status="open")

    def dehydrate_rank(self, order: Order) -> str:
        return f"{order.quantity or 0} of {self.largest}"


class ShortReportResource(ReportResource):
    """A resource that narrows the one it inherits from."""

    class Meta:
        model = Order
        fields = ("number", "customer_name")


RESOURCES = (
    WholeModelResource,
    EveryKindResource,
    ReportResource,
    DehydratedResource,
    NaturalKeysResource,
    LocalFormatsResource,
    FilteredResource,
    ShortReportResource,
)
