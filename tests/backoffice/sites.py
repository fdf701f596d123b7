"""An admin site with changelists that can be exported, apart from Django's own admin site."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from exports.admin import ExportMixin
from exports.exporters import Column, registry
from tests.shop.models import Book, Customer, Order, Tag

if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin
    from unfold.sites import UnfoldAdminSite as AdminSite
else:
    from django.contrib.admin import AdminSite, ModelAdmin

SEES_ALL = "sees all"


@admin.display(description="in capitals", ordering="number")
def shouted(order: Order) -> str:
    return order.number.upper()


class OrderAdmin(ExportMixin, ModelAdmin):
    """Users who are not called "sees all" have the orders of the customers in their own city, their first name."""

    list_display = (
        "number", "customer", "customer__city", "status", "quantity", "price", "is_paid", "ordered_on",
        "is_large", "badge", "city_or_nothing", shouted,
    )  # fmt: skip
    list_filter = ("status", "is_paid", "customer")
    search_fields = ("number", "customer__name")
    date_hierarchy = "ordered_on"
    list_select_related = ("customer",)
    list_per_page = 3

    @admin.display(description="large", boolean=True)
    def is_large(self, order: Order) -> bool | None:
        return None if order.quantity is None else order.quantity > 10

    @admin.display(description="badge & colour")
    def badge(self, order: Order) -> str:
        return format_html("<b class='{}'>{} &amp; more</b>", order.status, order.note or "none")

    @admin.display(description="city", empty_value="unknown")
    def city_or_nothing(self, order: Order) -> str | None:
        return order.customer.city if order.customer else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        orders = super().get_queryset(request)
        if request.user.username == SEES_ALL:
            return orders
        return orders.filter(customer__city=request.user.first_name)


class CustomerAdmin(ExportMixin, ModelAdmin):
    """Has no list_display. A missing value is shown as a word."""

    empty_value_display = "(none)"


class TagAdmin(ExportMixin, ModelAdmin):
    """Of a model with a permission to export."""

    export_columns = ("name", Column("length", "Length", source=lambda tag: len(tag.name)))
    export_formats = ("csv",)


class BookAdmin(ExportMixin, ModelAdmin):
    actions = None


def create_site(site: AdminSite, model_admins: dict[Any, type]) -> AdminSite:
    """Return the site with these changelists. Their exports are registered only inside `open_site`."""
    before = dict(registry.handlers)
    for model, model_admin in model_admins.items():
        site.register(model, model_admin)
    registry.handlers.clear()
    registry.handlers.update(before)
    return site


MODEL_ADMINS = {Order: OrderAdmin, Customer: CustomerAdmin, Tag: TagAdmin, Book: BookAdmin}
site = create_site(AdminSite(name="backoffice"), MODEL_ADMINS)


@contextmanager
def open_site(site: AdminSite = site) -> Iterator[None]:
    """Inside, the exports of the site are registered, as they are in a project."""
    before = dict(registry.handlers)
    for model_admin in site._registry.values():
        if isinstance(model_admin, ExportMixin):
            registry.register(model_admin.exporter_class)
    try:
        yield
    finally:
        registry.handlers.clear()
        registry.handlers.update(before)
