"""Exports survive restarts of PostgreSQL and of the queue's server, and a full disk."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.pages import MAX_LAG_SECONDS, OpenPages, Page
from tests.storm.site import PATIENT, Site
from tests.storm.transition_log import logged_steps

RESTARTS, EXPORTS = 20, 50
FULL_DISKS = 20
DISK = "1m"
PAGES = 20


@pytest.mark.slow
def test_all_exports_are_ready_after_twenty_restarts_of_postgresql(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, exports=PATIENT) as site:
        for number in range(EXPORTS):
            site.request(number % 4, format=("csv", "xlsx")[number % 2], first=number + 1, rows=5000)
            if number * RESTARTS // EXPORTS != (number + 1) * RESTARTS // EXPORTS:
                site.postgres.restart()
        site.wait_until_settled()

        audited = assert_no_findings(site)
        assert audited.counts["ready"] >= EXPORTS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("A small disk needs the right to mount one (root).")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_with_storage_full_and_the_next_export_passes(
    tmp_path: Path, small_disk: Path, needs_postgres: None
):
    with Site(tmp_path, workers=("large", "small"), exports={"WORK_DIR": str(small_disk)}) as site:
        ends, seconds = {}, []
        for number in range(FULL_DISKS):
            began = time.monotonic()
            too_big = site.request(first=number + 1, rows=19_000, type="parcels")
            site.wait_until(
                lambda requested=too_big: site.status(requested.id) == "failed", "it did not fail", seconds=20
            )
            seconds.append(time.monotonic() - began)
            ends[too_big.id] = "failed"
            assert list(small_disk.rglob("*")) == [], "0 bytes are left"
            fits = site.request(first=number + 1, rows=1000)
            site.wait_until(lambda requested=fits: site.status(requested.id) == "ready", "the next failed", seconds=20)
        site.wait_until_mailed()
        site.wait_until_clean()

        codes = site.sql("SELECT DISTINCT error_code FROM exports_filerequest WHERE status = 'failed'")
        assert codes == [("storage_full",)]
        assert max(seconds) < 5
        assert_no_findings(site, ends=ends)
        assert site.programs["worker1"].logged().count("worker large: ready") == 1, "the worker was not restarted"


@pytest.mark.slow
def test_no_export_is_lost_when_the_queue_is_emptied_and_restarted(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, workers=("large", "large"), exports={"WAKE_AGAIN_SECONDS": 5.0}) as site:
        site.arm("worker", "mid_rows=sleep:0.5")
        requested = [site.request(number % 4, first=number + 1, rows=1500) for number in range(102)]
        open_pages = [Page(site, each.user, [each.id], Random(each.id)) for each in requested[::5][:PAGES]]
        with OpenPages(site, open_pages) as pages:
            site.valkey.flush()
            site.valkey.stop()
            began = time.monotonic()
            site.request(5, first=200, rows=1500)
            assert time.monotonic() - began < 2, "202 within two seconds although the queue is down"
            site.disarm("worker")
            site.valkey.start()
            since = site.sql("SELECT clock_timestamp()")[0][0]
            not_woken = "SELECT count(*) FROM exports_filerequest WHERE status = 'queued' AND woken_at < %s"
            site.wait_until(lambda: site.sql(not_woken, [since]) == [(0,)], "not all are woken", seconds=30, pause=0.1)
            site.wait_until_ended()
            site.wait_until(pages.are_up_to_date, "not every page is up to date", seconds=MAX_LAG_SECONDS, pause=0.1)
            lag = pages.longest_lag(logged_steps(site.sql))
        print(f"longest lag {lag:.1f} s")
        assert lag <= MAX_LAG_SECONDS
        site.wait_until_mailed()
        site.wait_until_clean()

        audited = assert_no_findings(site)
        assert audited.counts["ready"] == 103
