"""A queryset as JSON, and back: model, filter, order and columns. Never a pickle, never a list of primary keys.

Stored is only what JSON represents exactly: lookups of values on columns of the model and of what its foreign keys lead
to; and, or, not; orders by names; values(). This reads internals of Django's queries (checked against Django 5.2). For
any other version, `dump` compares the SQL of the restored queryset and refuses one that would come back different.
"""

import json
from typing import Any, TypedDict

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, FieldError, FullResultSet
from django.db.models import ForeignObjectRel, Model, Q, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Lookup, Transform
from django.db.models.sql.datastructures import Join
from django.db.models.sql.query import Query
from django.db.models.sql.where import NothingNode, WhereNode

from exports.exceptions import UnstorableQuerySet
from exports.exporters.tagged_json import from_json, to_json

# [connector, negated, children] for a branch, [path, lookup, value] for a leaf. Any: nested to any depth.
Condition = list[Any]


class StoredQuery(TypedDict):
    """The JSON of a queryset."""

    model: str
    filter: Condition | None
    order: list[str] | None
    default_order: bool
    values: list[str] | None
    distinct: bool


def dump(queryset: QuerySet[Any]) -> str:
    """Return the queryset as JSON text. Raises UnstorableQuerySet with the reason."""
    query = queryset.query
    reasons = {
        "it is sliced": query.is_sliced,
        "it is a union, an intersection or a difference": query.combinator,
        "it is annotated": query.annotations,
        "it has extra() parts": query.extra or query.extra_order_by or query.extra_tables,
        "it is distinct on some columns": query.distinct_fields,
        "the model's default manager already filters": queryset.model._default_manager.all().query.where,
        "it is ordered by an expression": any(not isinstance(order, str) for order in query.order_by),
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnstorableQuerySet(reason)
    stored: StoredQuery = {
        "model": queryset.model._meta.label_lower,
        "filter": _condition(query, query.where),
        "order": [str(order) for order in query.order_by] or None,
        "default_order": query.default_ordering,
        "values": list(query.values_select) or None,
        "distinct": query.distinct,
    }
    text = json.dumps(stored, separators=(",", ":"))
    if _sql(load(text).using(queryset.db)) != _sql(queryset):
        raise UnstorableQuerySet("it would come back different")
    return text


def load(text: str) -> QuerySet[Any]:
    """Return the queryset that was stored. Raises UnstorableQuerySet if the model or a field no longer exists."""
    stored: StoredQuery = json.loads(text)
    try:
        queryset: QuerySet[Any] = apps.get_model(stored["model"])._default_manager.all()
        if stored["filter"] is not None:
            queryset = queryset.filter(_q(stored["filter"]))
        if stored["order"] is not None or not stored["default_order"]:
            queryset = queryset.order_by(*(stored["order"] or ()))
        if stored["values"]:
            queryset = queryset.values(*stored["values"])
        return queryset.distinct() if stored["distinct"] else queryset
    except (LookupError, FieldError, FieldDoesNotExist) as error:
        raise UnstorableQuerySet("its model or one of its fields no longer exists") from error


def _condition(query: Query, node: Any, *, under_not: bool = False) -> Condition | None:
    # Any: the nodes of a filter tree have no common type.
    if isinstance(node, WhereNode):
        is_not = under_not != node.negated
        # Under a "not", Django itself adds "is not null" to a column, and would add it again.
        children = [
            _condition(query, child, under_not=is_not)
            for child in node.children
            if not (is_not and isinstance(child, Lookup) and child.lookup_name == "isnull" and child.rhs is False)
        ]
        return [node.connector, node.negated, children] if children else None
    if isinstance(node, NothingNode):
        return ["pk", "in", to_json([])]
    if not isinstance(node, Lookup):
        raise UnstorableQuerySet(f"it filters by {type(node).__name__}")
    value = node.rhs.pk if isinstance(node.rhs, Model) else node.rhs
    try:
        return ["__".join(_path(query, node.lhs)), node.lookup_name, to_json(value)]
    except TypeError as error:
        raise UnstorableQuerySet(f"it compares with a {type(node.rhs).__name__}") from error


def _path(query: Query, side: Any) -> list[str]:
    """Return the names that lead to a column: foreign keys, the field, and transforms."""
    if isinstance(side, Transform):
        return [*_path(query, side.lhs), str(side.lookup_name)]
    if not isinstance(side, Col):
        raise UnstorableQuerySet(f"it filters by {type(side).__name__}")
    names = ["pk" if side.target.primary_key else side.target.name]
    alias = side.alias
    while isinstance(join := query.alias_map[alias], Join):
        # Any: Django's stubs name a base class.
        field: Any = join.join_field
        # Through other relations than foreign keys, several rows may decide about one.
        if isinstance(field, ForeignObjectRel) or not (field.many_to_one or field.one_to_one):
            raise UnstorableQuerySet("it filters by a relation to several rows")
        names.insert(0, field.name)
        alias = join.parent_alias
    return names


def _q(condition: Condition) -> Q:
    first, second, third = condition
    if isinstance(second, bool):
        branch = Q(*[_q(child) for child in third if child is not None], _connector=first)
        return ~branch if second else branch
    return Q(**{f"{first}__{second}": from_json(third)})


def _sql(queryset: QuerySet[Any]) -> tuple[str, Any] | None:
    try:
        return queryset.query.sql_with_params()
    except (EmptyResultSet, FullResultSet):
        return None
