"""Which road the rows of a queryset take, and why: for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from exports.cells import Column
from exports.sources.plan import COPY, CURSOR, INSTANCES, Plan
from exports.sources.rows import plan

PASSES = "as Python values"
ROADS = {
    COPY: "PostgreSQL's COPY: no Python object is made of a value",
    CURSOR: "rows of a cursor, a column at a time",
    INSTANCES: "a model instance for each row",
}


@dataclass(frozen=True)
class Explanation:
    """`road` is "copy", "cursor" or "instances"; `summary` says what that is, `reasons` why no faster one is taken, in
    sentences. `columns` has the name of each column and the form in which its values come.
    """

    road: str
    reasons: Sequence[str]
    columns: Sequence[tuple[str, str]]
    database: str
    sql: str

    @property
    def summary(self) -> str:
        return ROADS[self.road]


def explain(queryset: QuerySet, columns: Sequence[Column]) -> Explanation:
    """How `batches` would read these rows from the database of this moment. Raises UnknownColumn."""
    found = plan(queryset.using(queryset.db), columns)
    forms = [form or PASSES for form in found.forms] if found.selected else [PASSES] * len(found.columns)
    names = [column.name for column in found.columns]
    return Explanation(
        found.road, list(found.reasons), list(zip(names, forms, strict=True)), found.queryset.db, _sql(found)
    )


def _sql(found: Plan) -> str:
    try:
        return found.sql or str(found.queryset.query)
    except EmptyResultSet:
        return ""
