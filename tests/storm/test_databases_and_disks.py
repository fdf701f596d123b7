"""What exports stand on goes away and comes back: the database's server, the queue's, the room on the disk."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.storm.auditor import audit
from tests.storm.journal import steps_of
from tests.storm.pages import CONVERGED, Crowd, Page
from tests.storm.site import PATIENT, Site

RESTARTS, EXPORTS = 20, 50
FULL_DISKS = 20
DISK = "1m"
PAGES = 20


@pytest.mark.slow
def test_twenty_restarts_of_postgresql_over_fifty_exports(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, exports=PATIENT) as site:
        for number in range(EXPORTS):
            site.ask(number % 4, format=("csv", "xlsx")[number % 2], first=number + 1, rows=5000)
            if number * RESTARTS // EXPORTS != (number + 1) * RESTARTS // EXPORTS:
                site.postgres.restart()
        site.until_ended()
        site.until_mailed()
        site.until_clean()

        audited = audit(site)
        assert audited.findings == [], str(audited)
        assert audited.counts["ready"] >= EXPORTS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with one mebibyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("A small disk needs the right to mount one (root).")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_at_once_with_its_name_and_the_next_export_passes(
    tmp_path: Path, small_disk: Path, needs_postgres: None
):
    with Site(tmp_path, workers=("large", "small"), exports={"WORK_DIR": str(small_disk)}) as site:
        ends, seconds = {}, []
        for number in range(FULL_DISKS):
            began = time.monotonic()
            too_big = site.ask(first=number + 1, rows=19_000, type="parcels")
            site.until(lambda asked=too_big: site.status(asked.id) == "failed", "it did not fail", seconds=20)
            seconds.append(time.monotonic() - began)
            ends[too_big.id] = "failed"
            assert list(small_disk.rglob("*")) == [], "0 bytes are left"
            fits = site.ask(first=number + 1, rows=1000)
            site.until(lambda asked=fits: site.status(asked.id) == "ready", "the next one did not pass", seconds=20)
        site.until_mailed()
        site.until_clean()

        codes = site.sql("SELECT DISTINCT error_code FROM exports_filerequest WHERE status = 'failed'")
        assert codes == [("storage_full",)]
        assert max(seconds) < 5
        audited = audit(site, ends=ends)
        assert audited.findings == [], str(audited)
        assert site.programs["worker1"].words().count("worker large: ready") == 1, "no worker was started again"


@pytest.mark.slow
def test_the_queue_is_emptied_and_restarted_with_a_hundred_waiting(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, workers=("large", "large"), exports={"WAKE_AGAIN_SECONDS": 5.0}) as site:
        site.arm("worker", "mid_rows=sleep:0.5")
        asked = [site.ask(number % 4, first=number + 1, rows=1500) for number in range(102)]
        with Crowd(site, [Page(site, each.person, [each.id], Random(each.id)) for each in asked[::5][:PAGES]]) as crowd:
            site.valkey.flush()
            site.valkey.stop()
            began = time.monotonic()
            site.ask(5, first=200, rows=1500)
            assert time.monotonic() - began < 2, "202 within two seconds although the queue is down"
            site.disarm("worker")
            site.valkey.start()
            since = site.sql("SELECT clock_timestamp()")[0][0]
            rung = "SELECT count(*) FROM exports_filerequest WHERE status = 'queued' AND woken_at < %s"
            site.until(lambda: site.sql(rung, [since]) == [(0,)], "not all are rung again", seconds=30, pause=0.1)
            site.until_ended()
            site.until(crowd.are_right, "not every page is right", seconds=CONVERGED, pause=0.1)
            lag = crowd.longest_lag(steps_of(site.sql))
        print(f"longest lag {lag:.1f} s")
        assert lag <= CONVERGED
        site.until_mailed()
        site.until_clean()

        audited = audit(site)
        assert audited.findings == [], str(audited)
        assert audited.counts["ready"] == 103
