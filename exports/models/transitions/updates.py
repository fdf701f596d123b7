"""One guarded UPDATE of a FileRequest, and what belongs to its transaction: audit entry, mail, webhooks, room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DurationField, F
from django.db.models.functions import Coalesce, Least

from exports.conf import config
from exports.exceptions import PermissionLost
from exports.models import prepared, quotas, scheduling
from exports.models.audit import Actor, AuditEntry, log_entry, new_entry
from exports.models.clock import Now
from exports.models.notification import Notification, new_message_id
from exports.models.prepared import Bound, Columns, Given, Insert, Update
from exports.models.progress import QUEUED
from exports.models.request import TERMINAL, DatabaseTime, FileRequest, FileRequestQuerySet, Status
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


def held(claim: Claim) -> FileRequestQuerySet:
    """Return the running request while the claim holds, else none."""
    return FileRequest.objects.filter(pk=claim.request_id, status=Status.RUNNING, epoch=claim.epoch)


# Any: the values of columns.
def change(
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
    update = Update(FileRequest, lambda now: (guarded, {"seq": F("seq") + 1, **columns}), is_reused=False)
    # The end of a READY file makes no room.
    makes_room = columns.get("status", Status.RUNNING) not in (Status.RUNNING, Status.EXPIRED)
    return record_change(update.bind(), entry, then, columns.get("status"), makes_room=makes_room, now=now)


def record_change(
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
    with short_transaction(savepoint=False) if end else nullcontext():
        won = run_statements(before, update, [*let_go, NEW_ENTRY.bind_row(entry), *then], now)
        if won and end:
            queue_deliveries(entry.export_id, end, now or Now())
    if won:
        log_entry(entry)
    return won


def run_statements(
    before: Sequence[Bound],
    update: Bound,
    then: Sequence[Bound],
    now: DatabaseTime | None,
    *,
    is_last: bool = False,
) -> bool:
    """Run statements like `prepared.change`, in one transaction."""
    if prepared.is_one_transaction(connection):
        return prepared.change(before, update, then, now, is_last=is_last)
    with short_transaction(savepoint=False):
        return prepared.change(before, update, then, now)


def update(guarded: FileRequestQuerySet, **columns: Any) -> bool:
    """Update the row without an entry in the audit log. Return True if it was updated."""
    return guarded.update(seq=F("seq") + 1, **columns) == 1


def end_as_failed(
    guarded: FileRequestQuerySet,
    about: FileRequest | Claim,
    actor: Actor,
    *,
    code: str,
    detail: str,
    now: DatabaseTime | None,
    **columns: Any,
) -> bool:
    """End a request as FAILED, and put a mail about it into the outbox."""
    columns |= {"status": Status.FAILED, "finished_at": now or Now(), "error_code": code, "error_detail": detail}
    columns |= NO_LEASE
    return change(
        guarded,
        AuditEntry.Verb.FAIL,
        about,
        actor,
        outcome=outcome_of(code),
        reason=code,
        then=[new_mail(_id_of(about), Notification.Kind.FAILED)],
        now=now,
        **columns,
    )


def outcome_of(code: str) -> str:
    """Return the outcome of a failed run in the audit log."""
    return AuditEntry.Outcome.DENIED if code == PermissionLost.code else AuditEntry.Outcome.FAILED


@contextmanager
def short_transaction(*, savepoint: bool = True) -> Iterator[None]:
    """Open a transaction with a `transaction_limit`. Without a `savepoint`, an error also ends the one around it."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(savepoint=savepoint):
        if is_outermost:
            with connection.cursor() as cursor:
                for statement in transaction_limit():
                    cursor.execute(statement)
        yield


def transaction_limit() -> list[str]:
    """Return SQL with which PostgreSQL ends the transaction after a lease if this process freezes or is cut off.

    Otherwise housekeeping and new requests would wait for its locks for as long as the process is frozen.
    """
    if connection.vendor != "postgresql":
        return []
    return [f"SET LOCAL idle_in_transaction_session_timeout = {round(config.LEASE_SECONDS * 1000)}"]


def _id_of(about: FileRequest | Claim) -> UUID:
    return about.request_id if isinstance(about, Claim) else about.pk


def queued_columns(now: DatabaseTime) -> Columns:
    """Return the columns of a request that goes back into the queue, for which a worker is to be woken again."""
    times: Columns = {"not_before": None, "woken_at": None, "phase_started_at": None, "progressed_at": now}
    return {"status": Status.QUEUED, "phase": QUEUED} | times | NO_LEASE | NO_PROGRESS


def expired_columns(now: DatabaseTime) -> Columns:
    """Return the columns of a READY export whose links end now."""
    # An expiry in the past remains, since the delay until the bytes are deleted counts from it.
    expired_at = Least(Coalesce(F("expires_at"), now), now)
    return {"status": Status.EXPIRED, "expires_at": expired_at, "epoch": F("epoch") + 1, "public_until": None}


def new_mail(request_id: UUID, kind: str) -> Bound:
    """Return the statement that puts a mail into the outbox, once per kind. It keeps its Message-ID when sent again."""
    mail = Notification(request_id=request_id, kind=kind, message_id=new_message_id(request_id, kind))
    return _NEW_MAIL.bind_row(mail, delay=timedelta(seconds=config.MAIL_DELAY_SECONDS))


NEW_ENTRY = Insert(AuditEntry)
_NEW_MAIL = Insert(Notification, lambda now: {"due_at": now + Given("delay", DurationField())}, ignores_conflicts=True)
