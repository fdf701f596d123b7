"""Who works and what waits: workers, housekeeper, the queue of each lane, the outbox."""

from collections.abc import Iterator

from exports import vitals
from exports.conf import DAY, config
from exports.doctor.findings import Finding, Probe, duration, error, ok, warning

WAITS_LONG = 900.0
MAIL_IS_LATE = 300.0
SLACK_SECONDS = 30.0


def workers(name: str) -> Iterator[Finding]:
    """A worker that waits has left a sign lately; one that makes a file renews its lease."""
    if not config.DOORBELL:
        yield ok(name, "None: cron makes the files.")
        return
    running, here = vitals.running(), vitals.here()
    for lane in config.LANES:
        busy = running.get(lane, vitals.Running()).owners
        seen = busy if here is None else here.workers.get(lane, set()) | busy
        yield _worker(f"{name} {lane}", lane, sorted(seen), sorted(busy), is_known=here is not None)


def waiting(name: str) -> Iterator[Finding]:
    found = vitals.waiting()
    for lane in dict.fromkeys((*config.LANES, *found)):
        yield _waiting(f"{name} {lane}", lane, found.get(lane, vitals.Waiting()))
    for file_type, count in vitals.unregistered().items():
        advice = "Register the exporter in the workers and here, or cancel these requests in the admin."
        yield warning(name, f"{count} wait for {file_type!r}, which nobody registered.", advice)


def housekeeper(name: str) -> Iterator[Finding]:
    """Its last sign where there is a queue to leave one in, and what it should have done by now."""
    advice = "Start it: manage.py exports housekeep; or from cron with --once. Nothing is lost meanwhile, only late."
    allowed = 3 * config.SWEEP + SLACK_SECONDS
    if late := {what: age for what, age in vitals.overdue().items() if age > allowed + _own_delay(what)}:
        things = ", ".join(f"{what} since {duration(age)}" for what, age in late.items())
        yield error(name, f"Not done: {things}.", advice)
    here = vitals.here() if config.DOORBELL else None
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
    mails, settled = vitals.mails(), vitals.settled_mails(DAY)
    unsettled = sum(mails.by_state.values())
    text = f"{unsettled} wait; in the last day {settled['sent']} sent, {settled['suppressed']} not needed."
    advice = "See to the mail server. Waiting mails are tried again by themselves; those given up are not."
    if settled["gave_up"]:
        yield error(name, f"{text} {settled['gave_up']} were given up.", advice)
    elif mails.failing:
        yield warning(name, f"{text} {mails.failing} have failed at least once.", advice)
    else:
        yield ok(name, text)


def _worker(name: str, lane: str, seen: list[str], busy: list[str], *, is_known: bool) -> Finding:
    advice = f"Start one: manage.py exports work {lane}"
    if seen:
        return ok(name, f"{len(seen)} here, {len(busy)} of them busy: {', '.join(seen)}.")
    if not is_known:
        return warning(name, "Not known while the queue does not answer; none makes a file.", "See to the queue first.")
    return error(name, "None is here: files of this lane are not made.", advice)


def _waiting(name: str, lane: str, found: vitals.Waiting) -> Finding:
    if not found.count:
        return ok(name, "Nothing waits.")
    held_back = f", {found.held_back} of them for other files of their owner" if found.held_back else ""
    text = f"{found.count} wait{held_back}, the oldest for {duration(found.oldest)}."
    advice = f"Start more workers of lane {lane}. After {duration(config.MAX_WAIT)} a request that waits fails."
    if found.oldest > config.MAX_WAIT / 2:
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
