"""The exports of the shop, registered when this module is imported; tests can replace their permission rule."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django import forms
from django.db.models import QuerySet

from exports.exporters import Column, QuerySetExport, registry
from exports.models.request import AnyUser
from tests.shop.models import Customer, Order


class OrderFilter(forms.Form):
    status = forms.ChoiceField(choices=[("", "All"), ("open", "Open"), ("sent", "Sent")], required=False)
    at_least = forms.IntegerField(required=False)
    city = forms.CharField(required=False)

    def clean_city(self) -> str:
        """Refuse a city without customers."""
        city = self.cleaned_data["city"]
        if city and not Customer.objects.filter(city=city).exists():
            raise forms.ValidationError("No customer lives there.")
        return city


class OrderExport(QuerySetExport):
    """The orders; `order_rule` decides which users may export them."""

    file_type = "orders"
    title = "Orders"
    form_class = OrderFilter
    formats = ("csv", "xlsx")
    columns = (
        Column("number"),
        Column("quantity"),
        Column("customer__name", "Customer"),
        Column("placed_at"),
    )

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Order]:
        orders = Order.objects.order_by("pk")
        if criteria["status"]:
            orders = orders.filter(status=criteria["status"])
        if criteria["at_least"] is not None:
            orders = orders.filter(quantity__gte=criteria["at_least"])
        return orders

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return rules[-1](user)


class CustomerExport(QuerySetExport):
    """An export without a filter, which names its queue."""

    file_type = "customers"
    title = "Customers"
    formats = ("xlsx", "csv")
    columns = (Column("name"), Column("city"), Column("tier"))
    queue_name = "small"

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Customer]:
        return Customer.objects.order_by("pk")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return True


heard: list[str] = []


class RecordingQueue:
    """A queue backend that records which queues were woken."""

    @staticmethod
    def wake(queue_name: str) -> None:
        heard.append(queue_name)


class BrokenQueue:
    """A queue backend whose server is down."""

    @staticmethod
    def wake(queue_name: str) -> None:
        raise ConnectionRefusedError


rules: list[Callable[[AnyUser], bool]] = [lambda user: True]

registry.register(OrderExport)
registry.register(CustomerExport)


@contextmanager
def order_rule(rule: Callable[[AnyUser], bool]) -> Iterator[None]:
    """Inside, `rule` decides which users may export the orders."""
    rules.append(rule)
    try:
        yield
    finally:
        rules.pop()


@contextmanager
def registered(exporter: type) -> Iterator[None]:
    """Inside, this exporter is registered for its file type, in place of any other."""
    before, replaced = dict(registry.handlers), list(registry.replaced)
    registry.register(exporter)
    try:
        yield
    finally:
        registry.handlers.clear()
        registry.handlers.update(before)
        registry.replaced[:] = replaced
