"""A queryset as JSON, and back: model, filter, order, slice and columns. Never a pickle, never a list of primary keys.

Stored is only what JSON represents exactly: lookups of values and columns on columns of the model and of its relations;
and, or, not; orders by names; slices; values(). This reads internals of Django's queries (checked against Django 5.2,
6.0 and 6.1). In every version `dump` compares the SQL of the restored queryset and refuses one that would come back
different.
"""

import json
from typing import Any, Final, TypedDict

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, FieldError, FullResultSet
from django.db.models import F, Model, Q, QuerySet
from django.db.models.expressions import Col, OrderBy
from django.db.models.lookups import Lookup, Transform
from django.db.models.sql.datastructures import Join
from django.db.models.sql.query import Query
from django.db.models.sql.where import NothingNode, WhereNode

from exports.exceptions import UnstorableQuerySet
from exports.exporters.tagged_json import from_json, to_json

# [connector, negated, children] for a branch, [path, lookup, value] for a leaf. Any: nested to any depth.
Condition = list[Any]
COLUMN: Final = "column"
"""The tag of a name that a column is compared with, in place of a value."""


class StoredQuery(TypedDict):
    """The JSON of a queryset. An order is a name, or a name with the arguments of OrderBy."""

    model: str
    database: str | None
    filter: Condition | None
    order: list[str | list[Any]] | None
    default_order: bool
    values: list[str] | None
    distinct: bool
    slice: list[int | None]


def dump(queryset: QuerySet[Any]) -> str:
    """Return the queryset as JSON text, without select_related(), only() and defer(), which change no row.

    Raises UnstorableQuerySet with the reason.
    """
    queryset = queryset._chain()  # type: ignore[attr-defined]  # Private.
    query = queryset.query
    query.select_related = False
    query.clear_deferred_loading()
    reasons = {
        "it is a union, an intersection or a difference": query.combinator,
        "it is annotated": query.annotations,
        "it has extra() parts": query.extra or query.extra_order_by or query.extra_tables,
        "it is distinct on some columns": query.distinct_fields,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnstorableQuerySet(reason)
    stored: StoredQuery = {
        "model": queryset.model._meta.label_lower,
        "database": queryset._db,  # type: ignore[attr-defined]  # Private; None unless using() was called.
        "filter": _condition(query, query.where),
        "order": [_order(each) for each in query.order_by] or None,
        "default_order": query.default_ordering,
        "values": list(query.values_select) or None,
        "distinct": query.distinct,
        "slice": [query.low_mark, query.high_mark],
    }
    text = json.dumps(stored, separators=(",", ":"))
    if _sql(load(text).using(queryset.db)) != _sql(queryset):
        raise UnstorableQuerySet("it would come back different")
    return text


def load(text: str) -> QuerySet[Any]:
    """Return the queryset that was stored. Raises UnstorableQuerySet if the model or a field no longer exists."""
    stored: StoredQuery = json.loads(text)
    try:
        # Not a manager's queryset: what a manager filters is stored.
        queryset: QuerySet[Any] = QuerySet(apps.get_model(stored["model"]), using=stored["database"])
        if stored["filter"] is not None:
            queryset = queryset.filter(_q(stored["filter"]))
        if stored["order"] is not None or not stored["default_order"]:
            orders: list[str | OrderBy] = []
            for each in stored["order"] or ():
                if isinstance(each, str):
                    orders.append(each)
                else:
                    name, descending, nulls_first, nulls_last = each
                    order = OrderBy(F(name), descending=descending, nulls_first=nulls_first, nulls_last=nulls_last)
                    orders.append(order)
            queryset = queryset.order_by(*orders)
        if stored["values"]:
            queryset = queryset.values(*stored["values"])
        if stored["distinct"]:
            queryset = queryset.distinct()
        return queryset if stored["slice"] == [0, None] else queryset[slice(*stored["slice"])]
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
    name = "__".join(_path(query, node.lhs))
    if isinstance(node.rhs, Col):
        return [name, node.lookup_name, {"$": COLUMN, "v": "__".join(_path(query, node.rhs))}]
    value = node.rhs.pk if isinstance(node.rhs, Model) else node.rhs
    try:
        return [name, node.lookup_name, to_json(value)]
    except TypeError as error:
        raise UnstorableQuerySet(f"it compares with a {type(node.rhs).__name__}") from error


def _path(query: Query, side: Any) -> list[str]:
    """Return the names that lead to a column: relations, the field, and transforms."""
    # Those with an argument, such as a key of JSON or an index of an array, have no name.
    if isinstance(side, Transform) and getattr(side, "lookup_name", None):
        return [*_path(query, side.lhs), str(side.lookup_name)]
    if not isinstance(side, Col):
        raise UnstorableQuerySet(f"it filters by {type(side).__name__}")
    names = ["pk" if side.target.primary_key else side.target.name]
    alias = side.alias
    while isinstance(join := query.alias_map[alias], Join):
        # Any: Django's stubs name a base class.
        field: Any = join.join_field
        names.insert(0, field.name)
        alias = join.parent_alias
    return names


def _q(condition: Condition) -> Q:
    first, second, third = condition
    if isinstance(second, bool):
        branch = Q(*[_q(child) for child in third if child is not None], _connector=first)
        return ~branch if second else branch
    is_column = isinstance(third, dict) and third["$"] == COLUMN
    return Q(**{f"{first}__{second}": F(third["v"]) if is_column else from_json(third)})


def _order(order: Any) -> str | list[Any]:
    # Any: orders are names or any expressions.
    if isinstance(order, str):
        return order
    order = order.asc() if type(order) is F else order
    if not (type(order) is OrderBy and type(order.expression) is F):
        raise UnstorableQuerySet("it is ordered by an expression")
    name = order.expression.name  # type: ignore[attr-defined]  # The stubs do not declare it.
    return [name, order.descending, order.nulls_first, order.nulls_last]


def _sql(queryset: QuerySet[Any]) -> tuple[str, Any] | None:
    try:
        return queryset.query.sql_with_params()
    except (EmptyResultSet, FullResultSet):
        return None
