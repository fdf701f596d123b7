"""Explain which strategy reads a queryset, and why no faster one does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.columns import Column
from exports.tabular.plan import COPY, CURSOR, INSTANCES, NO_LIMITS, TimeLimits, make_plan
from exports.tabular.readers import sql_csv

PYTHON_VALUES: Final = "as Python values"
SUMMARIES: Final = {
    COPY: "PostgreSQL's COPY: no Python object is made of a value",
    CURSOR: "rows of a cursor, a column at a time",
    INSTANCES: "a model instance for each row",
}


@dataclass(frozen=True)
class Explanation:
    """How a queryset is read.

    `strategy` is "copy", "cursor" or "instances"; `reasons` are sentences that say why no faster one is possible.
    `columns` has the name of each column and the decoder of its values. `obstacles` are sentences that say
    why Python writes the lines of CSV; empty if PostgreSQL writes them, None for other strategies.
    """

    strategy: str
    reasons: Sequence[str]
    columns: Sequence[tuple[str, str]]
    database: str
    sql: str
    obstacles: Sequence[str] | None = None

    @property
    def summary(self) -> str:
        """What the strategy is, in a few words."""
        return SUMMARIES[self.strategy]


def explain(
    queryset: QuerySet[Any], columns: Sequence[Column], dialect: Dialect | None = None, limits: TimeLimits = NO_LIMITS
) -> Explanation:
    """Explain how `querysets.batches` would read these rows now. Raises UnknownColumn."""
    plan = make_plan(queryset.using(queryset.db), columns, limits)
    decoders = plan.decoders if plan.selected else [""] * len(plan.columns)
    described = [
        (column.name, decoder or PYTHON_VALUES) for column, decoder in zip(plan.columns, decoders, strict=True)
    ]
    obstacles = sql_csv.obstacles(plan, dialect) if plan.strategy == COPY and dialect else None
    try:
        sql = plan.sql or str(plan.queryset.query)
    except EmptyResultSet:
        sql = ""
    return Explanation(plan.strategy, list(plan.reasons), described, plan.queryset.db, sql, obstacles)
