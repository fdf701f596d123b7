"""What people read in place of stored values: the labels of choices, and the str() of related objects."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from django.db.models import QuerySet

from exports.exceptions import CellPlace
from exports.tabular.cells.plain_values import Labels, python_values, with_labels
from exports.tabular.cells.raw_batches import RawBatch
from exports.tabular.cells.raw_columns import Values
from exports.tabular.columns import Column
from exports.tabular.readers.resolve import display_field, key_of
from exports.tabular.readers.rows import Batch

# How many labels of related objects are kept for the next batches.
MAX_KEPT: Final = 10_000


def label_finders(queryset: QuerySet[Any], columns: Sequence[Column]) -> dict[int, Callable[[Values], Labels]]:
    """Return, by place, what finds the labels of the values of each column with `display`."""
    finders: dict[int, Callable[[Values], Labels]] = {}
    for place, column in enumerate(columns):
        field = display_field(queryset, column)
        if field is not None:
            finders[place] = _related(queryset, column, field) if field.is_relation else _choices(field)
    return finders


def labelled(batch: Batch, finders: Mapping[int, Callable[[Values], Labels]]) -> Batch:
    """Return a batch with labels in place of the values of these columns. A value without a label stays."""
    if isinstance(batch, RawBatch):
        batch.labels = {place: find(batch[place]) for place, find in finders.items()}
        return batch
    columns = list(batch)
    for place, find in finders.items():
        columns[place] = with_labels(columns[place], find(columns[place]))
    return columns


# Any: see display_field.
def _choices(field: Any) -> Callable[[Values], Labels]:
    labels = {value: str(label) for value, label in field.flatchoices}
    return lambda values: labels


def _related(queryset: QuerySet[Any], column: Column, relation: Any) -> Callable[[Values], Labels]:
    """Return what reads the related objects of a batch in one query, except those known from a batch before."""
    objects, name = relation.related_model._base_manager.using(queryset.db), key_of(relation).name
    known: dict[Any, str] = {}

    def find(values: Values) -> Labels:
        keys = set(python_values(values, UTC)) - {None}
        if len(known) + len(keys) > MAX_KEPT:
            known.clear()
        found = objects.in_bulk(list(keys - known.keys()), field_name=name)
        for key, each in found.items():
            try:
                known[key] = str(each)
            except Exception as error:
                error.add_note(CellPlace(f"column {column.name!r}, {type(each).__name__} with key {key}"))
                raise
        return {key: known[key] for key in keys if key in known}

    return find
