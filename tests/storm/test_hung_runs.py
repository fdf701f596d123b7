"""A run that never returns: its export fails or is retried, and its worker process is restarted."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.programs import Program
from tests.storm.site import Site

pytestmark = pytest.mark.slow

STALL, GRACE, LEASE = 3.0, 1.0, 2.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    changes = {
        "STALL_TIMEOUT_SECONDS": STALL,
        "SHUTDOWN_GRACE_SECONDS": GRACE,
        "LEASE_SECONDS": LEASE,
        "MAX_CRASHES": 2,
    }
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, workers=("large",), exports=changes, rows=4000) as site:
        yield site


@pytest.fixture(autouse=True)
def worker(site: Site) -> Iterator[Program]:
    """The only worker, which is restarted before the next test."""
    worker = site.programs["worker1"]
    worker.start()
    yield worker
    site.disarm("worker")
    worker.start()


def row(site: Site, export_id: str) -> dict[str, Any]:
    names = ("status", "error_code", "attempts", "crashes", "rows_done", "epoch")
    [values] = site.sql(f"SELECT {', '.join(names)} FROM exports_filerequest WHERE id = %s", [export_id])
    return dict(zip(names, values, strict=True))


def running(site: Site, type: str, first: int) -> str:
    """Request an export of this type, and return its id when it runs."""
    requested = site.request(type=type, first=first, rows=1000)
    site.wait_until(lambda: row(site, requested.id)["status"] == "running", "it did not begin")
    return requested.id


def wait_until_ended(site: Site, worker: Program) -> float:
    """Wait until the process has exited, and return how many seconds that took."""
    began = time.monotonic()
    site.wait_until(lambda: not worker.is_running, "the worker did not end", seconds=20)
    return time.monotonic() - began


def test_a_run_that_sleeps_for_ever_fails_as_stalled_and_its_worker_exits(site: Site, worker: Program):
    export_id = running(site, "sleeping", 1)
    assert wait_until_ended(site, worker) < STALL + GRACE + 2
    assert [row(site, export_id)[name] for name in ("status", "error_code")] == ["failed", "stalled"]
    assert "in produce" in worker.logged(), "the log says where it hangs"
    worker.start()
    assert is_ready_in_time(site, first=2)


def test_a_run_that_holds_the_interpreters_lock_is_ended_too(site: Site, worker: Program):
    export_id = running(site, "spinning", 3)
    assert wait_until_ended(site, worker) < LEASE + GRACE + 2
    worker.start()
    wait_until_ended(site, worker)
    site.wait_until(lambda: row(site, export_id)["status"] == "failed", "it did not fail")
    assert [row(site, export_id)[name] for name in ("error_code", "crashes")] == ["worker_lost", 2]
    worker.start()
    assert is_ready_in_time(site, first=4)


def test_a_cancel_frees_the_worker_of_a_run_that_hangs(site: Site, worker: Program):
    export_id = running(site, "sleeping", 5)
    assert site.post(0, export_id, "cancel").status_code == 200
    assert wait_until_ended(site, worker) < STALL
    assert row(site, export_id)["status"] == "cancelled"
    worker.start()
    assert is_ready_in_time(site, first=6)


def test_a_worker_told_to_stop_requeues_a_hung_run_in_time(site: Site, worker: Program):
    export_id = running(site, "sleeping", 7)
    worker.tell_to_stop()
    assert wait_until_ended(site, worker) < GRACE + 2
    requeued = row(site, export_id)
    assert [requeued[name] for name in ("status", "attempts", "crashes")] == ["queued", 0, 0]
    assert site.post(0, export_id, "cancel").status_code == 200


def test_a_worker_told_to_stop_while_writing_uses_up_no_attempt(site: Site, worker: Program):
    site.arm("worker", "mid_rows=sleep:0.3")
    requested = site.request(first=8, rows=3500)
    site.wait_until(lambda: row(site, requested.id)["rows_done"] > 0, "no row was written")
    worker.tell_to_stop()
    assert wait_until_ended(site, worker) < GRACE + 2
    requeued = row(site, requested.id)
    assert [requeued[name] for name in ("status", "attempts", "crashes")] == ["queued", 0, 0]
    worker.start()
    site.wait_until(lambda: row(site, requested.id)["status"] == "ready", "it is not ready")
    assert [row(site, requested.id)[name] for name in ("attempts", "crashes")] == [1, 0]


def test_the_audit_after_all_hung_runs_finds_nothing(site: Site):
    site.wait_until_settled()
    others = site.sql("SELECT id::text, status FROM exports_filerequest WHERE file_type <> 'parcels'")
    assert_no_findings(site, ends=dict(others))


def is_ready_in_time(site: Site, *, first: int) -> bool:
    requested = site.request(first=first, rows=300)
    site.wait_until(lambda: row(site, requested.id)["status"] == "ready", "it is not ready")
    return True
