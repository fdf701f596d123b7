"""Whose turn it is: people take turns, who has enough running is passed over, a large export delays no small one."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.utils import timezone

from exports import housekeeping, services
from exports.models import FileRequest, Status, scheduling, transitions
from exports.models.scheduling import queue_position
from exports.models.transitions import Claim
from exports.worker import loop
from tests.office import people, rows
from tests.office.exports import LongExport, open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until
from tests.shop.exports import heard
from tests.shop.requests import after, made, queued, row, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

LANE = "large"
TYPES = ["orders"]
PROMPTLY = 8.0
ALL_CLAIMED = 10_000


@pytest.fixture
def bell(settings: LazySettings) -> Iterator[list[str]]:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue")
    heard.clear()
    yield heard
    heard.clear()


def limited(name: str, seconds: float = 0, **columns: Any) -> FileRequest:
    return queued(requester=user(name), requested_at=after(seconds), counts_toward_quota=True, **columns)


def take(request: FileRequest, *, now: Any = None) -> Claim:
    claim = transitions.claim(request, owner="host:1:1", extension="csv", now=now)
    assert claim is not None
    return claim


def next_one() -> FileRequest | None:
    return FileRequest.objects.next_due(LANE, TYPES)


# Turns


def test_people_take_turns_where_there_is_one_worker() -> None:
    for number in range(3):
        limited("ada", number)
    for number in range(2):
        limited("bob", 10 + number)
    limited("eve", 20)

    order = []
    for moment in range(6):
        request = next_one()
        assert request is not None
        assert transitions.publish(take(request, now=after(100 + moment)), made(), now=after(100.5 + moment))
        order.append(request.requester.username)

    assert order == ["ada", "bob", "eve", "ada", "bob", "ada"]


def test_who_has_fewer_running_comes_first_however_long_the_other_waits() -> None:
    take(limited("ada"), now=after(1))
    limited("ada", 2)
    newest = limited("bob", 3)

    assert next_one() == newest


def test_what_runs_in_another_lane_costs_nobody_their_turn() -> None:
    take(limited("ada", queue_name="small"), now=after(1))
    oldest = limited("ada", 2)
    limited("bob", 3)

    assert next_one() == oldest


def test_what_was_given_back_does_not_cost_its_owner_a_turn() -> None:
    claim = take(limited("ada"), now=after(5))
    limited("bob", 1)
    assert transitions.release(claim, now=after(6))

    assert next_one().requester.username == "ada"


# The running limit


def test_who_has_enough_running_is_passed_over_and_others_are_served(settings: LazySettings) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    first = take(limited("ada"))
    second = limited("ada", 1)
    other = limited("bob", 2)

    assert next_one() == other
    take(other)
    assert next_one() is None
    assert transitions.claim(second, owner="host:1:1", extension="csv") is None

    assert transitions.publish(first, made())
    assert next_one() == second
    take(second)


@pytest.mark.parametrize("end", [transitions.release, lambda claim: transitions.fail(claim, code="stalled", detail="")])
def test_whatever_ends_a_run_makes_room(settings: LazySettings, end: Callable[[Claim], bool]) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    claim = take(limited("ada"))
    limited("ada", 1)
    assert next_one() is None

    assert end(claim)

    assert next_one() is not None


def test_a_cancel_rings_for_what_its_owner_has_waiting(
    settings: LazySettings, bell: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    running = limited("ada", file_type="orders")
    take(running)

    with django_capture_on_commit_callbacks(execute=True):
        services.cancel(running)

    assert bell == [LANE]


def test_the_last_crash_rings_for_what_its_owner_has_waiting(settings: LazySettings, bell: list[str]) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1, MAX_CRASHES=1)
    take(limited("ada"), now=after(0))
    limited("ada", 1, woken_at=timezone.now())

    assert housekeeping.rescue() == 1

    assert bell == [LANE]


# Places


@pytest.mark.parametrize("seed", range(24))
def test_places_are_the_order_in_which_the_requests_are_taken(settings: LazySettings, seed: int) -> None:
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
    """Some that run, the one that began first in front; no more of one person than may."""
    begun = [
        transitions.claim(request_of(chance, names), owner="a:1:1", extension="csv", now=after(20 + n))
        for n in range(count)
    ]
    FileRequest.objects.filter(status=Status.QUEUED).delete()
    return [claim for claim in begun if claim is not None]


def play(running: list[Claim]) -> list[Any]:
    """Let the workers work: what runs longest ends, and what is next is taken, until nothing waits."""
    workers, taken = max(1, len(running)), []
    while FileRequest.objects.filter(status=Status.QUEUED).exists():
        if len(running) >= workers:
            assert transitions.publish(running.pop(0), made())
        while (request := next_one()) is None:
            assert transitions.publish(running.pop(0), made())
        running.append(take(request, now=after(100 + len(taken))))
        taken.append(request.pk)
    return taken


def test_what_is_not_due_yet_stands_behind_what_is() -> None:
    later = limited("ada", 0)
    assert transitions.retry_later(take(later), delay=ALL_CLAIMED, code="", detail="")
    due = limited("ada", 5)

    later.refresh_from_db()
    assert (queue_position(due), queue_position(later)) == (1, 2)


def test_far_behind_a_place_is_the_number_of_those_that_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "FORECAST_PLACES", 3)
    waiting = [limited("ada", number) for number in range(6)]

    assert [queue_position(each) for each in waiting] == [1, 2, 3, 4, 5, 6]


# Real workers


@pytest.fixture
def office(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> Iterator[Callable[..., "Long"]]:
    """Starts long exports; the lease is short and nobody keeps house."""
    pace = {
        "LEASE_SECONDS": 10.0,
        "HEARTBEAT_SECONDS": 0.5,
        "PROGRESS_INTERVAL_SECONDS": 0.1,
        "WORK_DIR": str(tmp_path / "work"),
    }
    configure(settings, **pace)
    with open_office():
        yield lambda owner, name, **columns: Long(owner, tmp_path, name, **columns)


class Long:
    """A request for an export that lasts until it is let go."""

    def __init__(self, owner: User, folder: Path, name: str, *, queue_name: str = "small") -> None:
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
        wait_until(lambda: self.status == status, seconds=PROMPTLY, describe=lambda: f"{self.status}, not {status}")


@pytest.mark.django_db(transaction=True)
def test_two_workers_pass_over_who_has_enough_and_take_it_up_as_soon_as_one_ends(
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
        services.cancel(second.request)
        third.wait_for(Status.RUNNING)
        for each in (second, third, other):
            each.let_go()
        third.wait_for(Status.READY)


@pytest.mark.django_db(transaction=True)
def test_a_large_export_delays_no_small_one_of_the_same_person(office: Callable[..., Long]) -> None:
    ada = people.user("ada")
    with Worker("large"), Worker("small"):
        larges = [office(ada, f"large {number}", queue_name="large") for number in range(3)]
        larges[0].wait_for(Status.RUNNING)

        small, _ = services.request_export(ada, "report", {"month": 4}, format="csv")
        wait_until(lambda: rows.fresh(small).status == Status.READY, seconds=PROMPTLY)

        assert [each.status for each in larges] == ["running", "queued", "queued"]
        for each in larges:
            each.let_go()
        larges[-1].wait_for(Status.READY)
        assert timezone.now() - rows.fresh(small).requested_at < timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_a_worker_of_this_process_goes_round_all_that_one_person_may_have_one_by_one(settings: LazySettings) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    requests = [limited("ada", number) for number in range(4)]

    assert loop.WorkerLoop(LANE).run_due() == 4
    assert {row(each.pk)["status"] for each in requests} == {"ready"}
