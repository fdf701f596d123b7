"""Statements of the workers' hot path, whose SQL is made once: for one row, making it takes longer than running it.

PostgreSQL prepares those that a connection runs again: see `server_side`. This relies on internals of Django, the
classes of its queries and compilers, checked with Django 5.2, 6.0 and 6.1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import count, zip_longest
from typing import Any, TypeAlias

from django.db import DatabaseError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import DateTimeField, Expression, Field, Model, QuerySet, Value
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from exports.models import server_side
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

    def __init__(self, model: type[Model], *, is_reused: bool = True) -> None:
        self.model = model
        self.is_reused = is_reused
        # By the alias of the database, and whether the time is given.
        self._made: dict[tuple[str, bool], Sql] = {}

    def bind(self, **values: Any) -> "Bound":
        """Return the statement with its values, to run it later."""
        return Bound(self, values)

    def sql(self, connection: BaseDatabaseWrapper, *, is_given: bool) -> Sql:
        """Return the SQL and its parameters with the Givens among them. `is_given` tells if the time is one of them."""
        key = (connection.alias, is_given)
        if key not in self._made or connection.vendor == "sqlite":
            # On SQLite the present offset of the time zone is part of the statement.
            # Django makes SQL with FOR UPDATE only in a transaction; no statement is run.
            is_locking = connection.vendor == "postgresql"
            with transaction.atomic(connection.alias, savepoint=False) if is_locking else nullcontext():
                self._made[key] = self.compile(connection, Given("now", DateTimeField()) if is_given else Now())
        return self._made[key]

    @abstractmethod
    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        """Return the SQL and its parameters, with the Givens among them."""

    @property
    def database(self) -> str:
        return router.db_for_write(self.model)


class Select(Statement):
    """The query of the rows that `build` returns for the time, an expression."""

    def __init__(self, model: type[Model], build: Callable[[Any], AnyRows], *, is_reused: bool = True) -> None:
        super().__init__(model, is_reused=is_reused)
        self._build = build

    def first(self, now: Any = None, *, before: Sequence[str] = (), **values: Any) -> Any:
        """Run a query of whole rows after other SQL. Return the first row as an instance of the model, or None."""
        connection = connections[self.database]
        with connection.cursor() as cursor:
            _execute(connection, cursor, [*map(Command, before), self.bind(**values).command(connection, now)])
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

    def __init__(
        self, model: type[Model], build: Callable[[Any], tuple[AnyRows, Columns]], *, is_reused: bool = True
    ) -> None:
        super().__init__(model, is_reused=is_reused)
        self._build = build

    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        rows, columns = self._build(now)
        query: UpdateQuery = rows.query.chain(UpdateQuery)  # type: ignore[assignment]
        query.add_update_values(columns)
        sql, parameters = query.get_compiler(connection=connection).as_sql()
        return sql, parameters


class Insert(Statement):
    """The INSERT of one row, whose values are given by the name of the attribute, except those `build` returns.

    With `given_names`, only the values of these attributes are given; the others are the defaults of their fields.
    """

    def __init__(
        self,
        model: type[Model],
        build: Callable[[Any], Columns] = lambda now: {},
        *,
        ignores_conflicts: bool = False,
        given_names: Collection[str] | None = None,
    ) -> None:
        super().__init__(model)
        self._build, self._given_names = build, given_names
        self.suffix = " ON CONFLICT DO NOTHING" if ignores_conflicts else ""
        # The database numbers the rows.
        self.fields: list[AnyField] = [field for field in model._meta.concrete_fields if not field.primary_key]
        self._defaults = {
            field.attname: field.get_default()
            for field in self.fields
            if not (field.has_default() and callable(field.default))
        }
        self._with_defaults = cache(
            lambda names: Insert(model, build, given_names=names, ignores_conflicts=ignores_conflicts)
        )

    def bind_row(self, row: Model, **values: Any) -> "Bound":
        """Return the statement with the values of a new row and others. Values that are defaults are part of it."""
        given_values = {field.attname: field.pre_save(row, add=True) for field in self.fields}
        defaults = self._defaults
        names = tuple(name for name, value in given_values.items() if name not in defaults or value != defaults[name])
        return Bound(self._with_defaults(names), given_values | values)

    def compile(self, connection: BaseDatabaseWrapper, now: Any) -> Sql:
        quote, query = connection.ops.quote_name, Query(self.model)
        compiler = query.get_compiler(connection=connection)
        values = {
            field.attname: Given(field.attname, field)
            if self._given_names is None or field.attname in self._given_names
            else Value(self._defaults[field.attname], field)
            for field in self.fields
        } | self._build(now)
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

    def command(self, connection: BaseDatabaseWrapper, now: Any, *, is_reused: bool = True) -> "Command":
        is_given = isinstance(now, datetime)
        sql, parameters = self.statement.sql(connection, is_given=is_given)
        key = (self.statement, is_given) if is_reused and self.statement.is_reused else None
        return Command(f"{sql}{self.statement.suffix}", parameters, self.converted(connection, parameters, now), key)

    def converted(self, connection: BaseDatabaseWrapper, parameters: Sequence[Any], now: Any) -> list[Any]:
        """Return the values of the Givens among the parameters, in their order."""
        values = {**self.values, "now": now}
        return [
            each.field.get_db_prep_save(values[each.name], connection) for each in parameters if isinstance(each, Given)
        ]


@dataclass(frozen=True)
class Command:
    """SQL, its parameters with the Givens among them, and the values of those.

    The same `key` means the same SQL; None means that it is not run again.
    """

    sql: str
    parameters: Sequence[Any] = ()
    values: Sequence[Any] = ()
    key: Hashable = None


def run_together(statements: Sequence[Bound], now: Any = None) -> int:
    """Run statements one after the other, on PostgreSQL in one message and one transaction.

    Return the number of rows that the last one found or changed. Each sees what others have committed before it begins.
    """
    connection = connections[statements[0].statement.database]
    with connection.cursor() as cursor:
        _execute(connection, cursor, [each.command(connection, now) for each in statements])
        # SQLite does not count the rows that a query finds.
        return int(cursor.rowcount)


def change(
    before: Sequence[Bound], update: Bound, then: Sequence[Bound], now: Any = None, *, is_last: bool = False
) -> bool:
    """Run the statements `before`, then `update` and, if that changed a row, those of `then`. Return True if it did.

    On PostgreSQL `update` and `then` are one statement. Elsewhere the caller has begun a transaction. With `is_last`,
    nothing else will run in the transaction, so that it can be committed with the same message.
    """
    connection = connections[update.statement.database]
    if connection.vendor != "postgresql":
        for each in before:
            each.run(now)
        won = update.run(now) == 1
        for each in then if won else ():
            each.run(now)
        return won
    key = (*(each.statement for each in (update, *then)), isinstance(now, datetime))
    is_reused = all(each.statement.is_reused for each in (update, *then))
    sql, parameters = (_joined if is_reused else _joined.__wrapped__)(connection.alias, *key)
    values = [
        value
        for each, own in zip((update, *then), parameters, strict=True)
        for value in each.converted(connection, own, now)
    ]
    command = Command(sql, [each for own in parameters for each in own], values, key if is_reused else None)
    with connection.cursor() as cursor:
        first = [each.command(connection, now, is_reused=is_reused) for each in before]
        _execute(connection, cursor, [*first, command], commits=is_last and is_one_transaction(connection))
        return int(cursor.rowcount) == 1


@lru_cache
def _joined(alias: str, update: Statement, *then_and_is_given: Any) -> tuple[str, list[Sequence[Any]]]:
    """Return one statement of which the first changes a row and the others follow, and the parameters of each."""
    *then, is_given = then_and_is_given
    connection = connections[alias]
    changed, own = update.sql(connection, is_given=is_given)
    parts, parameters = [f"changed AS ({changed} RETURNING 1)"], [own]
    for number, each in enumerate(then):
        sql, own = each.sql(connection, is_given=is_given)
        parts.append(f"step_{number} AS ({sql} AND EXISTS (SELECT 1 FROM changed){each.suffix})")
        parameters.append(own)
    return f"WITH {', '.join(parts)} SELECT 1 FROM changed", parameters


# Any: a wrapper with what only the one for PostgreSQL has.
def is_one_transaction(connection: Any) -> bool:
    """Return True if statements that are run together are sent in one message, which is then one transaction."""
    if connection.vendor != "postgresql" or connection.features.uses_server_side_binding:
        return False
    return hasattr(connection.Database, "pq")  # psycopg 3


def _execute(
    connection: BaseDatabaseWrapper, cursor: CursorWrapper, commands: Sequence[Command], *, commits: bool = False
) -> None:
    """Run commands one after the other. The cursor then has the result of the last one."""
    with transaction.mark_for_rollback_on_error(using=connection.alias):
        if not is_one_transaction(connection):
            for each in commands:
                cursor.execute(*_as_text(each))
            return
        session = server_side.session_of(connection)
        try:
            statements = [_as_sent(connection, session, each) for each in commands]
            # Where a transaction has ended, psycopg sends nothing when Django commits it.
            together = "; ".join([*(sql for sql, _ in statements), *(["COMMIT"] if commits else [])])
            cursor.execute(together, [each for _, parameters in statements for each in parameters])
        except DatabaseError as error:
            if session.may_prepare and server_side.is_stale(error):
                session.may_prepare = False
                raise server_side.Stale(str(error)) from error
            raise
        for _ in commands[1:]:
            cursor.nextset()


def _as_text(command: Command) -> Sql:
    """Return the SQL of a command and all its parameters."""
    values = iter(command.values)
    return command.sql, [next(values) if isinstance(each, Given) else each for each in command.parameters]


def _as_sent(connection: BaseDatabaseWrapper, session: server_side.Session, command: Command) -> Sql:
    """Return the same, or the call of the statement that the server has prepared."""
    if command.key is None:
        return _as_text(command)
    name = session.name_of(connection, command.key, lambda: _numbered(connection, command))
    if name is None:
        return _as_text(command)
    places = ", ".join(["%s"] * len(command.values))
    return (f"EXECUTE {name} ({places})" if places else f"EXECUTE {name}"), command.values


def _numbered(connection: BaseDatabaseWrapper, command: Command) -> tuple[str, list[Any], list[str]]:
    """Return the SQL with $1, $2, ... for the Givens, the other parameters, and the types of the Givens."""
    types = [str(each.field.db_type(connection)) for each in command.parameters if isinstance(each, Given)]
    numbers = count(1)
    marks = [f"${next(numbers)}" if isinstance(each, Given) else "%s" for each in command.parameters]
    fixed = [each for each in command.parameters if not isinstance(each, Given)]
    # What stands for a percent sign in the SQL must still do so afterwards.
    pieces = command.sql.split("%s")
    return "".join(each for pair in zip_longest(pieces, marks, fillvalue="") for each in pair), fixed, types
