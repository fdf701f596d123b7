"""The first rows of an export as texts, read on demand for a page: nothing is stored."""

import csv
import io
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from exports.conf import config
from exports.exporters.base import Table, write_now
from exports.exporters.queryset import QuerySetExport
from exports.exporters.sheets import Total
from exports.models import FileRequest
from exports.models.locale import locale_of
from exports.tabular.plan import TimeLimits
from exports.tabular.readers import querysets

MAX_ROWS: Final = 20
MAX_CELL_LENGTH: Final = 200


@dataclass(frozen=True)
class FirstRows:
    """The headers and the first rows of the first sheet."""

    columns: list[str]
    rows: list[list[str]]


def first_rows(exporter: QuerySetExport, export: FileRequest) -> FirstRows | None:
    """Return the first rows, with the columns that its owner may have, in the owner's language and time zone.

    None for rows that only a worker reads. The caller has asked the permission policy about the export. The rows are
    those of now. Raise what the worker would raise, and QueryTooSlow after EXPORTS["ESTIMATE_SECONDS"].
    """
    if exporter.is_read_by_worker():
        return None
    with locale_of(export):
        sheet, *_others = exporter.permitted_sheets(export)[0]
        if not isinstance(sheet.rows, QuerySet):
            return None
        rows = sheet.rows if sheet.rows.query.is_sliced else sheet.rows[:MAX_ROWS]
        columns = sheet.resolve(sheet.columns)
        limits = TimeLimits(config.ESTIMATE_SECONDS, config.ESTIMATE_SECONDS)
        buffer = io.BytesIO()
        with (
            querysets.sqlite_time_limit(rows.db, config.ESTIMATE_SECONDS),
            closing(querysets.batches(rows, columns, size=MAX_ROWS, limits=limits)) as batches,
        ):
            # "raw": a page runs no formulas.
            options = {"formulas": "raw", "bom": False}
            first = [batch for batch, _ in zip(batches, range(1), strict=False)]
            write_now(Table(columns, Total(), first), buffer, format="csv", options=options, title="")
    text = io.StringIO(buffer.getvalue().decode(), newline="")
    header, *lines = [[cell[:MAX_CELL_LENGTH] for cell in line] for line in csv.reader(text)]
    return FirstRows(header, lines[:MAX_ROWS])
