"""Workers that are frozen beyond their lease change nothing when they resume."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from exports.faults import POINTS
from tests.storm.auditor import assert_no_findings
from tests.storm.programs import Program
from tests.storm.site import PATIENT, Site

# Fifty frozen workers in all, half of them with each storage.
ROUNDS, AT_ONCE = 5, 5
WORKERS = AT_ONCE + 2
# The fault points at which a worker holds a lease.
HOLDING = POINTS[POINTS.index("after_claim") : POINTS.index("before_publish") + 1]
FENCED = "the lease was lost"


@pytest.fixture(params=[False, True], ids=["local", "s3"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs_postgres: None
) -> Iterator[Site]:
    # Long enough that no watchdog ends a frozen worker before it resumes.
    changes = PATIENT | {"SHUTDOWN_GRACE_SECONDS": 600.0}
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, bucket=request.param, workers=["large"] * WORKERS, exports=changes) as site:
        yield site


@pytest.mark.slow
def test_workers_frozen_beyond_their_lease_change_nothing_when_resumed(site: Site):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    for number in range(ROUNDS):
        freeze_and_resume(site, chance, number)
    site.wait_until_settled()

    assert_no_findings(site)
    is_rescue = "(old_status, status) = ('running', 'queued') AND epoch > old_epoch"
    rescued = f"SELECT count(*) FROM storm_transitions WHERE {is_rescue}"
    assert site.sql(rescued) == [(ROUNDS * AT_ONCE,)], f"seed {seed}: each was frozen with a lease, and rescued once"


def freeze_and_resume(site: Site, chance: random.Random, number: int) -> None:
    """Freeze a worker at each of some fault points, let others finish the exports, then resume and expect fencing.

    Return when every resumed worker has logged that it is fenced: before that it may pass other fault points.
    """
    points = chance.sample(HOLDING, AT_ONCE)
    site.arm("worker", ",".join(f"{point}=once:stop" for point in points))
    requested = [
        site.request(user, format=chance.choice(("csv", "xlsx")), first=number + 1, rows=2500)
        for user in range(AT_ONCE)
    ]
    site.wait_until(lambda: len(frozen_workers(site)) == AT_ONCE, f"not all froze at {points}")
    ready = "SELECT count(*) FROM exports_filerequest WHERE status = 'ready' AND id::text = ANY(%s)"
    ids = [each.id for each in requested]
    site.wait_until(lambda: site.sql(ready, [ids]) == [(AT_ONCE,)], "the other workers did not finish them", pause=0.05)
    assert all(site.was_struck("worker", point) for point in points)
    site.disarm("worker")
    frozen = {worker: worker.logged().count(FENCED) for worker in frozen_workers(site)}
    assert len(frozen) == AT_ONCE
    for worker in frozen:
        worker.thaw()
    site.wait_until(
        lambda: all(each.logged().count(FENCED) == n + 1 for each, n in frozen.items()), "not all were fenced"
    )


def frozen_workers(site: Site) -> list[Program]:
    return [worker for worker in site.of("worker") if is_stopped(worker)]


def is_stopped(program: Program) -> bool:
    status = Path(f"/proc/{program.process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"
