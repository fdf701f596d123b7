"""The state transitions of a FileRequest. Each is one UPDATE guarded by the status that it expects.

The UPDATE of a worker, and of everything that must not act on a newer attempt, is guarded by the epoch as well. Most
functions return True if they won; `claim` returns a Claim and `renew_lease` the row, or None. A transition that lost
has changed nothing. `now` defaults to the database's clock; tests pass a datetime. Each transition adds an entry to the
audit log in the same transaction, except the renewal of a lease.
docs/architecture.md has the table of transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.core.files import File
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Case, DurationField, Exists, F, Q, Value, When
from django.db.models.functions import Coalesce, Least

from exports import storage
from exports.conf import config
from exports.exceptions import PermissionLost
from exports.filenames import extension_of
from exports.models import prepared, quotas, scheduling
from exports.models.artifact import Artifact
from exports.models.audit import HOUSEKEEPING, SYSTEM, WORKER, Actor, AuditEntry, log_entry, new_entry, record
from exports.models.clock import Now
from exports.models.notification import Notification, new_message_id
from exports.models.prepared import Bound, Columns, Given, Insert, Select, Update, given
from exports.models.progress import COUNTING, DONE, QUEUED, Snapshot
from exports.models.request import TERMINAL, WITHOUT_FILE, DatabaseTime, FileRequest, FileRequestQuerySet, Status
from exports.models.result import ExportResult
from exports.models.webhook import queue_deliveries

CANCELLED_BY_STAFF = "cancelled_by_staff"
NO_LEASE: Final[Columns] = {"lease_owner": "", "lease_expires_at": None, "deadline_at": None}
NO_PROGRESS: Final[Columns] = {
    "rows_done": 0,
    "rows_total": None,
    "rows_estimated": False,
    "bytes_done": 0,
    "bytes_total": None,
}


@dataclass(frozen=True)
class Claim:
    """A worker's right to one request.

    The epoch is the fencing token: no write with an older one changes the row. `key` is the storage key of the file.
    """

    request_id: UUID
    epoch: int
    key: str
    file_type: str = ""


class Attempt(NamedTuple):
    """The extension of the file that an attempt makes, and for how many seconds it may run, None for no deadline."""

    extension: str
    runtime: float | None


@dataclass(frozen=True)
class CurrentClaim:
    """The claim under which the running code attaches a file, and a function that raises if the file is too large."""

    claim: Claim
    check_bytes: Callable[[int], None]


_current_claim: ContextVar[CurrentClaim | None] = ContextVar("exports_claim", default=None)


def enqueue(export: FileRequest, actor: Actor | None = None) -> tuple[FileRequest, bool]:
    """Insert the row, or return the active row with the same dedupe_key. The bool tells if it was inserted.

    `actor` is the owner by default. Raise LimitReached if the row counts toward a quota that its owner has reached.
    """
    actor = actor or Actor.of(export.requester)
    if not export.counts_toward_quota:
        return _insert_or_join(export, actor)
    with _short_transaction():
        quotas.lock_owner(export)
        if (twin := _active_twin(export)) is not None:
            return twin, False
        quotas.check_quota(export)
        return _insert_or_join(export, actor)


def claim_first(
    queue_name: str | None,
    file_types: Iterable[str],
    *,
    owner: str,
    attempt: Callable[[FileRequest], Attempt],
    now: DatabaseTime | None = None,
) -> tuple[FileRequest, Claim] | None:
    """Claim the first request of these types that is due and that no other worker is claiming. None if there is none.

    `queue_name` is None for all queues. `attempt` tells what kind of attempt it will be. An owner who has
    EXPORTS["MAX_RUNNING_PER_USER"] running is passed over.
    """
    first, waiting = _first_in_turn(queue_name, tuple(file_types)), _waiting(queue_name, file_types)
    skips_locked = connection.features.has_select_for_update_skip_locked
    limit = [] if connection.in_atomic_block else _transaction_limit()
    export: FileRequest | None = None
    while True:
        try:
            # SQLite has one writer, and a transaction that begins with a read may not be able to become it.
            with transaction.atomic() if skips_locked else nullcontext():
                export = first.first(now, before=limit)
                if export is None:
                    return None
                extension, runtime = attempt(export)
                claimed = _claim(export, owner, extension, runtime, waiting, now, waits=not skips_locked)
            if claimed is not None:
                return export, claimed
        except OperationalError as error:
            if export is None or not quotas.is_busy(error):
                raise
            # Wait without a lock on the row, which the transaction that has the owner locked may be about to write.
            with _short_transaction():
                quotas.lock_owner(export)


def claim(
    export: FileRequest, *, owner: str, extension: str, runtime: float | None = None, now: DatabaseTime | None = None
) -> Claim | None:
    """Claim a due request for the worker `owner`, and record the storage key before the first byte is written.

    `runtime` is the number of seconds that the attempt may take, None for no deadline. A request whose owner has
    EXPORTS["MAX_RUNNING_PER_USER"] running is held back instead.
    """
    alone = FileRequest.objects.filter(pk=export.pk)
    return _claim(export, owner, extension, runtime, alone, now, waits=True)


def renew_lease(
    claim: Claim,
    progress: Snapshot,
    *,
    began_phase: bool,
    progressed: bool,
    seen: FileRequest | None = None,
    progressed_at: datetime | None = None,
    now: DatabaseTime | None = None,
) -> FileRequest | None:
    """Renew the lease, write the progress, and return the row as it is now, or None if it was not written.

    `began_phase` and `progressed` tell if the phase, or anything, differs from what was written before.

    With `seen`, the row that the previous renewal of the same phase returned, this is a single statement: if its `seq`
    is unchanged, no other transition has happened and all other columns are known. `progressed_at` is the time of the
    progress by the database's clock; the returned row has the previous `lease_expires_at`. None then means that the
    row must be read again, not that the lease is lost. Raise DoesNotExist if the row is deleted meanwhile.
    """
    now = now or Now()
    columns: Columns = dict(vars(progress))
    guarded = _held(claim)
    if seen is None:
        columns |= {"progressed_at": now} if progressed else {}
        columns |= {"phase_started_at": now} if began_phase else {}
    else:
        columns["progressed_at"] = progressed_at
        columns = {name: value for name, value in columns.items() if value != getattr(seen, name)}
        guarded = guarded.filter(seq=seen.seq)
    if not _update(guarded, lease_expires_at=now + timedelta(seconds=config.LEASE_SECONDS), **columns):
        return None
    if seen is None:
        return FileRequest.objects.get(pk=claim.request_id)
    row = copy(seen)
    vars(row).update(columns, seq=seen.seq + 1)
    return row


def publish(claim: Claim, result: ExportResult, *, now: DatabaseTime | None = None) -> bool:
    """Make the export READY: its file is stored and checked, and its link works from now on."""
    return _end_run(
        claim,
        now,
        AuditEntry.Verb.PUBLISH,
        then=[_ARTIFACT_PUBLISHED.bind(key=claim.key), _mail(claim.request_id, Notification.Kind.READY)],
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
        guarded, key, epoch, actor = _held(current.claim), current.claim.key, current.claim.epoch, WORKER
    else:
        actor = SYSTEM
        waiting_or_ready = Q(status=Status.QUEUED) | Q(status=Status.READY)
        guarded = FileRequest.objects.filter(waiting_or_ready, pk=export.pk, epoch=export.epoch)
        epoch = export.epoch + 1
        key = storage.new_key(export.pk, epoch, extension_of(filename))
        Artifact.objects.create(request=export, epoch=epoch, key=key)
    storage.put_contents(contents, key)
    return _change(
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


# `FileRequest.attach_file` calls it. The module of FileRequest cannot import this one.
FileRequest._attach = attach


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
    queued = _queued(now or Now())
    return _change(_held(claim), AuditEntry.Verb.REQUEUE, claim, WORKER, **queued, attempts=F("attempts") - 1)


def retry_later(claim: Claim, *, delay: float, code: str, detail: str, now: DatabaseTime | None = None) -> bool:
    """Put the request back into the queue after a retryable error, due in `delay` seconds."""
    now = now or Now()
    columns = _queued(now) | {"not_before": now + timedelta(seconds=delay)}
    columns |= {"error_code": code, "error_detail": detail}
    return _change(_held(claim), AuditEntry.Verb.REQUEUE, claim, WORKER, reason=code, **columns)


def fail(
    claim: Claim, *, code: str, detail: str, numbers: Mapping[str, int] | None = None, now: DatabaseTime | None = None
) -> bool:
    """End a running export as FAILED. `numbers` are those of the message for users."""
    return _end_run(
        claim,
        now,
        AuditEntry.Verb.FAIL,
        then=[_mail(claim.request_id, Notification.Kind.FAILED)],
        outcome=_failure(code),
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
        return _fail(guarded, export, HOUSEKEEPING, code="worker_lost", detail=detail, now=now, **fenced)
    columns = _queued(now) | fenced
    return _change(guarded, AuditEntry.Verb.REQUEUE, export, HOUSEKEEPING, reason="worker_lost", **columns)


def cancel(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """Cancel a waiting or running export at once. Its worker loses the lease and stops at its next write.

    If another user than its owner cancels it, the owner is told on the page and by mail.
    """
    now = now or Now()
    waiting = Q(status=Status.QUEUED, finished_at=None)
    guarded = FileRequest.objects.filter(waiting | Q(status=Status.RUNNING), pk=export.pk)
    end: Columns = {"status": Status.CANCELLED, "finished_at": now, "epoch": F("epoch") + 1}
    is_by_staff = export.requester_id is not None and actor.user_id not in (None, export.requester_id)
    then = []
    if is_by_staff:
        end["error_code"] = CANCELLED_BY_STAFF
        then.append(_mail(export.pk, Notification.Kind.CANCELLED))
    return _change(guarded, AuditEntry.Verb.CANCEL, export, actor, then=then, now=now, **end, **NO_LEASE)


def time_out(export: FileRequest, *, now: DatabaseTime | None = None) -> bool:
    """End a request as FAILED that no worker has begun in time."""
    return _fail(_unclaimed(export), export, HOUSEKEEPING, code="expired_in_queue", detail="", now=now)


def expire(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """End the links of a READY export now. Its bytes are deleted EXPORTS["FILE_DELETE_DELAY_SECONDS"] later."""
    now = now or Now()
    guarded = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch)
    return _change(guarded, AuditEntry.Verb.EXPIRE, export, actor, **_expired(now))


def remove(export: FileRequest, actor: Actor = SYSTEM, *, now: DatabaseTime | None = None) -> bool:
    """Delete an export that has ended from its owner's lists; the links of a file end.

    The row stays as long as that of an expired file, since it counts toward the quota of the day.
    """
    now = now or Now()
    ended = FileRequest.objects.filter(pk=export.pk, status__in=TERMINAL, epoch=export.epoch, removed_at=None)
    # One that was read while it was running may be READY now, with links to end.
    guarded = ended.filter(status=export.status)
    gone: Columns = {"removed_at": now}
    if export.status == Status.READY:
        gone |= _expired(now)
    return _change(guarded, AuditEntry.Verb.REMOVE, export, actor, **gone)


def revoke_links(export: FileRequest, actor: Actor = SYSTEM) -> bool:
    """End all tickets and the public link. The file stays."""
    ready = FileRequest.objects.filter(pk=export.pk, status=Status.READY)
    return _change(ready, AuditEntry.Verb.REVOKE, export, actor, epoch=F("epoch") + 1, public_until=None)


def share(export: FileRequest, actor: Actor = SYSTEM, *, seconds: float, now: DatabaseTime | None = None) -> bool:
    """Open a public link for `seconds`, or until the file expires if that is earlier."""
    until = (now or Now()) + timedelta(seconds=seconds)
    guarded = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch)
    end = Least(Coalesce(F("expires_at"), until), until)
    return _change(guarded, AuditEntry.Verb.SHARE, export, actor, public_until=end)


def mark_woken(keys: Collection[UUID], *, now: DatabaseTime | None = None) -> int:
    """Record that workers are woken for due requests. Return for how many; only the caller that wins wakes them."""
    now = now or Now()
    not_lately = Q(woken_at=None) | Q(woken_at__lt=now - timedelta(seconds=config.WAKE_AGAIN_SECONDS))
    return FileRequest.objects.due(now).filter(not_lately, pk__in=keys).update(woken_at=now)


def set_expiry_once(export: FileRequest, delta: timedelta, *, now: DatabaseTime | None = None) -> bool:
    """Let the file expire `delta` from now, unless it already has an expiry."""
    return FileRequest.objects.filter(pk=export.pk, expires_at=None).update(expires_at=(now or Now()) + delta) == 1


def erase_details(
    expired_before: DatabaseTime,
    ended_before: DatabaseTime | None,
    *,
    at_once: int,
    now: DatabaseTime | None = None,
) -> int:
    """Erase the criteria, their label and the error details of old exports, which cannot be retried then.

    These are exports that expired before `expired_before`, and those that failed or were cancelled before
    `ended_before` (None: never). Return the number of rows, at most `at_once`.
    """
    expired = Q(status=Status.EXPIRED, expires_at__lt=expired_before, erased_at=None)
    found = _oldest(expired, "expires_at", at_once)
    old = expired
    if ended_before is not None:
        without_file = WITHOUT_FILE & Q(finished_at__lt=ended_before, erased_at=None)
        found += _oldest(without_file, "finished_at", at_once - len(found))
        old |= without_file
    erasable = FileRequest.objects.filter(old, pk__in=found)
    erased: Columns = {"criteria": "", "label": "", "columns": [], "error_detail": "", "dedupe_key": ""}
    # A file name that contains the label goes with it.
    filename = Case(When(label="", then=F("filename")), default=Value(""))
    return erasable.update(seq=F("seq") + 1, erased_at=now or Now(), filename=filename, **erased)


def _oldest(condition: Q, column: str, at_once: int) -> list[UUID]:
    return list(FileRequest.objects.filter(condition).order_by(column).values_list("pk", flat=True)[:at_once])


def keep_until(export: FileRequest, until: DatabaseTime) -> bool:
    """Let a READY file that expires earlier expire at this time. One that never expires stays as it is."""
    earlier = FileRequest.objects.filter(pk=export.pk, status=Status.READY, epoch=export.epoch, expires_at__lt=until)
    return _update(earlier, expires_at=until)


def release_from_feed(export: FileRequest, *, label: str, sends_mail: bool) -> bool:
    """Let a run of a feed be like any request of its owner, with this label: no newer run of the feed replaces it."""
    return _update(FileRequest.objects.filter(pk=export.pk), feed=None, label=label, sends_mail=sends_mail)


def mark_seen(export: FileRequest, *, now: DatabaseTime | None = None) -> bool:
    """Record that a page has shown the owner how the export ended, so that no mail is needed."""
    has_mail = Q(status__in=(Status.READY, Status.FAILED)) | Q(status=Status.CANCELLED, error_code=CANCELLED_BY_STAFF)
    ended = FileRequest.objects.filter(has_mail, pk=export.pk, seen_at=None)
    return ended.update(seen_at=now or Now()) == 1


def _claim(
    export: FileRequest,
    owner: str,
    extension: str,
    runtime: float | None,
    waiting: FileRequestQuerySet,
    now: DatabaseTime | None,
    *,
    waits: bool,
) -> Claim | None:
    """Claim a request, or hold back the owner's due ones among `waiting`. For `waits` see `quotas.lock_owner`."""
    epoch = export.epoch + 1
    key = storage.new_key(export.pk, epoch, extension)
    limit = config.MAX_RUNNING_PER_USER if export.counts_toward_quota else None
    times: Columns = {"lease": timedelta(seconds=config.LEASE_SECONDS)}
    if runtime is not None:
        times["runtime"] = timedelta(seconds=runtime)
    start = _starting(limit, has_deadline=runtime is not None).bind(
        id=export.pk,
        queue_name=export.queue_name,
        requester=export.requester_id,
        seen_epoch=export.epoch,
        epoch=epoch,
        lease_owner=owner,
        **times,
    )
    entry = new_entry(AuditEntry.Verb.START, export.pk, WORKER, file_type=export.file_type)
    with _short_transaction(savepoint=False):
        lock = [] if limit is None else quotas.owner_lock(export, waits=waits)
        if waits:
            # Statements that are sent together share the time of their arrival: the lease would begin before the wait.
            for each in lock:
                each.run()
        won = _run(
            [] if waits else lock,
            start,
            [_NEW_ARTIFACT.bind_row(Artifact(request_id=export.pk, epoch=epoch, key=key)), _NEW_ENTRY.bind_row(entry)],
            now,
        )
        if won:
            log_entry(entry)
        elif not scheduling.has_room(export):
            scheduling.hold_back(export, waiting.due(now or Now()))
    return Claim(export.pk, epoch, key, export.file_type) if won else None


def _waiting(queue_name: str | None, file_types: Iterable[str]) -> FileRequestQuerySet:
    waiting = FileRequest.objects.filter(file_type__in=list(file_types))
    return waiting if queue_name is None else waiting.filter(queue_name=queue_name)


@lru_cache
def _first_in_turn(queue_name: str | None, file_types: tuple[str, ...]) -> Select:
    def rows(now: Any) -> FileRequestQuerySet:
        due = _waiting(queue_name, file_types).due(now).filter(is_held_back=False).in_turn()
        skips_locked = connection.features.has_select_for_update_skip_locked
        return (due.select_for_update(skip_locked=True) if skips_locked else due)[:1]

    return Select(FileRequest, rows)


@lru_cache
def _starting(limit: int | None, *, has_deadline: bool) -> Update:
    """Return the UPDATE that starts a run, if the owner has fewer than `limit` running."""

    def rows_and_columns(now: Any) -> tuple[FileRequestQuerySet, Columns]:
        values = given(FileRequest, ["id", "queue_name", "requester", "epoch", "lease_owner"])
        due = FileRequest.objects.due(now).filter(id=values["id"], epoch=Given("seen_epoch", FileRequest.epoch.field))
        if limit is not None:
            due = due.filter(~Exists(scheduling.last_in_room(limit, values["queue_name"], values["requester"])))
        return due, {
            "seq": F("seq") + 1,
            "status": Status.RUNNING,
            "epoch": values["epoch"],
            "is_held_back": False,
            "attempts": F("attempts") + 1,
            "lease_owner": values["lease_owner"],
            "lease_expires_at": now + Given("lease", DurationField()),
            "deadline_at": now + Given("runtime", DurationField()) if has_deadline else None,
            "started_at": now,
            "phase": COUNTING,
            "phase_started_at": now,
            "progressed_at": now,
            **NO_PROGRESS,
        }

    return Update(FileRequest, rows_and_columns)


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
    return _record(update, entry, then, columns["status"], makes_room=True, now=now)


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


def _insert_or_join(export: FileRequest, actor: Actor) -> tuple[FileRequest, bool]:
    try:
        _insert(export, actor)
    except IntegrityError:
        if (twin := _active_twin(export)) is not None:
            return twin, False
        # The other row has ended since, so this one fits now; after any other violation it raises again.
        _insert(export, actor)
    return export, True


def _active_twin(export: FileRequest) -> FileRequest | None:
    return FileRequest.objects.active().filter(dedupe_key=export.dedupe_key).exclude(dedupe_key="").first()


def _insert(export: FileRequest, actor: Actor) -> None:
    # In a savepoint: PostgreSQL refuses all further statements of a transaction in which one has failed.
    with transaction.atomic():
        export.save(force_insert=True)
        record(AuditEntry.Verb.REQUEST, export.pk, actor, file_type=export.file_type)


@contextmanager
def _short_transaction(*, savepoint: bool = True) -> Iterator[None]:
    """Open a transaction with a `_transaction_limit`. Without a `savepoint`, an error also ends the one around it."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(savepoint=savepoint):
        if is_outermost:
            with connection.cursor() as cursor:
                for statement in _transaction_limit():
                    cursor.execute(statement)
        yield


def _transaction_limit() -> list[str]:
    """Return SQL with which PostgreSQL ends the transaction after a lease if this process freezes or is cut off.

    Otherwise housekeeping and new requests would wait for its locks for as long as the process is frozen.
    """
    if connection.vendor != "postgresql":
        return []
    return [f"SET LOCAL idle_in_transaction_session_timeout = {round(config.LEASE_SECONDS * 1000)}"]


def _held(claim: Claim) -> FileRequestQuerySet:
    return FileRequest.objects.filter(pk=claim.request_id, status=Status.RUNNING, epoch=claim.epoch)


def _unclaimed(export: FileRequest) -> FileRequestQuerySet:
    return FileRequest.objects.filter(pk=export.pk, status=Status.QUEUED, epoch=export.epoch, finished_at=None)


# Any: the values of columns.
def _change(
    guarded: FileRequestQuerySet,
    verb: str,
    about: FileRequest | Claim,
    actor: Actor,
    *,
    outcome: str = AuditEntry.Outcome.DONE,
    reason: str = "",
    byte_count: int | None = None,
    then: Sequence[Bound] = (),
    now: DatabaseTime | None = None,
    **columns: Any,
) -> bool:
    """Update the row and add an entry to the audit log, both or neither. Return True if the row was updated."""
    entry = new_entry(
        verb,
        _id_of(about),
        actor,
        file_type=about.file_type,
        outcome=outcome,
        reason=reason,
        byte_count=byte_count,
    )
    update = Update(FileRequest, lambda now: (guarded, {"seq": F("seq") + 1, **columns}))
    # The end of a READY file makes no room.
    makes_room = columns.get("status", Status.RUNNING) not in (Status.RUNNING, Status.EXPIRED)
    return _record(update.bind(), entry, then, columns.get("status"), makes_room=makes_room, now=now)


def _record(
    update: Bound,
    entry: AuditEntry,
    then: Sequence[Bound],
    status: str | None,
    *,
    makes_room: bool,
    now: DatabaseTime | None = None,
) -> bool:
    """Run `update` and, if it changes the row, let the owner's next request go, add the entry and run `then`.

    With the `status` of an end, messages about it go into the outbox of webhooks.
    """
    assert entry.export_id is not None
    makes_room = makes_room and config.MAX_RUNNING_PER_USER is not None
    before = quotas.owner_lock_of(entry.export_id) if makes_room else []
    let_go = [scheduling.letting_go(entry.export_id)] if makes_room else []
    end = Status(status) if config.WEBHOOKS and status in TERMINAL else None
    with _short_transaction(savepoint=False) if end else nullcontext():
        won = _run(before, update, [*let_go, _NEW_ENTRY.bind_row(entry), *then], now)
        if won and end:
            queue_deliveries(entry.export_id, end, now or Now())
    if won:
        log_entry(entry)
    return won


def _run(before: Sequence[Bound], update: Bound, then: Sequence[Bound], now: DatabaseTime | None) -> bool:
    """Run statements like `prepared.change`, in one transaction."""
    if prepared.is_one_transaction(connection):
        return prepared.change(before, update, then, now)
    with _short_transaction(savepoint=False):
        return prepared.change(before, update, then, now)


def _update(guarded: FileRequestQuerySet, **columns: Any) -> bool:
    return guarded.update(seq=F("seq") + 1, **columns) == 1


def _fail(
    guarded: FileRequestQuerySet,
    about: FileRequest | Claim,
    actor: Actor,
    *,
    code: str,
    detail: str,
    now: DatabaseTime | None,
    **columns: Any,
) -> bool:
    columns |= {"status": Status.FAILED, "finished_at": now or Now(), "error_code": code, "error_detail": detail}
    columns |= NO_LEASE
    return _change(
        guarded,
        AuditEntry.Verb.FAIL,
        about,
        actor,
        outcome=_failure(code),
        reason=code,
        then=[_mail(_id_of(about), Notification.Kind.FAILED)],
        now=now,
        **columns,
    )


def _failure(code: str) -> str:
    """Return the outcome of a failed run in the audit log."""
    return AuditEntry.Outcome.DENIED if code == PermissionLost.code else AuditEntry.Outcome.FAILED


def _id_of(about: FileRequest | Claim) -> UUID:
    return about.request_id if isinstance(about, Claim) else about.pk


def _queued(now: DatabaseTime) -> Columns:
    """Return the columns of a request that goes back into the queue, for which a worker is to be woken again."""
    times: Columns = {"not_before": None, "woken_at": None, "phase_started_at": None, "progressed_at": now}
    return {"status": Status.QUEUED, "phase": QUEUED} | times | NO_LEASE | NO_PROGRESS


def _expired(now: DatabaseTime) -> Columns:
    """Return the columns of a READY export whose links end now."""
    # An expiry in the past remains, since the delay until the bytes are deleted counts from it.
    expired_at = Least(Coalesce(F("expires_at"), now), now)
    return {"status": Status.EXPIRED, "expires_at": expired_at, "epoch": F("epoch") + 1, "public_until": None}


def _mail(request_id: UUID, kind: str) -> Bound:
    """Return the statement that puts a mail into the outbox, once per kind. It keeps its Message-ID when sent again."""
    mail = Notification(request_id=request_id, kind=kind, message_id=new_message_id(request_id, kind))
    return _NEW_MAIL.bind_row(mail, delay=timedelta(seconds=config.MAIL_DELAY_SECONDS))


_NEW_ARTIFACT = Insert(Artifact)
_NEW_ENTRY = Insert(AuditEntry)
_NEW_MAIL = Insert(Notification, lambda now: {"due_at": now + Given("delay", DurationField())}, ignores_conflicts=True)
_ARTIFACT_PUBLISHED = Update(
    Artifact, lambda now: (Artifact.objects.filter(**given(Artifact, ["key"])), {"state": Artifact.State.PUBLISHED})
)
