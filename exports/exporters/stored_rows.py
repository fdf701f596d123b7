"""The exports behind `export_response`: of a queryset stored as JSON, and of rows stored as JSON Lines of batches."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, ClassVar

from django.core.files import File
from django.db.models import QuerySet

from exports import storage
from exports.conf import config
from exports.exceptions import InputGone, UnstorableQuerySet
from exports.exporters import stored_querysets
from exports.exporters.base import Table, TableExport, dialect_of, table_of
from exports.exporters.sensitive import refuse_sensitive
from exports.exporters.sheets import Total
from exports.exporters.tagged_json import from_json, to_json
from exports.models import Artifact, FileRequest
from exports.tabular.cells.plain_values import plain_column
from exports.tabular.cells.raw_columns import RawColumn, Values, row_count
from exports.tabular.columns import Column
from exports.tabular.readers import resolve
from exports.tabular.readers import rows as row_reader

MEMORY_BYTES = 1 << 20
HOW_TO_NAME = "Name the columns, with or without it: export_response(..., columns=[...])."
STORED_OF_COLUMNS = ("name", "header", "kind", "format", "places")


class StoredExport(TableExport):
    """An export of rows that the owner's view chose: it may run as long as the owner may sign in."""

    file_type: ClassVar[str]

    def refusal(self, export: FileRequest) -> str | None:
        owner = export.requester
        return None if owner is not None and owner.is_active else "permission_lost"


class StoredQuerySet(StoredExport):
    """Criteria: {"queryset": the stored queryset, "columns": names or null}."""

    file_type = "exports.queryset"

    @staticmethod
    def criteria_for(queryset: QuerySet[Any], columns: Sequence[str] | None) -> str:
        """Return the criteria that store this queryset. Raises UnstorableQuerySet."""
        return json.dumps({"queryset": stored_querysets.dump(queryset), "columns": columns})

    def refusal(self, export: FileRequest) -> str | None:
        try:
            stored_querysets.load(json.loads(export.criteria)["queryset"])
        except UnstorableQuerySet as error:
            return error.code
        return super().refusal(export)

    @contextmanager
    def tables(self, export: FileRequest) -> Iterator[Sequence[Table]]:
        criteria = json.loads(export.criteria)
        queryset = stored_querysets.load(criteria["queryset"])
        columns = columns_of_queryset(queryset, criteria["columns"])
        dialect = dialect_of(export.format, export.options)
        with table_of(queryset, columns, dialect=dialect, is_long=True) as table:
            yield [table]


class StoredRows(StoredExport):
    """Criteria: {"key": the storage key of the rows, "columns": those of the table, "count": number of rows}."""

    file_type = "exports.rows"

    @contextmanager
    def tables(self, export: FileRequest) -> Iterator[Sequence[Table]]:
        criteria = json.loads(export.criteria)
        try:
            file = storage.open_file(criteria["key"])
        except FileNotFoundError as error:
            raise InputGone("The stored rows of this export no longer exist.") from error
        with file:
            batches = ([_column_from_json(column) for column in json.loads(line)] for line in file)
            yield [Table([Column(**column) for column in criteria["columns"]], Total(criteria["count"]), batches)]


def store_rows(export: FileRequest, opened: AbstractContextManager[Table]) -> None:
    """Store the rows of a table for an export that is not saved yet, and set its criteria.

    The table is closed before the first write, as its snapshot allows none.
    """
    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as spool:
        with opened as table:
            count = 0
            for batch in table.batches:
                columns = [_column_to_json(batch[place]) for place in range(len(table.columns))]
                spool.write(json.dumps(columns, separators=(",", ":")).encode() + b"\n")
                count += row_count(batch)
            table.total.check(count, table.title)
        key = storage.new_key(export.pk, 0, "jsonl")
        Artifact.objects.create(key=key, epoch=0, state=Artifact.State.INPUT)
        spool.seek(0)
        columns = [{name: getattr(column, name) for name in STORED_OF_COLUMNS} for column in table.columns]
        export.criteria = json.dumps({"key": key, "columns": columns, "count": count})
        storage.put_contents(File(spool), key)


def keep_rows(export: FileRequest) -> None:
    """Bind the stored rows to this export: they are deleted once it has its file, or is deleted."""
    key = json.loads(export.criteria)["key"]
    Artifact.objects.filter(key=key, state=Artifact.State.INPUT).update(request=export)


def columns_of_queryset(queryset: QuerySet[Any], names: Sequence[str] | None) -> list[Column]:
    """Return columns for these names; without names, for those of values(), or all fields and what is annotated.

    Raises SensitiveColumn for fields that hold secrets, unless they are named here or in values().
    """
    if names:
        return [Column(name) for name in names]
    query, fields = queryset.query, queryset.model._meta.concrete_fields
    has_values = resolve.has_values(queryset)
    found = (
        resolve.value_names(queryset)
        if has_values
        else [*(field.attname for field in fields), *query.extra_select, *query.annotation_select]
    )
    columns = [Column(name) for name in found]
    # values() without names selects every field, as if it was not called.
    if not has_values or list(query.values_select) == [field.attname for field in fields]:
        refuse_sensitive(columns, how=HOW_TO_NAME)
    return columns


def table_of_rows(rows: Iterable[Mapping[str, Any]], names: Sequence[str], count: int) -> Table:
    """Return a table of dictionaries with these keys."""
    columns = [Column(name) for name in names]
    return Table(columns, Total(count), row_reader.batches(rows, columns, names, size=config.BATCH_ROWS))


def _column_to_json(values: Values) -> Any:
    # Any: JSON.
    if isinstance(values, RawColumn):
        return {"family": values.family, "texts": list(values)}
    return [to_json(value) for value in plain_column(values)]


def _column_from_json(stored: Any) -> Values:
    if isinstance(stored, dict):
        return RawColumn(stored["texts"], stored["family"])
    return [from_json(value) for value in stored]
