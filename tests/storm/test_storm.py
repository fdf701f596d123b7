"""The storm of three minutes, as bin/storm has it."""

import re
import subprocess
import sys

import pytest

from tests.storm.programs import ROOT

MINUTES = 3
EXPORTS, KILLS = 200, 150
SECONDS = 10 * 60


@pytest.mark.slow
def test_after_a_storm_nothing_is_lost_doubled_stale_wrong_or_left(needs_postgres: None):
    """A storm that fails prints its seed; `bin/storm --seed` repeats what that decides."""
    command = [sys.executable, "-m", "tests.storm", "--minutes", str(MINUTES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)

    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert sum(map(int, re.findall(r"killed (\d+)", done.stdout))) >= KILLS, done.stdout
    assert sum(map(int, re.findall(r"ready (\d+)", done.stdout))) >= EXPORTS, done.stdout
