"""The moves of a FileRequest: each is one UPDATE guarded by the status and the epoch it saw.

Every function returns whether it won: `claim` a Claim, `renew_lease_unread` the row, or None. A move that lost has changed
nothing. `now` is the database's clock; tests pass a datetime. The numbers are those of the table in
docs/architecture.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import make_msgid
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least, Now

from exports import storage
from exports.conf import config
from exports.filenames import extension_of
from exports.models import quotas
from exports.models.artifact import Artifact
from exports.models.notification import Notification
from exports.models.progress import COUNTING, DONE, QUEUED, Snapshot
from exports.models.request import FileRequest, Status
from exports.models.result import ExportResult

Clock = datetime | Combinable

NO_LEASE = {"lease_owner": "", "lease_expires_at": None, "deadline_at": None}
NO_PROGRESS = {"rows_done": 0, "rows_total": None, "rows_estimated": False, "bytes_done": 0, "bytes_total": None}


@dataclass(frozen=True)
class Claim:
    """A worker's right to one request. The epoch is the fencing token: the database refuses writes of an older one."""

    request_id: UUID
    epoch: int
    key: str


@dataclass(frozen=True)
class Holding:
    """The claim under which this code attaches a file, and what raises for a size that is not allowed."""

    claim: Claim
    check_bytes: Callable[[int], None]


_holding: ContextVar[Holding | None] = ContextVar("exports_claim", default=None)


def enqueue(request: FileRequest) -> tuple[FileRequest, bool]:
    """Move 1: insert the row, or return the active twin with the same dedupe_key. Also says whether it was inserted.

    Raises LimitReached for one that is limited, whose owner has asked for as much as they may.
    """
    if not request.counts_toward_quota:
        return _insert_or_join(request)
    with _briefly():
        quotas.lock_owner(request)
        if (twin := _twin(request)) is not None:
            return twin, False
        quotas.check_quota(request)
        return _insert_or_join(request)


def claim(
    request: FileRequest, *, owner: str, extension: str, runtime: float | None = None, now: Clock | None = None
) -> Claim | None:
    """Move 2: take a due request for this worker, and record the key it may write, before the first byte.

    `runtime` is how many seconds the attempt may take; None leaves it without a deadline.
    """
    now = _clock(now)
    epoch = request.epoch + 1
    key = storage.new_key(request.pk, epoch, extension)
    with _briefly():
        if request.counts_toward_quota and config.MAX_RUNNING_PER_USER is not None:
            quotas.lock_owner(request)
        won = _move(
            FileRequest.objects.due(now).within_running_quota().filter(pk=request.pk, epoch=request.epoch),
            status=Status.RUNNING,
            epoch=epoch,
            attempts=F("attempts") + 1,
            lease_owner=owner,
            lease_expires_at=_after(now, config.LEASE_SECONDS),
            deadline_at=None if runtime is None else _after(now, runtime),
            started_at=now,
            phase=COUNTING,
            phase_started_at=now,
            progressed_at=now,
            **NO_PROGRESS,
        )
        if won:
            Artifact.objects.create(request=request, epoch=epoch, key=key)
    return Claim(request.pk, epoch, key) if won else None


def renew_lease(held: Claim, progress: Snapshot, *, began_phase: bool, moved: bool, now: Clock | None = None) -> bool:
    """Move 3: renew the lease and report the progress."""
    now = _clock(now)
    times: dict[str, Any] = {"progressed_at": now} if moved else {}
    times |= {"phase_started_at": now} if began_phase else {}
    return _move(_held(held), lease_expires_at=_after(now, config.LEASE_SECONDS), **_columns(progress), **times)


def renew_lease_unread(held: Claim, seen: FileRequest, progress: Snapshot, *, at: datetime) -> FileRequest | None:
    """Move 3 in one statement, where no other move was made of the row since it was `seen`, in the same phase.

    Returns the row as `seen`, with what was written but for the lease; None where nothing was written. `at` is when the
    progress was made, by the database's clock.
    """
    columns = {"progressed_at": at, **_columns(progress)}
    changed = {name: value for name, value in columns.items() if value != getattr(seen, name)}
    if not _move(_held(held).filter(seq=seen.seq), lease_expires_at=_after(Now(), config.LEASE_SECONDS), **changed):
        return None
    row = copy(seen)
    vars(row).update(changed, seq=seen.seq + 1)
    return row


def publish(held: Claim, result: ExportResult, *, now: Clock | None = None) -> bool:
    """Move 4: the file is stored and checked; from here on the link works."""
    now = _clock(now)
    expiry = {} if result.retention_seconds is None else {"expires_at": _after(now, result.retention_seconds)}
    with _briefly():
        won = _move(
            _held(held),
            status=Status.READY,
            filehandle=held.key,
            size=result.size,
            sha256=result.sha256,
            filename=result.filename,
            content_type=result.content_type,
            receipt=dict(result.receipt),
            rows_done=result.rows,
            rows_total=result.rows,
            rows_estimated=False,
            phase=DONE,
            finished_at=now,
            error_code="",
            error_detail="",
            **expiry,
            **NO_LEASE,
        )
        if won:
            Artifact.objects.filter(key=held.key).update(state=Artifact.State.PUBLISHED)
            _notify(held.request_id, Notification.Kind.READY, now)
    return won


def attach(request: FileRequest, contents: Any, *, filename: str = "", now: Clock | None = None) -> bool:
    """Move 13: store `contents` for this request by hand and let it be READY; inside a run it is move 4.

    A READY request gets a new file under a new key. Nothing is mailed: whoever attaches by hand tells by hand.
    """
    held = _holding.get()
    if held is not None and held.claim.request_id == request.pk and request.status == Status.RUNNING:
        held.check_bytes(getattr(contents, "size", None) or 0)
        return _attach(_held(held.claim), held.claim.key, contents, now=_clock(now))
    epoch = request.epoch + 1
    key = storage.new_key(request.pk, epoch, extension_of(filename))
    Artifact.objects.create(request=request, epoch=epoch, key=key)
    open_to_hands = Q(status=Status.QUEUED) | Q(status=Status.READY)
    seen = FileRequest.objects.filter(open_to_hands, pk=request.pk, epoch=request.epoch)
    return _attach(seen, key, contents, now=_clock(now), epoch=epoch)


@contextmanager
def attach_under(held: Claim, *, check_bytes: Callable[[int], None] = lambda size: None) -> Iterator[None]:
    """What this code attaches to the claimed request is attached under this claim, where its size is allowed."""
    token = _holding.set(Holding(held, check_bytes))
    try:
        yield
    finally:
        _holding.reset(token)


def release(held: Claim, *, now: Clock | None = None) -> bool:
    """Move 5 of a worker told to stop: back to the queue at once, and the attempt does not count."""
    return _move(_held(held), **_waiting(_clock(now)), attempts=F("attempts") - 1)


def retry_later(held: Claim, *, delay: float, code: str, detail: str, now: Clock | None = None) -> bool:
    """Move 5 of a retryable error: back to the queue, due in `delay` seconds."""
    now = _clock(now)
    errors = {"error_code": code, "error_detail": detail}
    return _move(_held(held), **_waiting(now) | {"not_before": _after(now, delay)}, **errors)


def fail(held: Claim, *, code: str, detail: str, now: Clock | None = None) -> bool:
    """Move 6: this request ends here."""
    return _fail(_held(held), held.request_id, code=code, detail=detail, now=_clock(now))


def rescue(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Move 7: the worker is gone; back to the queue, or FAILED at the last crash that is allowed."""
    now = _clock(now)
    seen = FileRequest.objects.abandoned(now).filter(pk=request.pk, epoch=request.epoch)
    fenced = {"epoch": F("epoch") + 1, "crashes": F("crashes") + 1}
    if request.crashes + 1 >= config.MAX_CRASHES:
        return _fail(seen, request.pk, code="worker_lost", detail=f"owner {request.lease_owner}", now=now, **fenced)
    return _move(seen, **_waiting(now), **fenced)


def cancel(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Move 8: wins at once; a worker is fenced at its next write."""
    waiting = Q(status=Status.QUEUED, finished_at=None)
    seen = FileRequest.objects.filter(waiting | Q(status=Status.RUNNING), pk=request.pk)
    return _move(seen, status=Status.CANCELLED, finished_at=_clock(now), epoch=F("epoch") + 1, **NO_LEASE)


def time_out(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Move 9: it waited longer than max_wait."""
    now = _clock(now)
    seen = FileRequest.objects.filter(pk=request.pk, status=Status.QUEUED, epoch=request.epoch, finished_at=None)
    return _fail(seen, request.pk, code="expired_in_queue", detail="", now=now)


def refuse(request: FileRequest, *, code: str, detail: str = "", now: Clock | None = None) -> bool:
    """Move 6 before the claim: the owner may not have this export any more, or its criteria do not hold."""
    seen = FileRequest.objects.filter(pk=request.pk, status=Status.QUEUED, epoch=request.epoch, finished_at=None)
    return _fail(seen, request.pk, code=code, detail=detail, now=_clock(now), epoch=F("epoch") + 1)


def expire(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Move 10: the links die now, the bytes after the leeway."""
    now = _clock(now)
    seen = FileRequest.objects.filter(pk=request.pk, status=Status.READY, epoch=request.epoch)
    # What had run out already keeps the moment when it did: the leeway counts from there.
    expired_at = Least(Coalesce(F("expires_at"), now), now)
    ended = {"epoch": F("epoch") + 1, "public_until": None}
    return _move(seen, status=Status.EXPIRED, expires_at=expired_at, **ended)


def revoke_links(request: FileRequest) -> bool:
    """Move 10b: every ticket and every link for anyone dies, the file stays."""
    ready = FileRequest.objects.filter(pk=request.pk, status=Status.READY)
    return _move(ready, epoch=F("epoch") + 1, public_until=None)


def share(request: FileRequest, *, seconds: float, now: Clock | None = None) -> bool:
    """Move 10c: whoever has the link may have the file for so long, but no longer than it is kept."""
    until = _after(_clock(now), seconds)
    seen = FileRequest.objects.filter(pk=request.pk, status=Status.READY, epoch=request.epoch)
    return _move(seen, public_until=Least(Coalesce(F("expires_at"), until), until))


def mark_woken(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Move 12: note that the bell rings; whoever wins rings it."""
    now = _clock(now)
    quiet = Q(woken_at=None) | Q(woken_at__lt=_after(now, -config.WAKE_AGAIN_SECONDS))
    return FileRequest.objects.due(now).filter(quiet, pk=request.pk).update(woken_at=now) == 1


def set_expiry_once(request: FileRequest, delta: timedelta, *, now: Clock | None = None) -> bool:
    """The first token decides when the file expires: `delta` from now, where nothing has decided yet."""
    undecided = FileRequest.objects.filter(pk=request.pk, expires_at=None)
    return undecided.update(expires_at=_clock(now) + delta) == 1


def erase_details(expired_before: Clock, ended_before: Clock | None, *, at_once: int, now: Clock | None = None) -> int:
    """What somebody asked for, and the words of why it failed, go with the bytes. Nobody can ask for it again then.

    That is so once a file expired before the one moment, or a request without a file ended before the other (None:
    never). Returns how many rows it was, `at_once` at the most.
    """
    fileless = Q(status__in=(Status.FAILED, Status.CANCELLED), finished_at__lt=ended_before) if ended_before else Q()
    over = Q(status=Status.EXPIRED, expires_at__lt=expired_before) | fileless
    found = FileRequest.objects.filter(over, erased_at=None).values_list("pk", flat=True)[:at_once]
    nothing = {"criteria": "", "error_detail": "", "dedupe_key": ""}
    known = FileRequest.objects.filter(over, pk__in=list(found), erased_at=None)
    return known.update(seq=F("seq") + 1, erased_at=_clock(now), **nothing)


def mark_seen(request: FileRequest, *, now: Clock | None = None) -> bool:
    """Somebody's page has shown the end of this request: no mail is needed."""
    ended = FileRequest.objects.filter(pk=request.pk, status__in=(Status.READY, Status.FAILED), seen_at=None)
    return ended.update(seen_at=_clock(now)) == 1


def _attach(guarded: Any, key: str, contents: Any, *, now: Clock, **columns: Any) -> bool:
    storage.put_contents(contents, key)
    with _briefly():
        end = {"status": Status.READY, "phase": DONE, "filehandle": key, "finished_at": now}
        # What was known of another file, or of an attempt before, is not true of this one.
        unmeasured = {"sha256": "", "receipt": {}, "error_code": "", "error_detail": "", "public_until": None}
        won = _move(guarded, **end, **unmeasured, **NO_LEASE, **columns)
        if won:
            Artifact.objects.filter(key=key).update(state=Artifact.State.PUBLISHED)
    return won


def _insert_or_join(request: FileRequest) -> tuple[FileRequest, bool]:
    try:
        _insert(request)
    except IntegrityError:
        if (twin := _twin(request)) is not None:
            return twin, False
        # Either the twin has ended since, and the row fits now, or it was something else, which raises again.
        _insert(request)
    return request, True


def _twin(request: FileRequest) -> FileRequest | None:
    return FileRequest.objects.active().filter(dedupe_key=request.dedupe_key).exclude(dedupe_key="").first()


def _insert(request: FileRequest) -> None:
    with transaction.atomic():
        request.save(force_insert=True)


@contextmanager
def _briefly() -> Iterator[None]:
    """A transaction of a few statements. PostgreSQL ends it when its process is frozen or cut off in the middle:
    otherwise housekeeping, and whoever asks for something, would wait for its locks as long as that lasts."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {round(config.LEASE_SECONDS * 1000)}")
        yield


def _held(held: Claim) -> Any:
    return FileRequest.objects.filter(pk=held.request_id, status=Status.RUNNING, epoch=held.epoch)


def _move(guarded: Any, **columns: Any) -> bool:
    return guarded.update(seq=F("seq") + 1, **columns) == 1


def _fail(guarded: Any, request_id: UUID, *, code: str, detail: str, now: Clock, **columns: Any) -> bool:
    with _briefly():
        end = {"status": Status.FAILED, "finished_at": now, "error_code": code, "error_detail": detail}
        won = _move(guarded, **end, **NO_LEASE, **columns)
        if won:
            _notify(request_id, Notification.Kind.FAILED, now)
    return won


def _waiting(now: Clock) -> dict[str, Any]:
    """The columns of a row that goes back to the queue, to be rung for at the next sweep."""
    times = {"not_before": None, "woken_at": None, "phase_started_at": None, "progressed_at": now}
    return {"status": Status.QUEUED, "phase": QUEUED} | times | NO_LEASE | NO_PROGRESS


def _columns(progress: Snapshot) -> dict[str, Any]:
    return {
        "phase": progress.phase,
        "rows_done": progress.rows_done,
        "rows_total": progress.rows_total,
        "rows_estimated": progress.rows_estimated,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
    }


def _notify(request_id: UUID, kind: str, now: Clock) -> None:
    """Put the mail into the outbox, once a kind, with the Message-ID it will keep."""
    message_id = make_msgid(
        idstring=f"{kind}-{request_id.hex}", domain=urlsplit(config.BASE_URL).hostname or "localhost"
    )
    due = {"due_at": _after(now, config.MAIL_DELAY_SECONDS), "message_id": message_id}
    Notification.objects.get_or_create(request_id=request_id, kind=kind, defaults=due)


def _clock(now: Clock | None) -> Clock:
    return Now() if now is None else now


def _after(now: Clock, seconds: float) -> Any:
    return now + timedelta(seconds=seconds)
