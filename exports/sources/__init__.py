"""Rows of a queryset, as batches of columns.

The rows are those of the queryset: the choice of columns and the order never add, drop or merge one.

    columns     resolve: columns as declared → columns with kind, header and format from the model
    rows        batches, count, estimate, snapshot: queryset → batches, memory flat, all rows of one moment
    plan        the road of these rows, and the form of each value, from the ORM's own query
    forms       which form does what the ORM's converters do · shapes: what SQLite hands over that has no such form
    roads       copy, cursor, instances · postgresql: COPY and what else is PostgreSQL's alone
    explain     the plan, for people
    stored      a queryset as JSON, and back
"""

from exports.sources.columns import resolve
from exports.sources.explain import Explanation, explain
from exports.sources.rows import batches, count, estimate, snapshot

__all__ = ["Explanation", "batches", "count", "estimate", "explain", "resolve", "snapshot"]
