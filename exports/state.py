"""A FileRequest as the one JSON shape that sockets, polling and the first render share: see docs/protocol.md."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports.conf import config
from exports.exceptions import LimitReached, UnknownFormat
from exports.models import ACTIVE, FileRequest, Status, progress
from exports.models.request import AnyUser
from exports.models.scheduling import queue_position
from exports.signing import Ticket
from exports.tabular import writers

State = dict[str, Any]

SENTENCES = {
    "worker_lost": _("The worker stopped several times while it made this file. Please tell your administrator."),
    "expired_in_queue": _("No worker was free in time. Please try again."),
    "permission_lost": _("You may no longer export this."),
    "invalid_criteria": _("The chosen filter is no longer valid. Please choose again."),
    "unknown_file_type": _("This export does not exist any more."),
    "unknown_format": _("This file format is not available any more."),
    "unknown_column": _("This export asks for a column that does not exist. Please tell your administrator."),
    "bad_option": _("An option of this export is not valid. Please choose again."),
    "formula_rejected": _("A cell looks like a formula, and this export refuses formulas."),
    "too_many_columns": _("This export has more columns than the format can hold. Please choose another format."),
    "duplicate_column": _("Two columns of this export have the same name. Please choose another format."),
    "unfit_value": _("A value does not fit into its column in this format. Please choose another format."),
    "too_many_rows": _(
        "This is more rows than one file may have. Please narrow the filter, and ask for the rest in another file."
    ),
    "too_many_bytes": _(
        "The file would be larger than allowed. Please narrow the filter, and ask for the rest in another file."
    ),
    "input_gone": _("The rows of this export are not there any more. Please ask for it again where you did before."),
    "unstorable_queryset": _("What this export reads has changed. Please ask for it again where you did before."),
    "no_file": _("The export ended without a file. Please tell your administrator."),
    "took_too_long": _("The export took longer than allowed. Please narrow the filter and try again."),
    "query_too_slow": _(
        "The database took longer than allowed to find the rows. Please narrow the filter and try again."
    ),
    "stalled": _("The export stopped making progress. Please try again."),
    "process_lost": _("A process that was making the file ended. Please try again later."),
    "storage_failed": _("The file could not be stored. Please try again later."),
    "storage_denied": _("The storage did not let the file in. Please tell your administrator."),
    "storage_full": _("There is no room for the file. Please try again later, or tell your administrator."),
    "unavailable": _("A service that the export needs did not answer. Please try again later."),
}
OTHERWISE = _("The export failed. Please try again, or tell your administrator.")


def serialize(request: FileRequest) -> State:
    """The whole state of a request, without anything that depends on who reads it."""
    return {
        "id": str(request.pk),
        "seq": request.seq,
        "attempt": request.attempts,
        "resumed": request.attempts > 1 or request.crashes > 0,
        "status": str(request.status),
        "phase": request.phase,
        "file_type": request.file_type,
        "title": title_of(request),
        "format": request.format,
        "requested_at": _iso(request.requested_at),
        "finished_at": _iso(request.finished_at),
        "progress": _progress(request),
        "file": _file(request),
        "error": error_of(request),
        "receipt": request.receipt,
        "urls": _urls(request),
    }


def personalize(state: Mapping[str, Any], request: FileRequest, user: AnyUser) -> State:
    """The state with a fresh ticket for `user`, if the file is there and this user may have it."""
    if request.status != Status.READY or not request.is_downloadable_by(user):
        return dict(state)
    expires = int(timezone.now().timestamp()) + config.TICKET_MAX_AGE_SECONDS
    ticket = Ticket(request.pk, request.epoch, str(user.pk), expires).sign()
    link = {
        "ticket": reverse("exports:file", args=[ticket]),
        "ticket_expires_at": _iso(datetime.fromtimestamp(expires, UTC)),
    }
    return {**state, "urls": {**state["urls"], **link}}


def withheld(state: Mapping[str, Any], request: FileRequest, *, is_owner: bool) -> State:
    """The state for somebody who may not have the file: without its address, and for its owner without the file and
    with the reason, since it is theirs and they would look for it."""
    without = {**state, "urls": {**state["urls"], "download": None}}
    return without | {"file": None, "error": _said(request, "permission_lost")} if is_owner else without


def title_of(request: FileRequest) -> str:
    """What people call this export: its description, or else its file type in words."""
    return request.description or capfirst(request.file_type.replace("_", " "))


def error_of(request: FileRequest) -> dict[str, str] | None:
    """Why it failed, in words that its owner can act on. The detail is for staff and stays on the row."""
    if request.status != Status.FAILED:
        return None
    return _said(request, request.error_code or "export_failed")


def _said(request: FileRequest, code: str) -> dict[str, str]:
    """An error in the language of whoever asked for the file."""
    with translation.override(request.requester_language or translation.get_language()):
        return {"code": code, "message": str(SENTENCES.get(code, OTHERWISE))}


def limit_of(error: LimitReached) -> str:
    """Which limit was reached and when it ends, in the language and time zone that are active."""
    if error.code == "too_many_queued":
        return ngettext(
            "You have %(limit)d export waiting and may have no more. Ask again once it has begun, or cancel it.",
            "You have %(limit)d exports waiting and may have no more. Ask again once one has begun, or cancel one.",
            error.limit,
        ) % {"limit": error.limit}
    ends = timezone.localtime(timezone.now() + timedelta(seconds=error.seconds))
    return ngettext(
        "You may ask for %(limit)d export within 24 hours, and have. You may ask again from %(moment)s on.",
        "You may ask for %(limit)d exports within 24 hours, and have. You may ask again from %(moment)s on.",
        error.limit,
    ) % {"limit": error.limit, "moment": date_format(ends, "DATETIME_FORMAT")}


def finishing_share(format_name: str) -> float:
    """The part of a run that this format spends on closing its file, 0 for a format that is not known here."""
    try:
        return writers.get(format_name).finishing_share
    except UnknownFormat:
        return 0.0


def _progress(request: FileRequest) -> dict[str, Any]:
    rows_per_second = progress.rate(request.rows_done, _seconds_writing(request))
    return {
        "rows_done": request.rows_done,
        "rows_total": request.rows_total,
        "rows_total_is_estimate": request.rows_estimated,
        "fraction": _fraction(request),
        "rows_per_second": rows_per_second,
        "eta_seconds": progress.eta(request.progress, rows_per_second),
        "queue_position": queue_position(request),
    }


def _fraction(request: FileRequest) -> float | None:
    """1 says that the link works, so a file that has expired has none."""
    if request.status == Status.EXPIRED:
        return None
    return progress.fraction(request.progress, finishing_share=finishing_share(request.format))


def _seconds_writing(request: FileRequest) -> float:
    if request.phase != progress.WRITING or not request.phase_started_at or not request.progressed_at:
        return 0.0
    return (request.progressed_at - request.phase_started_at).total_seconds()


def _file(request: FileRequest) -> dict[str, Any] | None:
    if request.status != Status.READY:
        return None
    return {
        "name": request.filename,
        "size": request.size,
        "content_type": request.content_type,
        "sha256": request.sha256,
        "expires_at": _iso(request.expires_at),
        "public_until": _iso(_public_until(request)),
    }


def _public_until(request: FileRequest) -> datetime | None:
    """Until when anyone who has its public link may have the file; None where nobody made one, or it has run out."""
    until = request.public_until
    return until if until is not None and until > timezone.now() else None


def _urls(request: FileRequest) -> dict[str, str | None]:
    ended_without_file = request.status in (Status.FAILED, Status.CANCELLED, Status.EXPIRED)
    can_retry = ended_without_file and request.erased_at is None
    return {
        "self": reverse("exports:detail", args=[request.pk]),
        "page": reverse("exports:page", args=[request.pk]),
        "seen": reverse("exports:seen", args=[request.pk]),
        "cancel": reverse("exports:cancel", args=[request.pk]) if request.status in ACTIVE else None,
        "retry": reverse("exports:retry", args=[request.pk]) if can_retry else None,
        "download": reverse("exports:download", args=[request.pk]) if request.status == Status.READY else None,
        "ticket": None,
        "ticket_expires_at": None,
    }


def _iso(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
