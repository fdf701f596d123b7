"""However many processes claim an export, and however often it is woken, it runs once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.programs import ROOT
from tests.storm.site import Site

RACERS, RACES = 8, 1000
WAKES = 5
RACE_SECONDS = 300  # a busy machine takes over a minute
FILL = """
from exports.models import FileRequest
FileRequest.objects.bulk_create(FileRequest(file_type="parcels", format="csv") for _ in range(%d))
"""
WAKE = """
import sys
from exports.queue import huey
assert all(huey.wake(queue) for queue in sys.argv[1:])
"""
CLAIMS = (
    "SELECT request_id, count(*) FROM storm_transitions WHERE (old_status, status) = ('queued', 'running') GROUP BY 1"
)


@pytest.fixture
def idle_site(tmp_path_factory: pytest.TempPathFactory, needs_postgres: None) -> Iterator[Site]:
    """A site without workers and housekeepers."""
    with Site(tmp_path_factory.mktemp("site"), workers=(), housekeepers=0, rows=10) as site:
        yield site


def test_one_of_eight_racing_processes_wins_each_of_a_thousand_exports(idle_site: Site):
    idle_site.run_script(FILL % RACES)
    gate = idle_site.folder / "gate"
    command = [sys.executable, "-m", "tests.storm.claimer", str(gate)]
    racers = [
        subprocess.Popen(command, cwd=ROOT, env=idle_site.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(RACERS)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * RACERS
    gate.touch()
    won = [int(racer.communicate(timeout=RACE_SECONDS)[0]) for racer in racers]

    assert sum(won) == RACES
    assert sum(1 for wins in won if wins) > 1, "one process was so fast that there was no race"
    assert {count for _, count in idle_site.sql(CLAIMS)} == {1}
    columns = "status, epoch, attempts, seq"
    assert idle_site.sql(f"SELECT DISTINCT {columns} FROM exports_filerequest") == [("running", 1, 1, 1)]
    assert idle_site.sql("SELECT count(*), count(DISTINCT request_id) FROM exports_artifact") == [(RACES, RACES)]


def test_exports_that_are_woken_five_times_run_once(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, workers=("large", "large", "large"), rows=1000) as site:
        for number in range(20):
            site.request(number % 4, first=number + 1, rows=300)
        site.run_script(WAKE, *["large"] * 20 * WAKES)
        site.wait_until_settled()

        assert [count for _, count in site.sql(CLAIMS)] == [1] * 20
        assert site.sql("SELECT DISTINCT epoch, attempts FROM exports_filerequest") == [(1, 1)]
        assert_no_findings(site)
