"""The storm that bin/storm runs, for three minutes."""

import re
import subprocess
import sys

import pytest

from tests.storm.programs import ROOT

MINUTES = 3
EXPORTS, KILLS = 200, 150
SECONDS = 10 * 60


@pytest.mark.slow
def test_the_audit_after_a_storm_of_three_minutes_finds_nothing(needs_postgres: None):
    """A storm that fails prints its seed, which `bin/storm --seed` takes."""
    command = [sys.executable, "-m", "tests.storm", "--minutes", str(MINUTES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)

    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert sum(map(int, re.findall(r"killed (\d+)", done.stdout))) >= KILLS, done.stdout
    assert sum(map(int, re.findall(r"ready (\d+)", done.stdout))) >= EXPORTS, done.stdout
