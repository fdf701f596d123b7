"""The order of a queue and the positions in it: owners take turns, and the running quota is respected."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from exports import housekeeping, services
from exports.models import FileRequest, Status, scheduling, transitions
from exports.models.audit import SYSTEM
from exports.models.scheduling import estimated_wait, queue_position
from exports.models.transitions import Claim
from exports.worker.loop import WorkerLoop
from tests.office import people, rows
from tests.office.exports import LongExport, open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until
from tests.shop.requests import after, at_once, claimed, in_status, made, queued, row, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

QUEUE = "large"
TYPES = ["orders"]
SOON_SECONDS = 8.0


@pytest.fixture
def only_with_row_locks() -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("SQLite has one writer at a time.")


def limited(name: str, seconds: float = 0, **columns: Any) -> FileRequest:
    return queued(requester=user(name), requested_at=after(seconds), counts_toward_quota=True, **columns)


def take(export: FileRequest, *, now: Any = None) -> Claim:
    claim = transitions.claim(export, owner="host:1:1", extension="csv", now=now)
    assert claim is not None
    return claim


def claim_next(*, now: Any = None) -> tuple[FileRequest, Claim] | None:
    """Claim what the next free worker of the queue claims."""
    attempt = transitions.Attempt("csv", None)
    return transitions.claim_first(QUEUE, TYPES, owner="host:1:1", attempt=lambda export: attempt, now=now)


def claimed_next(*, now: Any = None) -> tuple[FileRequest, Claim]:
    claimed = claim_next(now=now)
    assert claimed is not None
    return claimed


# Turns


def test_owners_take_turns_with_one_worker() -> None:
    for name, seconds in [("ada", 0), ("ada", 1), ("ada", 2), ("bob", 10), ("bob", 11), ("eve", 20)]:
        limited(name, seconds)

    order = []
    for moment in range(6):
        export, claim = claimed_next(now=after(100 + moment))
        assert transitions.publish(claim, made(), now=after(100.5 + moment))
        order.append(export.requester.username)

    assert order == ["ada", "bob", "eve", "ada", "bob", "ada"]


def test_running_requests_of_another_queue_do_not_count() -> None:
    take(limited("ada", queue_name="small"), now=after(1))
    oldest = limited("ada", 2)
    limited("bob", 3)
    assert claimed_next()[0] == oldest


def test_other_queues_unknown_types_and_rows_not_due_are_passed_over() -> None:
    limited("ada", queue_name="small")
    limited("ada", file_type="unknown")
    transitions.retry_later(take(limited("ada")), delay=3600, code="", detail="")
    FileRequest.objects.create(file_type="orders", finished_at=after(0))
    assert claim_next() is None

    mine = limited("ada", 99)

    assert claimed_next()[0] == mine


def test_a_released_request_does_not_cost_its_owner_a_turn(settings: LazySettings) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    claim = take(limited("ada"), now=after(5))
    limited("bob", 1)
    assert transitions.release(claim, now=after(6))
    assert claimed_next()[0].requester.username == "ada"


def test_an_owner_who_made_no_requests_has_no_advance_over_the_others() -> None:
    for _ in range(3):
        transitions.publish(take(limited("ada")), made())
    of_ada, of_bob = limited("ada", 10), [limited("bob", 11 + number) for number in range(3)]
    assert [claimed_next()[0] for _ in range(3)] == [of_bob[0], of_ada, of_bob[1]]


def test_a_retried_request_gives_new_owners_no_advance() -> None:
    retried = take(limited("ada"), now=after(0))
    for number in range(1, 6):
        transitions.publish(take(limited("bob", number), now=after(number)), made())
    of_bob = limited("bob", 10)
    transitions.release(retried, now=after(11))
    take(FileRequest.objects.get(pk=retried.request_id), now=after(12))

    of_eve = [limited("eve", 20 + number) for number in range(3)]

    assert [claimed_next(now=after(30))[0] for _ in range(3)] == [of_eve[0], of_bob, of_eve[1]]


def test_requests_cancelled_before_they_began_do_not_cost_a_turn() -> None:
    for _ in range(5):
        transitions.cancel(limited("ada"))
    limited("bob"), limited("bob")
    of_ada = limited("ada", 20)
    claimed_next()
    assert claimed_next()[0] == of_ada


# The running quota


ENDS: list[Callable[[Claim], bool]] = [
    lambda claim: transitions.publish(claim, made()),
    lambda claim: transitions.fail(claim, code="stalled", detail=""),
    lambda claim: transitions.cancel(FileRequest.objects.get(pk=claim.request_id)),
]


@pytest.mark.parametrize("end", ENDS)
def test_an_owner_at_the_running_quota_is_passed_over_until_a_run_ends(
    settings: LazySettings, end: Callable[[Claim], bool]
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    first = take(limited("ada"))
    second = limited("ada", 1)
    other = limited("bob", 2)

    assert claimed_next()[0] == other
    assert claim_next() is None
    assert transitions.claim(second, owner="host:1:1", extension="csv") is None

    assert end(first)
    assert claimed_next()[0] == second


def test_a_worker_reads_the_requests_held_back_once(settings: LazySettings) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    take(limited("ada"))
    held_back = [limited("ada", 1 + number) for number in range(5)]
    other = [limited("bob", 100), limited("eve", 100)]

    assert {claimed_next()[0] for _ in other} == set(other)

    assert claim_next() is None
    assert set(FileRequest.objects.filter(is_held_back=True)) == set(held_back)


@pytest.mark.parametrize("correct", ["cancel", "delete", "no limit", "higher limit"])
def test_no_request_stays_held_back_for_ever(settings: LazySettings, correct: str) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    running = take(limited("ada"))
    held_back = limited("ada", 1)
    assert claim_next() is None
    if correct == "cancel":
        # The one that was let go when the run ended is not claimed, but cancelled.
        last = limited("ada", 2)
        FileRequest.objects.filter(pk=last.pk).update(is_held_back=True)
        transitions.publish(running, made())
        transitions.cancel(held_back)
        held_back = last
    elif correct == "delete":
        FileRequest.objects.filter(pk=running.request_id).delete()
    else:
        configure(settings, MAX_RUNNING_PER_USER=None if correct == "no limit" else 2)

    housekeeping.wake_again()

    assert claimed_next()[0] == held_back


@pytest.mark.parametrize("why", ["unknown type", "not due"])
def test_only_a_request_that_can_be_claimed_is_let_go(settings: LazySettings, why: str) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    running = take(limited("ada"))
    first = {"file_type": "unknown"} if why == "unknown type" else {"not_before": timezone.now() + timedelta(hours=1)}
    limited("ada", 1, **first)
    held_back = limited("ada", 2)
    assert claim_next() is None

    transitions.publish(running, made())

    assert claimed_next()[0] == held_back


@pytest.mark.parametrize("in_cron_mode", [False, True])
def test_housekeeping_lets_go_beside_a_request_that_no_worker_claims(
    settings: LazySettings, in_cron_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    limited("ada", file_type="unknown")
    limited("ada", 2, is_held_back=True)
    monkeypatch.setattr(WorkerLoop, "run_next", lambda loop: None)

    if in_cron_mode:
        housekeeping.process(housekeeping.Budget(), on_handled=lambda export: None)
    else:
        housekeeping.wake_again()

    assert not FileRequest.objects.filter(is_held_back=True).exists()


@pytest.mark.django_db(transaction=True)
def test_requests_cancelled_at_the_same_time_do_not_wait_for_each_other(
    settings: LazySettings, only_with_row_locks: None
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    held_back = [limited("ada", number, is_held_back=True) for number in range(8)]
    assert list(at_once(*[partial(transitions.cancel, each) for each in held_back])) == [True] * 8


@pytest.mark.django_db(transaction=True)
def test_a_claim_does_not_wait_for_a_transaction_that_cancels_several(
    settings: LazySettings, only_with_row_locks: None
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    first, second = limited("ada"), limited("ada", 1)
    is_written = threading.Event()

    def cancel_both() -> bool:
        with transaction.atomic():
            transitions.cancel(first)
            is_written.set()
            time.sleep(0.2)
            return transitions.cancel(second)

    def claim_meanwhile() -> Any:
        assert is_written.wait(5)
        return claim_next()

    assert list(at_once(cancel_both, claim_meanwhile)) == [True, None]


@pytest.mark.django_db(transaction=True)
def test_a_claim_during_the_end_of_a_run_is_not_held_back_after_it(
    settings: LazySettings, only_with_row_locks: None
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    running, waiting = take(limited("ada")), limited("ada", 1)
    is_written = threading.Event()

    def end() -> None:
        with transaction.atomic():
            transitions.publish(running, made())
            is_written.set()
            time.sleep(0.3)

    def claim_meanwhile() -> Any:
        assert is_written.wait(5)
        return claim_next()

    _, claimed = at_once(end, claim_meanwhile)
    assert (claimed or claimed_next())[0] == waiting


def test_a_cancel_wakes_a_worker_for_the_owners_next_request(
    settings: LazySettings, woken: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    running = limited("ada", file_type="orders")
    take(running)
    with django_capture_on_commit_callbacks(execute=True):
        services.cancel(running, SYSTEM)
    assert woken == [QUEUE]


def test_the_last_crash_wakes_a_worker_for_the_owners_next_request(settings: LazySettings, woken: list[str]) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1, MAX_CRASHES=1)
    take(limited("ada"), now=after(0))
    limited("ada", 1, woken_at=timezone.now())
    assert housekeeping.rescue() == 1
    assert woken == [QUEUE]


# Positions


@pytest.mark.parametrize("status", Status.values)
def test_only_a_waiting_request_has_a_position_in_its_queue(status: str) -> None:
    queued(queue_name="small")
    export = in_status(status, queue_name="large", requested_at=after(1))
    assert queue_position(export) == (1 if status == Status.QUEUED else None)
    FileRequest.objects.all().delete()
    assert queue_position(export) is None


@pytest.mark.parametrize("seed", range(24))
def test_positions_are_the_order_of_the_claims(settings: LazySettings, seed: int) -> None:
    chance = random.Random(seed)
    print("seed", seed)
    configure(settings, MAX_RUNNING_PER_USER=chance.choice([None, 1, 2]))
    names = ["ada", "bob", "eve", None][: chance.randint(1, 4)]
    running = fill(chance, names, chance.randint(0, 3))
    waiting = [request_of(chance, names) for _ in range(chance.randint(1, 12))]

    foreseen = {queue_position(each): each.pk for each in waiting}

    assert [foreseen[place + 1] for place in range(len(waiting))] == play(running)


def request_of(chance: random.Random, names: list[str | None]) -> FileRequest:
    name = chance.choice(names)
    owner = None if name is None else user(name)
    counts_toward_quota = owner is not None and chance.random() < 0.8
    return queued(requester=owner, requested_at=after(chance.randint(0, 9)), counts_toward_quota=counts_toward_quota)


def fill(chance: random.Random, names: list[str | None], count: int) -> list[Claim]:
    """Return the claims of running requests, the earliest first, within the running quota."""
    begun = [
        transitions.claim(request_of(chance, names), owner="a:1:1", extension="csv", now=after(20 + n))
        for n in range(count)
    ]
    FileRequest.objects.filter(status=Status.QUEUED).delete()
    return [claim for claim in begun if claim is not None]


def play(running: list[Claim]) -> list[Any]:
    """Let workers run until nothing waits: the longest run ends, and the next request is claimed."""
    workers, taken = max(1, len(running)), []
    while FileRequest.objects.filter(status=Status.QUEUED).exists():
        if len(running) >= workers:
            assert transitions.publish(running.pop(0), made())
        while (claimed := claim_next(now=after(100 + len(taken)))) is None:
            assert transitions.publish(running.pop(0), made())
        running.append(claimed[1])
        taken.append(claimed[0].pk)
    return taken


def test_requests_not_due_come_behind_the_others() -> None:
    later = limited("ada", 0)
    assert transitions.retry_later(take(later), delay=10_000, code="", detail="")
    due = limited("ada", 5)
    later.refresh_from_db()
    assert (queue_position(due), queue_position(later)) == (1, 2)


def test_behind_the_last_place_all_requests_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "MAX_PLACE", 3)
    waiting = [limited("ada", number) for number in range(6)]
    assert [queue_position(each) for each in waiting] == [1, 2, 3, 4, 4, 4]


# Real workers


@pytest.fixture
def office(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> Iterator[Callable[..., "Long"]]:
    """Return a function that starts long exports. Leases are short, and no housekeeping runs."""
    configure(settings, LEASE_SECONDS=10.0, HEARTBEAT_SECONDS=0.5, PROGRESS_INTERVAL_SECONDS=0.1)
    configure(settings, WORK_DIR=str(tmp_path / "work"))
    with open_office():
        yield partial(Long, tmp_path)


class Long:
    """A request for an export that runs until `let_go` is called."""

    def __init__(self, folder: Path, owner: User, name: str, *, queue_name: str = "small") -> None:
        self.until = folder / f"{name}.until"
        criteria = {"until": str(self.until), "log": str(folder / f"{name}.log")}
        previous, LongExport.queue_name = LongExport.queue_name, queue_name
        self.request, _ = services.request_export(owner, "long", criteria)
        LongExport.queue_name = previous

    def let_go(self) -> None:
        self.until.touch()

    @property
    def status(self) -> str:
        return row(self.request.pk)["status"]

    def wait_for(self, status: str) -> None:
        wait_until(lambda: self.status == status, seconds=SOON_SECONDS, describe=lambda: f"{self.status}, not {status}")


@pytest.mark.django_db(transaction=True)
def test_two_workers_keep_the_running_quota_and_continue_after_an_end(
    office: Callable[..., Long], settings: LazySettings
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    ada, bob = people.user("ada"), people.user("bob")
    with Worker(), Worker():
        first = office(ada, "first")
        first.wait_for(Status.RUNNING)
        second, other = office(ada, "second"), office(bob, "other")
        other.wait_for(Status.RUNNING)
        assert second.status == Status.QUEUED

        first.let_go()
        second.wait_for(Status.RUNNING)
        assert first.status == Status.READY

        third = office(ada, "third")
        services.cancel(second.request, SYSTEM)
        third.wait_for(Status.RUNNING)
        for each in (second, third, other):
            each.let_go()
        third.wait_for(Status.READY)


@pytest.mark.django_db(transaction=True)
def test_a_large_export_does_not_delay_a_small_one(office: Callable[..., Long]) -> None:
    ada = people.user("ada")
    with Worker("large"), Worker("small"):
        larges = [office(ada, f"large {number}", queue_name="large") for number in range(3)]
        larges[0].wait_for(Status.RUNNING)

        small, _ = services.request_export(ada, "report", {"month": 4}, format="csv")
        wait_until(lambda: rows.fresh(small).status == Status.READY, seconds=SOON_SECONDS)

        assert [each.status for each in larges] == ["running", "queued", "queued"]
        for each in larges:
            each.let_go()
        larges[-1].wait_for(Status.READY)
        assert timezone.now() - rows.fresh(small).requested_at < timedelta(minutes=1)


def test_the_wait_is_estimated_from_the_last_files_of_the_queue():
    export = queued(requested_at=after(100))
    assert estimated_wait(export, 2) is None
    for seconds in (10, 20, 30):
        _, claim = claimed(requester=user("grace"), requested_at=after(0), now=after(0))
        assert transitions.publish(claim, made(filename=f"{seconds}.csv"), now=after(seconds))
    assert estimated_wait(export, 2) == 40.0
