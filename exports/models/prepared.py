"""Statements of the workers' hot path, whose SQL is made once: for one row, making it takes longer than running it.

This relies on internals of Django, the classes of its queries and compilers, checked with Django 5.2, 6.0 and 6.1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import DateTimeField, Expression, Field, Model, QuerySet
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from exports.models.clock import Now

# Any: columns are of any type, which only their fields know.
AnyField: TypeAlias = "Field[Any, Any]"
AnyRows: TypeAlias = "QuerySet[Any, Any]"
Columns = dict[str, Any]
Sql = tuple[str, Sequence[Any]]


class Given(Expression):
    """A value that is given each time the statement runs, stored like a value of `field`."""

    def __init__(self, name: str, field: AnyField) -> None:
        super().__init__(output_field=field)
        self.name = name

    # Any: Django's types allow no parameters that are expressions.
    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", [self]


def given(model: type[Model], names: Iterable[str]) -> dict[str, Given]:
    """Return a Given for each of these columns of a model, under the same name."""
    fields = {field.name: field for field in model._meta.concrete_fields}
    return {name: Given(name, fields[name]) for name in names}


class Statement(ABC):
    """A statement about rows of `model`.

    Each run takes `now`, by default the time of the database's clock, and a value for the name of each Given.
    """

    suffix: str = ""
    """SQL after the condition."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        # By the alias of the database, and whether the time is given.
        self._made: dict[tuple[str, bool], Sql] = {}

    def bind(self, **values: Any) -> "Bound":
        """Return the statement with its values, to run it later."""
        return Bound(self, values)

    def sql(self, now: Any, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters."""
        connection, is_given = connections[self.database], isinstance(now, datetime)
        key = (connection.alias, is_given)
        if key not in self._made or connection.vendor == "sqlite":
            # On SQLite the present offset of the time zone is part of the statement.
            with _may_lock(connection):
                self._made[key] = self.compile(connection, Given("now", DateTimeField()) if is_given else Now())
        sql, parameters = self._made[key]
        values = {**values, "now": now}
        return sql, [
            each.field.get_db_prep_save(values[each.name], connection) if isinstance(each, Given) else each
            for each in parameters
        ]

    @abstractmethod
    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        """Return the SQL and its parameters, with the Givens among them."""

    @property
    def database(self) -> str:
        return router.db_for_write(self.model)


class Select(Statement):
    """The query of the rows that `build` returns for the time, an expression."""

    def __init__(self, model: type[Model], build: Callable[[Any], AnyRows]) -> None:
        super().__init__(model)
        self._build = build

    def first(self, now: Any = None, *, before: Sequence[str] = (), **values: Any) -> Any:
        """Run a query of whole rows after other SQL. Return the first row as an instance of the model, or None."""
        connection = connections[self.database]
        with connection.cursor() as cursor:
            _execute(connection, cursor, [*((sql, ()) for sql in before), self.sql(now, values)])
            row = cursor.fetchone()
        if row is None:
            return None
        [columns] = self._compiler.apply_converters([row], self._converters)
        return self.model.from_db(connection.alias, self._names, columns)

    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        self._compiler: Any = self._build(now).query.get_compiler(connection=connection)
        sql, parameters = self._compiler.as_sql()
        selected = [expression for expression, _, _ in self._compiler.select]
        self._names = [expression.target.attname for expression in selected]
        self._converters = self._compiler.get_converters(selected)
        return sql, parameters


class Update(Statement):
    """The UPDATE of the rows and to the values of the columns that `build` returns for the time, an expression."""

    def __init__(self, model: type[Model], build: Callable[[Any], tuple[AnyRows, Columns]]) -> None:
        super().__init__(model)
        self._build = build

    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        rows, columns = self._build(now)
        query: UpdateQuery = rows.query.chain(UpdateQuery)  # type: ignore[assignment]
        query.add_update_values(columns)
        sql, parameters = query.get_compiler(connection=connection).as_sql()
        return sql, parameters


class Insert(Statement):
    """The INSERT of one row, whose values are given by the name of the attribute, except those `build` returns."""

    def __init__(
        self,
        model: type[Model],
        build: Callable[[Any], Columns] = lambda now: {},
        *,
        ignores_conflicts: bool = False,
    ) -> None:
        super().__init__(model)
        self._build = build
        self.suffix = " ON CONFLICT DO NOTHING" if ignores_conflicts else ""
        # The database numbers the rows.
        self.fields: list[AnyField] = [field for field in model._meta.concrete_fields if not field.primary_key]

    def bind_row(self, row: Model, **values: Any) -> "Bound":
        """Return the statement with the values of a new row and others."""
        return Bound(self, {field.attname: field.pre_save(row, add=True) for field in self.fields} | values)

    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        quote, query = connection.ops.quote_name, Query(self.model)
        compiler = query.get_compiler(connection=connection)
        values = {field.attname: Given(field.attname, field) for field in self.fields} | self._build(now)
        compiled = [compiler.compile(value.resolve_expression(query)) for value in values.values()]
        names = ", ".join(quote(str(field.column)) for field in self.fields)
        row = ", ".join(sql for sql, _ in compiled)
        # A SELECT takes a condition, without which SQLite reads ON CONFLICT as the condition of a join.
        sql = f"INSERT INTO {quote(self.model._meta.db_table)} ({names}) SELECT {row} WHERE true"
        return sql, [each for _, parameters in compiled for each in parameters]


@dataclass(frozen=True)
class Bound:
    """A statement and the values that are given to it."""

    statement: Statement
    values: Mapping[str, Any]

    def run(self, now: Any = None) -> int:
        """Run the statement. Return the number of rows that it found or changed."""
        return run_together([self], now)

    def sql(self, now: Any, condition: str = "") -> tuple[str, list[Any]]:
        sql, parameters = self.statement.sql(now, self.values)
        return f"{sql}{condition}{self.statement.suffix}", parameters


def run_together(statements: Sequence[Bound], now: Any = None) -> int:
    """Run statements one after the other, on PostgreSQL in one message and one transaction.

    Return the number of rows that the last one found or changed. Each sees what others have committed before it begins.
    """
    connection = connections[statements[0].statement.database]
    with connection.cursor() as cursor:
        _execute(connection, cursor, [each.sql(now) for each in statements])
        # SQLite does not count the rows that a query finds.
        return int(cursor.rowcount)


def change(before: Sequence[Bound], update: Bound, then: Sequence[Bound], now: Any = None) -> bool:
    """Run the statements `before`, then `update` and, if that changed a row, those of `then`. Return True if it did.

    On PostgreSQL `update` and `then` are one statement. Elsewhere the caller has begun a transaction.
    """
    connection = connections[update.statement.database]
    if connection.vendor != "postgresql":
        for each in before:
            each.run(now)
        won = update.run(now) == 1
        for each in then if won else ():
            each.run(now)
        return won
    changed, parameters = update.sql(now)
    parts = [f"changed AS ({changed} RETURNING 1)"]
    for number, each in enumerate(then):
        sql, more = each.sql(now, " AND EXISTS (SELECT 1 FROM changed)")
        parts.append(f"step_{number} AS ({sql})")
        parameters += more
    statement = f"WITH {', '.join(parts)} SELECT 1 FROM changed"
    with connection.cursor() as cursor:
        _execute(connection, cursor, [*(each.sql(now) for each in before), (statement, parameters)])
        return int(cursor.rowcount) == 1


# Any: a wrapper with what only the one for PostgreSQL has.
def is_one_transaction(connection: Any) -> bool:
    """Return True if statements that are run together are sent in one message, which is then one transaction."""
    if connection.vendor != "postgresql" or connection.features.uses_server_side_binding:
        return False
    return hasattr(connection.Database, "pq")  # psycopg 3


def _may_lock(connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Return a context in which Django makes the SQL of queries with FOR UPDATE; no statement is run."""
    if connection.vendor != "postgresql":
        return nullcontext()
    return transaction.atomic(connection.alias, savepoint=False)


def _execute(
    connection: BaseDatabaseWrapper, cursor: CursorWrapper, statements: Sequence[tuple[str, Sequence[Any]]]
) -> None:
    """Run statements one after the other. The cursor then has the result of the last one."""
    with transaction.mark_for_rollback_on_error(using=connection.alias):
        if is_one_transaction(connection):
            together = "; ".join(sql for sql, _ in statements)
            cursor.execute(together, [each for _, parameters in statements for each in parameters])
            while cursor.nextset():
                pass
        else:
            for sql, parameters in statements:
                cursor.execute(sql, parameters)
