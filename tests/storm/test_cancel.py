"""A cancel succeeds at once in every phase: the worker stops, no file, mail or READY follows."""

import time
from collections.abc import Iterator

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.site import Requested, Site

HOLD = 1.0
# The present batch and the one during which the lease keeper notices, on a busy machine. All ten batches take 10 s.
ROWS = 5000
STOPPED = 2 * HOLD + 2
# Fault points that make a run stay in its phase.
PHASES = {
    "queued": "",
    "counting": f"after_claim=sleep:{HOLD}",
    "writing": f"first_row=sleep:{HOLD},mid_rows=sleep:{HOLD}",
    "finishing": f"before_close=sleep:{HOLD}",
    "storing": f"before_complete=sleep:{HOLD}",
}
FEW = 3
MANY = 100
AT_ONCE = 6
FENCED = "the lease was lost"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, workers=["large"] * AT_ONCE, exports={"SHUTDOWN_GRACE_SECONDS": 10.0}, rows=8000) as site:
        yield site


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "phase", [phase if phase == "writing" else pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES]
)
def test_a_cancel_succeeds_in_each_phase(site: Site, phase: str, count: int):
    site.arm("worker", PHASES[phase])
    before = len(site.requested)
    seconds: list[float] = []
    while len(seconds) < count:
        for worker in site.of("worker"):
            worker.freeze()
        waiting = [site.request(first=next_first(site), rows=ROWS) for _ in range(min(AT_ONCE, count - len(seconds)))]
        fenced = fenced_runs(site)
        if phase != "queued":
            site.thaw_all()
        seconds += cancel_in_phase(site, phase, waiting)
        if phase != "queued":
            all_fenced = fenced + len(waiting)
            site.wait_until(lambda n=all_fenced: fenced_runs(site) >= n, "not all stopped", seconds=STOPPED, pause=0.05)
    site.thaw_all()
    site.disarm("worker")
    site.wait_until_ended()
    site.wait_until_clean()

    assert max(seconds) < 1, "it was cancelled within a second"
    ends = {requested.id: "cancelled" for requested in site.requested}
    assert_no_findings(site, ends=ends)
    assert len(site.requested) - before == count
    assert list(site.mailbox.mails()) == []


def fenced_runs(site: Site) -> int:
    """Return how many runs have ended because the export was changed elsewhere, as the workers logged."""
    return sum(worker.logged().count(FENCED) for worker in site.of("worker"))


def next_first(site: Site) -> int:
    """Return another first parcel each time: the same criteria would return the same export."""
    return len(site.requested) % 2400 + 1


def cancel_in_phase(site: Site, phase: str, waiting: list[Requested]) -> list[float]:
    """Cancel each export once it is in this phase. Return the duration of each cancel in seconds."""
    left, seconds = {requested.id for requested in waiting}, []
    while left:
        for export_id in in_phase(site, phase, left):
            began = time.monotonic()
            answer = site.post(0, export_id, "cancel")
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
            seconds.append(time.monotonic() - began)
            left.remove(export_id)
        assert not ended_otherwise(site, left), "it ended before it was cancelled"
    return seconds


def in_phase(site: Site, phase: str, ids: set[str]) -> list[str]:
    found = site.sql(
        "SELECT id::text FROM exports_filerequest WHERE phase = %s AND id::text = ANY(%s)", [phase, [*ids]]
    )
    return [export_id for (export_id,) in found]


def ended_otherwise(site: Site, ids: set[str]) -> bool:
    ended = "SELECT 1 FROM exports_filerequest WHERE finished_at IS NOT NULL AND id::text = ANY(%s)"
    return bool(site.sql(ended, [[*ids]]))
