"""Choose what turns the values of each selected column into cells: a decoder, or the ORM's own converters.

A decoder (a key of DECODERS in `cells.raw_batches`) takes a whole column as the database returned it. There is one
where the ORM's converters of an expression are Django's standard ones; where not, they run for each value.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func
from django.db.models.expressions import Col

from exports.tabular.readers import psycopg_internals
from exports.tabular.readers.django_internals import (
    Converter,
    Expression,
    converters_of,
    standard_conversion,
    why_converted,
)

# By standard conversion, the decoder of what SQLite returns. Dates, times and booleans come as Python objects out of
# columns that are declared so, and as text or numbers out of expressions; `sqlite_types` checks them.
SQLITE_DECODERS: Final = {
    "": "value",
    "int": "sqlite integer",
    "float": "sqlite real",
    "json": "sqlite json",
    "duration": "sqlite duration",
    "boolean": "sqlite boolean",
    "uuid": "sqlite uuid",
    "date": "date",
    "time": "time",
    "datetime": "utc datetime",
    "rounded decimal": "sqlite decimal",
}
# SQLite's driver makes Python objects of these where the column is declared so.
DECLARED_DECODERS: Final = ("date", "time", "utc datetime", "datetime", "sqlite boolean")

_INTEGERS: Final = ("int2", "int4", "int8")

# By PostgreSQL's type and standard conversion, the decoder of the text that PostgreSQL returns.
POSTGRESQL_DECODERS: Final = {
    **{(name, ""): "integer" for name in (*_INTEGERS, "oid")},
    **{(name, "int"): "integer" for name in _INTEGERS},
    **{(name, "float"): "numeric as float" for name in (*_INTEGERS, "numeric")},
    **{("numeric", conversion): "decimal" for conversion in ("", "decimal")},
    **{(name, conversion): "postgresql float" for name in ("float4", "float8") for conversion in ("", "float")},
    **{(name, ""): "text" for name in ("text", "varchar", "bpchar", "inet", "cidr", "jsonb")},
    ("numeric", "int"): "numeric as integer",
    ("bool", ""): "postgresql boolean",
    ("date", ""): "date",
    ("time", ""): "time",
    ("timestamp", ""): "datetime",
    ("timestamptz", ""): "postgresql timestamptz",
    ("uuid", ""): "uuid",
    ("jsonb", "json"): "postgresql jsonb",
    ("jsonb", "json key"): "json value",
}
# A cursor returns values for these as text, which saves psycopg creating objects; it creates numbers and booleans fast.
TEXT_DECODERS: Final = (
    "decimal",
    "numeric as integer",
    "date",
    "time",
    "datetime",
    "postgresql timestamptz",
    "postgresql local timestamptz",
    "uuid",
)
_FAST_IN_PSYCOPG: Final = ("integer", "postgresql float", "postgresql boolean")


class Undeclared(Func):
    """A column of SQLite selected as an expression, so that its driver does not see the declared type."""

    template = "+%(expressions)s"
    arity = 1


@dataclass(frozen=True)
class SelectedColumn:
    """A selected expression, with what makes cells of its values.

    `decoder` is None where the `converters` have to convert each value; `reason` says why. `oid` is PostgreSQL's
    number of the type.
    """

    expression: Expression
    converters: Sequence[Converter] = ()
    decoder: str | None = None
    reason: str = ""
    oid: int = 0

    @property
    def is_declared(self) -> bool:
        """True for a table's column of which SQLite's driver makes Python objects."""
        return type(self.expression) is Col and self.decoder in DECLARED_DECODERS


def sqlite_column(expression: Expression, connection: BaseDatabaseWrapper) -> SelectedColumn:
    """Describe an expression that is selected from SQLite."""
    converters = converters_of(expression, connection)
    conversion = standard_conversion(expression, converters)
    decoder = None if conversion is None else SQLITE_DECODERS.get(conversion)
    reason = ""
    if decoder is None:
        reason = why_converted(expression)
    elif decoder == "utc datetime" and connection.timezone is None:
        decoder = "datetime"
    elif decoder == "utc datetime" and connection.timezone_name != "UTC":
        decoder, reason = None, _zone_reason(connection)
    elif decoder == "sqlite decimal" and expression.output_field.decimal_places is None:
        decoder, reason = None, "its field DecimalField has no fixed number of digits"
    elif decoder == "sqlite decimal":
        decoder = f"sqlite decimal:{expression.output_field.decimal_places}:{expression.output_field.max_digits}"
    return SelectedColumn(expression, converters, decoder, reason)


def postgresql_column(expression: Expression, connection: BaseDatabaseWrapper, oid: int) -> SelectedColumn:
    """Describe an expression that is selected from PostgreSQL, whose values have the type with this number."""
    converters = converters_of(expression, connection)
    conversion = standard_conversion(expression, converters)
    if conversion is None:
        return SelectedColumn(expression, converters, None, why_converted(expression), oid)
    name = psycopg_internals.type_name(connection, oid)
    decoder, reason = POSTGRESQL_DECODERS.get((name, conversion)), ""
    if decoder is None:
        reason = f"psycopg makes each value of PostgreSQL's type {name}"
    elif decoder == "postgresql timestamptz" and connection.timezone is None:
        decoder = "postgresql local timestamptz"
    elif decoder == "postgresql timestamptz":
        session_zone = connection.connection.info.parameter_status("TimeZone")
        if not session_zone == connection.timezone_name == "UTC":
            decoder, reason = None, _zone_reason(connection)
    return SelectedColumn(expression, converters, decoder, reason, oid)


def fetched_column(column: SelectedColumn, text_oids: Collection[int]) -> SelectedColumn:
    """Describe the same column of PostgreSQL as a cursor returns it, with the types `text_oids` as text."""
    if column.decoder in _FAST_IN_PSYCOPG:
        return replace(column, decoder="value")
    if column.decoder in TEXT_DECODERS and column.oid not in text_oids:
        return replace(column, decoder=None, reason="a column of the same type is converted in Python")
    return column


def _zone_reason(connection: BaseDatabaseWrapper) -> str:
    return f"the database's TIME_ZONE is {connection.timezone_name}, not UTC"
