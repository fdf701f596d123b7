"""Who works and what waits: workers, housekeeper, the queues, the outbox."""

from collections.abc import Iterator

from exports.conf import DAY, config
from exports.contrib.operations import statistics
from exports.contrib.operations.doctor.findings import Finding, Probe, duration, error, ok, warning

WAITS_LONG = 900.0
MAIL_IS_LATE = 300.0
SLACK_SECONDS = 30.0


def workers(name: str) -> Iterator[Finding]:
    """A worker that waits has left a sign lately; one that makes a file renews its lease."""
    if not config.QUEUE_BACKEND:
        yield ok(name, "None: cron makes the files.")
        return
    running, here = statistics.running(), statistics.here()
    for queue_name in config.QUEUES:
        busy = running.get(queue_name, statistics.Running()).owners
        seen = busy if here is None else here.workers.get(queue_name, set()) | busy
        yield _worker(f"{name} {queue_name}", queue_name, sorted(seen), sorted(busy), is_known=here is not None)


def waiting(name: str) -> Iterator[Finding]:
    found = statistics.waiting()
    for queue_name in dict.fromkeys((*config.QUEUES, *found)):
        yield _waiting(f"{name} {queue_name}", queue_name, found.get(queue_name, statistics.Waiting()))
    for file_type, count in statistics.unregistered().items():
        advice = "Register the exporter in the workers and here, or cancel these requests in the admin."
        yield warning(name, f"{count} wait for {file_type!r}, which nobody registered.", advice)


def housekeeper(name: str) -> Iterator[Finding]:
    """Its last sign where there is a queue to leave one in, and what it should have done by now."""
    advice = "Start it: manage.py exports housekeep; or from cron with --once. Nothing is lost meanwhile, only late."
    allowed = 3 * config.HOUSEKEEPING_INTERVAL_SECONDS + SLACK_SECONDS
    if late := {what: age for what, age in statistics.overdue().items() if age > allowed + _own_delay(what)}:
        things = ", ".join(f"{what} since {duration(age)}" for what, age in late.items())
        yield error(name, f"Not done: {things}.", advice)
    here = statistics.here() if config.QUEUE_BACKEND else None
    if here is None:
        yield (
            ok(name, "It left no sign that can be read here; nothing else is overdue.")
            if not late
            else warning(name, "It left no sign that can be read here.", advice)
        )
    elif here.sweep is None:
        yield error(name, "Nobody has swept within a day.", advice)
    else:
        text = f"Swept {duration(here.sweep.age)} ago by {here.sweep.owner}."
        yield ok(name, text) if here.sweep.age < allowed else error(name, text, advice)


def outbox(name: str) -> Iterator[Finding]:
    mails, settled = statistics.mails(), statistics.settled_mails(DAY)
    unsettled = sum(mails.by_state.values())
    text = f"{unsettled} wait; in the last day {settled['sent']} sent, {settled['suppressed']} not needed."
    advice = "See to the mail server. Waiting mails are tried again by themselves; those given up are not."
    if settled["gave_up"]:
        yield error(name, f"{text} {settled['gave_up']} were given up.", advice)
    elif mails.failing:
        yield warning(name, f"{text} {mails.failing} have failed at least once.", advice)
    else:
        yield ok(name, text)


def _worker(name: str, queue_name: str, seen: list[str], busy: list[str], *, is_known: bool) -> Finding:
    advice = f"Start one: manage.py exports work {queue_name}"
    if seen:
        return ok(name, f"{len(seen)} here, {len(busy)} of them busy: {', '.join(seen)}.")
    if not is_known:
        return warning(name, "Not known while the queue does not answer; none makes a file.", "See to the queue first.")
    return error(name, "None is here: files of this queue are not made.", advice)


def _waiting(name: str, queue_name: str, found: statistics.Waiting) -> Finding:
    if not found.count:
        return ok(name, "Nothing waits.")
    held_back = f", {found.held_back} of them for other files of their owner" if found.held_back else ""
    text = f"{found.count} wait{held_back}, the oldest for {duration(found.oldest)}."
    limit = duration(config.QUEUE_TIMEOUT_SECONDS)
    advice = f"Start more workers of queue {queue_name}. After {limit} a request that waits fails."
    if found.oldest > config.QUEUE_TIMEOUT_SECONDS / 2:
        return error(name, text, advice)
    return warning(name, text, advice) if found.oldest > WAITS_LONG else ok(name, text)


def _own_delay(what: str) -> float:
    """How long the thing itself may rightly take: a mail server may be slow."""
    return MAIL_IS_LATE if what == "mail" else 0.0


PROBES = (
    Probe("worker", workers, "See to the database first.", needs_rows=True),
    Probe("queued", waiting, "See to the database first.", needs_rows=True),
    Probe("housekeeper", housekeeper, "See to the database first.", needs_rows=True),
    Probe("mails", outbox, "See to the database first.", needs_rows=True),
)
