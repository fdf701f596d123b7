"""The form of each selected value: what the database hands over, and what makes cells of it without the ORM.

The ORM's own rule is a list of converters for each expression. Where they are Django's standard ones, known by their
names, a form of `cells.raw_batches` does the same a column at a time; where not, the converters themselves run.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Func
from django.db.models.expressions import Col
from django.db.models.fields.json import KeyTransform

Converter = Callable[[Any, Any, Any], Any]

BASE: Final = "django.db.backends.base.operations.BaseDatabaseOperations."
SQLITE: Final = "django.db.backends.sqlite3.operations.DatabaseOperations."
NUMBER: Final = "django.db.models.expressions.BaseExpression.convert_value.<locals>.<lambda>"
JSON: Final = "django.db.models.fields.json.JSONField.from_db_value"

# By the converters of a value the form of what SQLite hands over. Dates, datetimes and times come typed out of columns
# that are declared so, and as text out of expressions; `shapes` looks at them.
SQLITE_FORMS: Final = {
    "": "value",
    "int": "sqlite integer",
    "float": "sqlite real",
    "json": "sqlite json",
    f"{BASE}convert_durationfield_value": "sqlite duration",
    f"{SQLITE}convert_booleanfield_value": "sqlite boolean",
    f"{SQLITE}convert_uuidfield_value": "sqlite uuid",
    f"{SQLITE}convert_datefield_value": "date",
    f"{SQLITE}convert_timefield_value": "time",
    f"{SQLITE}convert_datetimefield_value": "utc datetime",
    f"{SQLITE}get_decimalfield_converter.<locals>.converter": "sqlite decimal",
}
# What SQLite's driver makes objects of where a column is declared so.
DECLARED_FORMS: Final = ("date", "time", "utc datetime", "datetime", "sqlite boolean")

_INTEGERS: Final = ("int2", "int4", "int8")
_FLOATS: Final = ("float4", "float8")

# The same for PostgreSQL, by type and converters.
POSTGRESQL_FORMS: Final = {
    **{(name, ""): "integer" for name in (*_INTEGERS, "oid")},
    **{(name, "int"): "integer" for name in _INTEGERS},
    **{(name, "float"): "numeric as float" for name in (*_INTEGERS, "numeric")},
    **{("numeric", rule): "decimal" for rule in ("", "decimal")},
    **{(name, rule): "postgresql float" for name in _FLOATS for rule in ("", "float")},
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
POSTGRESQL_RULES: Final = {rule for _, rule in POSTGRESQL_FORMS}
# On a cursor these are asked for as text, which spares psycopg making objects; numbers and booleans it makes fast.
TEXT_FORMS: Final = (
    "decimal",
    "numeric as integer",
    "date",
    "time",
    "datetime",
    "postgresql timestamptz",
    "postgresql local timestamptz",
    "uuid",
)
_MADE_BY_PSYCOPG: Final = ("integer", "postgresql float", "postgresql boolean")


class Undeclared(Func):
    """A column of SQLite's that is selected as an expression, so that its driver does not see how it is declared."""

    template = "+%(expressions)s"
    arity = 1


@dataclass(frozen=True)
class Selected:
    """A value of each row: the expression that it is selected by, and what makes cells of it.

    `form` is None where its `converters` make each value, and `reason` says why.
    """

    expression: Any
    converters: Sequence[Converter] = ()
    form: str | None = None
    reason: str = ""
    # PostgreSQL's number of the type.
    oid: int = 0

    @property
    def is_declared(self) -> bool:
        """Whether it is a column that SQLite's driver makes objects of, nothing computed."""
        return type(self.expression) is Col and self.form in DECLARED_FORMS


def fetched(selected: Selected, text_types: Collection[int]) -> Selected:
    """The same value of PostgreSQL's where a cursor fetches it, which gives these types as text."""
    if selected.form in _MADE_BY_PSYCOPG:
        return replace(selected, form="value")
    if selected.form in TEXT_FORMS and selected.oid not in text_types:
        return replace(selected, form=None, reason="a value of the same type passes through Python")
    return selected


def converters_of(expression: Any, connection: BaseDatabaseWrapper) -> list[Converter]:
    """What the ORM applies to each value of this expression, in this order."""
    return [*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection)]


def of_sqlite(expression: Any, connection: BaseDatabaseWrapper) -> Selected:
    converters = converters_of(expression, connection)
    rule = rule_of(expression, converters)
    form = None if rule is None else SQLITE_FORMS.get(rule)
    if form is None:
        return Selected(expression, converters, reason=_reason(expression))
    if form == "utc datetime":
        return _moment_of_sqlite(expression, converters, connection)
    if form == "sqlite decimal":
        field = expression.output_field
        form = f"sqlite decimal:{field.decimal_places}:{field.max_digits}"
    return Selected(expression, converters, form)


def _moment_of_sqlite(expression: Any, converters: list[Converter], connection: BaseDatabaseWrapper) -> Selected:
    if connection.timezone is None:
        return Selected(expression, converters, "datetime")
    if connection.timezone_name == "UTC":
        return Selected(expression, converters, "utc datetime")
    return Selected(expression, converters, reason=_zone_reason(connection))


def of_postgresql(expression: Any, connection: BaseDatabaseWrapper, oid: int) -> Selected:
    """`oid` is the number of the type that PostgreSQL gives this value."""
    converters = converters_of(expression, connection)
    rule = rule_of(expression, converters)
    if rule not in POSTGRESQL_RULES:
        return Selected(expression, converters, reason=_reason(expression), oid=oid)
    name = _type_name(connection, oid)
    form = POSTGRESQL_FORMS.get((name, rule))
    if form == "postgresql timestamptz":
        form, reason = _moment_of_postgresql(connection)
    else:
        reason = "" if form else f"psycopg makes each value of PostgreSQL's type {name}"
    return Selected(expression, converters, form, reason, oid)


def _moment_of_postgresql(connection: BaseDatabaseWrapper) -> tuple[str | None, str]:
    if connection.timezone is None:
        return "postgresql local timestamptz", ""
    session = connection.connection.info.parameter_status("TimeZone")
    return (
        ("postgresql timestamptz", "")
        if session == connection.timezone_name == "UTC"
        else (None, _zone_reason(connection))
    )


def _zone_reason(connection: BaseDatabaseWrapper) -> str:
    return f"the database's TIME_ZONE is {connection.timezone_name}, not UTC"


def _type_name(connection: BaseDatabaseWrapper, oid: int) -> str:
    """psycopg's name of a type. What psycopg does not know (citext, an enumeration) it gives as text."""
    from psycopg.pq import Format

    adapters = connection.connection.adapters
    known = adapters.types.get(oid)
    if known is not None:
        # It answers the number of an array too, with the type of its members.
        return known.name if known.oid == oid else f"{known.name}[]"
    return "text" if adapters.get_loader(oid, Format.TEXT) is None else str(oid)


def rule_of(expression: Any, converters: Sequence[Converter]) -> str | None:
    """The one standard conversion that these converters are, "" for none, None for anything else."""
    if not converters:
        return ""
    name = _full_name(converters[0])
    if len(converters) > 1:
        return None
    if name == NUMBER:
        return _number(expression.output_field)
    if name == JSON:
        return _json(expression)
    return name


def _number(field: Field) -> str:
    kind = field.get_internal_type()
    return {"FloatField": "float", "DecimalField": "decimal"}.get(kind, "int")


def _json(expression: Any) -> str | None:
    if expression.output_field.decoder is not None:
        return None
    return "json key" if isinstance(expression, KeyTransform) else "json"


def _full_name(converter: Converter) -> str:
    function = getattr(converter, "__func__", converter)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _reason(expression: Expression) -> str:
    """Which conversion of its own a value has, as the end of a sentence."""
    field, name = expression.output_field, type(expression.output_field).__name__
    if getattr(field, "decoder", None) is not None:
        return f"its field {name} has a decoder"
    if isinstance(expression, KeyTransform):
        return "it is a key of JSON, which may have any type"
    if hasattr(field, "from_db_value") and _full_name(field.from_db_value) != JSON:
        return f"its field {name} has from_db_value"
    if type(expression) is Col:
        return f"its field {name} has converters of its own"
    return f"it is computed by {type(expression).__name__}, whose results Django converts"
