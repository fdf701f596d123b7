"""Limits of one run: rows, bytes, time, and free disk space."""

import io
import math
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from exports import checks, housekeeping
from exports.checks import exporters as exporter_checks
from exports.exceptions import TooManyBytes, TooManyRows
from exports.models import FileRequest, Notification, Status
from exports.models.result import ExportResult
from exports.state import error_of
from exports.worker import loop, runner
from exports.worker.limits import DiskWatch, RunLimits, free_bytes
from tests.shop.exports import OrderExport, heard, registered
from tests.shop.models import Order
from tests.shop.requests import NOON, queued, row
from tests.shop.runs import configure, stored_files, work_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]

TERABYTE = 1 << 40
DAY = 86_400


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The disk has as many bytes free as its only element says."""
    free = [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    monkeypatch.setattr(runner, "disk", DiskWatch())
    return free


def make_orders(count: int) -> None:
    Order.objects.bulk_create(Order(number=f"N{number}", quantity=number) for number in range(count))


def run(**columns: Any) -> FileRequest:
    export = queued(**columns)
    assert loop.dispatch(export.pk)
    export.refresh_from_db()
    return export


# Rows


def test_more_rows_than_allowed_fail_at_the_count(settings: LazySettings, folder: Path) -> None:
    configure(settings, MAX_ROWS=5)
    make_orders(6)

    ended = run()

    assert (ended.status, ended.error_code, ended.rows_done) == (Status.FAILED, "too_many_rows", 0)
    assert ended.error_detail.startswith("TooManyRows: 6 rows, and 5 are allowed.")
    assert "narrow the filter" in error_of(ended)["message"]
    assert (stored_files(folder), work_folders()) == ([], [])
    assert list(Notification.objects.values_list("kind", flat=True)) == ["failed"]


def test_without_a_count_the_first_row_too_many_ends_the_run(settings: LazySettings, folder: Path) -> None:
    configure(settings, MAX_ROWS=25, BATCH_ROWS=10)
    make_orders(100)

    with registered(type("Uncounted", (OrderExport,), {"count": "none"})):
        ended = run()

    assert (ended.status, ended.error_code) == (Status.FAILED, "too_many_rows")
    assert (stored_files(folder), work_folders()) == ([], [])


def test_an_estimate_does_not_end_the_run(settings: LazySettings) -> None:
    attempt = runner.Run(queued(), runner.Claim(NOON, 1, ""), runner.stopping, RunLimits(rows=5))

    attempt.begin(1000, is_estimate=True)
    attempt.advance(5)
    with pytest.raises(TooManyRows):
        attempt.advance(6)


@pytest.mark.parametrize(("own", "status"), [(9, "failed"), (10, "ready"), (math.inf, "ready"), (None, "failed")])
def test_an_exporter_can_have_its_own_row_limit(settings: LazySettings, own: float | None, status: str) -> None:
    configure(settings, MAX_ROWS=5)
    make_orders(10)

    with registered(type("Own", (OrderExport,), {"max_rows": own})):
        assert run().status == status


# Bytes


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_a_file_that_grows_too_large_ends_its_run_and_is_deleted(
    settings: LazySettings, folder: Path, format: str
) -> None:
    configure(settings, MAX_BYTES=2000, BATCH_ROWS=10)
    make_orders(2000)

    ended = run(format=format)

    assert (ended.status, ended.error_code) == (Status.FAILED, "too_many_bytes")
    assert "narrow the filter" in error_of(ended)["message"]
    assert (stored_files(folder), work_folders()) == ([], [])


def test_a_too_large_file_ends_the_run_while_it_is_written(settings: LazySettings) -> None:
    configure(settings, MAX_BYTES=20_000, BATCH_ROWS=10, PROGRESS_INTERVAL_SECONDS=0.001)
    make_orders(20_000)

    ended = run()

    assert ended.error_code == "too_many_bytes"
    size = int(ended.error_detail.split("TooManyBytes: ")[1].split(" bytes")[0].replace(",", ""))
    # Python buffers what is written, since 3.14 in 128 KiB.
    assert size < 60_000 + io.DEFAULT_BUFFER_SIZE


def test_a_file_of_exactly_the_allowed_size_is_published(settings: LazySettings) -> None:
    make_orders(10)
    size = run().size

    configure(settings, MAX_BYTES=size)
    assert run().status == Status.READY
    configure(settings, MAX_BYTES=size - 1)
    assert run().error_code == "too_many_bytes"


def test_a_file_that_does_not_exist_yet_counts_as_empty(tmp_path: Path) -> None:
    RunLimits(bytes=1).check_file(tmp_path / "none")
    (tmp_path / "some").write_bytes(b"ab")

    with pytest.raises(TooManyBytes, match="2 bytes, and 1 are allowed"):
        RunLimits(bytes=1).check_file(tmp_path / "some")


def test_limits_can_be_turned_off(settings: LazySettings, full: list[int]) -> None:
    configure(settings, MAX_ROWS=None, MAX_BYTES=None, MAX_RUNTIME_SECONDS=None, MIN_FREE_DISK_BYTES=0)

    assert RunLimits.of(OrderExport()) == RunLimits()
    RunLimits().check_rows(10**12)
    assert runner.has_room()


# Time


@pytest.mark.parametrize(("own", "ended"), [(0.1, "took_too_long"), (None, ""), (math.inf, "")])
def test_an_exporter_can_have_its_own_time_limit(settings: LazySettings, own: float | None, ended: str) -> None:
    configure(settings, MAX_RUNTIME_SECONDS=600, PROGRESS_INTERVAL_SECONDS=0.01)
    seen: list[datetime | None] = []

    def produce(self: OrderExport, run: runner.Run) -> ExportResult:
        run.export.refresh_from_db()
        seen.append(run.export.deadline_at)
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            run.check()
            time.sleep(0.01)
        return OrderExport.produce(self, run)

    with registered(type("Timed", (OrderExport,), {"max_runtime_seconds": own, "produce": produce})):
        export = run()

    assert export.error_code == ended
    deadlines = {0.1: 0.1, None: 600, math.inf: None}
    allowed = None if seen[0] is None else (seen[0] - export.started_at).total_seconds()
    assert allowed == pytest.approx(deadlines[own])


# Disk space


def test_a_worker_without_room_takes_nothing_and_goes_on_once_there_is_some(
    settings: LazySettings, full: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    configure(settings, MIN_FREE_DISK_BYTES=1000)
    export = queued()
    full[0] = 999

    assert loop.WorkerLoop("large").run_due() == 0
    assert (row(export.pk)["status"], row(export.pk)["attempts"]) == ("queued", 0)
    assert "999 bytes free for" in caplog.text

    full[0] = 1000
    assert loop.WorkerLoop("large").run_due() == 1
    assert row(export.pk)["status"] == "ready"


def test_housekeeping_wakes_or_times_out_exports_left_by_a_full_disk(settings: LazySettings, full: list[int]) -> None:
    configure(
        settings, MIN_FREE_DISK_BYTES=1000, QUEUE_BACKEND="tests.shop.exports.RecordingQueue", WAKE_AGAIN_SECONDS=0
    )
    export = queued(woken_at=NOON, requested_at=timezone.now())
    loop.WorkerLoop("large").run_due()
    heard.clear()

    assert housekeeping.sweep().woken == 1
    assert heard == ["large"]
    heard.clear()
    FileRequest.objects.update(requested_at=NOON)
    assert housekeeping.time_out() == 1
    assert row(export.pk)["error_code"] == "expired_in_queue"


def test_a_full_disk_is_logged_once_a_minute(
    settings: LazySettings, full: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configure(settings, MIN_FREE_DISK_BYTES=1000)
    now = [0.0]
    monkeypatch.setattr("exports.worker.limits.time.monotonic", lambda: now[0])
    watch = DiskWatch()

    for now[0] in (0.0, 1.0, 59.0, 60.0, 119.0):
        assert not watch.has_room(Path("/work"))
    assert len(caplog.records) == 2

    full[0] = 5000
    assert watch.has_room(Path("/work"))
    full[0] = 0
    assert not watch.has_room(Path("/work"))
    assert len(caplog.records) == 3


def test_free_space_is_known_before_the_folder_exists(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


# Checks


@pytest.mark.parametrize(
    ("changes", "attributes", "ids"),
    [
        ({"MAX_ROWS": 0}, {}, ["exports.E014"]),
        ({"MIN_FREE_DISK_BYTES": None}, {}, ["exports.E014"]),
        ({"MAX_BYTES": True}, {}, ["exports.E014"]),
        ({"MAX_RUNTIME_SECONDS": "1 h"}, {}, ["exports.E014"]),
        ({}, {"max_rows": 0}, ["exports.E015"]),
        ({}, {"max_bytes": "1 GB"}, ["exports.E015"]),
        ({}, {"max_runtime_seconds": -1}, ["exports.E015"]),
        ({"MAX_ROWS": None, "MIN_FREE_DISK_BYTES": 0}, {"max_rows": math.inf, "max_runtime_seconds": math.inf}, []),
    ],
)
def test_invalid_limits_of_settings_and_exporters_are_reported(
    settings: LazySettings, changes: dict[str, Any], attributes: dict[str, Any], ids: list[str]
) -> None:
    configure(settings, **changes)
    with registered(type("Odd", (OrderExport,), attributes)):
        assert [each.id for each in [*checks.check_settings(), *exporter_checks.check_numbers()]] == ids
