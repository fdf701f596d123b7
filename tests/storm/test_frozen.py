"""Workers that are frozen beyond their lease and wake up when another one has finished: they change nothing."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from exports.faults import POINTS
from tests.storm.auditor import audit
from tests.storm.programs import Program
from tests.storm.site import PATIENT, Site

# Fifty in all, half of them at each storage.
ROUNDS, AT_ONCE = 5, 5
WORKERS = AT_ONCE + 2
# Those of a worker's strategy, but for the two where nothing is held: before the claim, and after the end.
HOLDING = POINTS[POINTS.index("after_claim") : POINTS.index("before_publish") + 1]
FENCED = "the lease was lost"


@pytest.fixture(params=[False, True], ids=["local", "s3"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs_postgres: None
) -> Iterator[Site]:
    # The zombies wake up and try to go on: nobody ends them before.
    changes = PATIENT | {"SHUTDOWN_GRACE_SECONDS": 600.0}
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=request.param, workers=["large"] * WORKERS, exports=changes) as site:
        yield site


@pytest.mark.slow
def test_workers_frozen_beyond_their_lease_change_nothing_when_they_wake_up(site: Site):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    for number in range(ROUNDS):
        freeze_and_wake(site, chance, number)
    site.until_ended()
    site.until_mailed()
    site.until_clean()

    audited = audit(site)
    assert audited.findings == [], f"seed {seed}\n{audited}"
    rescued = (
        "SELECT count(*) FROM storm_journal WHERE (old_status, status) = ('running', 'queued') AND epoch > old_epoch"
    )
    assert site.sql(rescued) == [(ROUNDS * AT_ONCE,)], f"seed {seed}: each was frozen with a lease, and rescued once"


def freeze_and_wake(site: Site, chance: random.Random, number: int) -> None:
    """As many workers freeze as there are points; others make the files; then they wake up and find themselves fenced.

    The next round begins when all have said so: whoever woke up a moment ago would pass its points without a lease.
    """
    points = chance.sample(HOLDING, AT_ONCE)
    site.arm("worker", ",".join(f"{point}=once:stop" for point in points))
    asked = [
        site.ask(person, format=chance.choice(("csv", "xlsx")), first=number + 1, rows=2500)
        for person in range(AT_ONCE)
    ]
    site.until(lambda: len(sleepers(site)) == AT_ONCE, f"not all froze at {points}")
    ready = "SELECT count(*) FROM exports_filerequest WHERE status = 'ready' AND id::text = ANY(%s)"
    ids = [each.id for each in asked]
    site.until(lambda: site.sql(ready, [ids]) == [(AT_ONCE,)], "nobody else made them", pause=0.05)
    assert all(site.has_struck("worker", point) for point in points)
    site.disarm("worker")
    frozen = {worker: worker.words().count(FENCED) for worker in sleepers(site)}
    assert len(frozen) == AT_ONCE
    for worker in frozen:
        worker.thaw()
    site.until(lambda: all(each.words().count(FENCED) == n + 1 for each, n in frozen.items()), "not all were fenced")


def sleepers(site: Site) -> list[Program]:
    return [worker for worker in site.of("worker") if is_stopped(worker)]


def is_stopped(program: Program) -> bool:
    status = Path(f"/proc/{program.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"
