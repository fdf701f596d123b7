"""A simple, slow reader: plain instances, whose attributes are followed one by one. It uses nothing of `exports`."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.query import ValuesIterable


def rows_of(queryset: QuerySet, sources: Sequence[Any]) -> list[list[Any]]:
    """Return the value of each source (a path, an expression, or a callable that takes the instance) for each row."""
    if queryset._iterable_class is ValuesIterable:
        rows = ordered_values(queryset)
        return [[row[source] for source in sources] for row in rows]
    computed = [by_key(queryset, source) if hasattr(source, "resolve_expression") else None for source in sources]
    return [
        [
            value_of(row, source) if by_key is None else by_key.get(row.pk)
            for source, by_key in zip(sources, computed, strict=True)
        ]
        for row in ordered(queryset)
    ]


def ordered(queryset: QuerySet) -> QuerySet:
    """Order equal rows by their keys. What a slice or a union has chosen keeps its order."""
    if queryset.query.is_sliced or queryset.query.combinator:
        return queryset
    orders = queryset.query.order_by or (queryset.model._meta.ordering if queryset.ordered else ())
    return queryset.order_by(*orders, "pk")


def ordered_values(queryset: QuerySet) -> list[Mapping[str, Any]]:
    """Order unordered values by all of them: fields, then annotations."""
    query = queryset.query
    is_unordered = not queryset.ordered and not query.combinator
    return list(queryset.order_by(*query.values_select, *query.annotation_select) if is_unordered else queryset)


def by_key(queryset: QuerySet, expression: Any) -> dict[Any, Any]:
    """Return the value of an expression by the key of each row of the table."""
    return dict(queryset.model._base_manager.annotate(computed=expression).values_list("pk", "computed"))


def value_of(row: Model | None, source: Any) -> Any:
    """Return the value at the end of a path; None if a relation on it is empty, or leads to a row that is missing."""
    if callable(source):
        return source(row)
    *relations, last = source.split("__")
    for place, relation in enumerate(relations):
        key = key_of(row, "__".join([*relations[place:], last]))
        if key is not None:
            return getattr(row, key)
        row = related(row, relation)
        if row is None:
            return None
    return attribute(row, last)


def key_of(row: Model, path: str) -> str | None:
    """Return the attribute with the key of a relation if the path is that of the related row's key."""
    relation, _, last = path.partition("__")
    field = field_of(row, relation)
    if field is None or not field.concrete or not field.is_relation:
        return None
    return field.attname if last in ("pk", field.target_field.name, field.target_field.attname) else None


def related(row: Model, relation: str) -> Model | None:
    try:
        return getattr(row, relation)
    except ObjectDoesNotExist:
        return None


def attribute(row: Model, name: str) -> Any:
    """Return a value of the row itself; of a relation the key of the related row."""
    field = field_of(row, name)
    if field is not None and field.is_relation and not field.concrete:
        found = related(row, name)
        return None if found is None else found.pk
    found = getattr(row, getattr(field, "attname", name))
    return found.name if isinstance(found, FieldFile) else found


def field_of(row: Model, name: str) -> Any:
    try:
        return row._meta.pk if name == "pk" else row._meta.get_field(name)
    except FieldDoesNotExist:
        return None
