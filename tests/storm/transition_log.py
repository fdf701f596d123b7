"""The transition log: PostgreSQL triggers record every change of an export or mail, and the process that made it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

INSTALL = """
CREATE TABLE storm_transitions (
    id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), writer text DEFAULT
    current_setting('application_name'), request_id uuid, old_status text, status text, old_epoch int, epoch int,
    old_seq int, seq int, old_owner text, filehandle text, attempts int, crashes int
);
CREATE FUNCTION storm_log_transition() RETURNS trigger AS $$ BEGIN
    INSERT INTO storm_transitions
        (request_id, old_status, status, old_epoch, epoch, old_seq, seq, old_owner, filehandle, attempts, crashes)
    VALUES (NEW.id, OLD.status, NEW.status, OLD.epoch, NEW.epoch, OLD.seq, NEW.seq, OLD.lease_owner,
        NEW.filehandle, NEW.attempts, NEW.crashes);
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER storm_log_transition AFTER INSERT OR UPDATE ON exports_filerequest
    FOR EACH ROW EXECUTE FUNCTION storm_log_transition();
CREATE TABLE storm_mails (
    id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), writer text DEFAULT
    current_setting('application_name'), mail_id bigint, old_state text, state text, attempts int
);
CREATE FUNCTION storm_log_mail() RETURNS trigger AS $$ BEGIN
    INSERT INTO storm_mails (mail_id, old_state, state, attempts) VALUES (NEW.id, OLD.state, NEW.state, NEW.attempts);
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER storm_log_mail AFTER INSERT OR UPDATE ON exports_notification
    FOR EACH ROW EXECUTE FUNCTION storm_log_mail();
"""

STEPS = (
    "SELECT request_id, at, writer, old_status, status, old_epoch, epoch, old_seq, seq, old_owner "
    "FROM storm_transitions ORDER BY request_id, id"
)

# (status before, status after, by how much the epoch grows), as in the table of docs/architecture.md.
ALLOWED = {
    ("queued", "running", 1),
    ("running", "running", 0),
    ("running", "ready", 0),
    ("running", "queued", 0),
    ("running", "queued", 1),
    ("running", "failed", 0),
    ("running", "failed", 1),
    ("queued", "failed", 0),
    ("queued", "failed", 1),
    ("queued", "cancelled", 1),
    ("running", "cancelled", 1),
    ("ready", "expired", 1),
    ("ready", "ready", 1),
}


@dataclass(frozen=True)
class Step:
    """One change of one export. The old values of an INSERT are None."""

    request_id: str
    at: datetime
    writer: str
    old_status: str | None
    status: str
    old_epoch: int | None
    epoch: int
    old_seq: int | None
    seq: int
    old_owner: str | None

    @property
    def is_by_lease_owner(self) -> bool:
        """Return True if the writing process held the lease (lease_owner is host:pid:thread)."""
        return (self.old_owner or "").split(":")[1:2] == self.writer.split(":")[1:2]

    def __str__(self) -> str:
        before = f"{self.old_status} epoch {self.old_epoch} seq {self.old_seq} lease of {self.old_owner or '-'}"
        return f"{before} → {self.status} epoch {self.epoch} seq {self.seq}, written by {self.writer}"


def logged_steps(sql: Callable[[str], Iterable[Sequence[Any]]]) -> list[Step]:
    """Return the whole log; `sql` returns the rows of a query."""
    return [Step(str(request_id), *rest) for request_id, *rest in sql(STEPS)]


def forbidden_steps(steps: Iterable[Step]) -> Iterator[str]:
    """Yield the steps that the transition table does not allow or that were made without the lease."""
    for request_id, own in groupby(steps, key=attrgetter("request_id")):
        times_ready = 0
        for step in own:
            if fault := _fault(step):
                yield f"stale write: request {request_id}: {fault}: {step}"
            times_ready += step.status == "ready" != step.old_status
        if times_ready > 1:
            yield f"stale write: request {request_id}: it became ready {times_ready} times"


def _fault(step: Step) -> str:
    if step.old_seq is None or step.old_epoch is None:
        return "" if (step.status, step.epoch) == ("queued", 0) else "it was not inserted as queued"
    grown = step.epoch - step.old_epoch
    if step.seq == step.old_seq:
        return "" if (step.status, grown) == (step.old_status, 0) else "changed without a new seq"
    if step.seq != step.old_seq + 1:
        return "seq did not grow by one"
    if (step.old_status, step.status, grown) not in ALLOWED:
        return "no transition of the table"
    is_workers = step.old_status == "running" and grown == 0
    return "written by a process without the lease" if is_workers and not step.is_by_lease_owner else ""
