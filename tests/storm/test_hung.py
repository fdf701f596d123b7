"""A run that never comes back is left behind: its request ends or goes on, and its worker is started anew."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.storm.auditor import audit
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
    """The one worker, which is up again before the next test."""
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
    """An export of this type that has begun."""
    asked = site.ask(type=type, first=first, rows=1000)
    site.until(lambda: row(site, asked.id)["status"] == "running", "it did not begin")
    return asked.id


def until_ended(site: Site, worker: Program) -> float:
    """Wait until the process has ended by itself. Returns the seconds that it took."""
    began = time.monotonic()
    site.until(lambda: not worker.is_running, "the worker did not end", seconds=20)
    return time.monotonic() - began


def test_a_run_that_sleeps_for_ever_fails_as_stalled_and_its_process_ends(site: Site, worker: Program):
    export_id = running(site, "sleeping", 1)
    assert until_ended(site, worker) < STALL + GRACE + 2
    assert [row(site, export_id)[name] for name in ("status", "error_code")] == ["failed", "stalled"]
    assert "in produce" in worker.words(), "the log says where it hangs"
    worker.start()
    assert made(site, first=2)


def test_a_run_that_holds_the_interpreter_is_ended_all_the_same(site: Site, worker: Program):
    export_id = running(site, "spinning", 3)
    assert until_ended(site, worker) < LEASE + GRACE + 2
    worker.start()
    until_ended(site, worker)
    site.until(lambda: row(site, export_id)["status"] == "failed", "it did not fail")
    assert [row(site, export_id)[name] for name in ("error_code", "crashes")] == ["worker_lost", 2]
    worker.start()
    assert made(site, first=4)


def test_a_cancel_frees_the_worker_of_a_run_that_hangs(site: Site, worker: Program):
    export_id = running(site, "sleeping", 5)
    assert site.post(0, export_id, "cancel").status_code == 200
    assert until_ended(site, worker) < STALL
    assert row(site, export_id)["status"] == "cancelled"
    worker.start()
    assert made(site, first=6)


def test_a_worker_told_to_stop_gives_back_in_time_even_what_hangs(site: Site, worker: Program):
    export_id = running(site, "sleeping", 7)
    worker.process.send_signal(signal.SIGTERM)
    assert until_ended(site, worker) < GRACE + 2
    given_back = row(site, export_id)
    assert [given_back[name] for name in ("status", "attempts", "crashes")] == ["queued", 0, 0]
    assert site.post(0, export_id, "cancel").status_code == 200


def test_a_worker_told_to_stop_in_the_middle_of_the_rows_burns_no_attempt(site: Site, worker: Program):
    site.arm("worker", "mid_rows=sleep:0.3")
    asked = site.ask(first=8, rows=3500)
    site.until(lambda: row(site, asked.id)["rows_done"] > 0, "no row was written")
    worker.process.send_signal(signal.SIGTERM)
    assert until_ended(site, worker) < GRACE + 2
    given_back = row(site, asked.id)
    assert [given_back[name] for name in ("status", "attempts", "crashes")] == ["queued", 0, 0]
    worker.start()
    site.until(lambda: row(site, asked.id)["status"] == "ready", "it was not made")
    assert [row(site, asked.id)[name] for name in ("attempts", "crashes")] == [1, 0]


def test_nothing_of_all_that_is_left(site: Site):
    site.until_ended()
    site.until_mailed()
    site.until_clean()
    others = site.sql("SELECT id::text, status FROM exports_filerequest WHERE file_type <> 'parcels'")
    audited = audit(site, ends=dict(others))
    assert audited.findings == [], str(audited)


def made(site: Site, *, first: int) -> bool:
    asked = site.ask(first=first, rows=300)
    site.until(lambda: row(site, asked.id)["status"] == "ready", "it was not made")
    return True
