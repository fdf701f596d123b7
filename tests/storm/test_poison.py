"""A request that kills every process that tries it is dead after three crashes, and hardly delays its neighbours."""

import time
from collections.abc import Iterator

import pytest

from tests.storm.auditor import audit
from tests.storm.site import PROFILE, Site

HEALTHY = 20
CRASHES = 3


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), workers=("large", "large"), rows=4000) as site:
        yield site


def test_poison_dies_after_three_crashes_and_the_healthy_ones_are_made(site: Site):
    alone = seconds_for_all(site, first=1)
    poison = site.ask(type="poison", rows=1000).id
    beside = seconds_for_all(site, first=1 + HEALTHY)
    site.until_ended()
    site.until_mailed()
    site.until_clean()

    columns = "status, error_code, crashes, attempts"
    died = site.sql(f"SELECT {columns} FROM exports_filerequest WHERE id::text = %s", [poison])
    assert died == [("failed", "worker_lost", CRASHES, CRASHES)]
    healthy = f"SELECT DISTINCT {columns} FROM exports_filerequest WHERE id::text <> %s"
    assert site.sql(healthy, [poison]) == [("ready", "", 0, 1)]
    assert beside < alone + PROFILE["LEASE_SECONDS"] + restart_seconds(site)
    audited = audit(site, ends={poison: "failed"})
    assert audited.findings == [], str(audited)


def seconds_for_all(site: Site, *, first: int) -> float:
    """How long it takes until as many healthy exports are ready, asked for one after the other by several people."""
    began = time.monotonic()
    asked = [site.ask(1 + n % 4, first=first + n, rows=1000).id for n in range(HEALTHY)]
    ready = "SELECT count(*) FROM exports_filerequest WHERE status = 'ready' AND id::text = ANY(%s)"

    def are_made() -> bool:
        site.tend()
        return site.sql(ready, [asked]) == [(HEALTHY,)]

    site.until(are_made, "not all are made", pause=0.05)
    return time.monotonic() - began


def restart_seconds(site: Site) -> float:
    """How long a worker takes to be there again: that is its launcher's, not the lease's."""
    worker = site.programs["worker1"]
    worker.kill()
    began = time.monotonic()
    worker.start()
    return time.monotonic() - began
