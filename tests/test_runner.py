"""One claimed request, from lease to publish: what is written, what is said, and what is left when something dies."""

import errno
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.db import connection, connections

from exports import housekeeping, runner, services, storage
from exports.exceptions import LostLease, Retryable, Stopping, StorageFailed
from exports.models import Artifact, FileRequest, Notification, Status, moves
from exports.models.moves import Claim
from exports.runner import Produced, Run
from exports.serializers import serialize
from tests.servers import wait_until
from tests.shop.requests import claimed, in_status, made, queued, row

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

Make = Callable[[Run], Any]
SECRET = "row-4711-of-Ada"
SECONDS = 20.0


class Scripted:
    """An exporter that does what a test tells it to do."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def extension(self, request: FileRequest) -> str:
        return "csv"

    def produce(self, run: Run) -> Produced:
        self.make(run)
        return Produced("orders.csv", "text/csv", run.progress.now.rows_done, {"rows_asked": 3})


class Events(list[FileRequest]):
    """What was published, as the pages would have got it, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[str, Any]] = []
        self.times: list[float] = []

    def publish(self, request: FileRequest) -> None:
        self.times.append(time.monotonic())
        self.states.append(serialize(request))
        self.append(request)

    @property
    def statuses(self) -> list[str]:
        return [state["status"] for state in self.states]

    def of(self, name: str) -> list[Any]:
        return [state["progress"][name] for state in self.states]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture(autouse=True)
def clean_storage(settings: Any, tmp_path: Path) -> Path:
    """A storage, a work folder and a clock of their own for every test: quick, but no quicker than the tests need."""
    configure(settings, HEARTBEAT=0.1, REPORT_INTERVAL=0.02, WORK_DIR=str(tmp_path / "work"))
    settings.STORAGES = {
        **settings.STORAGES,
        "exports": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "files")},
        },
    }
    return tmp_path / "files"


def configure(settings: Any, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def write(content: bytes, rows: int = 3) -> Make:
    def make(run: Run) -> None:
        run.begin(rows)
        run.path.write_bytes(content)
        run.advance(rows)

    return make


def run_now(make: Make, events: Events, request: FileRequest | None = None, **kwargs: Any) -> tuple[FileRequest, Claim]:
    request, claim = claimed_now(request)
    runner.run(request, claim, Scripted(make), on_change=events.publish, **kwargs)
    return FileRequest.objects.get(pk=request.pk), claim


def claimed_now(request: FileRequest | None = None) -> tuple[FileRequest, Claim]:
    """Claimed by the clock of the database, so that the lease holds."""
    request = request or queued()
    claim = moves.claim(request, owner=runner.owner_name(), extension="csv")
    assert claim is not None
    request.refresh_from_db()
    return request, claim


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, seconds=SECONDS)


def until_ended(run: Run) -> None:
    """Go on like an exporter, row by row, until somebody ends the run."""
    for number in range(10**9):
        run.advance(number)
        time.sleep(0.001)


def work_folders() -> list[Path]:
    return list(runner.work_root().iterdir()) if runner.work_root().exists() else []


def stored_files(location: Path) -> list[Path]:
    return [path for path in location.rglob("*") if path.is_file()]


# The file


def test_the_file_is_stored_whole_and_described_on_the_row(events: Events) -> None:
    content = os.urandom(3_000_000)

    request, claim = run_now(write(content), events)

    assert request.status == Status.READY
    with storage.open_file(request.filehandle.name) as file:
        assert file.read() == content
    assert request.filehandle.name == claim.key
    assert (request.size, request.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (request.filename, request.content_type) == ("orders.csv", "text/csv")
    assert request.receipt == {"rows_asked": 3, "rows": 3, "sha256": request.sha256}
    assert events.statuses[-1] == "ready"
    assert work_folders() == []


def test_an_empty_file_is_a_file(events: Events) -> None:
    request, _ = run_now(write(b"", rows=0), events)

    assert (request.status, request.size) == (Status.READY, 0)


def test_a_storage_that_has_no_paths_gets_the_same_bytes(events: Events, settings: Any) -> None:
    memory = InMemoryStorage()
    configure(settings, STORAGE=memory)
    content = os.urandom(300_000)

    request, _ = run_now(write(content), events)

    assert memory.open(request.filehandle.name).read() == content


def test_the_work_folder_is_for_this_attempt_and_for_nobody_else(events: Events) -> None:
    def make(run: Run) -> None:
        assert run.path.parent == run.work_dir
        assert run.work_dir.name == f"{run.request.pk}-{run.claim.epoch}"
        assert run.work_dir.stat().st_mode & 0o777 == 0o700
        write(b"abc")(run)

    assert run_now(make, events)[0].status == Status.READY


# The progress


def test_progress_is_published_at_most_four_times_a_second_and_never_falls(events: Events, settings: Any) -> None:
    configure(settings, REPORT_INTERVAL=0.25)

    def make(run: Run) -> None:
        run.begin(1000)
        until(lambda: run.advance(run.progress.now.rows_done + 1) or len(events) >= 4)
        run.path.write_bytes(b"abc")

    request, _ = run_now(make, events)

    gaps = [after - before for before, after in zip(events.times, events.times[1:-1], strict=False)]
    assert min(gaps) >= 0.24
    assert events.of("rows_done")[:4] == sorted(events.of("rows_done")[:4])
    assert events.of("fraction") == sorted(events.of("fraction"))
    assert [state["seq"] for state in events.states] == sorted({state["seq"] for state in events.states})
    assert events.of("fraction")[-1] == 1.0
    assert request.seq == events.states[-1]["seq"]


def test_the_phases_come_in_order_and_say_how_fast(events: Events) -> None:
    def seen(phase: str) -> Callable[[], bool]:
        return lambda: bool(events) and events[-1].phase == phase

    def make(run: Run) -> None:
        run.begin(10**9)
        until(seen("writing"))
        run.advance(50)
        until(lambda: events[-1].rows_done == 50)
        run.progress.finishing(10, 90)
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

    assert [state["progress"]["fraction"] for state in events.states if state["phase"] == "writing"] == [None]
    assert events.of("fraction")[-1] == 1.0


# The lease


def test_the_lease_is_renewed_while_one_batch_takes_long(events: Events) -> None:
    def make(run: Run) -> None:
        ends = set[Any]()
        until(lambda: ends.add(row(run.request.pk)["lease_expires_at"]) or len(ends) >= 4)
        write(b"abc")(run)

    assert run_now(make, events)[0].status == Status.READY


def test_a_cancel_in_the_middle_stops_the_run_and_leaves_nothing(events: Events, clean_storage: Path) -> None:
    stopped: list[BaseException] = []

    def make(run: Run) -> None:
        run.begin(None)
        run.path.write_bytes(b"half a file")
        until(lambda: events)
        services.cancel(FileRequest.objects.get(pk=run.request.pk))
        said.append(len(events))
        try:
            until_ended(run)
        except LostLease as error:
            stopped.append(error)
            raise

    said: list[int] = []
    request, claim = run_now(make, events)

    assert len(stopped) == 1
    assert request.status == Status.CANCELLED
    assert not request.filehandle
    assert len(events) == said[0]
    assert work_folders() == []
    assert stored_files(clean_storage) == []
    assert set(Artifact.objects.garbage(None).values_list("key", flat=True)) == {claim.key}


def test_the_next_batch_after_the_heartbeat_learned_of_a_cancel_is_not_written(events: Events) -> None:
    batches: list[int] = []

    def make(run: Run) -> None:
        moves.cancel(run.request)
        until(lambda: heart_has_stopped(run))
        for number in range(10):
            run.check()
            batches.append(number)

    run_now(make, events)

    assert batches == []


def heart_has_stopped(run: Run) -> bool:
    return not any(thread.name.endswith(str(run.request.pk)) for thread in threading.enumerate())


def test_whoever_loses_the_lease_stops_and_says_nothing(events: Events) -> None:
    def make(run: Run) -> None:
        FileRequest.objects.filter(pk=run.request.pk).update(lease_expires_at="2026-01-01T00:00Z")
        assert moves.rescue(FileRequest.objects.get(pk=run.request.pk))
        events.clear()
        until_ended(run)

    request, _ = run_now(make, events)

    assert (request.status, request.crashes) == (Status.QUEUED, 1)
    assert request.rows_done == 0
    assert list(events) == []


def test_a_zombie_that_finishes_its_file_changes_nothing_and_its_bytes_are_garbage(
    events: Events, settings: Any
) -> None:
    configure(settings, HEARTBEAT=60, REPORT_INTERVAL=60)
    before: list[dict[str, Any]] = []

    def make(run: Run) -> None:
        write(b"of a zombie")(run)
        FileRequest.objects.filter(pk=run.request.pk).update(lease_expires_at="2026-01-01T00:00Z")
        assert moves.rescue(FileRequest.objects.get(pk=run.request.pk))
        before.append(row(run.request.pk))

    request, claim = run_now(make, events)

    assert row(request.pk) == before[0]
    assert list(events) == []
    assert storage.exports_storage().exists(claim.key)
    assert housekeeping.collect() == 1
    assert not storage.exports_storage().exists(claim.key)


def test_a_request_that_is_deleted_while_it_runs_ends_its_run(events: Events, clean_storage: Path) -> None:
    def make(run: Run) -> None:
        FileRequest.objects.all().delete()
        until_ended(run)

    request, claim = claimed_now()
    runner.run(request, claim, Scripted(make), on_change=events.publish)

    assert not FileRequest.objects.exists()
    assert list(events) == []
    assert stored_files(clean_storage) == []


# Told to stop


def test_a_worker_that_is_told_to_stop_gives_the_lease_and_the_attempt_back(events: Events) -> None:
    stop = threading.Event()

    def make(run: Run) -> None:
        run.begin(10)
        run.advance(1)
        stop.set()
        until_ended(run)

    request, _ = run_now(make, events, stop=stop)

    assert (request.status, request.attempts, request.crashes) == (Status.QUEUED, 0, 0)
    assert (request.lease_owner, request.lease_expires_at, request.not_before) == ("", None, None)
    assert events.statuses[-1] == "queued"
    assert work_folders() == []


def test_a_worker_that_is_told_to_stop_while_it_stores_gives_the_request_back(events: Events, settings: Any) -> None:
    stop = threading.Event()

    class Slow(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            stop.set()
            return super()._save(name, content)

    configure(settings, STORAGE=Slow())

    request, _ = run_now(write(b"abc"), events, stop=stop)

    assert (request.status, request.attempts) == (Status.QUEUED, 0)
    assert not request.filehandle


def test_a_worker_that_is_stopping_already_begins_nothing(events: Events) -> None:
    stop = threading.Event()
    stop.set()

    request, _ = run_now(lambda run: pytest.fail("It began."), events, stop=stop)

    assert (request.status, request.attempts) == (Status.QUEUED, 0)


def test_the_request_that_was_given_back_is_made_by_the_next_worker(events: Events) -> None:
    stop = threading.Event()
    stop.set()
    request, _ = run_now(write(b"first"), events, stop=stop)

    request, _ = run_now(write(b"second"), events, request)

    with storage.open_file(request.filehandle.name) as file:
        assert file.read() == b"second"
    assert request.attempts == 1


# What goes wrong


def raiser(error: Exception) -> Make:
    def make(run: Run) -> None:
        raise error

    return make


@pytest.mark.parametrize("error", [Retryable("The source is down."), ConnectionResetError(), TimeoutError()])
def test_what_may_work_later_is_tried_again_later_and_longer_each_time(
    error: Exception, events: Events, settings: Any
) -> None:
    configure(settings, MAX_ATTEMPTS=3, RETRY_DELAY=100)
    request, delays = queued(), []
    for attempt in (1, 2):
        request, _ = run_now(raiser(error), events, request)
        assert (request.status, request.attempts, request.error_code) == (Status.QUEUED, attempt, "unavailable")
        delays.append((request.not_before - request.progressed_at).total_seconds())
        FileRequest.objects.filter(pk=request.pk).update(not_before=None)

    request, _ = run_now(raiser(error), events, request)

    assert 50 <= delays[0] <= 150
    assert 100 <= delays[1] <= 300
    assert (request.status, request.attempts, request.error_code) == (Status.FAILED, 3, "unavailable")
    assert Notification.objects.get().kind == "failed"
    assert events.statuses == ["queued", "queued", "failed"]


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), MemoryError(), RecursionError()])
def test_what_will_never_work_fails_at_once(error: Exception, events: Events) -> None:
    request, _ = run_now(raiser(error), events)

    assert (request.status, request.attempts, request.error_code) == (Status.FAILED, 1, "export_failed")
    assert events.statuses == ["failed"]
    assert work_folders() == []


def test_an_exporter_that_writes_no_file_fails_with_that_reason(events: Events) -> None:
    request, _ = run_now(lambda run: None, events)

    assert (request.status, request.error_code) == (Status.FAILED, "no_file")


def test_a_full_disk_under_the_work_file_fails_with_that_reason(events: Events) -> None:
    def make(run: Run) -> None:
        run.path.symlink_to("/dev/full")
        with run.path.open("wb") as file:
            file.write(b"x" * 100_000)

    request, _ = run_now(make, events)

    assert (request.status, request.error_code) == (Status.FAILED, "storage_full")


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (errno.ENOSPC, "storage_full", Status.FAILED),
        (errno.EDQUOT, "storage_full", Status.FAILED),
        (errno.EIO, "storage_failed", Status.QUEUED),
    ],
)
def test_a_storage_that_fails_is_named(number: int, code: str, status: str, events: Events, settings: Any) -> None:
    class Failing(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            raise OSError(number, os.strerror(number), SECRET)

    configure(settings, STORAGE=Failing())

    request, _ = run_now(write(b"abc"), events)

    assert (request.status, request.error_code) == (status, code)


def test_a_storage_that_keeps_less_than_it_was_given_publishes_nothing(events: Events, settings: Any) -> None:
    class Forgetful(InMemoryStorage):
        def _save(self, name: str, content: Any) -> str:
            return super()._save(name, ContentFile(content.read()[:-1], name))

    configure(settings, STORAGE=Forgetful())

    request, _ = run_now(write(b"abc"), events)

    assert (request.status, request.error_code) == (Status.QUEUED, "storage_failed")
    assert not request.filehandle


def test_a_run_that_takes_too_long_fails_with_that_reason(events: Events, settings: Any) -> None:
    configure(settings, MAX_RUNTIME=0.1)

    request, _ = run_now(until_ended, events)

    assert (request.status, request.error_code) == (Status.FAILED, "took_too_long")


def test_a_run_without_rows_or_bytes_fails_as_stalled(events: Events, settings: Any) -> None:
    configure(settings, STALL=0.1)

    def make(run: Run) -> None:
        run.begin(10)
        until(lambda: run.check())

    request, _ = run_now(make, events)

    assert (request.status, request.error_code) == (Status.FAILED, "stalled")


def test_counting_may_take_longer_than_a_stall(events: Events, settings: Any) -> None:
    configure(settings, STALL=0.2, REPORT_INTERVAL=0.01)

    def make(run: Run) -> None:
        counted = time.monotonic() + 0.4
        until(lambda: run.check() or time.monotonic() > counted)
        run.begin(10)
        until(lambda: run.check() or (events and events[-1].phase == "writing"))
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


def test_slow_rows_are_no_stall(events: Events, settings: Any) -> None:
    configure(settings, STALL=0.3)

    def make(run: Run) -> None:
        run.begin(10)
        for number in range(1, 4):
            run.advance(number)
            pause = time.monotonic() + 0.2
            until(lambda pause=pause: run.check() or time.monotonic() > pause)
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


def test_neither_row_nor_log_nor_event_holds_what_an_exception_says(
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
    assert any(detail.startswith("ValueError at test_runner.py:") for detail in details)


def test_a_page_that_cannot_be_told_does_not_end_the_run(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: FileRequest) -> None:
        events.publish(request)
        raise RuntimeError(SECRET)

    def make(run: Run) -> None:
        run.begin(10)
        until(lambda: run.advance(run.progress.now.rows_done + 1) or len(events) > 2)
        run.path.write_bytes(b"abc")

    request, claim = claimed_now()
    runner.run(request, claim, Scripted(make), on_change=broken)

    assert row(request.pk)["status"] == Status.READY
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


# The database goes away for a while


@contextmanager
def sqlite_locked() -> Iterator[None]:
    """Somebody else holds the only lock for writing."""
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def end_all_postgres_connections() -> None:
    """What a restart of the server does to everybody."""
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
def test_the_heartbeat_survives_a_short_outage_of_the_database(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    def make(run: Run) -> None:
        run.begin(10)
        if connection.vendor == "sqlite":
            with sqlite_locked():
                until(lambda: "heartbeat not written" in caplog.text)
        else:
            until(lambda: events)
            end_all_postgres_connections()
            connection.close()
            until(lambda: "heartbeat not written" in caplog.text)
        run.advance(5)
        until(lambda: run.check() or (events and events[-1].rows_done == 5))
        run.path.write_bytes(b"abc")

    assert run_now(make, events)[0].status == Status.READY


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a connection")
def test_a_file_that_is_made_is_published_although_the_database_was_restarted(events: Events) -> None:
    def make(run: Run) -> None:
        write(b"abc")(run)
        end_all_postgres_connections()

    assert run_now(make, events)[0].status == Status.READY


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a connection")
def test_a_query_that_the_database_broke_off_is_tried_again(events: Events) -> None:
    def make(run: Run) -> None:
        end_all_postgres_connections()
        FileRequest.objects.count()

    request, _ = run_now(make, events)

    assert (request.status, request.error_code) == (Status.QUEUED, "unavailable")


# What is left on the host


def test_work_folders_of_attempts_that_do_not_run_are_removed_and_others_kept() -> None:
    running, _ = claimed()
    names = [
        f"{running.pk}-{running.epoch}",
        f"{running.pk}-{running.epoch + 1}",
        f"{in_status(Status.READY).pk}-1",
        "0b6f1f6e-0000-4000-8000-000000000000-1",
        "somebody-elses",
        "0b6f1f6e-0000-4000-8000-000000000000-1x",
    ]
    for name in names:
        (runner.work_root() / name).mkdir(parents=True)
        (runner.work_root() / name / "file.csv").write_bytes(b"abc")

    assert runner.sweep_work_dirs() == 3
    assert sorted(folder.name for folder in work_folders()) == sorted([names[0], names[4], names[5]])
    assert runner.sweep_work_dirs() == 0


def test_a_host_that_has_not_worked_yet_has_nothing_to_sweep() -> None:
    assert runner.sweep_work_dirs() == 0


def test_a_request_that_somebody_else_has_is_not_taken(events: Events) -> None:
    request, _ = claimed_now()

    assert not runner.take(request, Scripted(write(b"abc")), on_change=events.publish)
    assert list(events) == []


def test_a_taken_request_is_made_and_every_move_is_told(events: Events) -> None:
    assert runner.take(queued(), Scripted(write(b"abc")), on_change=events.publish)

    assert (events.statuses[0], events.statuses[-1]) == ("running", "ready")
    assert events.states[0]["phase"] == "counting"


def test_a_run_that_lost_against_a_publish_of_its_own_epoch_is_not_told_twice(events: Events) -> None:
    def make(run: Run) -> None:
        write(b"abc")(run)
        assert moves.publish(run.claim, made())

    request, _ = run_now(make, events)

    assert request.status == Status.READY
    assert events.statuses.count("ready") == 0


def test_what_ends_a_run_is_raised_to_its_exporter() -> None:
    request, claim = claimed()
    stop = threading.Event()
    run = Run(request, claim, "csv", stop)
    run.check()

    stop.set()
    with pytest.raises(Stopping):
        run.check()
    run.end(LostLease("moved"))
    with pytest.raises(LostLease):
        run.check()


def test_a_storage_error_says_what_it_was_and_no_more() -> None:
    with pytest.raises(StorageFailed) as raised:
        raise StorageFailed("The storage failed: OSError.")

    said = runner.describe(raised.value)
    assert said.startswith("StorageFailed: The storage failed: OSError. at test_runner.py:")


def test_the_default_work_folder_is_below_the_systems_temporary_one(settings: Any) -> None:
    configure(settings, WORK_DIR="")

    assert runner.work_root().name == "exports-work"


def test_files_on_the_same_disk_are_moved_not_copied(events: Events, clean_storage: Path) -> None:
    inodes: list[int] = []

    def make(run: Run) -> None:
        write(b"abc")(run)
        inodes.append(run.path.stat().st_ino)

    request, _ = run_now(make, events)

    assert isinstance(storage.exports_storage(), FileSystemStorage)
    assert (clean_storage / request.filehandle.name).stat().st_ino == inodes[0]
