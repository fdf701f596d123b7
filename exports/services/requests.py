"""Request an export, rows or a queryset, or the same as before."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from exports import faults, notifications
from exports.access import tenants
from exports.access.system import SystemUser
from exports.conf import config
from exports.exceptions import BadOption, InvalidForm, TransitionNotAllowed, UnstorableQuerySet
from exports.exporters import permissions, registry
from exports.exporters.base import table_of
from exports.exporters.choosing import FIELD, Chosen, checked, choose, named
from exports.exporters.queryset import QuerySetExport, as_query_dict
from exports.exporters.sheets import Sheet, columns_of, has_at_most, permitted
from exports.exporters.stored_rows import (
    StoredQuerySet,
    StoredRows,
    columns_of_queryset,
    keep_rows,
    store_rows,
    table_of_rows,
)
from exports.models import Actor, AuditEntry, Feed, FileRequest, Status, idempotency, quotas, transitions
from exports.models.audit import refuse_reader
from exports.models.idempotency import Repeatable
from exports.models.locale import zone_name
from exports.models.request import AnyUser
from exports.queue import base as queue
from exports.realtime import events
from exports.services.verbs import refused
from exports.tabular import writers
from exports.tabular.writers import Writer
from exports.webhooks import verbs as webhooks

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MIN_REMAINING_SECONDS = 300
"""A file that expires sooner is not offered again."""


def request_export(
    user: AnyUser,
    file_type: str,
    criteria: QueryDict | Mapping[str, Any],
    *,
    format: str = "",
    options: Mapping[str, Any] | None = None,
    columns: Chosen | None = None,
    time_zone: str = "",
    fresh: bool = False,
    repeatable: Repeatable | None = None,
    callback_url: str = "",
    feed: Feed | None = None,
    actor: Actor | None = None,
) -> tuple[FileRequest, bool]:
    """Queue an export for `user` and wake a worker when the transaction commits.

    Returns the export and whether it is new. A second request for the same, while the first is queued or running,
    returns the first. Unless `fresh`, it also returns a READY file that is at most EXPORTS["REUSE_WITHIN_SECONDS"] old
    (or `reuse_within_seconds` of the export class). The language is the active one; `time_zone` is an IANA name, the
    active zone if it is empty or unknown. `columns` are pairs of a name and a header, "" for its own; None means the
    usual columns. A request of a signed-in user that is `repeatable` returns the export of the first one with its key.
    `callback_url` is told how the export ends, signed by a webhook of the user (docs/webhooks.md).
    One of a `feed` has its name, reuses a file up to its maximum age and sends no mail. `actor` asks for it: by default
    the user.

    Raises UnknownFileType, UnknownFormat, BadOption, InvalidForm, NotAllowed, ReadOnlyToken, LimitReached or KeyReused.
    """
    actor = actor or Actor.of(user)
    # A token gets no export of another type by the key of an earlier request.
    permissions.find_exporter(user, file_type)
    if repeatable is not None and (earlier := idempotency.find_earlier(user, repeatable)) is not None:
        return earlier, False
    asked = check_request(user, file_type, criteria, format=format, options=options, columns=columns, actor=actor)
    exporter, form = asked.exporter, asked.form
    callback = webhooks.callback_of(user, callback_url, file_type) if callback_url else None
    zone = zone_name(time_zone)
    export = FileRequest(
        # Users that are no rows, as the system is, own nothing.
        requester=cast("User", user) if user.pk is not None else None,
        by_system=isinstance(user, SystemUser),
        file_type=file_type,
        format=asked.writer.format,
        options=asked.options,
        columns=asked.columns,
        criteria=asked.criteria,
        description=str(exporter.title),
        label=exporter.label_of(form) if feed is None else feed.label,
        content_type=asked.writer.content_type,
        queue_name=exporter.get_queue_name(user, form.cleaned_data),
        requester_language=translation.get_language() or "",
        requester_timezone=zone,
        woken_at=timezone.now(),
        counts_toward_quota=counts_toward_quota(user),
        sends_mail=feed is None and notifications.are_wanted_by(user) and exporter.wants_mail(user),
        feed=feed,
    )
    export.filename = exporter.get_filename(export)
    ready = None
    if export.requester_id is not None:
        same = [
            str(export.requester_id),
            export.tenant,
            export.file_type,
            export.format,
            export.options,
            export.columns,
            export.criteria,
            export.requester_language,
            export.requester_timezone,
            asked.column_permissions,
        ]
        export.dedupe_key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
        max_age: float = (
            config.REUSE_WITHIN_SECONDS if exporter.reuse_within_seconds is None else exporter.reuse_within_seconds
        )
        if feed is not None:
            max_age = feed.max_age_seconds
        if max_age and not fresh:
            ready = _find_ready(export, asked.column_permissions, max_age=max_age)

    def request() -> tuple[FileRequest, bool]:
        found, is_new = (ready, False) if ready is not None else _enqueue(export, actor)
        if found.feed_id is not None and found.feed_id != export.feed_id:
            # Its owner has asked for it too, so the next run of that feed must not delete it.
            transitions.release_from_feed(found, label=export.label, sends_mail=export.sends_mail)
            found.refresh_from_db(fields=["feed", "label", "sends_mail"])
        if callback is not None:
            callback.add(found, actor)
        return found, is_new

    if repeatable is not None:
        return _once(repeatable, user, request)
    with transaction.atomic() if callback else nullcontext():
        return request()


@dataclass(frozen=True)
class Asked:
    """What a user may request: checked, and as the row of an export stores it."""

    exporter: QuerySetExport
    writer: type[Writer]
    form: Form
    criteria: str
    options: dict[str, Any]
    columns: list[list[str]]
    # The permissions that the columns require, and whether the user holds them.
    column_permissions: dict[str, bool]


def check_request(
    user: AnyUser,
    file_type: str,
    criteria: QueryDict | Mapping[str, Any],
    *,
    format: str,
    options: Mapping[str, Any] | None,
    columns: Chosen | None,
    actor: Actor,
) -> Asked:
    """Check what a user asks for, without requesting it. Arguments and exceptions are those of `request_export`."""
    exporter = permissions.find_exporter(user, file_type)
    refuse_reader(actor, AuditEntry.Verb.REQUEST, file_type=file_type)
    if not permissions.may_open_form(user, exporter):
        raise refused(AuditEntry.Verb.REQUEST, actor, _("You may not export this."), file_type=file_type)
    writer = exporter.writer_of(format)
    cleaned_options = exporter.clean_options(writer, options or {})
    form = exporter.get_form(criteria if isinstance(criteria, QueryDict) else as_query_dict(criteria), user)
    if not form.is_valid():
        raise InvalidForm("The criteria are not valid.", form=form)
    if not exporter.has_permission(user, form.cleaned_data):
        raise refused(AuditEntry.Verb.REQUEST, actor, _("You may not export this."), file_type=file_type)
    declared = exporter.declared_sheets(user, form.cleaned_data)
    available, _withheld = exporter.columns_to_choose(user, form.cleaned_data)
    usual, chosen = exporter.usual_columns(available), []
    if columns is not None and available:
        if not columns:
            # Beside its fields, where errors of the form stand too.
            form.errors["columns"] = form.error_class([_("Choose at least one column.")])
            raise InvalidForm("No column is chosen.", form=form)
        if exporter.has_sheets():
            # The form may have offered columns of a sheet that these criteria do not give.
            absent = named(exporter.columns_to_choose(user)[0]).keys() - named(available).keys()
            columns = [pair for pair in columns if pair[0] not in absent]
        chosen = checked(columns, available, usual)
    elif columns:
        raise BadOption(FIELD, "this export has no columns to choose.")
    if available and (chosen or exporter.default_columns):
        declared = choose(declared, chosen or [(name, "") for name in usual], writer)
    column_permissions = exporter.held(user, columns_of(declared))
    if columns_of(declared) and not permitted(declared, column_permissions):
        message = _("You may not export any of its columns.")
        raise refused(AuditEntry.Verb.REQUEST, actor, message, file_type=file_type)
    return Asked(exporter, writer, form, exporter.stored(form), cleaned_options, chosen, column_permissions)


def request_rows(
    user: AnyUser,
    rows: QuerySet[Any] | Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    format: str,
    options: Mapping[str, Any],
    filename: str,
    is_small: bool,
    permission: str = "",
    actor: Actor | None = None,
) -> FileRequest:
    """Queue a queryset, stored as JSON, or rows, stored as JSON Lines, for a signed-in user.

    `permission` is a stored rule (`permissions.stored_rule`): the user must hold it whenever the file is made or handed
    out. The quota is checked before the rows are stored, and again when the row is inserted.

    Of a queryset that JSON cannot represent, up to EXPORTS["STORED_MAX_ROWS"] rows are read and stored now. Raises
    UnstorableQuerySet for more, and LimitReached.
    """
    refuse_reader(actor or Actor.of(user), AuditEntry.Verb.REQUEST)
    export = FileRequest(
        requester=cast("User", user),
        file_type=StoredRows.file_type,
        format=format,
        options=dict(options),
        description=filename,
        filename=filename,
        content_type=writers.get(format).content_type,
        queue_name="small" if is_small else "large",
        requester_language=translation.get_language() or "",
        requester_timezone=timezone.get_current_timezone_name(),
        woken_at=timezone.now(),
        permission=permission,
        counts_toward_quota=counts_toward_quota(user),
    )
    if export.counts_toward_quota:
        quotas.check_quota(export)
    if isinstance(rows, QuerySet):
        try:
            export.criteria = StoredQuerySet.criteria_for(rows, columns)
        except UnstorableQuerySet as error:
            if not has_at_most([Sheet("", rows, ())], config.STORED_MAX_ROWS):
                raise UnstorableQuerySet(error.reason, max_rows=config.STORED_MAX_ROWS) from None
            store_rows(export, table_of(rows, columns_of_queryset(rows, columns)))
        else:
            export.file_type = StoredQuerySet.file_type
            return _enqueue(export, actor)[0]
    else:
        store_rows(export, nullcontext(table_of_rows(rows, columns, len(rows))))
    with transaction.atomic():
        export, _is_new = _enqueue(export, actor)
        keep_rows(export)
    return export


def retry(export: FileRequest, actor: Actor) -> tuple[FileRequest, bool]:
    """Request the same as a FAILED, CANCELLED or EXPIRED export, as a new row.

    Returns like `request_export`. Raises TransitionNotAllowed for any other status, if the criteria have been deleted,
    or if only a view of the project knows who may have it; and everything that `request_export` raises.
    """
    refuse_reader(actor, AuditEntry.Verb.REQUEST, export.pk, file_type=export.file_type)
    if export.status not in (Status.FAILED, Status.CANCELLED, Status.EXPIRED):
        raise TransitionNotAllowed(_("Only a request that failed, was cancelled or has expired can be tried again."))
    if export.erased_at is not None:
        raise TransitionNotAllowed(_("The choices of this export have been deleted. Please request it again."))
    if registry.has_form(export.file_type):
        return _request_again(export, actor)
    if not registry.is_repeatable(export):
        raise TransitionNotAllowed(_("This cannot be tried again here. Please ask for it where you did before."))
    if not permissions.is_still_granted(export):
        message = _("You may not export this.")
        raise refused(AuditEntry.Verb.REQUEST, actor, message, file_type=export.file_type, export_id=export.pk)
    # Exports without a form: stored rows, whose input now belongs to the new row, stored querysets, and handlers.
    new = FileRequest(
        requester=export.requester,
        file_type=export.file_type,
        format=export.format,
        options=export.options,
        criteria=export.criteria,
        description=export.description,
        filename=export.filename,
        content_type=export.content_type,
        queue_name=export.queue_name,
        requester_language=export.requester_language,
        requester_timezone=export.requester_timezone,
        woken_at=timezone.now(),
        permission=export.permission,
        tenant=export.tenant,
        counts_toward_quota=counts_toward_quota(export.requester or AnonymousUser()),
        sends_mail=export.sends_mail,
    )
    with transaction.atomic():
        new, is_new = _enqueue(new, actor)
        if new.file_type == StoredRows.file_type:
            keep_rows(new)
    return new, is_new


def regenerate(export: FileRequest, actor: Actor) -> tuple[FileRequest, bool]:
    """Request a newer file in place of a READY one, as a new row.

    Returns like `request_export`. Raises TransitionNotAllowed if the export is not READY or has no form, and everything
    that `request_export` raises.
    """
    refuse_reader(actor, AuditEntry.Verb.REQUEST, export.pk, file_type=export.file_type)
    if not can_regenerate(export):
        raise TransitionNotAllowed(_("Only a file that is there can be made again."))
    return _request_again(export, actor)


def can_regenerate(export: FileRequest) -> bool:
    """Return True if the export is READY and was requested with a form that still exists."""
    return export.status == Status.READY and registry.is_offered(export.file_type)


def counts_toward_quota(user: AnyUser) -> bool:
    """Return True if the quotas limit what this user may request."""
    return user.is_authenticated and not user.has_perm("exports.exceed_limits")


def _enqueue(export: FileRequest, actor: Actor | None) -> tuple[FileRequest, bool]:
    queue.ensure_configured()
    export, is_new = transitions.enqueue(export, actor)
    if is_new:
        faults.point("after_insert")
        # Not a partial: Django reads __qualname__ of a callback that raises.
        transaction.on_commit(lambda: queue.wake(export.queue_name), robust=True)
        transaction.on_commit(lambda: events.send_state(export), robust=True)
    return export, is_new


def _once(
    repeatable: Repeatable, user: AnyUser, request: Callable[[], tuple[FileRequest, bool]]
) -> tuple[FileRequest, bool]:
    """Request an export and keep its key, or return the export of a request with the same key at the same moment."""
    try:
        with transaction.atomic():
            export, is_new = request()
            idempotency.keep_key(user, repeatable, export)
            return export, is_new
    except IntegrityError:
        if (earlier := idempotency.find_earlier(user, repeatable)) is None:
            raise
        return earlier, False


def _request_again(export: FileRequest, actor: Actor) -> tuple[FileRequest, bool]:
    with tenants.active(export.tenant):
        return request_export(
            export.requester or AnonymousUser(),
            export.file_type,
            QueryDict(export.criteria),
            format=export.format,
            options=export.options,
            columns=export.columns or None,
            time_zone=export.requester_timezone,
            fresh=True,
            actor=actor,
        )


def _find_ready(export: FileRequest, column_permissions: Mapping[str, bool], *, max_age: float) -> FileRequest | None:
    """Return the user's newest READY file of the same request that is at most `max_age` seconds old.

    None if its columns depended on other permissions than the user has now, or if a newer file is under way.
    """
    now = timezone.now()
    remaining = Q(expires_at=None) | Q(expires_at__gt=now + timedelta(seconds=MIN_REMAINING_SECONDS))
    same = FileRequest.objects.filter(remaining, requester=export.requester_id, dedupe_key=export.dedupe_key)
    ready = same.filter(status=Status.READY, finished_at__gte=now - timedelta(seconds=max_age))
    newest = ready.order_by("-finished_at").first()
    if newest is None or newest.receipt.get("column_permissions", {}) != column_permissions or same.active().exists():
        return None
    return newest
