"""What keeps the promises when something dies: rescue, ring again, expire, collect, mail.

All of it is idempotent, so several housekeepers may run.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from exports import faults, notifications, storage
from exports.conf import config
from exports.exceptions import RetryableError, describe_error
from exports.exporters import registry
from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.queue import base as queue
from exports.realtime import events
from exports.worker import loop, runner
from exports.worker import registry as worker_registry

log = logging.getLogger("exports.housekeeping")

AT_ONCE = 500
GIVE_UP_AFTER = 3

_here = worker_registry.Presence(worker_registry.HOUSEKEEPER)


@dataclass
class Swept:
    """How many of each were dealt with in one sweep."""

    rescued: int = 0
    timed_out: int = 0
    woken: int = 0
    expired: int = 0
    deleted: int = 0
    erased: int = 0
    removed_rows: int = 0
    mailed: int = 0
    work_dirs: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return (
            ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in asdict(self).items() if count) or "nothing"
        )


def sweep() -> Swept:
    """One round of everything. A step that fails is logged and counted, and the others have their turn."""
    swept = _swept(
        rescued=rescue,
        timed_out=time_out,
        woken=mark_woken,
        expired=expire,
        deleted=delete_files,
        erased=erase,
        removed_rows=remove_old_rows,
        mailed=send_mails,
        work_dirs=runner.sweep_work_dirs,
    )
    _here.show()
    return swept


def _swept(**steps: Callable[[], int]) -> Swept:
    swept = Swept()
    for name, step in steps.items():
        try:
            setattr(swept, name, step())
        except Exception as error:
            swept.failed += 1
            log.warning("%s: %s", name, describe_error(error))
    return swept


def run_forever(stop: threading.Event) -> None:
    """Sweep every EXPORTS["HOUSEKEEPING_INTERVAL_SECONDS"] seconds until told to stop. Say in the log where the disk
    has no room for runs."""
    while True:
        close_old_connections()
        runner.has_room()
        swept = sweep()
        if str(swept) != "nothing":
            log.info("swept: %s", swept)
        if stop.wait(config.HOUSEKEEPING_INTERVAL_SECONDS):
            return


@dataclass(frozen=True)
class Budget:
    """How much one call of a command may do: seconds between items, the epoch second to stop at, items at most."""

    sleep: float | None = None
    until: float | None = None
    items: int | None = None

    def is_spent(self, done: int) -> bool:
        return done == self.items or (self.until is not None and time.time() > self.until)


def process(budget: Budget, *, on_handled: Callable[[FileRequest], None]) -> int:
    """Make the files that wait, one after the other, then send the mails that are due: the work of a cron job.

    `on_handled` gets each request as it ended. Requests whose type nobody registered wait on. Returns how many it
    handled.
    """
    rescue()
    look, handled = loop.Look(None), 0
    while not budget.is_spent(handled) and (request := look.next()) is not None:
        if handled and budget.sleep:
            time.sleep(budget.sleep)
        if look.make(request):
            handled += 1
            # A handler may even have deleted it.
            on_handled(FileRequest.objects.filter(pk=request.pk).first() or request)
    send_mails()
    return handled


def unregistered() -> dict[str, int]:
    """How many requests wait for a type that nobody registered."""
    waiting = (
        FileRequest.objects.to_handle().filter(status=Status.QUEUED).exclude(file_type__in=registry.handlers.keys())
    )
    counts = waiting.order_by().values_list("file_type").annotate(count=Count("pk"))
    return dict(counts)


def clean(
    budget: Budget,
    *,
    leeway: float,
    on_swept: Callable[[Swept], None] | None = None,
    on_deleted: Callable[[int, int], None] | None = None,
) -> tuple[str, int, int]:
    """Expire files, collect bytes that nobody needs, end what waited too long, and delete requests that expired, failed
    or were cancelled long enough ago: the work of a cron job.

    Long enough is `leeway` seconds for the bytes, and EXPORTS["HISTORY_SECONDS"] more for the rows. `on_deleted` and
    the result are those of `FileRequest.objects.remove_expired`; `on_swept` gets what else was done.
    """
    swept = _swept(
        timed_out=lambda: _all(time_out, budget),
        expired=lambda: _all(expire, budget),
        deleted=lambda: _all(lambda: delete_files(leeway), budget),
        removed_rows=lambda: _all(lambda: _remove(_fileless()), budget),
        work_dirs=runner.sweep_work_dirs,
    )
    if on_swept is not None:
        on_swept(swept)
    threshold = timezone.now() - timedelta(seconds=leeway + config.HISTORY_SECONDS)
    removed = FileRequest.objects.remove_expired(
        threshold, timeout=budget.until, sleep=budget.sleep, max_items=budget.items, on_deleted=on_deleted
    )
    # Of the rows that stay, that is; nobody needs to be told how many.
    _swept(erased=lambda: _all(lambda: erase(leeway), budget))
    return removed


def rescue() -> int:
    """Requests whose worker is gone go back to the queue, or fail after the last crash that is allowed."""
    return _each(FileRequest.objects.abandoned(Now()), _rescue)


def time_out() -> int:
    """Requests that waited longer than EXPORTS["QUEUE_TIMEOUT_SECONDS"] end as FAILED."""
    waiting = _ours().filter(
        status=Status.QUEUED, finished_at=None, requested_at__lt=_ago(config.QUEUE_TIMEOUT_SECONDS)
    )
    return _each(waiting, _then_publish(transitions.time_out))


def mark_woken() -> int:
    """Due requests whose bell was not heard: ring once more, once a queue."""
    quiet = _ours().due(Now()).exclude(woken_at__gte=_ago(config.WAKE_AGAIN_SECONDS)).order_by("requested_at")[:AT_ONCE]
    rung = [request.queue_name for request in quiet if transitions.mark_woken(request)]
    for queue_name in sorted(set(rung)):
        queue.wake(queue_name)
    return len(rung)


def expire() -> int:
    """Files past their retention: the links die now, the bytes after the leeway."""
    return _each(
        FileRequest.objects.filter(status=Status.READY, expires_at__lt=Now()), _then_publish(transitions.expire)
    )


def delete_files(leeway: float | None = None) -> int:
    """Remove bytes that nobody needs, then, two leases later, once more what a worker may have written since."""
    leeway_ends = _ago(config.FILE_DELETE_DELAY_SECONDS if leeway is None else leeway)
    collected = _each(Artifact.objects.deletable(leeway_ends), partial(_forget, leeway_ends=leeway_ends))
    settled = Artifact.objects.filter(state=Artifact.State.DELETED, deleted_at__lt=_ago(2 * config.LEASE_SECONDS))
    _each(settled.order_by("deleted_at"), _forget_again)
    return collected


def erase(leeway: float | None = None) -> int:
    """Together with the bytes go the criteria and the words of errors; of what never had a file, as long after its end
    as a file would have stayed."""
    leeway = config.FILE_DELETE_DELAY_SECONDS if leeway is None else leeway
    ended_before = None if config.RETENTION_SECONDS is None else _ago(config.RETENTION_SECONDS + leeway)
    return transitions.erase_details(_ago(leeway), ended_before, at_once=AT_ONCE)


def remove_old_rows() -> int:
    """Delete the rows that ended longer ago than EXPORTS["HISTORY_SECONDS"] and have no file, or none any more."""
    expired = Q(status=Status.EXPIRED, expires_at__lt=_ago(config.FILE_DELETE_DELAY_SECONDS + config.HISTORY_SECONDS))
    return _remove(expired | _fileless())


def send_mails() -> int:
    """Send the mails that are due. The mail of a file that is ready is its maker's: of a registered type.

    What a slow server leaves no time for is sent by the next sweep.
    """
    ends = time.monotonic() + config.HOUSEKEEPING_INTERVAL_SECONDS
    ours = Q(kind=Notification.Kind.FAILED) | Q(request__file_type__in=registry.handlers.keys())
    due = Notification.objects.due(Now()).filter(ours).order_by("due_at")
    return _each(due, lambda notification: time.monotonic() < ends and _mail(notification))


def _mail(notification: Notification) -> bool:
    if not notifications.claim(notification):
        return False
    with runner.locale_of(notification.request):
        is_ready = notification.kind == Notification.Kind.READY
        if is_ready and not registry.is_still_granted(notification.request):
            return notifications.suppress(notification, "permission lost")
        return notifications.deliver(notification, registry.own_mail(notification.request) if is_ready else None)


def _rescue(request: FileRequest) -> bool:
    if not transitions.rescue(request):
        return False
    request.refresh_from_db()
    log.warning("request %s: worker lost (crash %d), now %s", request.pk, request.crashes, request.status)
    events.publish(request)
    if request.status == Status.FAILED:
        # Its owner has room now for what was passed over.
        queue.wake(request.queue_name)
    return True


def _then_publish(move: Callable[[FileRequest], bool]) -> Callable[[FileRequest], bool]:
    def moved(request: FileRequest) -> bool:
        if not move(request):
            return False
        request.refresh_from_db()
        events.publish(request)
        return True

    return moved


def _forget(artifact: Artifact, leeway_ends: Any) -> bool:
    """Mark first, then delete: a crash between the two leaves bytes that the second pass removes."""
    still = Artifact.objects.deletable(leeway_ends).filter(pk=artifact.pk)
    if not still.update(state=Artifact.State.DELETED, deleted_at=Now()):
        return False
    faults.point("mid_clean")
    storage.delete(artifact.key)
    return True


def _forget_again(artifact: Artifact) -> bool:
    storage.delete(artifact.key)
    artifact.delete()
    return True


def _each(items: QuerySet[Any], act: Callable[[Any], bool]) -> int:
    """Act on at most AT_ONCE of them. Returns how many were done; one that fails is logged and is in nobody's way.

    A service that fails for several in a row is away for all of them: the next sweep tries again.
    """
    done = away = 0
    for item in items[:AT_ONCE]:
        try:
            done += act(item)
            away = 0
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.warning("%s %s: %s", type(item).__name__, item.pk, describe_error(error))
            away += isinstance(error, RetryableError)
        if away == GIVE_UP_AFTER:
            break
    return done


def _fileless() -> Q:
    """Requests that never got a file and ended long ago."""
    return Q(status__in=(Status.FAILED, Status.CANCELLED), finished_at__lt=_ago(config.HISTORY_SECONDS))


def _remove(which: Q) -> int:
    old = _ours().filter(which).values_list("pk", flat=True)[:AT_ONCE]
    return FileRequest.objects.filter(pk__in=list(old)).delete()[1].get("exports.FileRequest", 0)


def _all(step: Callable[[], int], budget: Budget) -> int:
    """Do a step of housekeeping until nothing is left of it, or the time is up. Returns how many it dealt with."""
    total = 0
    while done := step():
        total += done
        if budget.until is not None and time.time() > budget.until:
            break
    return total


def _ours() -> Any:
    """Requests of registered types; others wait for whoever added them."""
    return FileRequest.objects.filter(file_type__in=registry.handlers.keys())


def _ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)
