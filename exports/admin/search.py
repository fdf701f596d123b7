"""What staff look for in the list of exports: a search and a filter that read a bounded part of the history."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from exports.conf import config
from exports.exporters import registry
from exports.models import FileRequest, Status
from exports.tabular import writers

SEARCHED = 2_000
"""In how many of the newest exports the labels and the file names are searched."""

MAX_FOUND = 500
MAX_USERS = 100
SEARCHED_FAILURES = 500


def found(exports: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Keep the exports of this id, those of users whose name or address begins so, and those whose label has the text.

    File names count as labels. A text with an @ is an address and nothing else.
    """
    try:
        return exports.filter(pk=UUID(text))
    except ValueError:
        pass
    users = get_user_model()
    names = {users.USERNAME_FIELD, users.get_email_field_name()} & {field.name for field in users._meta.fields}
    begins_so = Q(*((f"{name}__istartswith", text) for name in sorted(names)), _connector=Q.OR)
    # In this order a name stands before the longer ones that begin with it.
    in_order = users._default_manager.filter(begins_so).order_by(users.USERNAME_FIELD)
    matching = Q(requester__in=list(in_order.values_list("pk", flat=True)[:MAX_USERS]))
    if "@" not in text:
        newest = exports.order_by("-requested_at").values("pk")[:SEARCHED]
        has_text = Q(label__icontains=text) | Q(filename__icontains=text)
        matching |= Q(pk__in=list(exports.filter(has_text, pk__in=newest).values_list("pk", flat=True)[:MAX_FOUND]))
    return exports.filter(matching)


class ErrorFilter(admin.SimpleListFilter):
    """Failed exports with one error code, among the codes of some of them."""

    title = _("error code")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        codes = FileRequest.objects.filter(status=Status.FAILED).values_list("error_code", flat=True)
        return [(code, code) for code in sorted(set(codes[:SEARCHED_FAILURES]))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(status=Status.FAILED, error_code=self.value()) if self.value() else queryset


class ColumnFilter(admin.SimpleListFilter):
    """Rows with one value of a column, among values that are known without reading the rows."""

    parameter_name: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class TypeFilter(ColumnFilter):
    """Exports of one of the registered types."""

    title, parameter_name = _("file type"), "file_type"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(registry.handlers)]


class FormatFilter(ColumnFilter):
    """Exports in one of the formats."""

    title, parameter_name = _("format"), "format"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(writer.format, str(writer.label)) for writer in writers.formats()]


class QueueFilter(ColumnFilter):
    """Exports of one of the queues."""

    title, parameter_name = _("queue name"), "queue_name"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in config.QUEUES]
