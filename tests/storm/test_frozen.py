"""Workers that are frozen beyond their lease and wake up when another one has finished: they change nothing."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exports.faults import POINTS
from tests.storm.auditor import audit
from tests.storm.site import PATIENT, Program, Site

ROUNDS = 25
AT_ONCE = 2
WORKERS = 4
# Those of a worker's road, but for the two where nothing is held: before the claim, and after the end.
HOLDING = POINTS[POINTS.index("after_claim") : POINTS.index("before_publish") + 1]


@pytest.fixture(params=[False, True], ids=["local", "s3"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs_postgres: None
) -> Iterator[Site]:
    # The zombies wake up and try to go on: nobody ends them before.
    changes = PATIENT | {"GRACE": 600.0}
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=request.param, workers=["large"] * WORKERS, exports=changes) as site:
        yield site


@pytest.mark.storm
def test_fifty_workers_frozen_beyond_their_lease_change_nothing_when_they_wake_up(site: Site):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    frozen = sum(freeze_and_wake(site, chance, number) for number in range(ROUNDS))
    site.until_ended()
    site.until_mailed()
    site.until_clean()

    audited = audit(site)
    assert audited.findings == [], f"seed {seed}\n{audited}"
    # Now and then a point strikes somebody who wakes up before he is counted.
    assert frozen >= 0.8 * ROUNDS * AT_ONCE
    rescued = (
        "SELECT count(*) FROM storm_journal WHERE (old_status, status) = ('running', 'queued') AND epoch > old_epoch"
    )
    assert site.sql(rescued)[0][0] >= frozen


def freeze_and_wake(site: Site, chance: random.Random, number: int) -> int:
    """Two workers freeze at two points; others make the files; then the two wake up. Returns how many froze."""
    points = chance.sample(HOLDING, AT_ONCE)
    site.arm("worker", ",".join(f"{point}=once:stop" for point in points))
    asked = [site.ask(n, format=chance.choice(("csv", "xlsx")), first=number + 1, rows=2500) for n in range(2)]
    site.until(lambda: all(site.has_struck("worker", point) for point in points), f"nobody froze at {points}")
    ready = "SELECT count(*) FROM exports_filerequest WHERE status = 'ready' AND id::text = ANY(%s)"
    site.until(lambda: site.sql(ready, [[each.id for each in asked]]) == [(2,)], "nobody else made them", pause=0.05)
    sleepers = [worker for worker in site.of("worker") if is_stopped(worker)]
    for worker in sleepers:
        worker.thaw()
    site.disarm("worker")
    time.sleep(chance.uniform(0, 0.3))
    return len(sleepers)


def is_stopped(program: Program) -> bool:
    status = Path(f"/proc/{program.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"
