"""Decide how the rows of a queryset are read: the strategy, its query, and what makes cells of each value."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, Final, cast

import django
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, ObjectDoesNotExist
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import ColPairs

from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.readers import converters, django_internals, postgresql, psycopg_internals
from exports.tabular.readers.converters import SelectedColumn, Undeclared
from exports.tabular.readers.resolve import (
    display_field,
    free_alias,
    has_values,
    is_callable,
    is_expression,
    path_of,
    resolve,
    value_names,
)

Getter = Callable[[Model], object]

COPY: Final = "copy"
CURSOR: Final = "cursor"
INSTANCES: Final = "instances"


@dataclass(frozen=True)
class TimeLimits:
    """Seconds that one database statement and the whole run may take; None for no limit."""

    statement_seconds: float | None = None
    run_seconds: float | None = None


NO_LIMITS: Final = TimeLimits()


@dataclass(frozen=True)
class Plan:
    """A strategy, why no faster one is possible, and what the strategy needs.

    `getters` make the columns of an instance. `positions` are where the columns are among the `selected` values, which
    are empty where the ORM makes the tuples. On PostgreSQL `width` is the number of values in a row, `text_oids` are
    the types that a cursor returns as text, and with a `dialect` the server writes lines of CSV.
    """

    strategy: str
    # Any: the rows may be instances or tuples.
    queryset: QuerySet[Any]
    columns: Sequence[Column]
    reasons: Sequence[str] = ()
    getters: Sequence[Getter] = ()
    # Where the value of each column is among the selected values.
    positions: Sequence[int] = ()
    selected: Sequence[SelectedColumn] = ()
    sql: str = ""
    params: Sequence[Any] = ()
    width: int = 0
    text_oids: frozenset[int] = frozenset()
    dialect: Dialect | None = None

    @property
    def selected_by_column(self) -> list[SelectedColumn]:
        """What is selected for each column."""
        return [self.selected[position] for position in self.positions] if self.selected else []

    @property
    def decoders(self) -> list[str]:
        """The decoder of each column, "" where its values pass through Python."""
        return [
            "string" if chosen.decoder == "text" and column.kind == "json" else chosen.decoder or ""
            for chosen, column in zip(self.selected_by_column, self.columns, strict=True)
        ]


def make_plan(queryset: QuerySet[Any], columns: Sequence[Column], limits: TimeLimits = NO_LIMITS) -> Plan:
    """Return the plan of a queryset, with the primary key as its last ordering.

    Asks PostgreSQL for the types of the values. Raises UnknownColumn.
    """
    queryset = _ordered(django_internals.with_outer_joins(queryset))
    columns = resolve(queryset, columns)
    if has_values(queryset):
        # All values of a values() queryset are read: fewer would change its groups, or which rows are distinct.
        names = value_names(queryset)
        positions = [names.index(path_of(column)) for column in columns]
        rows = django_internals.without_prefetch(queryset.values_list(*names))
        return _plan_tuples(rows, columns, positions, limits)
    if reasons := _reasons_for_instances(queryset, columns):
        return _plan_instances(queryset, columns, reasons)
    every_position = range(len(columns))
    plan = _plan_tuples(_select(queryset, columns), columns, every_position, limits)
    if connections[queryset.db].vendor == "sqlite" and any(chosen.is_declared for chosen in plan.selected_by_column):
        # The driver would create objects for these columns; for expressions it returns what is stored.
        hide_type_of = [chosen.is_declared for chosen in plan.selected_by_column]
        return _plan_tuples(_select(queryset, columns, hide_type_of), columns, every_position, limits)
    return plan


def _ordered(queryset: QuerySet[Any]) -> QuerySet[Any]:
    query = queryset.query
    if query.is_sliced or query.combinator or query.extra_order_by:
        return queryset
    if has_values(queryset):
        return queryset if queryset.ordered else queryset.order_by(*value_names(queryset))
    if not queryset.ordered:
        return queryset.order_by(*query.distinct_fields, "pk")
    return queryset.order_by(*(query.order_by or queryset.model._meta.ordering), "pk")


def _reasons_for_instances(queryset: QuerySet[Any], columns: Sequence[Column]) -> list[str]:
    query = queryset.query
    reasons = [
        f"Column {column.name!r} is made by a callable, which takes a model instance."
        for column in columns
        if is_callable(column)
    ]
    if query.combinator:
        reasons.append("Tuples of a union would merge rows that are equal in the chosen columns.")
    elif query.distinct and (query.is_sliced or query.extra_order_by):
        # Neither is ordered by the primary key.
        reasons.append("Tuples of this distinct queryset would merge rows that are equal in the chosen columns.")
    return reasons


def _select(queryset: QuerySet[Any], columns: Sequence[Column], undeclared: Sequence[bool] = ()) -> QuerySet[Any]:
    """Select the columns as tuples, in order; those `undeclared` as expressions that hide SQLite's declared type."""
    query, expressions, names = queryset.query, dict[str, Any](), list[str]()
    for number, column in enumerate(columns):
        alias, path = free_alias(queryset, number), path_of(column)
        # An alias() can be selected only through an annotation.
        is_alias = path in query.annotations and path not in query.annotation_select
        if undeclared and undeclared[number]:
            expressions[alias] = Undeclared(_expression(column))
        elif is_expression(column) or is_alias:
            expressions[alias] = _expression(column)
        names.append(alias if alias in expressions else path)
    return django_internals.without_prefetch(queryset.annotate(**expressions).values_list(*names))


def _plan_tuples(rows: QuerySet[Any], columns: Sequence[Column], positions: Sequence[int], limits: TimeLimits) -> Plan:
    """Plan a values_list() queryset: by COPY, by a cursor, or by the ORM."""
    connection = connections[rows.db]
    plan = Plan(CURSOR, rows, columns, positions=positions)
    if reason := _reason_for_orm(connection):
        return replace(plan, reasons=[reason])
    try:
        sql, params, expressions = django_internals.compile_query(rows)
    except EmptyResultSet:
        return replace(plan, reasons=["No row can match."])
    if any(isinstance(expression, ColPairs) for expression in expressions):
        return replace(plan, reasons=["The ORM makes composite primary keys."])
    plan = replace(plan, sql=sql, params=params)
    if connection.vendor == "sqlite":
        selected = [converters.sqlite_column(expression, connection) for expression in expressions]
        return _with_reasons(replace(plan, selected=selected))
    return _plan_postgresql(plan, expressions, connection, limits)


def _reason_for_orm(connection: BaseDatabaseWrapper) -> str:
    if connection.vendor not in ("sqlite", "postgresql"):
        return f"The ORM makes the rows of {connection.display_name}."
    if not django_internals.is_checked():
        return f"The ORM makes the rows: faster ways were not checked with Django {django.__version__}."
    if connection.vendor == "postgresql" and not psycopg_internals.is_checked(connection):
        driver = psycopg_internals.driver_of(connection)
        return f"The ORM makes the rows: COPY was not checked with {driver.__name__} {driver.__version__}."
    return ""


def _plan_postgresql(
    plan: Plan, expressions: Sequence[Any], connection: BaseDatabaseWrapper, limits: TimeLimits
) -> Plan:
    oids = postgresql.types_of(connection, plan.sql, plan.params)
    # A query may select more than its expressions: what it is ordered by.
    pairs = zip(expressions, oids, strict=False)
    selected = [converters.postgresql_column(expression, connection, oid) for expression, oid in pairs]
    plan = _with_reasons(replace(plan, selected=selected, width=len(oids)))
    related = [
        f"Column {column.name!r} displays related objects, which are read while the rows are."
        for column in plan.columns
        if (field := display_field(plan.queryset, column)) and field.is_relation
    ]
    plan = replace(plan, reasons=[*plan.reasons, *related])
    if not plan.reasons:
        own_seconds = postgresql.statement_timeout(connection)
        seconds = min(filter(None, (own_seconds, limits.statement_seconds)), default=math.inf)
        if seconds >= (limits.run_seconds or math.inf):
            return replace(plan, strategy=COPY)
        reason = f"COPY is one statement, and the database ends statements after {seconds:g} s (statement_timeout)."
        plan = replace(plan, reasons=[reason])
    # A type is fetched as text only if no column of that type, or of an array or range of it, needs the objects that
    # psycopg makes.
    of_objects = [chosen.oid for chosen in plan.selected_by_column if chosen.decoder is None]
    converted = set().union(*(psycopg_internals.oids_within(connection, oid) for oid in of_objects))
    text_oids = {
        chosen.oid for chosen in plan.selected_by_column if chosen.decoder in converters.TEXT_DECODERS
    } - converted
    fetched = [converters.fetched_column(column, text_oids) for column in plan.selected]
    return replace(plan, selected=fetched, text_oids=frozenset(text_oids))


def _with_reasons(plan: Plan) -> Plan:
    reasons = [
        f"Column {column.name!r}: {chosen.reason}, so each value passes through Python."
        for column, chosen in zip(plan.columns, plan.selected_by_column, strict=True)
        if chosen.decoder is None
    ]
    return replace(plan, reasons=reasons)


def _plan_instances(queryset: QuerySet[Any], columns: Sequence[Column], reasons: Sequence[str]) -> Plan:
    query, expressions, getters = queryset.query, dict[str, Any](), list[Getter]()
    for number, column in enumerate(columns):
        alias, path = free_alias(queryset, number), path_of(column)
        if is_callable(column):
            getters.append(cast(Getter, column.source))
        elif _is_loaded(queryset, path):
            getters.append(attrgetter(queryset.model._meta.get_field(path).attname))
        elif query.combinator or path in query.extra_select:
            getters.append(partial(_value_at, path=path))
        else:
            # As an annotation, neither a relation nor a deferred field costs a query for each row.
            expressions[alias] = _expression(column)
            getters.append(attrgetter(alias))
    rows = queryset.annotate(**expressions) if expressions else queryset
    return Plan(INSTANCES, django_internals.with_plain_instances(rows), columns, reasons, getters)


def _expression(column: Column) -> Any:
    # Any: expressions have no common type in Django.
    return column.source if is_expression(column) else F(path_of(column))


def _is_loaded(queryset: QuerySet[Any], path: str) -> bool:
    """Return True if each instance has the unchanged value: a plain field of the model that is not deferred."""
    model, query = queryset.model, queryset.query
    field = next((field for field in model._meta.concrete_fields if path in (field.name, field.attname)), None)
    if field is None or path in query.annotations:
        return False
    names, are_deferred = query.deferred_loading
    is_deferred = field.name in names if are_deferred else field.name not in names
    is_plain = django_internals.has_plain_attribute(model, field.attname)
    return not is_deferred and is_plain and django_internals.is_built_by_django(model)


def _value_at(row: Model, path: str) -> object:
    """Follow a path from an instance as the ORM does: None where a relation is empty or its target is missing."""
    name, _, rest = path.partition("__")
    try:
        # Any: a field, or the other side of a relation.
        field: Any = row._meta.pk if name == "pk" else row._meta.get_field(name)
    except FieldDoesNotExist:
        return getattr(row, path)
    if field.concrete and (not rest or (field.is_relation and rest in ("pk", field.target_field.name))):
        # The key that a relation holds, so that the related object is not read.
        return getattr(row, field.attname)
    try:
        related = getattr(row, name if field.concrete else field.get_accessor_name())
    except ObjectDoesNotExist:
        return None
    return None if related is None else _value_at(related, rest or "pk")
