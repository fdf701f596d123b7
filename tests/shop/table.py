"""The transition table of docs/architecture.md as a model, without a database."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from exports.conf import config
from exports.models import FileRequest, Status
from exports.models.transitions import Claim

COMPARED = (
    *("id", "filehandle", "expires_at", "finished_at", "description"),
    *sorted(FileRequest.TRANSITION_COLUMNS - {"woken_at", "seen_at"}),
)
AFTER_THE_END = {
    Status.READY: (Status.READY, Status.EXPIRED),
    Status.FAILED: (Status.FAILED,),
    Status.CANCELLED: (Status.CANCELLED,),
    Status.EXPIRED: (Status.EXPIRED,),
}


@dataclass
class Expected:
    """What a row must hold according to the table."""

    requested_at: datetime
    status: str = Status.QUEUED
    epoch: int = 0
    seq: int = 0
    attempts: int = 0
    crashes: int = 0
    lease_ends: datetime | None = None
    not_before: datetime | None = None
    key: str | None = None
    expires_at: datetime | None = None
    rows_done: int = 0
    description: str = ""
    mails: set[str] = field(default_factory=set)

    def move(self, status: str, **columns: Any) -> None:
        self.seq += 1
        self.status = status
        for name, value in columns.items():
            setattr(self, name, value)

    def wait(self, **columns: Any) -> None:
        self.move(Status.QUEUED, **{"lease_ends": None, "not_before": None, "rows_done": 0, **columns})

    def end_as_failed(self, **columns: Any) -> None:
        self.mails.add("failed")
        self.move(Status.FAILED, lease_ends=None, **columns)

    def is_due(self, now: datetime) -> bool:
        return self.status == Status.QUEUED and (self.not_before is None or self.not_before <= now)

    def is_held_by(self, claim: Claim) -> bool:
        return self.status == Status.RUNNING and self.epoch == claim.epoch

    def publish(self, claim: Claim, now: datetime) -> None:
        self.mails.add("ready")
        expires_at = now + timedelta(seconds=config.RETENTION_SECONDS)
        self.move(Status.READY, key=claim.key, expires_at=expires_at, rows_done=9, lease_ends=None)

    def release(self, claim: Claim, now: datetime) -> None:
        self.wait(attempts=self.attempts - 1)

    def retry_later(self, claim: Claim, now: datetime) -> None:
        self.wait(not_before=now + timedelta(seconds=5))

    def fail(self, claim: Claim, now: datetime) -> None:
        self.end_as_failed()


def check_row(row: dict[str, Any], expected: Expected) -> None:
    assert row["status"] == expected.status
    assert (row["epoch"], row["seq"]) == (expected.epoch, expected.seq)
    assert (row["attempts"], row["crashes"]) == (expected.attempts, expected.crashes)
    assert (row["lease_expires_at"], row["not_before"]) == (expected.lease_ends, expected.not_before)
    assert (row["filehandle"] or None, row["expires_at"]) == (expected.key, expected.expires_at)
    assert (row["rows_done"], row["description"]) == (expected.rows_done, expected.description)
    assert (row["finished_at"] is not None) is (row["status"] in AFTER_THE_END)
    assert (row["status"] == Status.RUNNING) is (row["lease_owner"] != "")


def check_step(before: dict[str, Any], row: dict[str, Any]) -> None:
    """Check rules that need no model: seq grows with every change, and a final status is final."""
    changed = {name for name, value in row.items() if before[name] != value}
    assert changed <= {"description"} or row["seq"] > before["seq"]
    assert row["status"] in AFTER_THE_END.get(before["status"], Status.values)
