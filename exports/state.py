"""STATE: the JSON of one export in WebSocket messages, polling and the first render. See docs/protocol.md."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from django.template.defaultfilters import filesizeformat
from django.utils import timezone, translation
from django.utils.formats import date_format, number_format
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports.access import tenants
from exports.conf import config, url_of
from exports.exceptions import LimitReached, UnknownFormat
from exports.exporters import registry
from exports.models import ACTIVE, TERMINAL, FileRequest, Status, progress
from exports.models.clock import Now
from exports.models.locale import local_time
from exports.models.scheduling import MAX_PLACE, estimated_wait, places, queue_position, seconds_per_place
from exports.queue import base as queue
from exports.tabular import writers


class QueuedState(TypedDict):
    """What a waiting export waits for; all None for any other.

    `unserved_queue` is the queue in which it waits, if no worker of it is known to be running.
    """

    queue_position: int | None
    wait_seconds: float | None
    unserved_queue: str | None


class ProgressState(QueuedState):
    """How far the export is. `rows_per_second` and `eta_seconds` are None unless rows are being written."""

    rows_done: int
    rows_total: int | None
    rows_total_is_estimate: bool
    fraction: float | None
    rows_per_second: float | None
    eta_seconds: float | None


class FileState(TypedDict):
    """The file of a READY export; `size` in bytes, times in RFC 3339."""

    name: str
    size: int | None
    content_type: str
    sha256: str
    expires_at: str | None
    public_until: str | None


class ErrorState(TypedDict):
    """Why there is no file: a stable code and a sentence for the user."""

    code: str
    message: str


class WorkerState(TypedDict):
    """For how long the worker of a RUNNING export had shown no sign of life, and when it counts as lost, in seconds."""

    silent_seconds: float
    lease_seconds: float


class Urls(TypedDict):
    """The URLs of the views that apply to the export in its present status; None if one does not.

    `seen` applies until the owner has seen how the export ended.
    """

    self: str
    page: str
    seen: str | None
    edit: str | None
    cancel: str | None
    retry: str | None
    delete: str | None
    download: str | None
    ticket: str | None
    ticket_expires_at: str | None


class State(TypedDict):
    """One export as docs/protocol.md describes it. `receipt` is what the run recorded about the file."""

    id: str
    seq: int
    attempt: int
    resumed: bool
    status: str
    phase: str
    file_type: str
    title: str
    label: str
    format: str
    requested_at: str | None
    finished_at: str | None
    took_seconds: float | None
    progress: ProgressState
    worker: WorkerState | None
    file: FileState | None
    error: ErrorState | None
    sends_mail: bool
    receipt: dict[str, Any]
    urls: Urls


ERROR_MESSAGES = {
    "worker_lost": _("The worker stopped several times while it made this file. Please tell your administrator."),
    "cancelled_by_staff": _("An administrator cancelled this export."),
    "expired_in_queue": _("No worker was free in time. Please try again."),
    "permission_lost": _("You may no longer export this."),
    "invalid_criteria": _("The chosen filter is no longer valid. Please choose again."),
    "unknown_file_type": _("This export does not exist any more."),
    "unknown_format": _("This file format is not available any more."),
    "unknown_column": _("This export asks for a column that does not exist. Please tell your administrator."),
    "sensitive_column": _("This export contains a column that may hold secrets. Please tell your administrator."),
    "bad_option": _("An option of this export is not valid. Please choose again."),
    "formula_rejected": _("A cell looks like a formula, and this export refuses formulas."),
    "too_many_columns": _("This export has more columns than the format can hold. Please choose another format."),
    "duplicate_column": _("Two columns of this export have the same name. Please choose another format."),
    "unfit_value": _("A value does not fit into its column in this format. Please choose another format."),
    "rows_differ": _("Not all rows could be read as they were counted. Please tell your administrator."),
    "too_many_rows": _(
        "This is more rows than one file may have. Please narrow the filter, and ask for the rest in another file."
    ),
    "too_many_bytes": _(
        "The file would be larger than allowed. Please narrow the filter, and ask for the rest in another file."
    ),
    "input_gone": _("The rows of this export are not there any more. Please ask for it again where you did before."),
    "unstorable_queryset": _("What this export reads has changed. Please ask for it again where you did before."),
    "unsupported_library": _("A library on the server does not fit. Please tell your administrator."),
    "no_file": _("The export ended without a file. Please tell your administrator."),
    "took_too_long": _("The export took longer than allowed. Please narrow the filter and try again."),
    "query_too_slow": _(
        "The database took longer than allowed to find the rows. Please narrow the filter and try again."
    ),
    "stalled": _("The export stopped making progress. Please try again."),
    "job_lost": _("The system that makes this file lost the job. Please try again."),
    "process_lost": _("A process that was making the file ended. Please try again later."),
    "storage_failed": _("The file could not be stored. Please try again later."),
    "storage_denied": _("The storage did not let the file in. Please tell your administrator."),
    "storage_full": _("There is no room for the file. Please try again later, or tell your administrator."),
    "unavailable": _("A service that the export needs did not answer. Please try again later."),
}
NAME = _("{title}, {label}")
"""How an export with a label is called, for instance by screen readers and in mails."""
MESSAGES_WITH_NUMBERS = {
    "too_many_rows": _("{rows} rows, {limit} allowed. Please narrow the filter, and ask for the rest in another file."),
    "too_many_bytes": _(
        "At least {bytes}, {limit} allowed. Please narrow the filter, and ask for the rest in another file."
    ),
}
UNKNOWN_ERROR_MESSAGE = _("The export failed. Please try again, or tell your administrator.")


class _Queue(NamedTuple):
    """What was known of a queue at a moment of the monotonic clock."""

    seen_at: float
    places: dict[UUID, int]
    seconds_per_place: float | None
    unserved: str | None


_queues: dict[tuple[str, str], _Queue] = {}
"""By queue and tenant."""


def serialize(export: FileRequest, *, queue_seconds: float = 0.0) -> State:
    """Return STATE without anything that depends on the user who reads it: no ticket, and no permission is checked.

    With `queue_seconds`, what it says about the queue may be so old: thousands of readers then share a few queries.
    """
    status, has_file = export.status, export.status == Status.READY
    file: FileState | None = None
    if has_file:
        is_shared = export.public_until is not None and export.public_until > timezone.now()
        file = {
            "name": export.filename,
            "size": export.size,
            "content_type": export.content_type,
            "sha256": export.sha256,
            "expires_at": rfc3339(export.expires_at),
            "public_until": rfc3339(export.public_until) if is_shared else None,
        }
    rows_per_second = eta_seconds = None
    if export.phase == progress.WRITING and export.phase_started_at and export.progressed_at:
        seconds = (export.progressed_at - export.phase_started_at).total_seconds()
        rows_per_second = progress.rate(export.rows_done, seconds)
        eta_seconds = progress.eta(export.progress, rows_per_second)
    queued: QueuedState = {"queue_position": None, "wait_seconds": None, "unserved_queue": None}
    if status == Status.QUEUED:
        queued = _queued(export, queue_seconds)
    worker: WorkerState | None = None
    if status == Status.RUNNING and export.lease_expires_at is not None:
        lease_began_at = export.lease_expires_at - timedelta(seconds=config.LEASE_SECONDS)
        # Without the time of reading it is the worker that tells, right after it has renewed its lease.
        silent = (export.read_at - lease_began_at).total_seconds() if export.read_at else 0.0
        worker = {"silent_seconds": max(round(silent, 1), 0.0), "lease_seconds": config.LEASE_SECONDS}
    error = error_of(export)
    is_told = status in (Status.READY, Status.FAILED) or (status == Status.CANCELLED and error is not None)
    is_unseen = is_told and export.seen_at is None
    has_ended = status in (Status.FAILED, Status.CANCELLED, Status.EXPIRED)
    can_edit = export.erased_at is None and registry.is_offered(export.file_type) and export.requester_id is not None
    can_retry = has_ended and export.erased_at is None and registry.is_repeatable(export)
    return {
        "id": str(export.pk),
        "seq": export.seq,
        "attempt": export.attempts,
        "resumed": export.attempts > 1 or export.crashes > 0,
        "status": str(status),
        "phase": export.phase,
        "file_type": export.file_type,
        "title": title_of(export),
        "label": export.label,
        "format": export.format,
        "requested_at": rfc3339(export.requested_at),
        "finished_at": rfc3339(export.finished_at),
        "took_seconds": took_seconds(export),
        "progress": {
            "rows_done": export.rows_done,
            "rows_total": export.rows_total,
            "rows_total_is_estimate": export.rows_estimated,
            "fraction": fraction_of(export),
            "rows_per_second": rows_per_second,
            "eta_seconds": eta_seconds,
            **queued,
        },
        "worker": worker,
        "file": file,
        "error": error,
        "sends_mail": export.sends_mail,
        "receipt": export.receipt,
        "urls": urls_of(
            str(export.pk),
            export.file_type,
            seen=is_unseen,
            edit=can_edit,
            cancel=status in ACTIVE,
            retry=can_retry,
            delete=status in TERMINAL,
            download=has_file,
        ),
    }


def urls_of(export_id: str, file_type: str, **applies: bool) -> Urls:
    """Return the URLs of an export without a ticket, and those named in `applies` only if they are true there.

    They begin with the script prefix and the language of the thread, which a worker does not know of its readers.
    """

    def url(name: str) -> str:
        return url_of(name, export_id)

    return {
        "self": url("detail"),
        "page": url("page"),
        "seen": url("seen") if applies["seen"] else None,
        "edit": f"{url_of('form', file_type)}?from={export_id}" if applies["edit"] else None,
        "cancel": url("cancel") if applies["cancel"] else None,
        "retry": url("retry") if applies["retry"] else None,
        "delete": url("delete") if applies["delete"] else None,
        "download": url("download") if applies["download"] else None,
        "ticket": None,
        "ticket_expires_at": None,
    }


def title_of(export: FileRequest) -> str:
    """Return the name of this export for users: its description, or else its file type in words."""
    return export.description or capfirst(export.file_type.replace("_", " "))


def name_of(export: FileRequest) -> str:
    """Return the title and, if there is one, the label: "Flights, From month: January"."""
    title = title_of(export)
    return str(NAME).format(title=title, label=export.label) if export.label else title


def fraction_of(export: FileRequest) -> float | None:
    """Return how much of the export is done, 0 to 1, or None if that is not known or its file is gone."""
    match export.status:
        case Status.READY:
            return 1.0
        case Status.QUEUED:
            return 0.0
        case Status.EXPIRED:
            return None
    try:
        finishing_share = writers.get(export.format).finishing_share
    except UnknownFormat:
        finishing_share = 0.0
    return progress.fraction(export.progress, finishing_share=finishing_share)


def took_seconds(export: FileRequest) -> float | None:
    """Return how long the last attempt of an ended export took, or None if it has not ended or never began."""
    if export.started_at is None or export.finished_at is None:
        return None
    return round(max((export.finished_at - export.started_at).total_seconds(), 0.0), 1)


def error_of(export: FileRequest) -> ErrorState | None:
    """Return why an export failed, or that staff cancelled it; None for any other. The detail is for staff only."""
    if export.status == Status.FAILED:
        return error_state(export, export.error_code or "export_failed")
    return error_state(export, export.error_code) if export.status == Status.CANCELLED and export.error_code else None


def error_state(export: FileRequest, code: str) -> ErrorState:
    """Return an error with its message in the language of the user who requested the export."""
    with translation.override(export.requester_language or translation.get_language()):
        numbers = {
            name: filesizeformat(number) if code == "too_many_bytes" else number_format(number, 0, force_grouping=True)
            for name, number in export.error_numbers.items()
        }
        if code == export.error_code and code in MESSAGES_WITH_NUMBERS and numbers:
            return {"code": code, "message": str(MESSAGES_WITH_NUMBERS[code]).format(**numbers)}
        return {"code": code, "message": str(ERROR_MESSAGES.get(code, UNKNOWN_ERROR_MESSAGE))}


def limit_message(error: LimitReached) -> str:
    """Return which quota was reached and when it allows the next export, in the active language and time zone."""
    if error.code == "too_many_queued":
        return ngettext(
            "You have %(limit)d export waiting and may have no more. Ask again once it has begun, or cancel it.",
            "You have %(limit)d exports waiting and may have no more. Ask again once one has begun, or cancel one.",
            error.limit,
        ) % {"limit": error.limit}
    if error.code == "too_many_downloads":
        return ngettext(
            "You are downloading %(limit)d file and may have no more. Try again once it has arrived.",
            "You are downloading %(limit)d files and may have no more. Try again once one has arrived.",
            error.limit,
        ) % {"limit": error.limit}
    if error.code == "too_many_estimates":
        return str(_("The rows were counted very often within a minute. Wait a little, or export without the number."))
    ends = local_time(timezone.now() + timedelta(seconds=error.seconds))
    return ngettext(
        "You may ask for %(limit)d export within 24 hours, and have. You may ask again from %(moment)s on.",
        "You may ask for %(limit)d exports within 24 hours, and have. You may ask again from %(moment)s on.",
        error.limit,
    ) % {"limit": error.limit, "moment": date_format(ends, "DATETIME_FORMAT")}


def _queued(export: FileRequest, seconds: float) -> QueuedState:
    """Return where the export is in its queue. What it says may be up to `seconds` old."""
    if not seconds:
        place = queue_position(export)
        wait = estimated_wait(export, place) if place is not None else None
        return {"queue_position": place, "wait_seconds": wait, "unserved_queue": _unserved(export.queue_name)}
    key = export.queue_name, tenants.current()
    known = _queues.get(key)
    is_old = known is None or time.monotonic() - known.seen_at > seconds
    if known is None or is_old or (export.pk not in known.places and len(known.places) < MAX_PLACE):
        name = export.queue_name
        known = _Queue(time.monotonic(), places(name), seconds_per_place(name), _unserved(name))
        _queues[key] = known
    behind = MAX_PLACE + 1 if len(known.places) >= MAX_PLACE else None
    place = known.places.get(export.pk, behind)
    wait = None if place is None or known.seconds_per_place is None else round(place * known.seconds_per_place, 1)
    return {"queue_position": place, "wait_seconds": wait, "unserved_queue": known.unserved}


def _unserved(queue_name: str) -> str | None:
    if queue.is_served(queue_name) is not False:
        return None
    held = FileRequest.objects.filter(status=Status.RUNNING, queue_name=queue_name, lease_expires_at__gte=Now())
    return None if held.exists() else queue_name


def rfc3339(moment: datetime | None) -> str | None:
    """Return an aware datetime in UTC with a Z, as STATE has it; None for None."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
