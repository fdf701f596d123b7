"""The list of a viewset of Django REST framework as an export: its queryset, permissions, filters and serializer.

    register_viewset(OrderViewSet, "orders")

The one criterion is `query`, the query string of the list: "status=open&ordering=-placed_at".
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import Http404, QueryDict
from rest_framework.exceptions import APIException
from rest_framework.serializers import BaseSerializer, Serializer

from exports.contrib.adopting import AdoptedCell, register_adopted
from exports.exceptions import DeclarationError, InvalidStoredCriteria
from exports.exporters.criteria import NoCriteriaYet
from exports.exporters.labels import SEPARATOR
from exports.exporters.queryset import QuerySetExport
from exports.exporters.sensitive import is_sensitive
from exports.http.replay import ReplayedRequest
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.tabular.columns import Column

REPRESENTATION = "_exports_representation"


class QueryForm(Form):
    """The query string of a list."""

    query = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, criteria: QueryDict | None, exporter: "ViewSetExport", user: AnyUser) -> None:
        super().__init__(criteria)
        self.exporter, self.user = exporter, user

    def clean_query(self) -> str:
        query: str = self.cleaned_data["query"]
        try:
            self.exporter.get_queryset(self.user, {"query": query})
        except InvalidStoredCriteria as error:
            raise ValidationError(str(error)) from error
        return query


class ViewSetExport(QuerySetExport):
    """The export of the action `list` of `viewset_class`, for users whom its permission classes allow that action."""

    viewset_class: ClassVar[type[Any]]
    formats: ClassVar = ("xlsx", "csv", "jsonl")
    columns_need_database = True

    # Any: a viewset, which has no types.
    def get_view(self, user: AnyUser, query: str) -> Any:
        """Return the viewset as it is while it answers the action `list` to this user."""
        view = self.viewset_class()
        view.action_map, view.args, view.kwargs, view.format_kwarg = {"get": "list"}, (), {}, None
        view.request = view.initialize_request(ReplayedRequest(user, query))
        view.request.user = user
        view.request.version, view.request.versioning_scheme = None, None
        return view

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        """Return True if the permission classes of the viewset allow its list to this user, who holds `permission`."""
        if not super().has_permission(user, criteria):
            return False
        view = self.get_view(user, "" if isinstance(criteria, NoCriteriaYet) else criteria["query"])
        try:
            view.check_permissions(view.request)
        except (APIException, PermissionDenied, Http404):
            return False
        return True

    def get_form(self, criteria: QueryDict | None, user: AnyUser) -> Form:
        return QueryForm(criteria, self, user)

    def restore(self, export: FileRequest) -> Mapping[str, Any]:
        """Return the stored criteria. They are validated where the rows are read, which may cost queries."""
        return {"query": QueryDict(export.criteria).get("query", "")}

    def describe(self, criteria: Mapping[str, Any]) -> str:
        given = QueryDict(criteria["query"])
        return SEPARATOR.join(f"{name}: {', '.join(given.getlist(name))}" for name in given if not is_sensitive(name))

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        """Return the rows of all pages of the list. Raise InvalidStoredCriteria for filters that it refuses."""
        view = self.get_view(user, criteria["query"])
        try:
            rows: QuerySet[Any] = view.filter_queryset(view.get_queryset())
        except APIException as error:
            raise InvalidStoredCriteria(f"The list refuses its filters: {error.detail}.") from error
        return rows

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column]:
        """Return a column for each field of the serializer that is read, and for each field of nested serializers."""
        serializer = self.get_view(user, "").get_serializer()
        if not isinstance(serializer, Serializer):
            raise DeclarationError(f"{type(serializer).__name__} has no fields to make columns of.")
        return [
            Column(".".join(path), header, source=AdoptedCell(shown, partial(_cell, serializer, path)))
            for path, header, shown in _paths(serializer)
        ]


def register_viewset(viewset_class: type[Any], file_type: str, **attributes: Any) -> type[ViewSetExport]:
    """Register the export of a viewset's list. `attributes` are those of an export class, such as `title`.

    The permission classes of the viewset are asked; a `permission` is required besides.
    """
    attributes = {"permission": "", **attributes, "viewset_class": viewset_class}
    model = getattr(viewset_class.queryset, "model", None)
    return register_adopted(ViewSetExport, viewset_class, file_type, model, attributes)


def _paths(serializer: Any) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the names that lead to each value, its header, and the path of the field that it shows.

    A list of objects is one value. If they have a field that EXPORTS["SENSITIVE_FIELDS"] protects, it shows that one.
    """
    for name, field in serializer.fields.items():
        if field.write_only:
            continue
        header = str(field.label or "")
        if isinstance(field, Serializer):
            for path, inner, shown in _paths(field):
                yield (name, *path), f"{header or name} {inner or path[-1]}", f"{name}__{shown}"
        else:
            child = getattr(field, "child", None)
            inside = [shown for _path, _header, shown in _paths(child)] if isinstance(child, Serializer) else []
            yield (name,), header, "__".join([name, *filter(is_sensitive, inside)][:2])


def _cell(serializer: BaseSerializer, path: Sequence[str], row: Model) -> object:
    # Made once for all columns of a row, as a serializer may override to_representation().
    value: Any = vars(row).get(REPRESENTATION)
    if value is None:
        value = vars(row)[REPRESENTATION] = serializer.to_representation(row)
    for name in path:
        value = None if value is None else value.get(name)
    return value
