"""What `export_response` makes later: a queryset that was stored as JSON, or rows that were stored as JSON Lines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, ClassVar

from django.core.files import File
from django.db.models import QuerySet

from exports import storage
from exports.conf import config
from exports.exceptions import InputGone, UnstorableQuerySet
from exports.exporters import stored_querysets
from exports.exporters.base import Table, TableExport, dialect_of, table_of
from exports.exporters.tagged_json import from_json, to_json
from exports.models import Artifact, FileRequest
from exports.tabular.columns import Column
from exports.tabular.writers import Batch

Row = Mapping[str, Any]


class StoredExport(TableExport):
    """An export whose owner's own view decided what is in it: it may run for as long as the owner may sign in."""

    file_type: ClassVar[str]

    def refusal(self, request: FileRequest) -> str | None:
        owner = request.requester
        return None if owner is not None and owner.is_active else "permission_lost"


class StoredQuerySet(StoredExport):
    """Criteria: {"queryset": the stored queryset, "columns": names or null}."""

    file_type = "exports.queryset"

    @staticmethod
    def criteria_for(queryset: QuerySet[Any], columns: Sequence[str] | None) -> str:
        """Raises UnstorableQuerySet."""
        return json.dumps({"queryset": stored_querysets.dump(queryset), "columns": columns})

    def refusal(self, request: FileRequest) -> str | None:
        try:
            stored_querysets.load(json.loads(request.criteria)["queryset"])
        except UnstorableQuerySet as error:
            return error.code
        return super().refusal(request)

    @contextmanager
    def tables(self, request: FileRequest) -> Iterator[Sequence[Table]]:
        criteria = json.loads(request.criteria)
        queryset = stored_querysets.load(criteria["queryset"])
        columns = columns_of_queryset(queryset, criteria["columns"])
        with table_of(queryset, columns, dialect=dialect_of(request.format, request.options)) as table:
            yield [table]


class StoredRows(StoredExport):
    """Criteria: {"key": the storage key of the rows, "columns": names, "count": rows}."""

    file_type = "exports.rows"

    @contextmanager
    def tables(self, request: FileRequest) -> Iterator[Sequence[Table]]:
        criteria = json.loads(request.criteria)
        columns = [Column(name) for name in criteria["columns"]]
        try:
            file = storage.open_file(criteria["key"])
        except FileNotFoundError as error:
            raise InputGone("The rows of this request are not there any more.") from error
        with file:
            rows = (from_json(json.loads(line)) for line in file)
            yield [Table(columns, criteria["count"], batches_of(rows, criteria["columns"]))]


def store_rows(request: FileRequest, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Store the rows for a request that is not saved yet, and put into its criteria where they are.

    Call it with the request's insert in one transaction. Raises TypeError for a value that has no exact form in JSON.
    """
    key = storage.new_key(request.pk, 0, "jsonl")
    Artifact.objects.create(key=key, epoch=0, state=Artifact.State.INPUT)
    with SpooledTemporaryFile(max_size=1 << 20) as spool:
        count = sum(1 for row in rows if spool.write(_line(row)))
        spool.seek(0)
        request.criteria = json.dumps({"key": key, "columns": list(columns), "count": count})
        storage.put_contents(File(spool), key)


def keep_rows(request: FileRequest) -> None:
    """Let the stored rows belong to this request: they are collected once it has its file, or is gone."""
    key = json.loads(request.criteria)["key"]
    Artifact.objects.filter(key=key, state=Artifact.State.INPUT).update(request=request)


def columns_of_queryset(queryset: QuerySet[Any], names: Sequence[str] | None) -> list[Column]:
    """The columns by name: those asked for, those of values(), or all fields of the model."""
    chosen = names or queryset.query.values_select or [field.name for field in queryset.model._meta.concrete_fields]
    return [Column(name) for name in chosen]


def batches_of(rows: Iterable[Row], names: Sequence[str]) -> Iterator[Batch]:
    """Rows as batches of columns; a key that a row lacks is an empty cell."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, config.BATCH_ROWS)):
        yield [[row.get(name) for row in chunk] for name in names]


def _line(row: Row) -> bytes:
    return json.dumps(to_json(dict(row)), separators=(",", ":")).encode() + b"\n"
