"""A process is killed at each fault point, and every export still ends correctly.

All points are armed at once, each for one kill, and enough exports run in parallel that each is passed. Then the
auditor checks the result.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exports.faults import POINTS
from tests.storm.auditor import Audit, audit
from tests.storm.site import PATIENT, Site

WEB = ("after_insert", "before_wake")
HOUSEKEEPER = ("before_smtp", "after_250", "mid_clean")
WORKER = tuple(point for point in POINTS if point not in WEB + HOUSEKEEPER)
ROLES = {"web": WEB, "worker": WORKER, "housekeeper": HOUSEKEEPER}
WORKERS = ("large", "large", "large")
EXPORTS = 12
ROWS = 2000


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs_postgres: None
) -> Iterator[tuple[set[str], Audit]]:
    """Return the points at which a process was killed, and the audit afterwards."""
    format, storage = request.param
    folder: Path = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=storage == "s3", workers=WORKERS, exports=PATIENT, rows=ROWS + EXPORTS) as site:
        yield kill_at_each_point(site, format), audit(site)


def kill_at_each_point(site: Site, format: str) -> set[str]:
    for role, points in ROLES.items():
        site.arm(role, ",".join(f"{point}=once:kill" for point in points))
    for number in range(EXPORTS):
        site.request(number % 4, format=format, first=number + 1, rows=ROWS)
    site.wait_until_settled()
    return {point for role, points in ROLES.items() for point in points if site.was_struck(role, point)}


REST = [("xlsx", "local"), ("csv", "s3"), ("xlsx", "s3")]


@pytest.mark.parametrize(
    "outcome", [("csv", "local"), *(pytest.param(each, marks=pytest.mark.slow) for each in REST)], indirect=True
)
def test_after_a_kill_at_each_point_the_audit_finds_nothing(outcome: tuple[set[str], Audit]):
    killed_at, audited = outcome
    assert killed_at == set(POINTS)
    assert audited.findings == [], str(audited)
    assert audited.counts["ready"] >= EXPORTS
