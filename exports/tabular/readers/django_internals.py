"""Django's SQL compiler, value converters and model instances, used without the ORM's code for each value.

This module relies on internals of Django, checked against the source of Django 5.2, 6.0 and 6.1: what `compiler.select`
holds, the names of the converter functions, and what `ModelIterable` and `Model.from_db` do. With any other version
`is_checked` is False, and the readers take the rows from the ORM's public methods instead: slower, and correct.
"""

from collections.abc import Callable, Iterator, Sequence
from inspect import getattr_static
from types import NoneType
from typing import Any, Final
from weakref import ref

import django
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.expressions import Col, ColPairs
from django.db.models.fields.json import KeyTransform
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.db.models.query import ModelIterable
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init
from django.db.models.sql.query import Query

from exports.tabular.cells.raw_batches import decode_column

# Any: a value may be of any type, and a queryset may give instances, tuples or dictionaries; Django types neither its
# converters nor the expressions of a compiled query.
Expression = Any
Converter = Callable[[Any, Expression, BaseDatabaseWrapper], Any]

CHECKED_VERSIONS: Final = ((5, 2), (6, 0), (6, 1))

_NUMBER: Final = "django.db.models.expressions.BaseExpression.convert_value.<locals>.<lambda>"
_JSON: Final = "django.db.models.fields.json.JSONField.from_db_value"
_SQLITE: Final = "django.db.backends.sqlite3.operations.DatabaseOperations."
_BACKEND_CONVERSIONS: Final = {
    "django.db.backends.base.operations.BaseDatabaseOperations.convert_durationfield_value": "duration",
    f"{_SQLITE}convert_booleanfield_value": "boolean",
    f"{_SQLITE}convert_uuidfield_value": "uuid",
    f"{_SQLITE}convert_datefield_value": "date",
    f"{_SQLITE}convert_timefield_value": "time",
    f"{_SQLITE}convert_datetimefield_value": "datetime",
    f"{_SQLITE}get_decimalfield_converter.<locals>.converter": "rounded decimal",
}


def is_checked() -> bool:
    """Return True if this module was checked against the installed version of Django."""
    return django.VERSION[:2] in CHECKED_VERSIONS


def compile_query(queryset: QuerySet[Any]) -> tuple[str, Sequence[Any], list[Expression]]:
    """Return the SQL, its parameters and the selected expressions. Raises EmptyResultSet if no row can match."""
    compiler = queryset.query.get_compiler(queryset.db)
    sql, params = compiler.as_sql()
    return sql, params, [expression for expression, _, _ in compiler.select]


def with_outer_joins(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return the same rows; relations that are selected or ordered by from now on remove none of them.

    Django joins a ForeignKey that is not null by INNER JOIN, which removes the rows whose target does not exist.
    """
    if is_checked() and type(queryset.query) is Query:
        queryset = queryset._chain()  # type: ignore[attr-defined]  # Private.
        queryset.query.__class__ = _OuterJoinQuery
    return queryset


class _OuterJoinQuery(Query):
    # Any: Django's stubs do not describe joins.
    def join(self, join: Any, reuse: Any = None) -> str:
        join.nullable = True
        alias: str = super().join(join, reuse)
        found: Any = self.alias_map[alias]
        if found.join_type and self.alias_refcount[alias] == 1:
            # Only now is this join used: a filter such as `author__isnull=False` leaves joins that it does not need.
            self.alias_map[alias] = found.promote()
        return alias


def adds_rows(before: Query, after: Query) -> bool:
    """Return True if `after`, made from `before`, joins another relation that may have several rows for each row."""
    joins = [join for alias, join in after.alias_map.items() if alias not in before.alias_map]
    fields = [getattr(join, "join_field", None) for join in joins]
    return any(isinstance(field, ForeignObjectRel) and field.multiple for field in fields)


def without_prefetch(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return the queryset without prefetch_related(), which Django refuses to change after a union."""
    queryset = queryset._chain()  # type: ignore[attr-defined]  # Private.
    queryset._prefetch_related_lookups = ()  # type: ignore[attr-defined]  # Private.
    return queryset


def converters_of(expression: Expression, connection: BaseDatabaseWrapper) -> list[Converter]:
    """Return the converters that the ORM applies to each value of this expression, in order."""
    return [*connection.ops.get_db_converters(expression), *expression.get_db_converters(connection)]


def apply_converters(
    expression: Expression, converters: Sequence[Converter], values: Sequence[Any], connection: BaseDatabaseWrapper
) -> Sequence[Any]:
    """Convert a column of values as the ORM would."""
    for converter in converters:
        values = [converter(value, expression, connection) for value in values]
    return values


def standard_conversion(expression: Expression, converters: Sequence[Converter]) -> str | None:
    """Return the name of the standard conversion that these converters are; "" if there are none, else None."""
    if not converters:
        return ""
    if len(converters) > 1:
        return None
    name, field = _qualified_name(converters[0]), expression.output_field
    if name == _NUMBER:
        return {"FloatField": "float", "DecimalField": "decimal"}.get(field.get_internal_type(), "int")
    if name == _JSON and field.decoder is None:
        return "json key" if isinstance(expression, KeyTransform) else "json"
    return _BACKEND_CONVERSIONS.get(name)


def why_converted(expression: Expression) -> str:
    """Say why a value has a conversion that is not a standard one, as the end of a sentence."""
    field, name = expression.output_field, type(expression.output_field).__name__
    if getattr(field, "decoder", None) is not None:
        return f"its field {name} has a decoder"
    if isinstance(expression, KeyTransform):
        return "it is a key of JSON, which may have any type"
    if hasattr(field, "from_db_value") and _qualified_name(field.from_db_value) != _JSON:
        return f"its field {name} has from_db_value"
    if type(expression) is Col:
        return f"its field {name} has its own converters"
    return f"it is computed by {type(expression).__name__}, whose results Django converts"


def is_built_by_django(model: type[Model]) -> bool:
    """Return True if no code of the project runs, and may change a field, while an instance is created."""
    actual = (type(model).__call__, model.__new__, model.__init__, model.__setattr__)
    django_own = (type.__call__, object.__new__, Model.__init__, object.__setattr__)
    # Model.__init__ calls the next __init__ in the order of resolution.
    later_bases = model.__mro__[model.__mro__.index(Model) + 1 : -1]
    return (
        actual == django_own
        and getattr_static(model, "from_db") is getattr_static(Model, "from_db")
        and not any("__init__" in vars(base) for base in later_bases)
        and not pre_init.has_listeners(model)
        and not post_init.has_listeners(model)
    )


def has_plain_attribute(model: type[Model], name: str) -> bool:
    """Return True if reading this field from an instance gives what was stored there, without a custom descriptor."""
    return type(getattr_static(model, name)) in (DeferredAttribute, ForeignKeyDeferredAttribute)


def with_plain_instances(queryset: QuerySet[Any]) -> QuerySet[Any]:
    """Return the same rows; where instances are plain, they are created in a third of the time.

    An instance is plain if it is nothing but its own fields and annotations, set by Django alone. Its attributes and
    state are the same in both cases.
    """
    model, query = queryset.model, queryset.query
    annotations = query.annotation_select
    is_plain = (
        is_checked()
        and queryset._iterable_class is ModelIterable
        and query.deferred_loading == (frozenset(), True)
        and not (query.select_related or query.extra_select)
        and not queryset._known_related_objects  # type: ignore[attr-defined]  # Private.
        and not any(isinstance(expression, ColPairs) for expression in annotations.values())
        and is_built_by_django(model)
        and not any(name in vars(base) for base in model.__mro__ for name in annotations)
        and all(has_plain_attribute(model, field.attname) for field in model._meta.concrete_fields)
    )
    if is_plain:
        # Not all(), which a project's queryset class may override.
        queryset = queryset._chain()  # type: ignore[attr-defined]  # Private.
        queryset._iterable_class = PlainIterable
    return queryset


class PlainIterable(ModelIterable):  # type: ignore[type-arg]  # Not subscriptable at run time.
    """Iterate over plain instances as ModelIterable does; the converters take a column at a time."""

    def __iter__(self) -> Iterator[Model]:
        database = self.queryset.db
        compiler = self.queryset.query.get_compiler(using=database)
        chunks = compiler.execute_sql(chunked_fetch=self.chunked_fetch, chunk_size=self.chunk_size)
        model = compiler.klass_info["model"]
        expressions = [expression for expression, _, _ in compiler.select]
        fields = [expressions[place].target.attname for place in compiler.klass_info["select_fields"]]
        names = [*fields, *compiler.annotation_col_map]
        convert = [_column_converter(expression, compiler.connection) for expression in expressions]
        # Since Django 6.1 the fetch mode says for which instances missing values are fetched: one, or all its peers.
        fetch_mode = getattr(self.queryset, "_fetch_mode", None)
        has_peers = fetch_mode is not None and fetch_mode.track_peers
        for rows in chunks:
            # Django has one list for all rows, which it would search through for each chunk.
            peers: list[ref[Model]] = []
            columns = zip(convert, zip(*rows, strict=True), strict=True)
            for row in zip(*(convert_column(values) for convert_column, values in columns), strict=True):
                instance = model.__new__(model)
                attributes = instance.__dict__
                attributes["_state"] = state = ModelState()
                state.adding, state.db = False, database
                if fetch_mode is not None:
                    state.fetch_mode = fetch_mode
                if has_peers:
                    peers.append(ref(instance))
                    state.peers = peers
                attributes.update(zip(names, row, strict=True))
                yield instance


def _column_converter(
    expression: Expression, connection: BaseDatabaseWrapper
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    converters = converters_of(expression, connection)
    is_json = standard_conversion(expression, converters) == "json"

    def convert(values: Sequence[Any]) -> Sequence[Any]:
        if is_json and set(map(type, values)) <= {str, NoneType}:
            # All texts of a column are parsed in one call.
            return decode_column("json value", values)
        return apply_converters(expression, converters, values, connection)

    return convert


def _qualified_name(converter: Converter) -> str:
    function = getattr(converter, "__func__", converter)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
