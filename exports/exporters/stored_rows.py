"""The exports behind `export_response`: of a queryset stored as JSON, and of rows stored as JSON Lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from exports.tabular.columns import Column
from exports.tabular.readers import rows as row_reader

MEMORY_BYTES = 1 << 20
HOW_TO_NAME = "Name the columns, with or without it: export_response(..., columns=[...])."


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
        with table_of(queryset, columns, dialect=dialect_of(export.format, export.options)) as table:
            yield [table]


class StoredRows(StoredExport):
    """Criteria: {"key": the storage key of the rows, "columns": names, "count": number of rows}."""

    file_type = "exports.rows"

    @contextmanager
    def tables(self, export: FileRequest) -> Iterator[Sequence[Table]]:
        criteria = json.loads(export.criteria)
        try:
            file = storage.open_file(criteria["key"])
        except FileNotFoundError as error:
            raise InputGone("The stored rows of this export no longer exist.") from error
        with file:
            rows = (from_json(json.loads(line)) for line in file)
            yield [table_of_rows(rows, criteria["columns"], criteria["count"])]


def store_rows(export: FileRequest, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Store rows for an export that is not saved yet, and set its criteria.

    Call this in one transaction with the INSERT. Raises TypeError for a value that JSON cannot represent exactly.
    """
    key = storage.new_key(export.pk, 0, "jsonl")
    Artifact.objects.create(key=key, epoch=0, state=Artifact.State.INPUT)
    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as spool:
        count = 0
        for row in rows:
            spool.write(json.dumps(to_json(dict(row)), separators=(",", ":")).encode() + b"\n")
            count += 1
        spool.seek(0)
        export.criteria = json.dumps({"key": key, "columns": list(columns), "count": count})
        storage.put_contents(File(spool), key)


def keep_rows(export: FileRequest) -> None:
    """Bind the stored rows to this export: they are deleted once it has its file, or is deleted."""
    key = json.loads(export.criteria)["key"]
    Artifact.objects.filter(key=key, state=Artifact.State.INPUT).update(request=export)


def columns_of_queryset(queryset: QuerySet[Any], names: Sequence[str] | None) -> list[Column]:
    """Return columns for these names; without names, for those of values() or all fields of the model.

    Raises SensitiveColumn for fields that hold secrets, unless they are named here or in values().
    """
    fields = queryset.model._meta.concrete_fields
    selected = list(queryset.query.values_select)
    chosen = names or selected or [field.name for field in fields]
    columns = [Column(name) for name in chosen]
    # values() without names selects every field, as if it was not called.
    if not names and (not selected or selected == [field.attname for field in fields]):
        refuse_sensitive(columns, how=HOW_TO_NAME)
    return columns


def table_of_rows(rows: Iterable[Mapping[str, Any]], names: Sequence[str], count: int) -> Table:
    """Return a table of dictionaries with these keys."""
    columns = [Column(name) for name in names]
    return Table(columns, Total(count), row_reader.batches(rows, columns, names, size=config.BATCH_ROWS))
