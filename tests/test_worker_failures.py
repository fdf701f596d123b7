"""Runs that fail: error codes, retries, outages of the database, and what is left on the host."""

import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.db import connection, connections

from exports import storage
from exports.exceptions import LeaseLost, RetryableError, WorkerStopping
from exports.models import FileRequest, Notification, Status, transitions
from exports.worker import loop, runner, work_dir
from exports.worker.runner import Run
from tests.shop.requests import claimed, in_status, made, queued, row
from tests.shop.runs import (
    Events,
    Make,
    Scripted,
    claimed_now,
    configure,
    run_now,
    until,
    until_ended,
    work_folders,
    write,
)

SECRET = "row-4711-of-Ada"
pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


# What goes wrong


def raiser(error: Exception) -> Make:
    def make(run: Run) -> None:
        raise error

    return make


@pytest.mark.parametrize("error", [RetryableError("The source is down."), ConnectionResetError(), TimeoutError()])
def test_temporary_errors_are_retried_with_growing_delays(error: Exception, events: Events, settings: Any) -> None:
    configure(settings, MAX_ATTEMPTS=3, RETRY_DELAY_SECONDS=100)
    export, delays = queued(), []
    for attempt in (1, 2):
        export, _ = run_now(raiser(error), events, export)
        assert (export.status, export.attempts, export.error_code) == (Status.QUEUED, attempt, "unavailable")
        delays.append((export.not_before - export.progressed_at).total_seconds())
        FileRequest.objects.filter(pk=export.pk).update(not_before=None)

    export, _ = run_now(raiser(error), events, export)

    assert 50 <= delays[0] <= 150
    assert 100 <= delays[1] <= 300
    assert (export.status, export.attempts, export.error_code) == (Status.FAILED, 3, "unavailable")
    assert Notification.objects.get().kind == "failed"
    assert events.statuses == ["queued", "queued", "failed"]


@pytest.mark.parametrize(("attempts", "crashes", "factor"), [(14, 14, 1), (16, 14, 4), (1500, 14, 1024)])
def test_lost_workers_do_not_lengthen_delays_which_end_growing(
    events: Events, settings: Any, attempts: int, crashes: int, factor: int
) -> None:
    configure(settings, MAX_ATTEMPTS=2000, RETRY_DELAY_SECONDS=100)
    export = queued()
    FileRequest.objects.filter(pk=export.pk).update(attempts=attempts, crashes=crashes)
    export.refresh_from_db()

    export, _ = run_now(raiser(ConnectionResetError()), events, export)

    assert 50 * factor <= (export.not_before - export.progressed_at).total_seconds() <= 150 * factor


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), MemoryError(), RecursionError()])
def test_other_errors_fail_the_export_at_once(error: Exception, events: Events) -> None:
    export, _ = run_now(raiser(error), events)

    assert (export.status, export.attempts, export.error_code) == (Status.FAILED, 1, "export_failed")
    assert events.statuses == ["failed"]
    assert work_folders() == []


def write_to_a_full_disk(run: Run) -> None:
    run.path.symlink_to("/dev/full")
    with run.path.open("wb") as file:
        file.write(b"x" * 100_000)


@pytest.mark.parametrize(
    ("make", "changes", "code"),
    [
        (lambda run: None, {}, "no_file"),
        (write_to_a_full_disk, {}, "storage_full"),
        (until_ended, {"MAX_RUNTIME_SECONDS": 0.1}, "took_too_long"),
        (lambda run: until(lambda: run.begin(10) or run.check()), {"STALL_TIMEOUT_SECONDS": 0.1}, "stalled"),
    ],
)
def test_a_run_without_a_file_fails_with_its_reason(
    events: Events, settings: Any, make: Make, changes: dict[str, Any], code: str
) -> None:
    configure(settings, **changes)

    export, _ = run_now(make, events)

    assert (export.status, export.error_code) == (Status.FAILED, code)


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (errno.ENOSPC, "storage_full", Status.FAILED),
        (errno.EDQUOT, "storage_full", Status.FAILED),
        (errno.EIO, "storage_failed", Status.QUEUED),
    ],
)
def test_storage_errors_have_their_own_codes(
    number: int, code: str, status: str, events: Events, settings: Any
) -> None:
    class Failing(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise OSError(number, os.strerror(number), SECRET)

    configure(settings, STORAGE=Failing())

    export, _ = run_now(write(b"abc"), events)

    assert (export.status, export.error_code) == (status, code)


def test_a_file_that_is_stored_incompletely_is_not_published(events: Events, settings: Any) -> None:
    class Forgetful(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            return super()._save(name, ContentFile(content.read()[:-1], name))

    configure(settings, STORAGE=Forgetful())

    export, _ = run_now(write(b"abc"), events)

    assert (export.status, export.error_code) == (Status.QUEUED, "storage_failed")
    assert not export.filehandle


def test_counting_rows_may_take_longer_than_the_stall_timeout(events: Events, settings: Any) -> None:
    configure(settings, STALL_TIMEOUT_SECONDS=2.0, PROGRESS_INTERVAL_SECONDS=0.01)

    def make(run: Run) -> None:
        counted = time.monotonic() + 2.3
        until(lambda: run.check() or time.monotonic() > counted)
        run.begin(10)
        until(lambda: run.check() or (events and events[-1].phase == "writing"))
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


def test_slow_rows_do_not_count_as_stalled(events: Events, settings: Any) -> None:
    configure(settings, STALL_TIMEOUT_SECONDS=2.4)

    def make(run: Run) -> None:
        run.begin(10)
        for number in range(1, 5):
            run.advance(number)
            pause = time.monotonic() + 0.7
            until(lambda pause=pause: run.check() or time.monotonic() > pause)
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


def test_exception_messages_are_in_no_row_log_or_event(
    events: Events, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Talkative(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise OSError(errno.EIO, SECRET)

    for make in (raiser(ValueError(SECRET)), raiser(ConnectionError(SECRET)), write(b"abc")):
        run_now(make, events)
        configure(settings, STORAGE=Talkative())

    everything = [caplog.text, str(list(FileRequest.objects.values())), json.dumps(events.states)]
    assert not any(SECRET in text for text in everything)
    details = FileRequest.objects.values_list("error_detail", flat=True)
    assert any(detail.startswith("ValueError at tests/test_worker_failures.py:") for detail in details)


def test_an_event_that_cannot_be_published_does_not_end_the_run(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(export: FileRequest) -> None:
        events.send_state(export)
        raise RuntimeError(SECRET)

    def make(run: Run) -> None:
        run.begin(10)
        until(lambda: run.advance(run.progress.now.rows_done + 1) or len(events) > 2)
        run.path.write_bytes(b"abc")

    export, claim = claimed_now()
    runner.run(export, claim, Scripted(make), on_change=broken)

    assert row(export.pk)["status"] == Status.READY
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


# Outages of the database


@contextmanager
def sqlite_locked() -> Iterator[None]:
    """Hold the only write lock in another connection."""
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def end_all_postgres_connections() -> None:
    """End all connections, as a restart of the server does."""
    parameters = {**connection.get_connection_params(), "autocommit": True}
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def impatient() -> Iterator[None]:
    """Connections of new threads give up on a lock of SQLite quickly."""
    options = connections.settings["default"].get("OPTIONS", {})
    patience = options.get("timeout")
    if connection.vendor == "sqlite":
        options["timeout"] = 0.05
    yield
    if connection.vendor == "sqlite":
        options["timeout"] = patience


@pytest.mark.usefixtures("impatient")
def test_the_lease_keeper_survives_a_short_database_outage(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    def make(run: Run) -> None:
        run.begin(10)
        if connection.vendor == "sqlite":
            with sqlite_locked():
                until(lambda: "lease not renewed" in caplog.text)
        else:
            until(lambda: events)
            end_all_postgres_connections()
            connection.close()
            until(lambda: "lease not renewed" in caplog.text)
        run.advance(5)
        until(lambda: run.check() or (events and events[-1].rows_done == 5))
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a connection")
def test_a_finished_file_is_published_after_a_database_restart(events: Events) -> None:
    def make(run: Run) -> None:
        write(b"abc")(run)
        end_all_postgres_connections()

    assert run_now(make, events)[0].status == Status.READY


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a connection")
def test_a_query_that_the_database_aborted_is_retried(events: Events) -> None:
    def make(run: Run) -> None:
        end_all_postgres_connections()
        FileRequest.objects.count()

    export, _ = run_now(make, events)

    assert (export.status, export.error_code) == (Status.QUEUED, "unavailable")


# Work folders and claims


def test_sweeping_deletes_work_folders_of_attempts_that_ended() -> None:
    assert runner.sweep_work_dirs() == 0
    running, _ = claimed()
    names = [
        f"{running.pk}-{running.epoch}",
        f"{running.pk}-{running.epoch + 1}",
        f"{in_status(Status.READY).pk}-1",
        "0b6f1f6e-0000-4000-8000-000000000000-1",
        "another-folder",
        "0b6f1f6e-0000-4000-8000-000000000000-1x",
    ]
    for name in names:
        (work_dir.ensure_private() / name).mkdir()
        (work_dir.root() / name / "file.csv").write_bytes(b"abc")

    assert runner.sweep_work_dirs() == 3
    assert sorted(folder.name for folder in work_folders()) == sorted([names[0], names[4], names[5]])
    assert runner.sweep_work_dirs() == 0


def test_a_worker_that_looks_for_exports_deletes_what_killed_processes_of_its_host_left(db: None):
    left = work_dir.ensure_private() / f"{uuid4()}-1"
    left.mkdir()

    loop.WorkerLoop("large").run_due()

    assert not left.exists()


def test_every_transition_of_a_run_is_published(events: Events) -> None:
    export = queued()
    assert loop.claim_and_run(export, Scripted(write(b"abc")), on_change=events.send_state)
    assert not loop.claim_and_run(export, Scripted(write(b"abc")), on_change=events.send_state)

    assert (events.statuses[0], events.statuses[-1]) == ("running", "ready")
    assert events.states[0]["phase"] == "counting"


def test_a_run_whose_file_is_already_published_publishes_nothing(events: Events) -> None:
    def make(run: Run) -> None:
        write(b"abc")(run)
        assert transitions.publish(run.claim, made())

    export, _ = run_now(make, events)

    assert export.status == Status.READY
    assert events.statuses.count("ready") == 0


def test_the_reason_that_ends_a_run_is_raised_in_its_exporter() -> None:
    export, claim = claimed()
    stop = threading.Event()
    run = Run(export, claim, stop)
    run.check()

    stop.set()
    with pytest.raises(WorkerStopping):
        run.check()
    run.end(LeaseLost("moved"))
    with pytest.raises(LeaseLost):
        run.check()


def test_the_default_work_folder_is_in_the_temporary_folder(settings: Any) -> None:
    configure(settings, WORK_DIR="")

    assert work_dir.root().name == f"exports-work-{os.geteuid()}"


def test_files_on_the_same_disk_are_moved_and_not_copied(events: Events, folder: Path) -> None:
    inodes: list[int] = []

    def make(run: Run) -> None:
        write(b"abc")(run)
        inodes.append(run.path.stat().st_ino)

    export, _ = run_now(make, events)

    assert isinstance(storage.exports_storage(), FileSystemStorage)
    assert (folder / export.filehandle.name).stat().st_ino == inodes[0]
