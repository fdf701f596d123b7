"""Which strategy the rows of a queryset take, and why: for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.plan import COPY, CURSOR, INSTANCES, Plan
from exports.tabular.readers import sql_csv
from exports.tabular.readers.querysets import plan

PASSES = "as Python values"
STRATEGIES = {
    COPY: "PostgreSQL's COPY: no Python object is made of a value",
    CURSOR: "rows of a cursor, a column at a time",
    INSTANCES: "a model instance for each row",
}


@dataclass(frozen=True)
class Explanation:
    """`strategy` is "copy", "cursor" or "instances"; `summary` says what that is, `reasons` why no faster one is taken,
    in sentences. `columns` has the name of each column and the form in which its values come. `obstacles` says why
    Python writes the lines of CSV; it is empty where PostgreSQL writes them, and None on the other strategies.
    """

    strategy: str
    reasons: Sequence[str]
    columns: Sequence[tuple[str, str]]
    database: str
    sql: str
    obstacles: Sequence[str] | None = None

    @property
    def summary(self) -> str:
        return STRATEGIES[self.strategy]


def explain(queryset: QuerySet, columns: Sequence[Column], dialect: Dialect | None = None) -> Explanation:
    """How `batches` would read these rows from the database of this moment. Raises UnknownColumn."""
    found = plan(queryset.using(queryset.db), columns)
    forms = [form or PASSES for form in found.forms] if found.selected else [PASSES] * len(found.columns)
    names = [column.name for column in found.columns]
    described = list(zip(names, forms, strict=True))
    obstacles = sql_csv.obstacles(found, dialect) if found.strategy == COPY and dialect else None
    return Explanation(found.strategy, list(found.reasons), described, found.queryset.db, _sql(found), obstacles)


def _sql(found: Plan) -> str:
    try:
        return found.sql or str(found.queryset.query)
    except EmptyResultSet:
        return ""
