"""What staff look for in the list of exports: a search and a filter that read a bounded part of the history."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import CharField, Model, Q, QuerySet, Value
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from exports.conf import config
from exports.exceptions import ExportError
from exports.exporters import registry
from exports.models import Status
from exports.state import ERROR_MESSAGES
from exports.tabular import writers

SEARCHED = 2_000
"""In how many of the newest exports the labels and the file names are searched."""

MAX_FOUND = 500
MAX_USERS = 100


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
    asked = _keys("requester", users._default_manager.filter(pk__in=in_order.values("pk")[:MAX_USERS]))
    if "@" not in text:
        newest = exports.order_by("-requested_at").values("pk")[:SEARCHED]
        has_text = Q(label__icontains=text) | Q(filename__icontains=text)
        named = exports.filter(has_text, pk__in=newest).values("pk")[:MAX_FOUND]
        asked = asked.union(_keys("pk", exports.model._default_manager.filter(pk__in=named)), all=True)
    # Known before the exports are read: a database that would find them meanwhile might read all rows instead.
    keys: dict[str, list[str]] = {"requester": [], "pk": []}
    for column, key in asked:
        keys[column].append(key)
    return exports.filter(Q(requester__in=keys["requester"]) | Q(pk__in=keys["pk"]))


def _keys(column: str, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the keys of the rows as texts, beside the column of an export that has them."""
    keyed = rows.order_by().annotate(found_by=Value(column), found_key=Cast("pk", CharField()))
    found: QuerySet[Any] = keyed.values_list("found_by", "found_key")
    return found


class ErrorFilter(admin.SimpleListFilter):
    """Failed exports with one error code, among those of the app and of the project's exceptions."""

    title = _("error code")
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        known = {*ERROR_MESSAGES, *_codes(ExportError), self.value() or ""}
        return [(code, code) for code in sorted(known - {""})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(status=Status.FAILED, error_code=self.value()) if self.value() else queryset


def _codes(error: type[ExportError]) -> set[str]:
    """Return the code of an exception and those of the ones derived from it."""
    return {error.code}.union(*map(_codes, error.__subclasses__()))


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
