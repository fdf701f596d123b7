"""The moves in any order, by workers that die and come back, with a model of the table beside the database.

Hypothesis finds the order, shrinks what fails, and prints a blob with which it is repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from exports.conf import config
from exports.models import Artifact, FileRequest, Notification, Status, moves
from exports.models.moves import Claim
from exports.progress import Snapshot
from tests.shop.requests import NOON, made

WORKERS = (0, 1)
MOST_REQUESTS = 3

COMPARED = (
    *("id", "filehandle", "expires_at", "finished_at", "description"),
    *sorted(FileRequest.ENGINE_COLUMNS - {"rung_at", "seen_at"}),
)
AFTER_THE_END = {
    Status.READY: (Status.READY, Status.EXPIRED),
    Status.FAILED: (Status.FAILED,),
    Status.CANCELLED: (Status.CANCELLED,),
    Status.EXPIRED: (Status.EXPIRED,),
}

workers = st.sampled_from(WORKERS)
places = st.integers(min_value=0, max_value=MOST_REQUESTS - 1)
seconds = st.sampled_from([0.1, 1, config.LEASE / 2, config.LEASE + 1, config.RETENTION + 1, config.MAX_WAIT + 1])


@dataclass
class Expected:
    """What the table says that a row holds."""

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

    def fail(self, **columns: Any) -> None:
        self.mails.add("failed")
        self.move(Status.FAILED, lease_ends=None, **columns)

    def is_due(self, now: datetime) -> bool:
        return self.status == Status.QUEUED and (self.not_before is None or self.not_before <= now)

    def is_held_by(self, claim: Claim) -> bool:
        return self.status == Status.RUNNING and self.epoch == claim.epoch


class TheMoves(RuleBasedStateMachine):
    """Two workers, a housekeeper and people, who all may act on what they saw a while ago."""

    def __init__(self) -> None:
        super().__init__()
        for model in (Artifact, FileRequest):
            model.objects.all().delete()
        self.now = NOON
        self.bells = 0
        self.expected: dict[UUID, Expected] = {}
        self.pages: list[FileRequest] = []
        self.working: dict[int, Claim] = {}
        self.zombies: list[Claim] = []
        self.deleted: set[str] = set()
        self.keys: dict[str, tuple[UUID, int]] = {}
        self.rows: dict[UUID, dict[str, Any]] = {}

    # People

    @initialize()
    def begin(self) -> None:
        self.request_export()

    @precondition(lambda self: len(self.expected) < MOST_REQUESTS)
    @rule()
    def request_export(self) -> None:
        request, is_new = moves.enqueue(FileRequest(file_type="orders", format="csv", requested_at=self.now))
        assert is_new
        self.expected[request.pk] = Expected(self.now)
        self.bells += 1

    @rule(place=places)
    def load_a_page(self, place: int) -> None:
        """Somebody loads a row, and acts on it later."""
        if (request := self.fresh(place)) is not None:
            self.keep_page(request)

    def keep_page(self, request: FileRequest) -> None:
        self.pages = [*self.pages[1 - MOST_REQUESTS :], request]

    @rule(place=places, is_stale=st.booleans())
    def cancel(self, place: int, is_stale: bool) -> None:
        request, expected = self.seen(place, is_stale)
        wins = expected is not None and expected.status in (Status.QUEUED, Status.RUNNING)
        assert self.tried(moves.cancel, request) is wins
        if expected is not None and wins:
            expected.move(Status.CANCELLED, epoch=expected.epoch + 1, lease_ends=None)

    @rule(place=places, is_stale=st.booleans())
    def expire(self, place: int, is_stale: bool) -> None:
        request, expected = self.seen(place, is_stale)
        wins = expected is not None and expected.status == Status.READY and request.epoch == expected.epoch
        assert self.tried(moves.expire, request) is wins
        if expected is not None and wins:
            expected.move(Status.EXPIRED, epoch=expected.epoch + 1, expires_at=self.now)

    @rule(place=places, is_stale=st.booleans())
    def revoke_links(self, place: int, is_stale: bool) -> None:
        request, expected = self.seen(place, is_stale)
        wins = expected is not None and expected.status == Status.READY
        assert (request is not None and moves.revoke_links(request)) is wins
        if expected is not None and wins:
            expected.move(Status.READY, epoch=expected.epoch + 1)

    @rule(place=places, words=st.sampled_from(["Ada's", "Bob's"]))
    def rename(self, place: int, words: str) -> None:
        """save() of an instance that may be older than any number of moves."""
        request, expected = self.seen(place, is_stale=True)
        if expected is not None and request.description != words:
            request.description = words
            request.save()
            expected.description = words

    @precondition(lambda self: len(self.expected) > 1)
    @rule(place=places)
    def delete(self, place: int) -> None:
        if (request := self.fresh(place)) is not None:
            del self.expected[request.pk]
            request.delete()

    # The bell

    @precondition(lambda self: self.bells)
    @rule()
    def lose_a_bell(self) -> None:
        self.bells -= 1

    @precondition(lambda self: self.bells)
    @rule()
    def double_a_bell(self) -> None:
        self.bells += 1

    @precondition(lambda self: self.bells)
    @rule(worker=workers)
    def hear(self, worker: int) -> None:
        """A bell means look: a worker that is free takes what is due, whatever the bell was rung for."""
        self.bells -= 1
        if worker not in self.working:
            self.take(worker, FileRequest.objects.due(self.now).in_turn().first())

    @rule(worker=workers, place=places)
    def claim_what_was_seen(self, worker: int, place: int) -> None:
        """Between looking and claiming, anything may have happened."""
        if worker not in self.working:
            self.take(worker, self.seen(place, is_stale=True)[0])

    def take(self, worker: int, request: FileRequest | None) -> None:
        if request is None:
            return
        expected = self.expected.get(request.pk)
        wins = expected is not None and expected.is_due(self.now) and request.epoch == expected.epoch
        claim = moves.claim(request, owner=f"worker {worker}", extension="csv", now=self.now)
        assert (claim is not None) is wins
        if claim is None or expected is None:
            return
        assert claim.key not in self.keys
        expected.move(
            Status.RUNNING,
            epoch=expected.epoch + 1,
            attempts=expected.attempts + 1,
            lease_ends=self.now + timedelta(seconds=config.LEASE),
            rows_done=0,
        )
        self.keys[claim.key] = (request.pk, claim.epoch)
        self.working[worker] = claim
        self.keep_page(FileRequest.objects.get(pk=request.pk))

    # The worker, alive or a zombie

    @precondition(lambda self: self.working)
    @rule(worker=workers)
    def kill(self, worker: int) -> None:
        """The worker vanishes in the middle of its work. Nothing is written; it may be back."""
        if worker in self.working:
            self.zombies.append(self.working.pop(worker))

    @precondition(lambda self: self.working)
    @rule(worker=workers)
    def hang_until_another_goes_on(self, worker: int) -> None:
        """The longest way round: a lease ends, the request is rescued, and another worker has it."""
        if worker in self.working:
            self.kill(worker)
            self.now += timedelta(seconds=config.LEASE + 1)
            self.sweep()
            if self.bells:
                self.hear(1 - worker)

    @precondition(lambda self: self.working)
    @rule(worker=workers, rows=st.integers(0, 9))
    def beat(self, worker: int, rows: int) -> None:
        if (claim := self.working.get(worker)) is not None and not self.write_beat(claim, rows):
            del self.working[worker]

    @precondition(lambda self: self.working)
    @rule(worker=workers, end=st.sampled_from(["publish", "give_back", "retry_later", "fail"]))
    def end(self, worker: int, end: str) -> None:
        if (claim := self.working.pop(worker, None)) is not None:
            self.write_end(claim, end)

    @precondition(lambda self: self.zombies)
    @rule(place=places, deed=st.sampled_from(["beat", "publish", "give_back", "retry_later", "fail"]))
    def a_zombie_acts(self, place: int, deed: str) -> None:
        claim = self.zombies[place % len(self.zombies)]
        self.write_beat(claim, 5) if deed == "beat" else self.write_end(claim, deed)

    def write_beat(self, claim: Claim, rows: int) -> bool:
        expected, wins = self.right_of(claim)
        won = moves.beat(claim, Snapshot("writing", rows, 9), began_phase=False, moved=True, now=self.now)
        assert won is wins
        if expected is not None and won:
            expected.move(Status.RUNNING, rows_done=rows, lease_ends=self.now + timedelta(seconds=config.LEASE))
        return won

    def write_end(self, claim: Claim, end: str) -> None:
        expected, wins = self.right_of(claim)
        deeds: dict[str, Callable[[], bool]] = {
            "publish": lambda: moves.publish(claim, made(rows=9), now=self.now),
            "give_back": lambda: moves.give_back(claim, now=self.now),
            "retry_later": lambda: moves.retry_later(claim, delay=5, code="unavailable", detail="", now=self.now),
            "fail": lambda: moves.fail(claim, code="no_file", detail="", now=self.now),
        }
        assert deeds[end]() is wins
        if expected is not None and wins:
            self.expect_end(expected, claim, end)

    def expect_end(self, expected: Expected, claim: Claim, end: str) -> None:
        if end == "publish":
            expected.mails.add("ready")
            expires_at = self.now + timedelta(seconds=config.RETENTION)
            expected.move(Status.READY, key=claim.key, expires_at=expires_at, rows_done=9, lease_ends=None)
        elif end == "give_back":
            expected.wait(attempts=expected.attempts - 1)
        elif end == "retry_later":
            expected.wait(not_before=self.now + timedelta(seconds=5))
        else:
            expected.fail()

    def right_of(self, claim: Claim) -> tuple[Expected | None, bool]:
        expected = self.expected.get(claim.request_id)
        return expected, expected is not None and expected.is_held_by(claim)

    # The housekeeper

    @rule(passed=seconds)
    def time_passes(self, passed: float) -> None:
        self.now += timedelta(seconds=passed)

    @rule()
    def sweep(self) -> None:
        """What housekeeping does with fresh rows."""
        for place in range(len(self.expected)):
            self.rescue(place, is_stale=False)
            self.give_up(place)
            if self.tried(moves.ring_again, self.fresh(place)):
                self.bells += 1

    @rule(place=places, is_stale=st.booleans())
    def rescue(self, place: int, is_stale: bool) -> None:
        request, expected = self.seen(place, is_stale)
        wins = (
            expected is not None
            and expected.status == Status.RUNNING
            and expected.lease_ends < self.now
            and request.epoch == expected.epoch
        )
        assert self.tried(moves.rescue, request) is wins
        if expected is None or not wins:
            return
        fenced = {"epoch": expected.epoch + 1, "crashes": expected.crashes + 1}
        expected.fail(**fenced) if expected.crashes + 1 >= config.MAX_CRASHES else expected.wait(**fenced)

    def give_up(self, place: int) -> None:
        request, expected = self.seen(place, is_stale=False)
        if expected is None or self.now - expected.requested_at < timedelta(seconds=config.MAX_WAIT):
            return
        assert self.tried(moves.give_up, request) is (expected.status == Status.QUEUED)
        if expected.status == Status.QUEUED:
            expected.fail()

    @rule(place=places, is_stale=st.booleans())
    def refuse(self, place: int, is_stale: bool) -> None:
        request, expected = self.seen(place, is_stale)
        wins = expected is not None and expected.status == Status.QUEUED and request.epoch == expected.epoch
        won = request is not None and moves.refuse(request, code="permission_lost", now=self.now)
        assert won is wins
        if expected is not None and wins:
            expected.fail(epoch=expected.epoch + 1)

    @rule()
    def collect(self) -> None:
        garbage = Artifact.objects.garbage(self.leeway_ends)
        self.deleted |= set(garbage.values_list("key", flat=True))
        garbage.update(state=Artifact.State.DELETED)

    # What always holds

    @invariant()
    def the_rows_are_what_the_table_says_and_nobody_comes_back_from_an_end(self) -> None:
        rows = {row["id"]: row for row in FileRequest.objects.values(*COMPARED)}
        assert rows.keys() == self.expected.keys()
        for pk, row in rows.items():
            self.check_row(row, self.expected[pk])
            self.check_step(self.rows.get(pk, row), row)
        self.rows = rows

    def check_row(self, row: dict[str, Any], expected: Expected) -> None:
        assert row["status"] == expected.status
        assert (row["epoch"], row["seq"]) == (expected.epoch, expected.seq)
        assert (row["attempts"], row["crashes"]) == (expected.attempts, expected.crashes)
        assert (row["lease_expires_at"], row["not_before"]) == (expected.lease_ends, expected.not_before)
        assert (row["filehandle"] or None, row["expires_at"]) == (expected.key, expected.expires_at)
        assert (row["rows_done"], row["description"]) == (expected.rows_done, expected.description)
        assert (row["finished_at"] is not None) is (row["status"] in AFTER_THE_END)
        assert (row["status"] == Status.RUNNING) is (row["lease_owner"] != "")

    def check_step(self, before: dict[str, Any], row: dict[str, Any]) -> None:
        """Without the help of the model: seq grows with every change, and nobody comes back from an end."""
        changed = {name for name, value in row.items() if before[name] != value}
        assert changed <= {"description"} or row["seq"] > before["seq"]
        assert row["status"] in AFTER_THE_END.get(before["status"], Status.values)

    @invariant()
    def at_most_one_claim_has_the_epoch_of_a_row_and_one_that_of_a_running_row(self) -> None:
        claims = [*self.working.values(), *self.zombies]
        for pk, expected in self.expected.items():
            holders = [claim for claim in claims if (claim.request_id, claim.epoch) == (pk, expected.epoch)]
            assert len(holders) <= 1
            assert expected.status != Status.RUNNING or holders

    @invariant()
    def a_ready_row_has_the_file_of_the_claim_that_published_it_and_one_published_artifact(self) -> None:
        published = Artifact.objects.filter(state=Artifact.State.PUBLISHED).values_list("request", "key")
        ready = [(pk, expected.key) for pk, expected in self.expected.items() if expected.status == Status.READY]
        assert sorted((pk, key) for pk, key in published if pk in dict(ready)) == sorted(ready)

    @invariant()
    def garbage_is_everything_that_nobody_needs_and_nothing_else(self) -> None:
        kept = {key for key in self.keys if self.is_needed(key)}
        garbage = set(Artifact.objects.garbage(self.leeway_ends).values_list("key", flat=True))
        assert garbage == self.keys.keys() - kept - self.deleted

    @invariant()
    def there_is_one_mail_for_each_end_that_has_one(self) -> None:
        mails = list(Notification.objects.values_list("request", "kind"))
        assert sorted(mails) == sorted((pk, kind) for pk, row in self.expected.items() for kind in row.mails)

    def teardown(self) -> None:
        """Once everybody behaves, every request comes to an end: nothing is lost."""
        for _ in range(2 * config.MAX_CRASHES):
            self.now += timedelta(seconds=config.LEASE + 60)
            self.sweep()
            while self.bells:
                self.working.pop(0, None)
                self.hear(0)
                if 0 in self.working:
                    self.end(0, "publish")
        assert all(expected.status in AFTER_THE_END for expected in self.expected.values())
        self.the_rows_are_what_the_table_says_and_nobody_comes_back_from_an_end()

    # What they see

    @property
    def leeway_ends(self) -> datetime:
        return self.now - timedelta(seconds=config.LEEWAY)

    def is_needed(self, key: str) -> bool:
        pk, epoch = self.keys[key]
        expected = self.expected.get(pk)
        if expected is None:
            return False
        if key == expected.key:
            is_in_leeway = expected.status == Status.EXPIRED and expected.expires_at >= self.leeway_ends
            return expected.status == Status.READY or is_in_leeway
        return expected.status == Status.RUNNING and expected.epoch == epoch

    def fresh(self, place: int) -> FileRequest | None:
        pks = list(self.expected)
        return FileRequest.objects.get(pk=pks[place]) if place < len(pks) else None

    def seen(self, place: int, is_stale: bool) -> tuple[Any, Expected | None]:
        """A row as somebody has it, and what the table says of it now: None where it is gone."""
        request = self.pages[place] if is_stale and place < len(self.pages) else self.fresh(place)
        return request, self.expected.get(request.pk) if request is not None else None

    def tried(self, move: Callable[..., bool], request: FileRequest | None) -> bool:
        return request is not None and move(request, now=self.now)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_no_order_of_moves_kills_and_clocks_lets_a_stale_write_land() -> None:
    run_state_machine_as_test(
        TheMoves,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
