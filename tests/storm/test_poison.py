"""An export that kills every worker fails after three crashes and hardly delays other exports."""

import time
from collections.abc import Iterator

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.site import PROFILE, Site

HEALTHY = 20
CRASHES = 3


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), workers=("large", "large"), rows=4000) as site:
        yield site


def test_an_export_that_kills_workers_fails_after_three_crashes(site: Site):
    alone = seconds_for_all(site, first=1)
    poison = site.request(type="poison", rows=1000).id
    beside = seconds_for_all(site, first=1 + HEALTHY)
    site.wait_until_settled()

    columns = "status, error_code, crashes, attempts"
    failed = site.sql(f"SELECT {columns} FROM exports_filerequest WHERE id::text = %s", [poison])
    assert failed == [("failed", "worker_lost", CRASHES, CRASHES)]
    healthy = f"SELECT DISTINCT {columns} FROM exports_filerequest WHERE id::text <> %s"
    assert site.sql(healthy, [poison]) == [("ready", "", 0, 1)]
    assert beside < alone + PROFILE["LEASE_SECONDS"] + restart_seconds(site)
    assert_no_findings(site, ends={poison: "failed"})


def seconds_for_all(site: Site, *, first: int) -> float:
    """Request HEALTHY exports, and return how many seconds it takes until all are ready."""
    began = time.monotonic()
    requested = [site.request(1 + n % 4, first=first + n, rows=1000).id for n in range(HEALTHY)]
    ready = "SELECT count(*) FROM exports_filerequest WHERE status = 'ready' AND id::text = ANY(%s)"

    def are_ready() -> bool:
        site.restart_ended()
        return site.sql(ready, [requested]) == [(HEALTHY,)]

    site.wait_until(are_ready, "not all are ready", pause=0.05)
    return time.monotonic() - began


def restart_seconds(site: Site) -> float:
    """Return how many seconds a worker takes to start after it was killed."""
    worker = site.programs["worker1"]
    worker.kill()
    began = time.monotonic()
    worker.start()
    return time.monotonic() - began
