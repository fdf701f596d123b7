"""Real processes of `manage.py exports` on a real queue: they work, are stopped, and are killed."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from exports import services, storage
from exports.models import Artifact
from exports.models.audit import SYSTEM
from exports.queue import huey as huey_queue
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.long_export import Long
from tests.office.processes import Process, Worker
from tests.servers import Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = 2.0
A_FEW_SECONDS = 8.0


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture(autouse=True)
def quick(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> None:
    """Short leases, and a work folder for this test."""
    pace = {
        "LEASE_SECONDS": LEASE,
        "HEARTBEAT_SECONDS": 0.5,
        "PROGRESS_INTERVAL_SECONDS": 0.1,
        "WAKE_AGAIN_SECONDS": 0.5,
        "HOUSEKEEPING_INTERVAL_SECONDS": 0.5,
    }
    settings.EXPORTS = {**settings.EXPORTS, **pace, "WORK_DIR": str(tmp_path / "work")}


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    """Start workers, and end them with the test."""
    workers: list[Worker] = []

    def started(queue_name: str = "small", **changes: Any) -> Worker:
        workers.append(Worker(queue_name, **changes))
        workers[-1].start()
        return workers[-1]

    yield started
    for worker in workers:
        worker.close()


def test_a_worker_that_is_woken_makes_the_file(owner: User, start: Callable[..., Worker]):
    worker = start()
    request, _ = services.request_export(owner, "report", {"month": 4}, format="csv")
    wait_until(lambda: rows.fresh(request).status == "ready", describe=worker.words)
    request = rows.fresh(request)
    with storage.open_file(request.filehandle.name) as file:
        assert file.read().decode("utf-8-sig") == "Name\r\nowner\r\n"
    assert request.receipt["rows"] == request.receipt["rows_asked"] == 1
    assert worker.words() == "worker small: ready\n"


def test_a_worker_that_starts_makes_what_was_waiting(
    owner: User, start: Callable[..., Worker], valkey: Valkey, tmp_path: Path
):
    long = Long(owner, tmp_path, is_let_go=True)
    valkey.flush()
    start()
    assert long.wait_for("ready").attempts == 1


def test_a_stopped_worker_releases_its_export_and_another_finishes_it(
    owner: User, start: Callable[..., Worker], tmp_path: Path
):
    first, long = start(), Long(owner, tmp_path)
    long.wait_until_it_writes()
    process, began = first.process, time.monotonic()
    first.stop(signal.SIGTERM)
    assert time.monotonic() - began < A_FEW_SECONDS
    assert process.returncode == 0
    assert (long.row.status, long.row.attempts, long.row.rows_done) == ("queued", 0, 0)
    assert huey_queue.open_queue("small").pending_count() > 0
    long.let_go()
    start()
    row = long.wait_for("ready")
    assert (row.attempts, row.crashes, row.epoch) == (1, 0, 2)
    assert long.lines() == ["begin 1", "begin 2", "end 2"]
    assert "Traceback" not in first.words()


def test_an_idle_worker_stops_at_once(start: Callable[..., Worker]):
    worker = start()
    for _ in range(2):
        huey_queue.wake("small")
    process, began = worker.process, time.monotonic()
    worker.stop(signal.SIGTERM)
    assert time.monotonic() - began < A_FEW_SECONDS
    assert process.returncode == 0


def test_the_export_of_a_killed_worker_is_finished_after_its_lease(
    owner: User, start: Callable[..., Worker], tmp_path: Path
):
    workers, long = [start(), start()], Long(owner, tmp_path)
    held_by = long.wait_until_it_writes().lease_owner
    [its_worker] = [each for each in workers if f":{each.process.pid}:" in held_by]
    its_worker.stop(signal.SIGKILL)
    call_command("exports", "housekeep", "--once")
    assert long.row.status == "running"
    wait_until(lambda: long.row.lease_expires_at.timestamp() < time.time())
    long.let_go()
    call_command("exports", "housekeep", "--once")
    row = long.wait_for("ready")
    assert (row.attempts, row.crashes, row.epoch) == (2, 1, 3)
    assert long.lines() == ["begin 1", "begin 3", "end 3"]
    assert list(Artifact.objects.filter(state="published").values_list("key", flat=True)) == [row.filehandle.name]


def test_two_workers_that_are_woken_twice_make_each_file_once(
    owner: User, start: Callable[..., Worker], tmp_path: Path
):
    for _ in range(2):
        start()
    longs = [Long(owner, tmp_path, name=f"long {number}") for number in range(6)]
    for long in longs:
        huey_queue.wake("small")
        long.let_go()
    for long in longs:
        assert long.wait_for("ready").attempts == 1
        assert long.lines() == ["begin 1", "end 1"]


def test_a_cancelled_export_stops_in_the_middle_of_its_run(owner: User, start: Callable[..., Worker], tmp_path: Path):
    start()
    long, after = Long(owner, tmp_path), Long(owner, tmp_path, name="after", is_let_go=True)
    long.wait_until_it_writes()
    services.cancel(long.row, SYSTEM)
    after.wait_for("ready")
    assert long.row.status == "cancelled"
    assert long.lines() == ["begin 1"]


def test_a_worker_waits_until_the_queue_is_back(
    owner: User, start: Callable[..., Worker], valkey: Valkey, tmp_path: Path
):
    valkey.stop()
    worker = start()
    wait_until(lambda: "its server is down" in worker.words())
    valkey.start()
    long = Long(owner, tmp_path, is_let_go=True)
    long.wait_for("ready")
    valkey.restart()
    assert Long(owner, tmp_path, name="after", is_let_go=True).wait_for("ready")


def test_an_unknown_queue_is_refused_with_the_known_ones():
    with pytest.raises(CommandError, match=r"There is no queue 'huge'\. Queues: large, small\."):
        call_command("exports", "work", "huge")


def test_one_round_of_housekeeping_reports_what_it_did(capsys: pytest.CaptureFixture[str], owner: User):
    call_command("exports", "housekeep", "--once")
    rows.queued(owner)
    call_command("exports", "housekeep", "--once")
    assert capsys.readouterr().out == "swept: nothing\nswept: woken 1\n"


class Housekeeper(Process):
    ready = "housekeeper: ready"

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "exports", "housekeep"]


def test_the_housekeeper_sweeps_until_it_is_stopped(owner: User):
    request = rows.queued(owner)
    with Housekeeper() as housekeeper:
        wait_until(lambda: huey_queue.open_queue("small").pending_count() > 0)
        assert rows.fresh(request).woken_at is not None
        process, began = housekeeper.process, time.monotonic()
        housekeeper.stop(signal.SIGTERM)
        assert time.monotonic() - began < A_FEW_SECONDS
        assert process.returncode == 0
        assert "Traceback" not in housekeeper.words()
