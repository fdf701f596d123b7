"""Answer a view with a queryset or a list of dicts as a file: now if it is small, in the background if it is not."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from exports import services
from exports.conf import config
from exports.exceptions import BadOption, DeclarationError, LimitReached, UnknownFormat, UnstorableQuerySet
from exports.exporters import permissions, stored_querysets
from exports.exporters.base import dialect_of, table_of, write_now
from exports.exporters.options import with_language
from exports.exporters.sensitive import refuse_sensitive
from exports.exporters.stored_rows import HOW_TO_NAME, columns_of_queryset, table_of_rows
from exports.http.actors import actor_of, record_refusal
from exports.http.downloads import download_response
from exports.http.lists import EXPORT_PARAMETER, LIST_FORMATS
from exports.http.refusals import refusal_response
from exports.http.responses import buffer_response
from exports.http.views import state_response
from exports.models import Actor, AuditEntry, Status
from exports.models.audit import record
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.readers import querysets
from exports.tabular.readers.resolve import resolve

log = logging.getLogger("exports.shortcuts")

WAIT_INTERVAL_SECONDS = 0.05
MAX_BYTES_IN_MEMORY = 1 << 20
FORMAT_ALIASES = {"excel": "xlsx"}

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
    permission: permissions.Rule | None = None,
) -> HttpResponseBase:
    """Return these rows as a file, or queue an export of them for the signed-in user.

    Up to `threshold` rows (EXPORTS["INLINE_MAX_ROWS"]) the file is in the response. For more rows a browser is
    redirected to the live page of the export, and a program gets 202 with STATE, Location and Retry-After.

    With `wait` there is no threshold: the export is queued, and its file is the response if it is ready within that
    many seconds. In a transaction this does not wait, since no worker can see the row.

    `filename` needs no extension. `columns` are field names or keys, by default those of the rows. `empty` is the
    response if there are no rows, by default a file with headers only. An unknown format or option is answered with
    400, a reached quota with 429.

    `permission` is a permission, such as "shop.view_order", or a function of a module that takes the user. It is asked
    now, and stored with a queued export: whenever the file is made or handed out, its owner must hold it. Without one
    the view alone decides, so the export cannot be tried again once it has ended.

    A queryset that must be queued is stored as JSON, or else its rows are, up to EXPORTS["STORED_MAX_ROWS"]. More rows
    are answered with 400; the log has the reason, in development also while there are few rows.

    Raises DeclarationError for rows of another kind, UnknownColumn for columns that a queryset does not have,
    SensitiveColumn for columns that may hold secrets and are not named, and PermissionDenied if the user may not have
    the rows, or is not signed in and they must be queued.
    """
    rule, actor = permissions.stored_rule(permission), actor_of(request)
    if rule and not permissions.holds(request.user, rule):
        record_refusal(request, AuditEntry.Verb.ANSWER, filename=filename)
        raise PermissionDenied(_("You may not export this."))
    try:
        writer = writers.get(FORMAT_ALIASES.get(format, format))
        cleaned_options = writer.clean_options(with_language(writer, options or {}))
    except (UnknownFormat, BadOption) as error:
        return refusal_response(request, error)
    limit = config.INLINE_MAX_ROWS if threshold is None else threshold
    if isinstance(rows, BaseManager):
        rows = rows.all()
    if isinstance(rows, QuerySet):
        chosen = columns_of_queryset(rows, columns)
        # A mistake in a name shows at the request, however many rows there are, and not in a worker.
        resolve(rows, chosen)
        names = [column.name for column in chosen]
        # Counts one row beyond the limit at most.
        count = querysets.count(rows if rows.query.is_sliced else rows.order_by()[: limit + 1])
    elif isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        names = list(columns) if columns else list(dict.fromkeys(name for row in rows for name in row))
        if not columns:
            refuse_sensitive(map(Column, names), how=HOW_TO_NAME)
        count = len(rows)
    else:
        found = type(rows).__name__
        if isinstance(rows, Sequence):
            found += f" with a {next(type(row).__name__ for row in rows if not isinstance(row, Mapping))}"
        raise DeclarationError(
            f"export_response() takes a queryset or a list of dicts, not a {found}. "
            "For other rows declare an export with get_rows."
        )
    if count == 0 and (empty is not None or not names):
        return empty or HttpResponse(_("There is nothing to export."), content_type="text/plain; charset=utf-8")
    full_name = f"{filename.removesuffix('.' + writer.extension)}.{writer.extension}"
    if wait is None and count <= limit:
        if settings.DEBUG and isinstance(rows, QuerySet):
            # The developer, who has few rows, learns what happens in production with many.
            try:
                stored_querysets.dump(rows)
            except UnstorableQuerySet as error:
                log.warning("export_response: more than %d rows will be refused. %s", config.STORED_MAX_ROWS, error)
        return _write_response(rows, names, writer, cleaned_options, full_name, actor)
    if not request.user.is_authenticated:
        raise PermissionDenied(_("Please sign in: this export is too big to be made at once."))
    try:
        export = services.request_rows(
            request.user,
            rows,
            names,
            format=writer.format,
            options=cleaned_options,
            filename=full_name,
            is_small=count <= limit,
            permission=rule,
            actor=actor,
        )
    except UnstorableQuerySet as error:
        log.error("export_response: %s", error)
        return refusal_response(request, error)
    except LimitReached as error:
        return refusal_response(request, error)
    if wait and not connection.in_atomic_block:
        deadline = time.monotonic() + wait
        while export.is_active and time.monotonic() < deadline:
            time.sleep(WAIT_INTERVAL_SECONDS)
            export.refresh_from_db()
        if export.status == Status.READY:
            return download_response(request, export, actor)
    return state_response(request, export, status=202)


class ExportableListMixin:
    """Let a ListView, or a FilterView of django-filter, answer `?export=xlsx` with the rows that the page shows.

        class OrderList(LoginRequiredMixin, ExportableListMixin, ListView):
            export_columns = ["number", "customer__name"]

    All pages of the list are exported, filtered and ordered as the page is, by `export_response`, which has the rules
    for large lists, columns and `export_permission`. The template shows links by `{% export_button %}`.
    """

    export_columns: Sequence[str] | None = None
    export_formats: Sequence[str] = LIST_FORMATS
    export_filename: str = "export"
    export_permission: permissions.Rule | None = None

    # Provided by View. Any: this class has no base, so that it works with views of other packages.
    request: HttpRequest

    def get_paginate_by(self, queryset: Any) -> int | None:
        """Return None if the list is exported: all pages are."""
        return None if EXPORT_PARAMETER in self.request.GET else super().get_paginate_by(queryset)  # type: ignore[misc]

    # Any: the context, and the arguments of TemplateResponse.
    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponseBase:
        """Return the file, or the way to it, if the list is exported; else the page."""
        format = self.request.GET.get(EXPORT_PARAMETER)
        if format is None:
            page: HttpResponseBase = super().render_to_response(context, **kwargs)  # type: ignore[misc]
            return page
        if format not in self.export_formats:
            return refusal_response(self.request, UnknownFormat(format, self.export_formats))
        return export_response(
            self.request,
            context["object_list"],
            self.export_filename,
            format,
            columns=self.export_columns,
            permission=self.export_permission,
        )


def _write_response(
    rows: Rows,
    names: Sequence[str],
    writer: type[writers.Writer],
    options: Mapping[str, Any],
    filename: str,
    actor: Actor,
) -> HttpResponseBase:
    # SpooledTemporaryFile has the methods of BinaryIO, but its annotations do not say so.
    spool = cast(BinaryIO, SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY))  # noqa: SIM115  # The response closes it.
    if isinstance(rows, QuerySet):
        dialect = dialect_of(writer.format, options)
        with table_of(rows, columns_of_queryset(rows, names), dialect=dialect) as table:
            write_now(table, spool, format=writer.format, options=options, title=filename)
    else:
        write_now(table_of_rows(rows, names, len(rows)), spool, format=writer.format, options=options, title=filename)
    record(AuditEntry.Verb.ANSWER, None, actor, filename=filename, byte_count=spool.seek(0, os.SEEK_END))
    return buffer_response(spool, filename=filename, content_type=writer.content_type)
