"""The log of the requests: a line for each change of status, with its numbers as fields for structured logs.

What somebody asked for, and what is in the file, is never among them.
"""

import logging
import threading
from collections import OrderedDict
from typing import Any
from uuid import UUID

from exports.models import FileRequest, Status

log = logging.getLogger("exports.audit")

REMEMBERED = 1000

_noted: "OrderedDict[tuple[UUID, int, str], None]" = OrderedDict()
_noting = threading.Lock()


def note(request: FileRequest) -> None:
    """Log where this request is now. Progress says it again and again; it is logged once a process."""
    if log.isEnabledFor(logging.INFO) and _is_new((request.pk, request.epoch, str(request.status))):
        fields = fields_of(request)
        reason = f" ({request.error_code})" if request.error_code else ""
        log.info(
            "request %s epoch %d queue %s: %s%s after %.1f s",
            request.pk, request.epoch, request.queue_name, request.status, reason, fields["seconds"],
            extra={"fields": fields},
        )  # fmt: skip


def note_links(request: FileRequest) -> None:
    """Log that the links to a file were changed, which stays where it is."""
    words = "request %s epoch %d queue %s: links changed"
    fields = fields_of(request) | {"event": "export.links_changed"}
    log.info(words, request.pk, request.epoch, request.queue_name, extra={"fields": fields})


def fields_of(request: FileRequest) -> dict[str, Any]:
    """`seconds` is how long it took to get here: in the queue for what runs, since the start for what ended."""
    return {
        "event": f"export.{request.status}",
        "request": str(request.pk),
        "epoch": request.epoch,
        "queue_name": request.queue_name,
        "seconds": round(_seconds(request), 3),
        "file_type": request.file_type,
        "format": request.format,
        "attempt": request.attempts,
        "crashes": request.crashes,
        "rows": request.rows_done,
        "bytes": request.size,
        "code": request.error_code,
    }


def _seconds(request: FileRequest) -> float:
    if request.status == Status.RUNNING:
        began, ended = request.requested_at, request.started_at
    else:
        began, ended = request.started_at or request.requested_at, request.finished_at
    return max((ended - began).total_seconds(), 0.0) if began and ended else 0.0


def _is_new(change: tuple[UUID, int, str]) -> bool:
    with _noting:
        if change in _noted:
            return False
        _noted[change] = None
        if len(_noted) > REMEMBERED:
            _noted.popitem(last=False)
        return True
