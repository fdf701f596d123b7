"""Export requests in every status, created by the real transitions; by default on 1 June 2026 at noon."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils.timezone import make_naive

from exports.models import FileRequest, Status, transitions
from exports.models.result import ExportResult
from exports.models.transitions import Claim
from tests.shop.exports import OrderExport

WAIT_SECONDS = 30.0


def stored(moment: datetime) -> datetime:
    """Return an aware datetime as the database gives it back: without USE_TZ, naive in TIME_ZONE."""
    return moment if settings.USE_TZ else make_naive(moment)


NOON = stored(datetime(2026, 6, 1, 12, tzinfo=UTC))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def user(name: str = "ada", **columns: Any) -> User:
    """Get or create the user with this name."""
    found = User.objects.filter(username=name).first()
    return found or User.objects.create_user(name, email=f"{name}@shop.example", **columns)


def queued(**columns: Any) -> FileRequest:
    """Queue a request of Ada for all orders as CSV."""
    defaults = {"file_type": OrderExport.file_type, "format": "csv", "requested_at": NOON, "requester": user()}
    request, _ = transitions.enqueue(FileRequest(**defaults | columns))
    return request


def claimed(request: FileRequest | None = None, *, now: datetime = NOON, **columns: Any) -> tuple[FileRequest, Claim]:
    """Claim a request as a worker does; return the running request and its claim."""
    request = request or queued(**columns)
    claim = transitions.claim(request, owner="host:1:1", extension="csv", runtime=600, now=now)
    assert claim is not None
    request.refresh_from_db()
    return request, claim


def made(**changes: Any) -> ExportResult:
    columns = {"size": 3, "sha256": "ab" * 32, "filename": "orders.csv", "content_type": "text/csv", "rows": 7}
    return ExportResult(**{**columns, "receipt": {"rows": 7}, **changes})


def in_status(status: str, **columns: Any) -> FileRequest:
    """Return a request in this status."""
    request = queued(**columns)
    if status == Status.RUNNING:
        claimed(request)
    elif status != Status.QUEUED:
        end(request, status, now=NOON)
    return request


def end(request: FileRequest, status: str, *, now: datetime | None = None) -> None:
    """Move a queued request to this final status."""
    if status == Status.CANCELLED:
        assert transitions.cancel(request, now=now)
    elif status == Status.FAILED:
        assert transitions.time_out(request, now=now)
    else:
        _, claim = claimed(request)
        assert transitions.publish(claim, made(), now=now)
        request.refresh_from_db()
        assert status == Status.READY or transitions.expire(request, now=now)
    request.refresh_from_db()
    assert request.status == status


def row(request_id: UUID) -> dict[str, Any]:
    """Return all columns from the database."""
    return FileRequest.objects.filter(pk=request_id).values().get()


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that differ, with their new values."""
    return {name: value for name, value in after.items() if before[name] != value}


def at_once(*verbs: Callable[[], Any]) -> Sequence[Any]:
    """Call all at the same time, each in its own thread and connection; return their results."""
    start = threading.Barrier(len(verbs))
    outcomes: list[Any] = [None] * len(verbs)

    def act(place: int, verb: Callable[[], Any]) -> None:
        try:
            start.wait(WAIT_SECONDS)
            outcomes[place] = verb()
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=pair) for pair in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes
