"""End a run: with a file, an error, or back in the queue. Guarded by the epoch of the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.core.files import File
from django.db.models import DurationField, F, Q

from exports import storage
from exports.conf import config
from exports.filenames import extension_of
from exports.models.artifact import Artifact
from exports.models.audit import HOUSEKEEPING, SYSTEM, WORKER, AuditEntry, new_entry
from exports.models.clock import Now
from exports.models.notification import Notification
from exports.models.prepared import Bound, Columns, Given, Update, given
from exports.models.progress import DONE
from exports.models.request import DatabaseTime, FileRequest, FileRequestQuerySet, Status
from exports.models.result import ExportResult
from exports.models.transitions.updates import (
    NO_LEASE,
    Claim,
    change,
    end_as_failed,
    held,
    new_mail,
    outcome_of,
    queued_columns,
    record_change,
)


@dataclass(frozen=True)
class CurrentClaim:
    """The claim under which the running code attaches a file, and a function that raises if the file is too large."""

    claim: Claim
    check_bytes: Callable[[int], None]


_current_claim: ContextVar[CurrentClaim | None] = ContextVar("exports_claim", default=None)


def publish(claim: Claim, result: ExportResult, *, now: DatabaseTime | None = None) -> bool:
    """Make the export READY: its file is stored and checked, and its link works from now on."""
    return _end_run(
        claim,
        now,
        AuditEntry.Verb.PUBLISH,
        then=[_ARTIFACT_PUBLISHED.bind(key=claim.key), new_mail(claim.request_id, Notification.Kind.READY)],
        byte_count=result.size,
        retention=result.retention_seconds,
        status=Status.READY,
        filehandle=claim.key,
        size=result.size,
        sha256=result.sha256,
        filename=result.filename,
        content_type=result.content_type,
        receipt=dict(result.receipt),
        rows_done=result.rows,
        rows_total=result.rows,
        rows_estimated=False,
        phase=DONE,
        error_code="",
        error_detail="",
    )


def attach(
    export: FileRequest, contents: File[bytes] | File[str], *, filename: str = "", now: DatabaseTime | None = None
) -> bool:
    """Store `contents` and make the export READY, under the current claim if this runs inside `attach_under`.

    Outside a run, a READY export gets a new file under a new key. No mail is sent.
    """
    current = _current_claim.get()
    if current is not None and current.claim.request_id == export.pk and export.status == Status.RUNNING:
        current.check_bytes(getattr(contents, "size", None) or 0)
        guarded, key, epoch, actor = held(current.claim), current.claim.key, current.claim.epoch, WORKER
    else:
        actor = SYSTEM
        waiting_or_ready = Q(status=Status.QUEUED) | Q(status=Status.READY)
        guarded = FileRequest.objects.filter(waiting_or_ready, pk=export.pk, epoch=export.epoch)
        epoch = export.epoch + 1
        key = storage.new_key(export.pk, epoch, extension_of(filename))
        Artifact.objects.create(request=export, epoch=epoch, key=key)
    storage.put_contents(contents, key)
    return change(
        guarded,
        AuditEntry.Verb.PUBLISH,
        export,
        actor,
        then=[_ARTIFACT_PUBLISHED.bind(key=key)],
        status=Status.READY,
        epoch=epoch,
        phase=DONE,
        filehandle=key,
        finished_at=now or Now(),
        # These described another file, or an earlier attempt.
        sha256="",
        receipt={},
        error_code="",
        error_detail="",
        public_until=None,
        **NO_LEASE,
    )


@contextmanager
def attach_under(claim: Claim, *, check_bytes: Callable[[int], None] = lambda size: None) -> Iterator[None]:
    """Inside, let `attach` store the file of the claimed request under this claim, if `check_bytes` allows its size."""
    token = _current_claim.set(CurrentClaim(claim, check_bytes))
    try:
        yield
    finally:
        _current_claim.reset(token)


def release(claim: Claim, *, now: DatabaseTime | None = None) -> bool:
    """Put the request of a stopping worker back into the queue. The attempt does not count."""
    queued = queued_columns(now or Now())
    return change(held(claim), AuditEntry.Verb.REQUEUE, claim, WORKER, **queued, attempts=F("attempts") - 1)


def retry_later(claim: Claim, *, delay: float, code: str, detail: str, now: DatabaseTime | None = None) -> bool:
    """Put the request back into the queue after a retryable error, due in `delay` seconds."""
    now = now or Now()
    columns = queued_columns(now) | {"not_before": now + timedelta(seconds=delay)}
    columns |= {"error_code": code, "error_detail": detail}
    return change(held(claim), AuditEntry.Verb.REQUEUE, claim, WORKER, reason=code, **columns)


def fail(
    claim: Claim, *, code: str, detail: str, numbers: Mapping[str, int] | None = None, now: DatabaseTime | None = None
) -> bool:
    """End a running export as FAILED. `numbers` are those of the message for users."""
    return _end_run(
        claim,
        now,
        AuditEntry.Verb.FAIL,
        then=[new_mail(claim.request_id, Notification.Kind.FAILED)],
        outcome=outcome_of(code),
        reason=code,
        status=Status.FAILED,
        error_code=code,
        error_detail=detail,
        error_numbers=dict(numbers or {}),
    )


def rescue(export: FileRequest, *, now: DatabaseTime | None = None) -> bool:
    """Put a request whose lease has expired back into the queue, or end it as FAILED after EXPORTS["MAX_CRASHES"]."""
    now = now or Now()
    guarded = FileRequest.objects.abandoned(now).filter(pk=export.pk, epoch=export.epoch)
    fenced: Columns = {"epoch": F("epoch") + 1, "crashes": F("crashes") + 1}
    if export.crashes + 1 >= config.MAX_CRASHES:
        detail = f"owner {export.lease_owner}"
        return end_as_failed(guarded, export, HOUSEKEEPING, code="worker_lost", detail=detail, now=now, **fenced)
    columns = queued_columns(now) | fenced
    return change(guarded, AuditEntry.Verb.REQUEUE, export, HOUSEKEEPING, reason="worker_lost", **columns)


def _end_run(
    claim: Claim,
    now: DatabaseTime | None,
    verb: str,
    *,
    then: Sequence[Bound],
    outcome: str = AuditEntry.Outcome.DONE,
    reason: str = "",
    byte_count: int | None = None,
    retention: float | None = None,
    **columns: Any,
) -> bool:
    """End a run with these columns and run the statements of `then`. A file expires after `retention` seconds."""
    values = {**columns, "id": claim.request_id, "held_epoch": claim.epoch}
    if retention is not None:
        values["retention"] = timedelta(seconds=retention)
    update = _ending(frozenset(columns), expires=retention is not None).bind(**values)
    entry = new_entry(
        verb,
        claim.request_id,
        WORKER,
        file_type=claim.file_type,
        outcome=outcome,
        reason=reason,
        byte_count=byte_count,
    )
    return record_change(update, entry, then, columns["status"], makes_room=True, now=now)


@lru_cache
def _ending(names: frozenset[str], *, expires: bool) -> Update:
    """Return the UPDATE of a run that ends, which sets these columns."""

    def rows_and_columns(now: Any) -> tuple[FileRequestQuerySet, Columns]:
        held = FileRequest.objects.filter(
            **given(FileRequest, ["id"]), status=Status.RUNNING, epoch=Given("held_epoch", FileRequest.epoch.field)
        )
        columns: Columns = {**given(FileRequest, sorted(names)), "seq": F("seq") + 1, "finished_at": now, **NO_LEASE}
        if expires:
            columns["expires_at"] = now + Given("retention", DurationField())
        return held, columns

    return Update(FileRequest, rows_and_columns)


_ARTIFACT_PUBLISHED = Update(
    Artifact, lambda now: (Artifact.objects.filter(**given(Artifact, ["key"])), {"state": Artifact.State.PUBLISHED})
)
