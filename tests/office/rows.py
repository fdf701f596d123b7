"""Requests in every status, each brought there by the app's own moves, with a file that is really stored."""

import hashlib
from typing import Any

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db.models import QuerySet

from exports import storage
from exports.models import AuditEntry, FileRequest, Status, transitions
from exports.models.audit import Actor, record
from exports.models.progress import WRITING, Snapshot
from exports.models.result import ExportResult

CONTENT = b"Name\r\n" + b"".join(b"row %06d\r\n" % number for number in range(2000))
CSV = "text/csv; charset=utf-8"


def queued(owner: User | None, **columns: Any) -> FileRequest:
    given = {
        "file_type": "report",
        "format": "csv",
        "queue_name": "small",
        "criteria": "month=4",
        "description": "Report",
    }
    return FileRequest.objects.create(requester=owner, **given | {"filename": "report.csv"} | columns)


def running(owner: User | None, **columns: Any) -> FileRequest:
    return claimed(owner, **columns)[0]


def claimed(owner: User | None, **columns: Any) -> tuple[FileRequest, transitions.Claim]:
    request = queued(owner, **columns)
    claim = transitions.claim(request, owner="here:1:1", extension="csv")
    assert claim is not None
    return fresh(request), claim


def ready(owner: User | None, content: bytes = CONTENT, **columns: Any) -> FileRequest:
    request, claim = claimed(owner, **columns)
    assert publish(claim, content, filename=request.filename)
    return fresh(request)


def publish(claim: transitions.Claim, content: bytes = CONTENT, *, filename: str = "report.csv") -> bool:
    storage.exports_storage().save(claim.key, ContentFile(content))
    digest = hashlib.sha256(content).hexdigest()
    receipt = {"rows_asked": 2000, "rows": 2000, "alterations": {"control_characters": 2}, "sha256": digest}
    receipt |= {"language": "en", "time_zone": "UTC"}
    return transitions.publish(claim, ExportResult(filename, CSV, 2000, receipt, size=len(content), sha256=digest))


def progress(rows_done: int, rows_total: int | None = 2000) -> Snapshot:
    return Snapshot(WRITING, rows_done, rows_total, 0, None)


def failed(owner: User | None, code: str = "storage_full", **columns: Any) -> FileRequest:
    request, claim = claimed(owner, **columns)
    assert transitions.fail(claim, code=code, detail="secret detail for staff")
    return fresh(request)


def cancelled(owner: User | None, **columns: Any) -> FileRequest:
    request = running(owner, **columns)
    assert transitions.cancel(request)
    return fresh(request)


def expired(owner: User | None, **columns: Any) -> FileRequest:
    request = ready(owner, **columns)
    assert transitions.expire(request)
    return fresh(request)


IN_STATUS = {
    Status.QUEUED: queued,
    Status.RUNNING: running,
    Status.READY: ready,
    Status.FAILED: failed,
    Status.CANCELLED: cancelled,
    Status.EXPIRED: expired,
}


def downloads() -> QuerySet[AuditEntry]:
    """Return the entries of downloads that were not denied, oldest first."""
    return AuditEntry.objects.filter(verb="download").exclude(outcome="denied").order_by("pk")


def downloaded(request: FileRequest, byte_count: int = 3) -> AuditEntry:
    """Record a download by the owner."""
    return record("download", request.pk, Actor.of(request.requester), file_type="report", byte_count=byte_count)


def fresh(request: FileRequest) -> FileRequest:
    return FileRequest.objects.select_related("requester").get(pk=request.pk)
