"""Housekeeping: rescue, wake queues again, expire and delete files, send the mails and webhooks that are due.

Every step is idempotent, so several housekeepers may run at the same time.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TypeVar

from django.db import close_old_connections, connections, transaction
from django.db.models import Count, Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.utils import timezone

from exports import audit, failures, faults, notifications, storage
from exports.conf import config
from exports.exporters import permissions, registry
from exports.exporters.delegated import DelegatedExport
from exports.models import (
    AccessToken,
    Artifact,
    AuditEntry,
    DelegatedJob,
    FileRequest,
    IdempotencyKey,
    Notification,
    Status,
    scheduling,
    transitions,
)
from exports.models.audit import HOUSEKEEPING, record
from exports.models.clock import Now
from exports.models.locale import locale_of
from exports.models.request import WITHOUT_FILE, FileRequestQuerySet
from exports.queue import base as queue
from exports.realtime import events
from exports.webhooks import sending
from exports.worker import loop, runner, work_dir
from exports.worker import registry as worker_registry

log = logging.getLogger("exports.housekeeping")

MAX_PER_STEP = 500
MAX_PER_STATEMENT = 100
"""How many rows one statement changes: others wait for their locks until it ends."""
MAX_FAILURES_IN_A_ROW = 3
WEBHOOK_THREADS = 4
"""How many webhooks one process sends side by side, so that a slow address does not delay the others."""
WEBHOOK_POLL_SECONDS = 2

Row = TypeVar("Row", bound=Model)

_presence = worker_registry.Presence(worker_registry.HOUSEKEEPER)


@dataclass
class Swept:
    """How many rows each step of a sweep handled, and how many steps failed."""

    rescued: int = 0
    timed_out: int = 0
    woken: int = 0
    expired: int = 0
    deleted: int = 0
    erased: int = 0
    ended_jobs: int = 0
    removed_rows: int = 0
    mailed: int = 0
    webhooks_sent: int = 0
    work_dirs: int = 0
    sealed: int = 0
    pruned: int = 0
    forgotten_keys: int = 0
    forgotten_tokens: int = 0
    failed: int = 0

    def __str__(self) -> str:
        counts = [f"{name.replace('_', ' ')} {count}" for name, count in asdict(self).items() if count]
        return ", ".join(counts) or "nothing"


@dataclass(frozen=True)
class Budget:
    """The limits of one command: seconds to sleep between items, the epoch second to stop at, the number of items."""

    sleep: float | None = None
    until: float | None = None
    items: int | None = None

    def is_spent(self, done: int) -> bool:
        return done == self.items or self.is_time_up()

    def is_time_up(self) -> bool:
        return self.until is not None and time.time() > self.until


def sweep(*, sends: bool = True) -> Swept:
    """Run every step once. A step that fails is logged and counted and does not stop the others.

    Without `sends` no mails and no webhooks are sent.
    """
    outboxes: dict[str, Callable[[], int]] = {"mailed": send_mails, "webhooks_sent": send_webhooks} if sends else {}
    swept = _run_steps(
        rescued=rescue,
        timed_out=time_out,
        woken=wake_again,
        expired=expire,
        deleted=delete_files,
        erased=erase,
        ended_jobs=end_jobs,
        removed_rows=remove_old_rows,
        work_dirs=runner.sweep_work_dirs,
        **outboxes,
        sealed=audit.seal,
        pruned=audit.prune,
        forgotten_keys=forget_keys,
        forgotten_tokens=forget_tokens,
    )
    _presence.show()
    return swept


def run_forever(stop: threading.Event) -> None:
    """Sweep every EXPORTS["HOUSEKEEPING_INTERVAL_SECONDS"] seconds until `stop` is set.

    Mails and webhooks are sent in threads beside: a server that does not answer delays no rescue.
    """

    def repeat(sweep: Callable[[], Swept], *, seconds: float) -> None:
        while True:
            close_old_connections()
            swept = sweep()
            if str(swept) != "nothing":
                log.info("swept: %s", swept)
            if stop.wait(seconds):
                return

    def sweep_without_sending() -> Swept:
        # Logs a warning while the disk is too full for workers to claim exports.
        runner.has_room()
        return sweep(sends=False)

    def repeat_mails() -> None:
        repeat(lambda: _run_steps(mailed=lambda: send_mails(stop)), seconds=config.HOUSEKEEPING_INTERVAL_SECONDS)
        connections.close_all()

    def repeat_webhooks() -> None:
        repeat(lambda: _run_steps(webhooks_sent=lambda: send_webhooks(stop)), seconds=WEBHOOK_POLL_SECONDS)
        connections.close_all()

    senders = [repeat_mails, *([repeat_webhooks] * WEBHOOK_THREADS if config.WEBHOOKS else [])]
    threads = [threading.Thread(target=sender, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    repeat(sweep_without_sending, seconds=config.HOUSEKEEPING_INTERVAL_SECONDS)
    # Let the servers answer, or the messages would be sent once more.
    ends_at = time.monotonic() + config.SHUTDOWN_GRACE_SECONDS
    for thread in threads:
        thread.join(max(ends_at - time.monotonic(), 0.0))


def process(budget: Budget, *, on_handled: Callable[[FileRequest], None]) -> int:
    """Make the files that are due, one after the other, then send the mails and webhooks that are due. For a cron job.

    `on_handled` gets each export in its final state. Exports of unregistered types stay in the queue. Returns the
    number of exports handled. Raises UnsafeWorkDir.
    """
    work_dir.ensure_private()
    rescue()
    scheduling.let_go_all_with_room(_registered(), at_once=MAX_PER_STEP)
    worker, handled = loop.WorkerLoop(None), 0
    while not budget.is_spent(handled):
        if handled and budget.sleep:
            time.sleep(budget.sleep)
        export = worker.run_next()
        if export is None:
            break
        handled += 1
        # The handler may have deleted the row.
        on_handled(FileRequest.objects.filter(pk=export.pk).first() or export)
    send_mails()
    send_webhooks()
    return handled


def unregistered() -> dict[str, int]:
    """Return the number of queued exports per file type that is not registered."""
    queued = FileRequest.objects.to_handle().filter(status=Status.QUEUED)
    unknown = queued.exclude(file_type__in=registry.handlers.keys()).order_by()
    return dict(unknown.values_list("file_type").annotate(count=Count("pk")))


def clean(
    budget: Budget,
    *,
    delete_delay: float,
    on_swept: Callable[[Swept], None],
    on_deleted: Callable[[int, int], None] | None = None,
) -> tuple[str, int, int]:
    """Expire files, delete files that are no longer needed and remove old rows. For a cron job.

    Files are deleted `delete_delay` seconds after they expired, rows EXPORTS["HISTORY_SECONDS"] later. `on_swept` gets
    the counts of all steps but the last, `FileRequest.objects.remove_expired`, which calls `on_deleted` and whose
    result is returned.
    """

    def repeat(step: Callable[[], int]) -> Callable[[], int]:
        def repeated() -> int:
            total = 0
            while done := step():
                total += done
                if budget.is_time_up():
                    break
            return total

        return repeated

    on_swept(
        _run_steps(
            timed_out=repeat(time_out),
            expired=repeat(expire),
            deleted=repeat(lambda: delete_files(delete_delay)),
            ended_jobs=repeat(end_jobs),
            removed_rows=repeat(lambda: _remove(_failed_long_ago())),
            work_dirs=runner.sweep_work_dirs,
            sealed=repeat(audit.seal),
            pruned=repeat(audit.prune),
        )
    )
    threshold = timezone.now() - timedelta(seconds=delete_delay + config.HISTORY_SECONDS)
    removed = FileRequest.objects.remove_expired(
        threshold, timeout=budget.until, sleep=budget.sleep, max_items=budget.items, on_deleted=on_deleted
    )
    # Last, so that rows which remove_expired deletes are not updated first.
    _run_steps(erased=repeat(lambda: erase(delete_delay)))
    return removed


def rescue() -> int:
    """Requeue exports whose worker is lost, or fail them once EXPORTS["MAX_CRASHES"] is reached."""

    def rescue_one(export: FileRequest) -> bool:
        if not transitions.rescue(export):
            return False
        _publish(export)
        log.warning("request %s: worker lost (crash %d), now %s", export.pk, export.crashes, export.status)
        if export.status == Status.FAILED:
            # The owner now has room for an export that the limit per user held back.
            queue.wake(export.queue_name)
        return True

    return _for_each(FileRequest.objects.abandoned(Now()), rescue_one)


def time_out() -> int:
    """Fail exports that have been queued longer than EXPORTS["QUEUE_TIMEOUT_SECONDS"]."""
    queued_before = _ago(config.QUEUE_TIMEOUT_SECONDS)
    old = _registered().filter(status=Status.QUEUED, finished_at=None, requested_at__lt=queued_before)
    return _for_each(old, lambda export: transitions.time_out(export) and _publish(export))


def wake_again() -> int:
    """Wake the queues of due exports that no worker has picked up for EXPORTS["WAKE_AGAIN_SECONDS"]."""
    scheduling.let_go_all_with_room(_registered(), at_once=MAX_PER_STEP)
    # A web host whose clock is ahead writes a time of the future.
    lately = Q(woken_at__gte=_ago(config.WAKE_AGAIN_SECONDS), woken_at__lte=Now())
    waiting = _registered().due(Now()).filter(is_held_back=False).exclude(lately)
    found = dict(waiting.order_by("requested_at").values_list("pk", "queue_name")[:MAX_PER_STEP])
    woken = transitions.mark_woken(found)
    for queue_name in sorted(set(found.values())) if woken else ():
        queue.wake(queue_name)
    return woken


def expire() -> int:
    """Expire files that are past their retention: their links stop working, the bytes are deleted later."""
    due = FileRequest.objects.filter(status=Status.READY, expires_at__lt=Now())
    return _for_each(
        due.order_by("expires_at"), lambda export: transitions.expire(export, HOUSEKEEPING) and _publish(export)
    )


def delete_files(delay: float | None = None) -> int:
    """Delete files that are no longer needed, expired ones after `delay` seconds. Return how many were deleted.

    `delay` defaults to EXPORTS["FILE_DELETE_DELAY_SECONDS"]. Two leases later each key is deleted once more, because a
    worker that lost its lease may have written the file after the first time.
    """
    expired_before = _ago(config.FILE_DELETE_DELAY_SECONDS if delay is None else delay)
    deletable = Artifact.objects.deletable(expired_before)

    def delete_file(artifact: Artifact) -> bool:
        # The row first: after a crash between the two statements the second deletion finds the file.
        with transaction.atomic():
            if not deletable.filter(pk=artifact.pk).update(state=Artifact.State.DELETED, deleted_at=Now()):
                return False
            if artifact.state == Artifact.State.PUBLISHED:
                file_type = artifact.request.file_type if artifact.request else ""
                record(AuditEntry.Verb.DELETE, artifact.request_id, HOUSEKEEPING, file_type=file_type)
        faults.point("mid_clean")
        storage.delete(artifact.key)
        return True

    def delete_file_again(artifact: Artifact) -> bool:
        storage.delete(artifact.key)
        artifact.delete()
        return True

    deleted = _for_each(deletable, delete_file)
    settled = Artifact.objects.filter(state=Artifact.State.DELETED, deleted_at__lt=_ago(2 * config.LEASE_SECONDS))
    _for_each(settled.order_by("deleted_at"), delete_file_again)
    return deleted


def erase(delay: float | None = None) -> int:
    """Erase criteria and error details `delay` seconds after a file expired, the same moment its bytes are deleted.

    An export without a file is erased when its file would have been. `delay` defaults to
    EXPORTS["FILE_DELETE_DELAY_SECONDS"].
    """
    delay = config.FILE_DELETE_DELAY_SECONDS if delay is None else delay
    ended_before = None if config.RETENTION_SECONDS is None else _ago(config.RETENTION_SECONDS + delay)
    return _in_batches(lambda number: transitions.erase_details(_ago(delay), ended_before, at_once=number))


def end_jobs() -> int:
    """Let engines end the jobs of exports that have ended, and delete what these wrote."""
    exporters = {
        file_type: handler for file_type, handler in registry.handlers.items() if issubclass(handler, DelegatedExport)
    }
    # In any order: an engine that is away must not keep those of others from their turn.
    unneeded = DelegatedJob.objects.unneeded().filter(file_type__in=exporters).order_by("?")
    return _for_each(unneeded, lambda job: exporters[job.file_type]().end(job))


def remove_old_rows() -> int:
    """Delete the rows of exports that ended more than EXPORTS["HISTORY_SECONDS"] ago and have no file."""
    expired_before = _ago(config.FILE_DELETE_DELAY_SECONDS + config.HISTORY_SECONDS)
    expired = FileRequest.objects.filter(status=Status.EXPIRED, expires_at__lt=expired_before)
    return _remove(expired.order_by("expires_at")) + _remove(_failed_long_ago())


def forget_keys() -> int:
    """Delete idempotency keys that no client repeats any more."""
    return IdempotencyKey.objects.outdated().delete()[0]


def forget_tokens() -> int:
    """Delete API tokens that have ended so long ago that their owners need not see them any more."""
    return AccessToken.objects.outdated().delete()[0]


def send_mails(stop: threading.Event | None = None) -> int:
    """Send the mails that are due, for at most EXPORTS["HOUSEKEEPING_INTERVAL_SECONDS"]; the next sweep sends the rest.

    Exports of one user that ended within the mail delay go in one mail. No other mail is begun once `stop` is set. A
    mail about a file is sent only for registered types, because the exporter may have its own mail.
    """
    ends_at = time.monotonic() + config.HOUSEKEEPING_INTERVAL_SECONDS

    def send(notification: Notification) -> bool:
        is_over = time.monotonic() >= ends_at or (stop is not None and stop.is_set())
        if is_over:
            return False
        export = notification.request
        with locale_of(export):
            if not notifications.has_own_mail(notification):
                return notifications.deliver(_permitted(notifications.claim_together(notification)))
            if not notifications.claim(notification):
                return False
            return notifications.deliver(_permitted([notification]), registry.exporter_of(export).own_mail(export))

    registered = ~Q(kind=Notification.Kind.READY) | Q(request__file_type__in=registry.handlers.keys())
    due = Notification.objects.due(Now()).filter(registered).order_by("due_at")
    kept = 0
    while kept < MAX_PER_STEP:
        batch = due.select_related("request__requester")[kept : kept + MAX_PER_STATEMENT]
        kept += len(batch) - notifications.suppress_unneeded(batch)
        if len(batch) < MAX_PER_STATEMENT:
            break
    return _for_each(due, send)


def send_webhooks(stop: threading.Event | None = None) -> int:
    """Send the webhooks that are due, for at most EXPORTS["HOUSEKEEPING_INTERVAL_SECONDS"]; return how many arrived."""
    return sending.send_due(stop, seconds=config.HOUSEKEEPING_INTERVAL_SECONDS)


def _permitted(claimed: list[Notification]) -> list[Notification]:
    """Return the mails whose user may still have the file; suppress the others."""
    permitted = []
    for each in claimed:
        if each.kind == Notification.Kind.READY and not permissions.is_still_granted(each.request):
            notifications.suppress(each, "permission lost")
        else:
            permitted.append(each)
    return permitted


def _run_steps(**steps: Callable[[], int]) -> Swept:
    swept = Swept()
    for name, step in steps.items():
        try:
            setattr(swept, name, step())
        except Exception as error:
            swept.failed += 1
            failures.report(log, "%s: %s", name, error=error)
    return swept


def _for_each(rows: QuerySet[Row], handle: Callable[[Row], bool]) -> int:
    """Handle at most MAX_PER_STEP rows; return how many `handle` returned True for. A row that fails is logged.

    Stops when a service fails for several rows in a row: it is down, and the next sweep tries again.
    """
    done = failures_in_a_row = 0
    for row in rows[:MAX_PER_STEP]:
        try:
            done += handle(row)
            failures_in_a_row = 0
        except Exception as error:
            if failures.is_outage(error):
                raise
            failures.report(log, "%s %s: %s", type(row).__name__, row.pk, error=error)
            failures_in_a_row += failures.may_pass(error)
        if failures_in_a_row == MAX_FAILURES_IN_A_ROW:
            break
    return done


def _in_batches(change: Callable[[int], int]) -> int:
    """Change at most MAX_PER_STEP rows, MAX_PER_STATEMENT at a time. Return how many `change` says that it changed."""
    done = 0
    while done < MAX_PER_STEP:
        number = min(MAX_PER_STATEMENT, MAX_PER_STEP - done)
        changed = change(number)
        done += changed
        if changed < number:
            break
    return done


def _publish(export: FileRequest) -> bool:
    """Send a transition to open pages. Return True."""
    export.refresh_from_db()
    events.send_state(export)
    return True


def _failed_long_ago() -> FileRequestQuerySet:
    old = FileRequest.objects.filter(WITHOUT_FILE, finished_at__lt=_ago(config.HISTORY_SECONDS))
    return old.order_by("finished_at")


def _remove(old: FileRequestQuerySet) -> int:
    registered = old.filter(file_type__in=registry.handlers.keys())

    def remove(number: int) -> int:
        keys = list(registered.values_list("pk", flat=True)[:number])
        return FileRequest.objects.filter(pk__in=keys).delete()[1].get("exports.FileRequest", 0)

    return _in_batches(remove)


def _registered() -> FileRequestQuerySet:
    """Return the exports whose file type is registered; the project that added any others handles them itself."""
    return FileRequest.objects.filter(file_type__in=registry.handlers.keys())


def _ago(seconds: float) -> Combinable:
    return Now() - timedelta(seconds=seconds)
