"""How the rows of a queryset are to be read: the query, the form of each value, the strategy, and why that one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from django.core.exceptions import EmptyResultSet, FieldDoesNotExist
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import ColPairs

from exports.conf import config
from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.readers import converters, postgresql
from exports.tabular.readers.converters import Selected, Undeclared
from exports.tabular.readers.instances import are_made_by_django, has_own_attribute, quickened
from exports.tabular.readers.resolve import (
    free_alias,
    has_values,
    is_callable,
    is_expression,
    path_of,
    resolve,
    value_names,
)

Getter = Callable[[Model], object]
Name = tuple[str, Column]

COPY: Final = "copy"
CURSOR: Final = "cursor"
INSTANCES: Final = "instances"


@dataclass(frozen=True)
class Plan:
    """The strategy, the reasons why it is not a faster one, and what that strategy needs."""

    strategy: str
    queryset: QuerySet
    columns: Sequence[Column]
    reasons: Sequence[str] = ()
    # What makes each column of an instance.
    getters: Sequence[Getter] = ()
    # The place of each column among the values that are selected.
    places: Sequence[int] = ()
    # Empty: the ORM makes the tuples.
    selected: Sequence[Selected] = ()
    sql: str = ""
    params: Sequence[Any] = ()
    # PostgreSQL: how many values a row really has, and the types that are to come as text.
    width: int = 0
    text_types: frozenset[int] = frozenset()
    # PostgreSQL: how it writes the lines itself; None where it gives values.
    dialect: Dialect | None = None

    @property
    def chosen(self) -> list[Selected]:
        """What is selected for each column."""
        return [self.selected[place] for place in self.places] if self.selected else []

    @property
    def forms(self) -> list[str]:
        """The form of each column, "" where the ORM makes its values."""
        return [
            "string" if selected.form == "text" and column.kind == "json" else selected.form or ""
            for selected, column in zip(self.chosen, self.columns, strict=True)
        ]


def plan_of(queryset: QuerySet, columns: Sequence[Column]) -> Plan:
    """The plan of an ordered queryset. Asks PostgreSQL for the types of the values. Raises UnknownColumn."""
    columns = resolve(queryset, columns)
    if has_values(queryset):
        # All of the queryset's own values are read: fewer would change its groups, or what it finds distinct.
        names = value_names(queryset)
        places = [names.index(path_of(column)) for column in columns]
        return _compiled(queryset.values_list(*names).prefetch_related(None), columns, places)
    if reasons := [*_reasons_for_instances(queryset, columns)]:
        return _plan_of_instances(queryset, columns, reasons)
    rows = _tuples(queryset, columns)
    plan = _compiled(rows, columns, range(len(columns)))
    if connections[queryset.db].vendor == "sqlite" and any(each.is_declared for each in plan.chosen):
        undeclared = [each.is_declared for each in plan.chosen]
        return _compiled(_tuples(queryset, columns, undeclared), columns, range(len(columns)))
    return plan


def _reasons_for_instances(queryset: QuerySet, columns: Sequence[Column]) -> list[str]:
    query = queryset.query
    reasons = [
        f"Column {column.name!r} is made by a callable, which takes a model instance."
        for column in columns
        if is_callable(column)
    ]
    if query.combinator:
        reasons.append("Tuples of a union would merge rows that are equal in the chosen columns.")
    elif query.is_sliced and query.distinct:
        reasons.append("Tuples of a distinct slice would merge rows that are equal in the chosen columns.")
    return reasons


def _tuples(queryset: QuerySet, columns: Sequence[Column], undeclared: Sequence[bool] = ()) -> QuerySet:
    """The chosen columns of each row, in order; those that are `undeclared` as expressions of SQLite's."""
    aliases = _aliases(queryset, columns)
    expressions = {
        alias: _expression(column) for alias, column in aliases if is_expression(column) or _is_hidden(queryset, column)
    }
    for (alias, column), is_undeclared in zip(aliases, undeclared, strict=False):
        if is_undeclared:
            expressions[alias] = Undeclared(_expression(column))
    names = [alias if alias in expressions else path_of(column) for alias, column in aliases]
    return queryset.annotate(**expressions).values_list(*names).prefetch_related(None)


def _compiled(rows: QuerySet, columns: Sequence[Column], places: Sequence[int]) -> Plan:
    connection = connections[rows.db]
    compiler = rows.query.get_compiler(rows.db)
    plan = Plan(CURSOR, rows, columns, places=places)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return replace(plan, reasons=["No row can match."])
    expressions = [expression for expression, _, _ in compiler.select]
    if any(isinstance(expression, ColPairs) for expression in expressions):
        return replace(plan, reasons=["A composite primary key is made by the ORM."])
    plan = replace(plan, sql=sql, params=params)
    if connection.vendor == "sqlite":
        return _with_reasons(replace(plan, selected=[converters.of_sqlite(each, connection) for each in expressions]))
    if postgresql.has_copy(connection):
        return _plan_of_postgresql(plan, expressions, connection)
    return replace(plan, reasons=[f"Of {connection.display_name}, the ORM makes the rows."])


def _plan_of_postgresql(plan: Plan, expressions: Sequence[Any], connection: BaseDatabaseWrapper) -> Plan:
    types = postgresql.types_of(connection, plan.sql, plan.params)
    selected = [
        converters.of_postgresql(expression, connection, oid)
        for expression, oid in zip(expressions, types, strict=False)
    ]
    plan = _with_reasons(replace(plan, selected=selected, width=len(types)))
    if plan.reasons:
        return _by_cursor(plan)
    seconds = _statement_seconds(connection)
    if 0 < seconds < (config.MAX_RUNTIME_SECONDS or math.inf):
        reason = f"COPY is one statement, and the database ends statements after {seconds:g} s (statement_timeout)."
        return _by_cursor(replace(plan, reasons=[reason]))
    return replace(plan, strategy=COPY)


def _statement_seconds(connection: BaseDatabaseWrapper) -> float:
    """How long a statement may take, by the connection or EXPORTS["STATEMENT_TIMEOUT_SECONDS"], the shorter; 0 for
    ever."""
    own = postgresql.statement_timeout(connection) / 1000
    return min(filter(None, (own, config.STATEMENT_TIMEOUT_SECONDS)), default=0)


def _by_cursor(plan: Plan) -> Plan:
    """psycopg makes the cheap types; the others come as text, unless a value of the type has converters of its own."""
    typed = {selected.oid for selected in plan.chosen if selected.form is None}
    text_types = {each.oid for each in plan.chosen if each.form in converters.TEXT_FORMS} - typed
    return replace(
        plan,
        selected=[converters.fetched(each, text_types) for each in plan.selected],
        text_types=frozenset(text_types),
    )


def _with_reasons(plan: Plan) -> Plan:
    reasons = [
        f"Column {column.name!r}: {selected.reason}, so each value passes through Python."
        for column, selected in zip(plan.columns, plan.chosen, strict=True)
        if selected.form is None
    ]
    return replace(plan, reasons=reasons)


def _plan_of_instances(queryset: QuerySet, columns: Sequence[Column], reasons: Sequence[str]) -> Plan:
    aliases = _aliases(queryset, columns)
    # What an instance has not is an annotation, so that neither a relation nor a deferred field costs a query a row.
    expressions = {alias: _expression(column) for alias, column in aliases if _can_be_annotation(queryset, column)}
    getters = [attrgetter(alias) if alias in expressions else _getter(queryset, column) for alias, column in aliases]
    rows = queryset.annotate(**expressions) if expressions else queryset
    return Plan(INSTANCES, quickened(rows), columns, reasons, getters)


def _aliases(queryset: QuerySet, columns: Sequence[Column]) -> list[Name]:
    return [(free_alias(queryset, number), column) for number, column in enumerate(columns)]


def _expression(column: Column) -> Any:
    return column.source if is_expression(column) else F(path_of(column))


def _is_hidden(queryset: QuerySet, column: Column) -> bool:
    """Whether the path is an alias(), which can be read only as an annotation."""
    query = queryset.query
    return path_of(column) in query.annotations and path_of(column) not in query.annotation_select


def _can_be_annotation(queryset: QuerySet, column: Column) -> bool:
    query = queryset.query
    if query.combinator or is_callable(column) or path_of(column) in query.extra_select:
        return False
    return not _is_loaded(queryset, path_of(column))


def _is_loaded(queryset: QuerySet, path: str) -> bool:
    """Whether each instance has it: a field of its own, read by Django's own attribute and not deferred."""
    field = next((field for field in queryset.model._meta.concrete_fields if path in (field.name, field.attname)), None)
    if field is None or path in queryset.query.annotations:
        return False
    names, are_deferred = queryset.query.deferred_loading
    is_deferred = field.name in names if are_deferred else field.name not in names
    is_own = are_made_by_django(queryset.model) and has_own_attribute(queryset.model, field.attname)
    return is_own and not is_deferred


def _getter(queryset: QuerySet, column: Column) -> Getter:
    if is_callable(column):
        return column.source
    if _is_loaded(queryset, path_of(column)):
        return attrgetter(queryset.model._meta.get_field(path_of(column)).attname)
    *relations, name = path_of(column).split("__")
    return lambda row: _followed(row, relations, name)


def _followed(row: Model | None, relations: Sequence[str], name: str) -> object:
    for relation in relations:
        row = getattr(row, relation, None)
    return None if row is None else getattr(row, _attribute(row, name))


def _attribute(row: Model, name: str) -> str:
    """Of a foreign key the attribute with the key, so that the related object is not read."""
    try:
        return getattr(row._meta.get_field(name), "attname", name)
    except FieldDoesNotExist:
        return name
