"""Claim a request for a worker, and renew the lease of the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import copy
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.models import DurationField, Exists, F

from exports import storage
from exports.conf import config
from exports.models import quotas, scheduling
from exports.models.artifact import Artifact
from exports.models.audit import WORKER, AuditEntry, log_entry, new_entry
from exports.models.clock import Now
from exports.models.prepared import Columns, Given, Insert, Select, Update, given
from exports.models.progress import COUNTING, Snapshot
from exports.models.request import DatabaseTime, FileRequest, FileRequestQuerySet, Status
from exports.models.server_side import Stale
from exports.models.transitions.updates import (
    NEW_ENTRY,
    NO_PROGRESS,
    Claim,
    held,
    run_statements,
    short_transaction,
    transaction_limit,
    update,
)


class Attempt(NamedTuple):
    """The extension of the file that an attempt makes, and for how many seconds it may run, None for no deadline."""

    extension: str
    runtime: float | None


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
    types = tuple(file_types)
    first = _first_in_turn(queue_name, types)
    skips_locked = connection.features.has_select_for_update_skip_locked
    is_outermost = not connection.in_atomic_block
    limit = transaction_limit() if is_outermost else []
    export: FileRequest | None = None
    while True:
        try:
            # SQLite has one writer, and a transaction that begins with a read may not be able to become it.
            with transaction.atomic() if skips_locked else nullcontext():
                export = first.first(now, before=limit)
                if export is None:
                    return None
                extension, runtime = attempt(export)
                is_last = skips_locked and is_outermost
                claimed = _claim(export, owner, extension, runtime, now, waits=not skips_locked, is_last=is_last)
            if claimed is not None:
                return export, claimed
            _hold_back_without_room(export, _waiting(queue_name, types), now)
        except Stale:
            if not is_outermost:
                raise
        except OperationalError as error:
            if export is None or not quotas.is_busy(error):
                raise
            # Wait without a lock on the row, which the transaction that has the owner locked may be about to write.
            with short_transaction():
                quotas.lock_owner(export)


def claim(
    export: FileRequest, *, owner: str, extension: str, runtime: float | None = None, now: DatabaseTime | None = None
) -> Claim | None:
    """Claim a due request for the worker `owner`, and record the storage key before the first byte is written.

    `runtime` is the number of seconds that the attempt may take, None for no deadline. A request whose owner has
    EXPORTS["MAX_RUNNING_PER_USER"] running is held back instead.
    """
    claimed = _claim(export, owner, extension, runtime, now, waits=True)
    if claimed is None:
        _hold_back_without_room(export, FileRequest.objects.filter(pk=export.pk), now)
    return claimed


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
    guarded = held(claim)
    if seen is None:
        columns |= {"progressed_at": now} if progressed else {}
        columns |= {"phase_started_at": now} if began_phase else {}
    else:
        columns["progressed_at"] = progressed_at
        columns = {name: value for name, value in columns.items() if value != getattr(seen, name)}
        guarded = guarded.filter(seq=seen.seq)
    if not update(guarded, lease_expires_at=now + timedelta(seconds=config.LEASE_SECONDS), **columns):
        return None
    if seen is None:
        return FileRequest.objects.get(pk=claim.request_id)
    row = copy(seen)
    vars(row).update(columns, seq=seen.seq + 1)
    return row


def _claim(
    export: FileRequest,
    owner: str,
    extension: str,
    runtime: float | None,
    now: DatabaseTime | None,
    *,
    waits: bool,
    is_last: bool = False,
) -> Claim | None:
    """Claim a request if its owner has room. For `waits` see `quotas.owner_lock`, for `is_last` `prepared.change`."""
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
    with short_transaction(savepoint=False):
        lock = [] if limit is None else quotas.owner_lock(export, waits=waits)
        if waits:
            # Statements that are sent together share the time of their arrival: the lease would begin before the wait.
            for each in lock:
                each.run()
        won = run_statements(
            [] if waits else lock,
            start,
            [_NEW_ARTIFACT.bind_row(Artifact(request_id=export.pk, epoch=epoch, key=key)), NEW_ENTRY.bind_row(entry)],
            now,
            is_last=is_last,
        )
        if won:
            log_entry(entry)
    return Claim(export.pk, epoch, key, export.file_type) if won else None


def _hold_back_without_room(export: FileRequest, waiting: FileRequestQuerySet, now: DatabaseTime | None) -> None:
    """Hold back the owner's due requests among `waiting`, if the owner has no room for this one."""
    if config.MAX_RUNNING_PER_USER is None or not export.counts_toward_quota:
        return
    with short_transaction():
        quotas.lock_owner(export)
        if not scheduling.has_room(export):
            scheduling.hold_back(export, waiting.due(now or Now()))


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


_NEW_ARTIFACT = Insert(Artifact)
