"""export_response: a queryset or a list of dicts as a file, now where it is small, live where it is not."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from exports import services
from exports.conf import config
from exports.contrib.bgfiles.dataset import Spool
from exports.exceptions import BadOption, LimitReached, UnknownFormat
from exports.exporters.base import Table, dialect_of, table_of, write_now
from exports.exporters.stored_rows import batches_of, columns_of_queryset
from exports.http import responses
from exports.http.downloads import hand_over
from exports.http.replies import answer, over_limit, refuse
from exports.models import FileRequest, Status
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.readers import querysets

POLL_SECONDS = 0.05
ALIASES = {"excel": "xlsx"}

Rows = QuerySet[Any] | Sequence[Mapping[str, Any]]


def export_response(
    request: HttpRequest,
    rows: Rows,
    filename: str = "export",
    format: str = "xlsx",
    threshold: int | None = None,
    *,
    columns: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    wait: float | None = None,
    empty: HttpResponseBase | None = None,
) -> HttpResponseBase:
    """Answer `request` with these rows as a file.

    Up to `threshold` rows (EXPORTS["INLINE_MAX_ROWS"]) the file is in the response. More become a file request of the
    signed-in user: a browser is led to its live page, a program gets 202 with the state, Location and Retry-After.

    With `wait` there is no threshold: the job starts, and if the file is there within that many seconds, it is the
    response. Inside a transaction nothing is waited for, since no worker can see the row. Whoever has asked for as much
    as they may gets 429 with the reason and Retry-After.

    `filename` needs no extension. `columns` are names of fields, or keys; by default those of the rows. `empty` is the
    answer where there are no rows, by default a file with headers only. An unknown format or option is a 400 that says
    what there is. Raises UnstorableQuerySet where a queryset that is too big cannot be stored; PermissionDenied where
    nobody is signed in.
    """
    try:
        writer = writers.get(ALIASES.get(format, format))
        cleaned = writer.clean_options(options or {})
    except (UnknownFormat, BadOption) as error:
        return refuse(request, 400, error.code, str(error))
    names = _names(rows, columns)
    limit = config.INLINE_MAX_ROWS if threshold is None else threshold
    count = _count(rows, limit)
    if count == 0 and (empty is not None or not names):
        return empty or HttpResponse(_("There is nothing to export."), content_type="text/plain; charset=utf-8")
    full_name = f"{filename.removesuffix('.' + writer.extension)}.{writer.extension}"
    if wait is None and count <= limit:
        return _now(request, rows, names, writer, cleaned, full_name)
    if not request.user.is_authenticated:
        raise PermissionDenied(_("Please sign in: this export is too big to be made at once."))
    given = {"format": writer.format, "options": cleaned, "filename": full_name, "is_small": count <= limit}
    try:
        file_request = services.request_rows(request.user, rows, names, **given)
    except LimitReached as error:
        return over_limit(request, error)
    if _is_ready_within(file_request, wait or 0):
        return hand_over(request, file_request)
    return answer(request, file_request, status=202)


def _names(rows: Rows, columns: Sequence[str] | None) -> list[str]:
    """The columns, in the order in which the rows first have them."""
    if columns:
        return list(columns)
    if isinstance(rows, QuerySet):
        return [column.name for column in columns_of_queryset(rows, None)]
    return list(dict.fromkeys(name for row in rows for name in row))


def _count(rows: Rows, limit: int) -> int:
    """How many rows there are, counted no further than one beyond the limit."""
    if not isinstance(rows, QuerySet):
        return len(rows)
    return querysets.count(rows if rows.query.is_sliced else rows.order_by()[: limit + 1])


def _now(
    request: HttpRequest,
    rows: Rows,
    names: Sequence[str],
    writer: type[writers.Writer],
    options: Mapping[str, Any],
    filename: str,
) -> HttpResponseBase:
    spool = Spool()
    made = {"format": writer.format, "options": options, "title": filename}
    if isinstance(rows, QuerySet):
        dialect = dialect_of(writer.format, options)
        with table_of(rows, columns_of_queryset(rows, names), dialect=dialect) as table:
            write_now(table, spool, **made)
    else:
        table = Table([Column(name) for name in names], len(rows), batches_of(rows, names))
        write_now(table, spool, **made)
    return responses.once(request, spool, filename=filename, content_type=writer.content_type)


def _is_ready_within(file_request: FileRequest, seconds: float) -> bool:
    """Look at the row until the file is there, the request has ended otherwise, or the time is up."""
    if seconds <= 0 or connection.in_atomic_block:
        return False
    deadline = time.monotonic() + seconds
    while file_request.is_active and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        file_request.refresh_from_db()
    return file_request.status == Status.READY
