"""Probe the work: workers, housekeeper, waiting requests, mails and webhooks."""

from collections.abc import Iterator, Mapping

from exports import housekeeping
from exports.conf import DAY, LOCAL, config
from exports.contrib.operations import statistics
from exports.contrib.operations.doctor.findings import Finding, Probe, duration, error, ok, warning
from exports.contrib.operations.doctor.other_queues import workers as workers_elsewhere
from exports.models import Notification, Webhook, WebhookDelivery
from exports.queue import base as queue

LONG_WAIT_SECONDS = 900.0
LATE_MAIL_SECONDS = 300.0
MARGIN_SECONDS = 30.0


def workers(name: str) -> Iterator[Finding]:
    """Report the workers of each queue: idle ones leave signs in the queue's server, busy ones hold leases."""
    if not config.QUEUE_BACKEND:
        yield ok(name, "None: cron runs the exports.")
        return
    if config.QUEUE_BACKEND == LOCAL:
        yield ok(name, "Threads of the development server: nothing else is to be started.")
        return
    if not queue.has_own_workers():
        yield from workers_elsewhere(name)
        return
    running, processes = statistics.running(), statistics.processes()
    for queue_name in config.QUEUES:
        line = f"{name} {queue_name}"
        busy = running.get(queue_name, statistics.Running()).owners
        seen = busy | processes.workers.get(queue_name, set()) if processes else busy
        if seen:
            yield ok(line, f"{len(seen)} running, {len(busy)} of them busy: {', '.join(sorted(seen))}.")
        elif processes is None:
            text = "Unknown while the queue does not answer; none makes a file."
            yield warning(line, text, "Fix the queue first.")
        else:
            advice = f"Start one, with the same QUEUE_KEYS or SECRET_KEY: manage.py exports work {queue_name}"
            yield error(line, "None is running: requests of this queue wait.", advice)


def waiting_requests(name: str) -> Iterator[Finding]:
    """Report how many requests of each queue wait, and for how long."""
    found = statistics.waiting()
    limit = duration(config.QUEUE_TIMEOUT_SECONDS)
    for queue_name, waiting in (dict.fromkeys(config.QUEUES, statistics.Waiting()) | found).items():
        line = f"{name} {queue_name}"
        if not waiting.count:
            yield ok(line, "No request is waiting.")
            continue
        held_back = f", {waiting.held_back} of them for other files of their owner" if waiting.held_back else ""
        text = f"{waiting.count} waiting{held_back}, the oldest for {duration(waiting.oldest)}."
        advice = f"Start more workers of queue {queue_name}. A request that waits for {limit} fails."
        if waiting.oldest > config.QUEUE_TIMEOUT_SECONDS / 2:
            yield error(line, text, advice)
        elif waiting.oldest > LONG_WAIT_SECONDS:
            yield warning(line, text, advice)
        else:
            yield ok(line, text)
    for file_type, count in housekeeping.unregistered().items():
        advice = "Register the exporter in the workers and here, or cancel these requests in the admin."
        yield warning(name, f"{count} waiting for {file_type!r}, which is not registered.", advice)


def housekeeper(name: str) -> Iterator[Finding]:
    """Report when housekeeping last ran, if there is a queue to record it in, and which of its tasks are overdue."""
    advice = "Start it: manage.py exports housekeep; or from cron with --once. Nothing is lost, only late."
    allowed = 3 * config.HOUSEKEEPING_INTERVAL_SECONDS + MARGIN_SECONDS
    # A mail server may be slow.
    delays = {"mail": LATE_MAIL_SECONDS}
    late = {task: age for task, age in statistics.overdue().items() if age > allowed + delays.get(task, 0.0)}
    if late:
        tasks = ", ".join(f"{task} for {duration(age)}" for task, age in late.items())
        yield error(name, f"Overdue: {tasks}.", advice)
    processes = statistics.processes() if queue.has_own_workers() else None
    if processes is None:
        if not late:
            yield ok(name, "Its last run is not known here; nothing is overdue.")
    elif processes.housekeeper is None:
        yield error(name, "It has not run within a day.", advice)
    else:
        text = f"Ran {duration(processes.housekeeper.age)} ago on {processes.housekeeper.owner}."
        yield ok(name, text) if processes.housekeeper.age < allowed else error(name, text, advice)


def mails(name: str) -> Iterator[Finding]:
    """Report the mails that wait, failed or were given up."""
    advice = "Fix the mail server. Waiting mails are retried; send those given up again in the admin."
    waiting, settled = statistics.outbox(Notification), statistics.settled(Notification, DAY)
    text = _outbox_text(waiting, settled)
    if settled["gave_up"]:
        yield error(name, text, advice)
    elif waiting.failing:
        yield warning(name, text, advice)
    else:
        yield ok(name, text)


def webhooks(name: str) -> Iterator[Finding]:
    """Report the messages of webhooks that wait, failed or were given up, and webhooks that were disabled for that."""
    if not config.WEBHOOKS:
        yield ok(name, "None: EXPORTS['WEBHOOKS'] is off.")
        return
    waiting, settled = statistics.outbox(WebhookDelivery), statistics.settled(WebhookDelivery, DAY)
    disabled = Webhook.objects.exclude(disabled_at=None).count()
    text = _outbox_text(waiting, settled) + (f" {disabled} webhooks are disabled." if disabled else "")
    if settled["gave_up"] or waiting.failing or disabled:
        # The fault is often that of the address, which its owner sees.
        advice = "If all fail, let housekeeping connect to the addresses. Their owners see each failure on their page."
        yield warning(name, text, advice)
    else:
        yield ok(name, text)


def _outbox_text(outbox: statistics.Outbox, settled: Mapping[str, int]) -> str:
    waiting = sum(outbox.by_state.values())
    text = f"{waiting} waiting; in the last day {settled['sent']} sent, {settled['suppressed']} not needed."
    if settled["gave_up"]:
        text += f" {settled['gave_up']} were given up."
    return text + (f" {outbox.failing} have failed at least once." if outbox.failing else "")


PROBES = (
    Probe("worker", workers, "Fix the database first.", needs_rows=True),
    Probe("queued", waiting_requests, "Fix the database first.", needs_rows=True),
    Probe("housekeeper", housekeeper, "Fix the database first.", needs_rows=True),
    Probe("mails", mails, "Fix the database first.", needs_rows=True),
    Probe("webhooks", webhooks, "Fix the database first.", needs_rows=True),
)
