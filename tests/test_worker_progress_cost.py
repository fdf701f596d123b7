"""What reporting progress costs: statements and events, and that they are no more than the settings say."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext

from exports.models import FileRequest, Status, transitions
from exports.worker import runner
from exports.worker.lease import Clock
from exports.worker.runner import Run
from tests.shop.requests import row
from tests.shop.runs import (
    Events,
    Scripted,
    claimed_now,
    configure,
    run_now,
    until_ended,
)

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


class Lockstep(Clock):
    """A clock that the run moves; the lease keeper looks exactly when it would, and the run waits until it has."""

    def __init__(self) -> None:
        self._now = 0.0
        self._wakes_at: float | None = None
        self._turn = threading.Condition()

    def now(self) -> float:
        return self._now

    def wait(self, finished: threading.Event, seconds: float) -> bool:
        """Called by the lease keeper."""
        with self._turn:
            wakes_at = self._wakes_at = self._now + seconds
            self._turn.notify_all()
            while self._now < wakes_at and not finished.is_set():
                self._turn.wait(0.01)
            self._wakes_at = None
        return finished.is_set()

    def advance(self, seconds: float) -> None:
        """Called by the run."""
        end = self._now + seconds
        with self._turn:
            while True:
                self._turn.wait_for(lambda: self._wakes_at is not None and self._wakes_at > self._now)
                self._now = min(end, self._wakes_at)
                if self._now < self._wakes_at:
                    return
                self._turn.notify_all()

    def leap(self, seconds: float) -> None:
        """Move the clock without waiting for the lease keeper."""
        self._now += seconds


@pytest.fixture
def updates() -> Iterator[list[str]]:
    """The names of the threads that updated an export, on any connection."""
    found: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        # The end of a run is one statement with others.
        if 'UPDATE "exports_filerequest"' in sql:
            found.append(threading.current_thread().name)
        return execute(sql, *rest)

    def watch(connection: Any, **kwargs: Any) -> None:
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    with connection.execute_wrapper(note):
        yield found
    connection_created.disconnect(watch)


@pytest.mark.parametrize(("batch_seconds", "most"), [(0.01, 8), (0.05, 40), (1.0, 200)])
def test_progress_is_written_and_published_four_times_a_second_at_most(
    events: Events, settings: Any, updates: list[str], batch_seconds: float, most: int
) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25, HEARTBEAT_SECONDS=15, MAX_RUNNING_PER_USER=None)
    clock = Lockstep()

    def make(run: Run) -> None:
        run.begin(200_000)
        for number in range(1, 201):
            clock.advance(batch_seconds)
            run.advance(1000 * number)
        run.path.write_bytes(b"abc")

    export, claim = claimed_now()
    updates.clear()
    runner.run(export, claim, Scripted(make), on_change=events.send_state, clock=clock)

    renewals = [name for name in updates if name.startswith("exports-lease")]
    assert most * 0.9 <= len(renewals) <= most
    # One more UPDATE publishes the file, and each is published once.
    assert len(updates) == len(events) == len(renewals) + 1
    assert events.statuses[-1] == "ready"
    assert events.of("rows_done")[:-1] == sorted(events.of("rows_done")[:-1])


def write_for(seconds: float, run: Run, clock: Lockstep) -> None:
    """A batch of five rows each quarter of a second."""
    run.begin(200)
    for _ in range(round(4 * seconds)):
        clock.advance(0.25)
        run.advance(run.progress.now.rows_done + 5)


def test_published_progress_equals_the_row(settings: Any) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25, HEARTBEAT_SECONDS=3)
    clock = Lockstep()
    published: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []

    def on_change(export: FileRequest) -> None:
        written.append(row(export.pk))
        published.append({name: getattr(export, name) for name in written[-1]})

    def make(run: Run) -> None:
        write_for(2.5, run, clock)
        # Another renewal: what the lease keeper knows of the row is outdated.
        assert transitions.renew_lease(run.claim, run.progress.now, began_phase=False, progressed=True)
        write_for(2.5, run, clock)
        clock.advance(4)
        write_for(5, run, clock)
        run.finishing(1, 2)
        clock.advance(1)
        run.finishing(2, 2)
        clock.advance(1)
        run.path.write_bytes(b"abc")

    export, claim = claimed_now()
    runner.run(export, claim, Scripted(make), on_change=on_change, clock=clock)

    phases = [each["phase"] for each in published]
    assert len(published) > 40
    assert set(phases) >= {"writing", "finishing", "done"}
    for said, is_there in zip(published, written, strict=True):
        assert said | {"lease_expires_at": None} == is_there | {"lease_expires_at": None}
    assert [each["seq"] for each in published] == sorted({each["seq"] for each in published})


def test_other_changes_of_the_row_are_published_after_a_heartbeat(settings: Any) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25, HEARTBEAT_SECONDS=3)
    clock = Lockstep()
    published: list[tuple[float, str]] = []

    def on_change(export: FileRequest) -> None:
        published.append((clock.now(), export.description))

    def make(run: Run) -> None:
        write_for(2.5, run, clock)
        FileRequest.objects.update(description="renamed")
        write_for(7.5, run, clock)
        run.path.write_bytes(b"abc")

    export, claim = claimed_now()
    runner.run(export, claim, Scripted(make), on_change=on_change, clock=clock)

    assert min(moment for moment, title in published if title == "renamed") <= 2.5 + 3.25


def test_most_lease_renewals_are_one_statement(settings: Any, events: Events) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25, HEARTBEAT_SECONDS=15)
    clock = Lockstep()
    statements: list[str] = []

    def count(execute: Callable, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql.split()[0])
        return execute(sql, params, many, context)

    def watch(connection: Any, **kwargs: Any) -> None:
        if threading.current_thread().name.startswith("exports-lease"):
            connection.execute_wrappers.append(count)

    def make(run: Run) -> None:
        write_for(10, run, clock)
        run.path.write_bytes(b"abc")

    connection_created.connect(watch)
    try:
        export, claim = claimed_now()
        runner.run(export, claim, Scripted(make), on_change=events.send_state, clock=clock)
    finally:
        connection_created.disconnect(watch)

    assert statements.count("UPDATE") >= 35
    assert statements.count("SELECT") <= 3


def test_reporting_a_batch_needs_no_query(events: Events, updates: list[str]) -> None:
    def make(run: Run) -> None:
        with CaptureQueriesContext(connection) as queries:
            run.begin(200)
            for number in range(200):
                run.advance(number)
        assert len(queries) == 0
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


def test_a_write_that_failed_the_guard_is_not_published(events: Events, settings: Any) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25)
    clock = Lockstep()

    def make(run: Run) -> None:
        transitions.cancel(FileRequest.objects.get(pk=run.export.pk))
        run.begin(10)
        clock.leap(0.3)
        until_ended(run)

    export, _ = run_now(make, events, clock=clock)

    assert export.status == Status.CANCELLED
    assert list(events) == []
