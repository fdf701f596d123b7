"""Batches that can be sent to a child process: values of Python's own types only.

An instance of a project's class is pickled as a reference to the class, and importing that may need what only this
process has set up. So such a value is replaced by a plain one that makes the same cell.
"""

from exports.tabular.cells.plain_values import plain_column
from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.writers.base import Batch


def picklable_batch(batch: Batch) -> Batch:
    """Return the batch with plain values that make the same cells. What a database rendered stays as it is."""
    if isinstance(batch, CursorBatch):
        return batch.replace_values(plain_column)
    return [plain_column(values) for values in batch] if isinstance(batch, list | tuple) else batch
