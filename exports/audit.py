"""The `exports.audit` log: a line for each change of an export's status, with numbers as fields for structured logs.

The fields never contain the criteria or the contents of a file.
"""

import logging
from typing import TypedDict

from exports import failures
from exports.models import FileRequest, Status

log = logging.getLogger("exports.audit")
errors = logging.getLogger("exports.audit_errors")


class AuditFields(TypedDict):
    """The fields of one line. `seconds` is the time in the queue for RUNNING, else the time since the run started."""

    event: str
    request: str
    epoch: int
    queue_name: str
    seconds: float
    file_type: str
    format: str
    attempt: int
    crashes: int
    rows: int
    bytes: int | None
    code: str


def note(export: FileRequest) -> None:
    """Log the status that a transition has just written. The code that makes the transition calls it."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = fields_of(export)
    reason = f" ({export.error_code})" if export.error_code else ""
    _write(f"{export.status}{reason} after {fields['seconds']:.1f} s", export, fields)


def note_links(export: FileRequest) -> None:
    """Log that the links to a file were revoked or shared."""
    fields = fields_of(export)
    fields["event"] = "export.links_changed"
    _write("links changed", export, fields)


def _write(words: str, export: FileRequest, fields: AuditFields) -> None:
    try:
        log.info(
            "request %s epoch %d queue %s: %s",
            export.pk, export.epoch, export.queue_name, words,
            extra={"fields": fields},
        )  # fmt: skip
    except Exception as error:
        # A filter or a record factory of the project may raise; the run or the request must go on.
        message = "request %s: the audit log was not written: %s"
        failures.report(errors, message, export.pk, error=error, level=logging.ERROR)


def fields_of(export: FileRequest) -> AuditFields:
    """Return the fields of a line about the present status."""
    if export.status == Status.RUNNING:
        began, ended = export.requested_at, export.started_at
    else:
        began, ended = export.started_at or export.requested_at, export.finished_at
    seconds = max((ended - began).total_seconds(), 0.0) if began and ended else 0.0
    return {
        "event": f"export.{export.status}",
        "request": str(export.pk),
        "epoch": export.epoch,
        "queue_name": export.queue_name,
        "seconds": round(seconds, 3),
        "file_type": export.file_type,
        "format": export.format,
        "attempt": export.attempts,
        "crashes": export.crashes,
        "rows": export.rows_done,
        "bytes": export.size,
        "code": export.error_code,
    }
