"""A process is killed at each of the sixteen fault points, and everything ends right.

All points are armed at once, each for one kill, and enough exports run side by side that each one strikes. Then the
auditor looks at what there is.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exports.faults import POINTS
from tests.servers import NotInstalled, postgres_program
from tests.storm.auditor import Audit, audit
from tests.storm.site import PATIENT, Site

WEB = ("after_insert", "before_wake")
HOUSEKEEPER = ("before_smtp", "after_250", "mid_clean")
WORKER = tuple(point for point in POINTS if point not in WEB + HOUSEKEEPER)
ROLES = {"web": WEB, "worker": WORKER, "housekeeper": HOUSEKEEPER}
WORKERS = ("large", "large", "large")
EXPORTS = 12
ROWS = 2000


class Outcome:
    """What was left after the kills."""

    def __init__(self, struck: set[str], audited: Audit) -> None:
        self.struck, self.audited = struck, audited


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Everybody is killed once at every point while exports of this format are made and stored there."""
    try:
        postgres_program("initdb")
    except NotInstalled as error:
        pytest.skip(str(error))
    format, storage = request.param
    folder: Path = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=storage == "s3", workers=WORKERS, exports=PATIENT, rows=ROWS + EXPORTS) as site:
        yield Outcome(kill_everywhere(site, format), audit(site))


def kill_everywhere(site: Site, format: str) -> set[str]:
    """Returns the points that have struck."""
    for role, points in ROLES.items():
        site.arm(role, ",".join(f"{point}=once:kill" for point in points))
    for number in range(EXPORTS):
        site.ask(number % 4, format=format, first=number + 1, rows=ROWS)
    site.until_ended()
    site.until_mailed()
    site.until_clean()
    return {point for role, points in ROLES.items() for point in points if site.has_struck(role, point)}


FAST = pytest.param(("csv", "local"), id="csv-local")
REST = [
    pytest.param(place, id="-".join(place), marks=pytest.mark.slow)
    for place in [("xlsx", "local"), ("csv", "s3"), ("xlsx", "s3")]
]
everywhere = pytest.mark.parametrize("outcome", [FAST, *REST], indirect=True)


@everywhere
@pytest.mark.parametrize("point", POINTS)
def test_a_process_is_killed_at_this_point(outcome: Outcome, point: str):
    assert point in outcome.struck


@everywhere
def test_after_a_kill_at_each_point_everything_is_as_it_must_be(outcome: Outcome):
    assert outcome.audited.findings == [], str(outcome.audited)
    assert outcome.audited.counts["ready"] >= EXPORTS
