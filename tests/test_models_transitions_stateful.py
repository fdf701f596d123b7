"""Transitions in any order, by workers that die and come back, compared with a model of the transition table.

Hypothesis chooses the order, shrinks a failure and prints a blob that repeats it.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_state_machine

from exports.conf import config
from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.models.progress import Snapshot
from exports.models.transitions import Claim
from tests.shop.requests import NOON, made
from tests.shop.table import AFTER_THE_END, COMPARED, Expected, check_row, check_step

WORKERS = (0, 1)
MAX_REQUESTS = 6
MAX_PAGES = 6

DELETED = "deleted"
ENDS = ("publish", "release", "retry_later", "fail")

numbers = st.integers(min_value=0, max_value=MAX_PAGES - 1)
half_a_lease, longer = config.LEASE_SECONDS / 2, (config.FILE_DELETE_DELAY_SECONDS, config.RETENTION_SECONDS)
seconds = st.sampled_from([0.1, 1, half_a_lease, *(each + 1 for each in (config.LEASE_SECONDS, *longer))])


class Transitions(RuleBasedStateMachine):
    """Two workers, housekeeping and users, all of whom may act on rows that they loaded earlier."""

    def __init__(self) -> None:
        super().__init__()
        for model in (Artifact, FileRequest):
            model.objects.all().delete()
        self.now = NOON
        self.asked = 0
        self.wakes = 0
        self.expected: dict[UUID, Expected] = {}
        self.pages: list[FileRequest] = []
        self.working: dict[int, Claim] = {}
        self.lost_claims: list[Claim] = []
        self.deleted: set[str] = set()
        self.keys: dict[str, tuple[UUID, int]] = {}
        self.rows: dict[UUID, dict[str, Any]] = {}

    # Users

    @initialize()
    def begin(self) -> None:
        self.request_export()

    @precondition(lambda self: len(self.expected) < MAX_REQUESTS and len(self.open) < 2)
    @rule()
    def request_export(self) -> None:
        # With random ids, the order of requests of the same time could not be repeated.
        self.asked += 1
        _, is_new = transitions.enqueue(FileRequest(pk=UUID(int=self.asked), file_type="orders", requested_at=self.now))
        assert is_new
        export = FileRequest.objects.get(pk=UUID(int=self.asked))
        self.expected[export.pk] = Expected(self.now)
        self.keep_page(export)
        self.wakes += 1

    @rule(number=numbers)
    def load_a_page(self, number: int) -> None:
        """Load a row, to act on it later."""
        self.keep_page(self.fresh(number))

    @rule(number=numbers, is_stale=st.booleans(), action=st.sampled_from(["cancel", "expire", "revoke"]))
    def a_user_acts(self, number: int, is_stale: bool, action: str) -> None:
        """Act as the owner or as staff, on a fresh or on an old row."""
        export, expected = self.seen(number, is_stale)
        getattr(self, action)(export, expected)

    def cancel(self, export: FileRequest, expected: Expected) -> None:
        wins = expected.status in (Status.QUEUED, Status.RUNNING)
        assert transitions.cancel(export, now=self.now) is wins
        if wins:
            expected.move(Status.CANCELLED, epoch=expected.epoch + 1, lease_ends=None)

    def expire(self, export: FileRequest, expected: Expected) -> None:
        wins = expected.status == Status.READY and export.epoch == expected.epoch
        assert transitions.expire(export, now=self.now) is wins
        if wins:
            ends = min(expected.expires_at or self.now, self.now)
            expected.move(Status.EXPIRED, epoch=expected.epoch + 1, expires_at=ends)

    def revoke(self, export: FileRequest, expected: Expected) -> None:
        wins = expected.status == Status.READY
        assert transitions.revoke_links(export) is wins
        if wins:
            expected.move(Status.READY, epoch=expected.epoch + 1)

    @rule(number=numbers, words=st.sampled_from(["Ada's", "Bob's"]))
    def rename(self, number: int, words: str) -> None:
        """Call save() of an instance that may be older than any number of transitions."""
        export, expected = self.seen(number, is_stale=True)
        if expected.status != DELETED and export.description != words:
            export.description = words
            export.save()
            expected.description = words

    @precondition(lambda self: len(self.expected) > 2)
    @rule(number=numbers)
    def delete(self, number: int) -> None:
        export = self.fresh(number)
        del self.expected[export.pk]
        export.delete()

    # Waking

    @precondition(lambda self: self.wakes)
    @rule(more=st.sampled_from([-1, 1]))
    def lose_or_double_a_wake(self, more: int) -> None:
        self.wakes += more

    @precondition(lambda self: self.wakes and self.idle)
    @rule()
    def wake(self) -> None:
        """Let a free worker claim what is due, whatever it was woken for."""
        self.wakes -= 1
        due = FileRequest.objects.due(self.now).in_turn().first()
        if due is not None:
            self.take(self.idle[0], due)

    @precondition(lambda self: self.idle)
    @rule(number=numbers)
    def claim_what_was_seen(self, number: int) -> None:
        """Claim a row that may have changed since it was loaded."""
        self.take(self.idle[0], self.seen(number, is_stale=True)[0])

    def take(self, worker: int, export: FileRequest) -> None:
        expected = self.known(export.pk)
        wins = expected.is_due(self.now) and export.epoch == expected.epoch
        claim = transitions.claim(export, owner=f"worker {worker}", extension="csv", now=self.now)
        assert (claim is not None) is wins
        if claim is None:
            return
        assert claim.key not in self.keys
        lease_ends = self.now + timedelta(seconds=config.LEASE_SECONDS)
        attempts = expected.attempts + 1
        expected.move(Status.RUNNING, epoch=expected.epoch + 1, attempts=attempts, lease_ends=lease_ends, rows_done=0)
        self.keys[claim.key] = (export.pk, claim.epoch)
        self.working[worker] = claim
        self.keep_page(FileRequest.objects.get(pk=export.pk))

    # Workers, with a lease or after losing it

    @precondition(lambda self: self.working)
    @rule(number=numbers)
    def kill(self, number: int) -> None:
        """Let a worker stop without writing anything. It may come back."""
        self.lost_claims.append(self.working.pop(self.busy(number)))

    @precondition(lambda self: self.working)
    @rule(number=numbers, is_taken=st.booleans())
    def hang_too_long(self, number: int, is_taken: bool) -> None:
        """Let a lease expire and the request be rescued; perhaps another worker has it already."""
        self.kill(number)
        self.now += timedelta(seconds=config.LEASE_SECONDS + 1)
        self.sweep()
        if is_taken and self.wakes:
            self.wake()

    @precondition(lambda self: self.working)
    @rule(number=numbers, rows=st.integers(0, 9))
    def renew(self, number: int, rows: int) -> None:
        worker = self.busy(number)
        if not self.write_renewal(self.working[worker], rows):
            del self.working[worker]

    @precondition(lambda self: self.working)
    @rule(number=numbers, end=st.sampled_from(ENDS))
    def end(self, number: int, end: str) -> None:
        self.write_end(self.working.pop(self.busy(number)), end)

    @precondition(lambda self: self.lost_claims)
    @rule(number=numbers, action=st.sampled_from(["renew", *ENDS]))
    def a_lost_worker_acts(self, number: int, action: str) -> None:
        claim = self.lost_claims[-1 - number % len(self.lost_claims)]
        self.write_renewal(claim, 5) if action == "renew" else self.write_end(claim, action)

    def write_renewal(self, claim: Claim, rows: int) -> bool:
        expected, wins = self.right_of(claim)
        progress = Snapshot("writing", rows, 9)
        won = transitions.renew_lease(claim, progress, began_phase=False, progressed=True, now=self.now) is not None
        assert won is wins
        if won:
            expected.move(Status.RUNNING, rows_done=rows, lease_ends=self.now + timedelta(seconds=config.LEASE_SECONDS))
        return won

    def write_end(self, claim: Claim, end: str) -> None:
        expected, wins = self.right_of(claim)
        actions: dict[str, Callable[[], bool]] = {
            "publish": lambda: transitions.publish(claim, made(rows=9), now=self.now),
            "release": lambda: transitions.release(claim, now=self.now),
            "retry_later": lambda: transitions.retry_later(claim, delay=5, code="unavailable", detail="", now=self.now),
            "fail": lambda: transitions.fail(claim, code="no_file", detail="", now=self.now),
        }
        assert actions[end]() is wins
        if wins:
            getattr(expected, end)(claim, self.now)

    def right_of(self, claim: Claim) -> tuple[Expected, bool]:
        expected = self.known(claim.request_id)
        return expected, expected.is_held_by(claim)

    # Housekeeping

    @rule(passed=seconds)
    def time_passes(self, passed: float) -> None:
        self.now += timedelta(seconds=passed)

    @rule()
    def sweep(self) -> None:
        for export in FileRequest.objects.exclude(status__in=AFTER_THE_END).order_by("pk"):
            self.rescue(export, self.expected[export.pk])
            self.time_out(export, self.expected[export.pk])
            if transitions.mark_woken([export.pk], now=self.now):
                self.wakes += 1

    @rule(number=numbers)
    def rescue_what_was_seen(self, number: int) -> None:
        """Rescue a row that was loaded earlier."""
        self.rescue(*self.seen(number, is_stale=True))

    def rescue(self, export: FileRequest, expected: Expected) -> None:
        is_abandoned = expected.lease_ends is not None and expected.lease_ends < self.now
        wins = is_abandoned and export.epoch == expected.epoch
        assert transitions.rescue(export, now=self.now) is wins
        if wins:
            is_last = expected.crashes + 1 >= config.MAX_CRASHES
            fenced = {"epoch": expected.epoch + 1, "crashes": expected.crashes + 1}
            expected.end_as_failed(**fenced) if is_last else expected.wait(**fenced)

    def time_out(self, export: FileRequest, expected: Expected) -> None:
        if self.now - expected.requested_at >= timedelta(seconds=config.QUEUE_TIMEOUT_SECONDS):
            wins = expected.status == Status.QUEUED and export.epoch == expected.epoch
            assert transitions.time_out(export, now=self.now) is wins
            if wins:
                expected.end_as_failed()

    @rule()
    def delete_files(self) -> None:
        """Delete exactly the files that nothing needs."""
        deletable = Artifact.objects.deletable(self.now - timedelta(seconds=config.FILE_DELETE_DELAY_SECONDS))
        keys = set(deletable.values_list("key", flat=True))
        assert keys == {key for key in self.keys.keys() - self.deleted if not self.is_file_needed(key)}
        Artifact.objects.filter(key__in=keys).update(state=Artifact.State.DELETED)
        self.deleted |= keys

    # Invariants

    @invariant()
    def rows_are_as_the_table_says_and_ends_are_final(self) -> None:
        rows = {row["id"]: row for row in FileRequest.objects.values(*COMPARED)}
        assert rows.keys() == self.expected.keys()
        for pk, row in rows.items():
            check_row(row, self.expected[pk])
            check_step(self.rows.get(pk, row), row)
        self.rows = rows

    @invariant()
    def a_running_row_has_exactly_one_claim_with_its_epoch(self) -> None:
        claims = [*self.working.values(), *self.lost_claims]
        for pk, expected in self.expected.items():
            holders = [claim for claim in claims if (claim.request_id, claim.epoch) == (pk, expected.epoch)]
            assert len(holders) <= 1
            assert expected.status != Status.RUNNING or holders

    @invariant()
    def a_ready_row_has_the_file_of_its_publishing_claim(self) -> None:
        published = Artifact.objects.filter(state=Artifact.State.PUBLISHED).values_list("request", "key")
        ready = [(pk, expected.key) for pk, expected in self.expected.items() if expected.status == Status.READY]
        assert sorted((pk, key) for pk, key in published if pk in dict(ready)) == sorted(ready)

    @invariant()
    def each_mailed_end_has_one_mail(self) -> None:
        mails = list(Notification.objects.values_list("request", "kind"))
        assert sorted(mails) == sorted((pk, kind) for pk, row in self.expected.items() for kind in row.mails)

    def teardown(self) -> None:
        """Check that each request ends once nothing fails any more."""
        for _ in range(2 * config.MAX_CRASHES):
            self.now += timedelta(seconds=config.LEASE_SECONDS + 60)
            self.sweep()
            while self.wakes:
                self.working.clear()
                self.wake()
                if self.working:
                    self.end(0, "publish")
        assert all(expected.status in AFTER_THE_END for expected in self.expected.values())
        self.rows_are_as_the_table_says_and_ends_are_final()
        self.delete_files()

    # Rows

    @property
    def open(self) -> list[Expected]:
        return [expected for expected in self.expected.values() if expected.status not in AFTER_THE_END]

    @property
    def idle(self) -> list[int]:
        return [worker for worker in WORKERS if worker not in self.working]

    def busy(self, number: int) -> int:
        return list(self.working)[number % len(self.working)]

    def keep_page(self, export: FileRequest) -> None:
        self.pages = [*self.pages[1 - MAX_PAGES :], export]

    def is_file_needed(self, key: str) -> bool:
        pk, epoch = self.keys[key]
        expected = self.known(pk)
        if key == expected.key:
            ends = (expected.expires_at or self.now) + timedelta(seconds=config.FILE_DELETE_DELAY_SECONDS)
            is_in_leeway = expected.status == Status.EXPIRED and ends >= self.now
            return expected.status == Status.READY or is_in_leeway
        return expected.status == Status.RUNNING and expected.epoch == epoch

    def fresh(self, number: int) -> FileRequest:
        """Load a row. 0 is the newest request, the likeliest to be active."""
        newest_first = list(reversed(self.expected))
        return FileRequest.objects.get(pk=newest_first[number % len(newest_first)])

    def seen(self, number: int, is_stale: bool) -> tuple[FileRequest, Expected]:
        """Return a row as it was loaded, and what the table says of it now."""
        export = self.pages[-1 - number % len(self.pages)] if is_stale else self.fresh(number)
        return export, self.known(export.pk)

    def known(self, pk: UUID) -> Expected:
        return self.expected.get(pk, Expected(NOON, status=DELETED))


@pytest.mark.both_databases
@pytest.mark.django_db
def test_no_order_of_transitions_and_crashes_lets_a_stale_write_win() -> None:
    profile = settings(
        max_examples=80, stateful_step_count=30, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    run_state_machine(Transitions, settings=profile)
