"""One run from its claim to its published file: progress, lease, fencing, stopping."""

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage

from exports import housekeeping, services, storage
from exports.exceptions import LeaseLost
from exports.models import Artifact, FileRequest, Status, transitions
from exports.models.audit import SYSTEM
from exports.worker import runner
from exports.worker.runner import Run
from tests.shop.requests import NOON, row, stored
from tests.shop.runs import (
    Events,
    Scripted,
    claimed_now,
    configure,
    has_ended,
    run_now,
    stored_files,
    until,
    until_ended,
    work_folders,
    write,
)

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


# Files


@pytest.mark.parametrize("content", [b"0123456789" * 300_000, b""], ids=["large", "empty"])
def test_the_file_is_stored_whole_and_described_on_the_row(events: Events, content: bytes) -> None:
    export, claim = run_now(write(content), events)

    assert export.status == Status.READY
    with storage.open_file(export.filehandle.name) as file:
        assert file.read() == content
    assert export.filehandle.name == claim.key
    assert (export.size, export.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (export.filename, export.content_type) == ("orders.csv", "text/csv")
    assert export.receipt == {"rows_asked": 3, "rows": 3, "sha256": export.sha256}
    assert events.statuses[-1] == "ready"
    assert work_folders() == []


def test_a_storage_without_paths_gets_the_same_bytes(events: Events, settings: Any) -> None:
    memory = InMemoryStorage()
    configure(settings, STORAGE=memory)
    content = os.urandom(300_000)

    export, _ = run_now(write(content), events)

    assert memory.open(export.filehandle.name).read() == content


def test_the_work_folder_is_private_to_the_attempt(events: Events) -> None:
    def make(run: Run) -> None:
        assert run.path.parent == run.work_dir
        assert run.work_dir.name == f"{run.export.pk}-{run.claim.epoch}"
        assert run.work_dir.stat().st_mode & 0o777 == 0o700
        write(b"abc")(run)

    assert run_now(make, events)[0].status == Status.READY


# Progress


def test_progress_is_published_at_most_four_times_a_second_and_never_falls(events: Events, settings: Any) -> None:
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.25)

    def make(run: Run) -> None:
        run.begin(1000)
        until(lambda: run.advance(run.progress.now.rows_done + 1) or len(events) >= 4)
        run.path.write_bytes(b"abc")

    export, _ = run_now(make, events)

    gaps = [after - before for before, after in zip(events.times, events.times[1:-1], strict=False)]
    assert min(gaps) >= 0.24
    assert events.of("rows_done")[:4] == sorted(events.of("rows_done")[:4])
    assert events.of("fraction") == sorted(events.of("fraction"))
    assert [state["seq"] for state in events.states] == sorted({state["seq"] for state in events.states})
    assert events.of("fraction")[-1] == 1.0
    assert export.seq == events.states[-1]["seq"]


def test_the_phases_come_in_order_with_speed_and_time_left(events: Events) -> None:
    def seen(phase: str) -> Callable[[], bool]:
        return lambda: bool(events) and events[-1].phase == phase

    def make(run: Run) -> None:
        run.begin(10**6)
        until(seen("writing"))
        run.advance(50)
        until(lambda: events[-1].rows_done == 50)
        run.finishing(10, 90)
        until(seen("finishing"))
        run.path.write_bytes(b"abc")

    run_now(make, events)

    phases = [state["phase"] for state in events.states]
    assert sorted(set(phases), key=phases.index) in (
        ["writing", "finishing", "done"],
        ["writing", "finishing", "storing", "done"],
    )
    half = next(state for state in events.states if state["progress"]["rows_done"] == 50)
    assert half["progress"]["rows_per_second"] > 0
    assert half["progress"]["eta_seconds"] > 0
    assert half["attempt"] == 1


def test_without_a_total_there_is_no_fraction(events: Events) -> None:
    def make(run: Run) -> None:
        run.begin(None)
        run.advance(5)
        until(lambda: events and events[-1].rows_done == 5)
        run.path.write_bytes(b"abc")

    run_now(make, events)

    assert {state["progress"]["fraction"] for state in events.states if state["phase"] == "writing"} == {None}
    assert events.of("fraction")[-1] == 1.0


# Leases


def test_the_lease_is_renewed_while_one_batch_takes_long(events: Events) -> None:
    def make(run: Run) -> None:
        ends = set[Any]()
        until(lambda: ends.add(row(run.export.pk)["lease_expires_at"]) or len(ends) >= 4)
        write(b"abc")(run)

    assert run_now(make, events)[0].status == Status.READY


def test_a_cancel_in_the_middle_stops_the_run_and_leaves_no_file(events: Events, folder: Path) -> None:
    stopped: list[BaseException] = []

    def make(run: Run) -> None:
        run.begin(None)
        run.path.write_bytes(b"half a file")
        until(lambda: events)
        services.cancel(FileRequest.objects.get(pk=run.export.pk), SYSTEM)
        said.append(len(events))
        try:
            until_ended(run)
        except LeaseLost as error:
            stopped.append(error)
            raise

    said: list[int] = []
    export, claim = run_now(make, events)

    assert len(stopped) == 1
    assert export.status == Status.CANCELLED
    assert not export.filehandle
    assert len(events) == said[0]
    assert work_folders() == []
    assert stored_files(folder) == []
    assert set(Artifact.objects.deletable(NOON).values_list("key", flat=True)) == {claim.key}


def test_no_batch_is_written_after_the_lease_keeper_sees_a_cancel(events: Events) -> None:
    def make(run: Run) -> None:
        transitions.cancel(run.export)
        until(lambda: has_ended(run))
        with pytest.raises(LeaseLost):
            run.advance(1)
        run.check()

    assert run_now(make, events)[0].rows_done == 0


def test_a_run_that_lost_its_lease_stops_and_publishes_nothing(events: Events) -> None:
    def make(run: Run) -> None:
        FileRequest.objects.filter(pk=run.export.pk).update(lease_expires_at=stored(datetime(2026, 1, 1, tzinfo=UTC)))
        assert transitions.rescue(FileRequest.objects.get(pk=run.export.pk))
        events.clear()
        until_ended(run)

    export, _ = run_now(make, events)

    assert (export.status, export.crashes) == (Status.QUEUED, 1)
    assert export.rows_done == 0
    assert list(events) == []


def test_a_fenced_run_that_finishes_changes_nothing_and_its_file_is_deleted(events: Events, settings: Any) -> None:
    configure(settings, HEARTBEAT_SECONDS=60, PROGRESS_INTERVAL_SECONDS=60)
    before: list[dict[str, Any]] = []

    def make(run: Run) -> None:
        write(b"of a zombie")(run)
        FileRequest.objects.filter(pk=run.export.pk).update(lease_expires_at=stored(datetime(2026, 1, 1, tzinfo=UTC)))
        assert transitions.rescue(FileRequest.objects.get(pk=run.export.pk))
        before.append(row(run.export.pk))

    export, claim = run_now(make, events)

    assert row(export.pk) == before[0]
    assert list(events) == []
    assert storage.exports_storage().exists(claim.key)
    assert housekeeping.delete_files() == 1
    assert not storage.exports_storage().exists(claim.key)


def test_deleting_the_export_ends_its_run(events: Events, folder: Path) -> None:
    def make(run: Run) -> None:
        FileRequest.objects.all().delete()
        until_ended(run)

    export, claim = claimed_now()
    runner.run(export, claim, Scripted(make), on_change=events.send_state)

    assert not FileRequest.objects.exists()
    assert list(events) == []
    assert stored_files(folder) == []


# Stopping


def test_a_stopped_worker_releases_the_lease_and_the_attempt(events: Events) -> None:
    stop = threading.Event()

    def make(run: Run) -> None:
        run.begin(10)
        run.advance(1)
        stop.set()
        until_ended(run)

    export, _ = run_now(make, events, stop=stop)

    assert (export.status, export.attempts, export.crashes) == (Status.QUEUED, 0, 0)
    assert (export.lease_owner, export.lease_expires_at, export.not_before) == ("", None, None)
    assert events.statuses[-1] == "queued"
    assert work_folders() == []


def test_a_worker_stopped_while_it_stores_releases_the_export(events: Events, settings: Any) -> None:
    stop = threading.Event()

    class Slow(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            stop.set()
            return super()._save(name, content)

    configure(settings, STORAGE=Slow())

    export, _ = run_now(write(b"abc"), events, stop=stop)

    assert (export.status, export.attempts) == (Status.QUEUED, 0)
    assert not export.filehandle


def test_a_worker_that_is_stopping_leaves_the_export_to_the_next_one(events: Events) -> None:
    stop = threading.Event()
    stop.set()

    export, _ = run_now(lambda run: pytest.fail("It began."), events, stop=stop)
    assert (export.status, export.attempts) == (Status.QUEUED, 0)
    export, _ = run_now(write(b"second"), events, export)

    assert (export.status, export.attempts) == (Status.READY, 1)


@pytest.mark.parametrize(("stops", "status", "code"), [(False, "failed", "stalled"), (True, "queued", "")])
def test_a_run_that_hangs_is_abandoned_and_fenced(
    events: Events, settings: Any, caplog: pytest.LogCaptureFixture, stops: bool, status: str, code: str
) -> None:
    configure(settings, STALL_TIMEOUT_SECONDS=60 if stops else 0.1, SHUTDOWN_GRACE_SECONDS=0.1)
    caplog.set_level(logging.INFO, "exports.audit")
    stop = threading.Event()

    def make(run: Run) -> None:
        run.begin(10)
        if stops:
            stop.set()
        until(lambda: row(run.export.pk)["status"] == status)
        run.path.write_bytes(b"too late")

    export, _ = run_now(make, events, stop=stop)

    assert (export.status, export.error_code, export.attempts) == (status, code, 0 if stops else 1)
    assert not export.filehandle
    until(lambda: events.statuses[-1:] == [status])
    *_, ended = [record.fields for record in caplog.records if record.name == "exports.audit"]
    assert (ended["event"], ended["code"]) == ("export.requeue" if stops else "export.fail", code)
