"""Rows of a queryset, as batches of columns.

The rows are those of the queryset: the choice of columns and the order never add, drop or merge one.

    resolve                     columns as declared → columns with kind, header and format from the model
    batches, count, snapshot    queryset → batches, memory flat, all rows of one moment
"""

from exports.sources.columns import resolve
from exports.sources.rows import batches, count, snapshot

__all__ = ["batches", "count", "resolve", "snapshot"]
