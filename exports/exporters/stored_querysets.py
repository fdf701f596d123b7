"""A queryset as JSON, and back: model, filter tree, order and columns. Never a pickle, never a list of keys.

Only what JSON can say exactly is stored: lookups of values on columns of the model and of what its foreign keys lead
to; and, or, not; orders by names; values(). The SQL of the restored queryset is compared before anything is stored, so
a queryset that would come back as another one is refused with its reason.
"""

import json
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, FieldError, FullResultSet
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Lookup, Transform
from django.db.models.sql.where import NothingNode, WhereNode

from exports.exceptions import UnstorableQuerySet
from exports.exporters.tagged_json import from_json, to_json

Tree = list[Any]


def dump(queryset: QuerySet[Any]) -> str:
    """The queryset as JSON text. Raises UnstorableQuerySet, which says what does not fit."""
    query = queryset.query
    _refuse_what_does_not_fit(queryset)
    stored = {
        "model": queryset.model._meta.label_lower,
        "filter": _tree(query, query.where),
        "order": [_name(each) for each in query.order_by] if query.order_by else None,
        "default_order": query.default_ordering,
        "values": list(query.values_select) if query.values_select else None,
        "distinct": query.distinct,
    }
    text = json.dumps(stored, separators=(",", ":"))
    if _sql(load(text).using(queryset.db)) != _sql(queryset):
        raise UnstorableQuerySet("its filter would come back as another one")
    return text


def load(text: str) -> QuerySet[Any]:
    """The queryset that was stored. Raises UnstorableQuerySet when the model or a field has gone since."""
    stored = json.loads(text)
    try:
        queryset = apps.get_model(stored["model"])._default_manager.all()
        if stored["filter"] is not None:
            queryset = queryset.filter(_q(stored["filter"]))
        if stored["order"] is not None or not stored["default_order"]:
            queryset = queryset.order_by(*(stored["order"] or ()))
        queryset = queryset.values(*stored["values"]) if stored["values"] else queryset
        return queryset.distinct() if stored["distinct"] else queryset
    except (LookupError, FieldError, FieldDoesNotExist) as error:
        raise UnstorableQuerySet("its model or one of its fields is not there any more") from error


def _refuse_what_does_not_fit(queryset: QuerySet[Any]) -> None:
    query = queryset.query
    manager = queryset.model._default_manager.all()
    reasons = {
        "it is sliced": query.is_sliced,
        "it is a union, an intersection or a difference": bool(query.combinator),
        "it is annotated": bool(query.annotations),
        "it has extra() parts": bool(query.extra or query.extra_order_by or query.extra_tables),
        "it is distinct on some columns": bool(query.distinct_fields),
        "it is a raw query": not isinstance(queryset, QuerySet) or type(query).__name__ == "RawQuery",
        "the model's default manager already leaves rows out": bool(manager.query.where),
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnstorableQuerySet(reason)


def _tree(query: Any, node: Any, *, under_not: bool = False) -> Tree | None:
    """[connector, negated, children] of a branch, [path, lookup, value] of a leaf, None of no condition at all."""
    if isinstance(node, WhereNode):
        is_not = under_not != node.negated
        # Under a "not" Django adds "is not null" to a column by itself, and would add it again.
        given = [child for child in node.children if not (is_not and _is_not_null(child))]
        children = [_tree(query, child, under_not=is_not) for child in given]
        return [node.connector, node.negated, children] if children else None
    if isinstance(node, NothingNode):
        return ["pk", "in", {"$": "list", "v": []}]
    if not isinstance(node, Lookup):
        raise UnstorableQuerySet(f"it filters by {type(node).__name__}")
    path, transforms = _path(query, node.lhs)
    return ["__".join([*path, *transforms]), node.lookup_name, _value(node.rhs)]


def _is_not_null(child: Any) -> bool:
    return isinstance(child, Lookup) and child.lookup_name == "isnull" and child.rhs is False


def _path(query: Any, side: Any) -> tuple[list[str], list[str]]:
    """The names that lead to a column, and the transforms on it."""
    if isinstance(side, Transform):
        path, transforms = _path(query, side.lhs)
        return path, [*transforms, side.lookup_name]
    if not isinstance(side, Col):
        raise UnstorableQuerySet(f"it filters by {type(side).__name__}")
    name = "pk" if side.target.primary_key else side.target.name
    return [*_joins(query, side.alias), name], []


def _joins(query: Any, alias: str) -> list[str]:
    """The foreign keys that lead to this table."""
    join = query.alias_map[alias]
    if join.parent_alias is None:
        return []
    field = join.join_field
    if not getattr(field, "many_to_one", False) and not getattr(field, "one_to_one", False):
        raise UnstorableQuerySet("it filters by what several rows have to say")
    if getattr(field, "auto_created", False) and not field.concrete:
        raise UnstorableQuerySet("it filters by what other rows say of these")
    return [*_joins(query, join.parent_alias), field.name]


def _value(value: Any) -> Any:
    if isinstance(value, Model):
        return to_json(value.pk)
    try:
        return to_json(value)
    except TypeError as error:
        raise UnstorableQuerySet(f"it compares with a {type(value).__name__}") from error


def _name(order: Any) -> str:
    if not isinstance(order, str):
        raise UnstorableQuerySet(f"it is ordered by {type(order).__name__}")
    return order


def _q(tree: Tree) -> Q:
    first, second, third = tree
    if isinstance(second, bool):
        branch = Q(*[_q(child) for child in third if child is not None], _connector=first)
        return ~branch if second else branch
    return Q(**{f"{first}__{second}": from_json(third)})


def _sql(queryset: QuerySet[Any]) -> tuple[str, Any] | None:
    try:
        return queryset.query.sql_with_params()
    except (EmptyResultSet, FullResultSet):
        return None
