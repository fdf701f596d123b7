"""Fault points do nothing unless they are armed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exports import faults
from tests.servers import wait_until


def test_only_the_armed_point_acts(monkeypatch):
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    faults.point("first_row")
    monkeypatch.setenv(faults.VARIABLE, "first_row=raise")
    faults.point("mid_rows")
    with pytest.raises(faults.FaultRaised):
        faults.point("first_row")


def test_a_point_can_wait(monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "mid_rows=sleep:0.05")
    began = time.monotonic()
    faults.point("mid_rows")
    assert time.monotonic() - began >= 0.05


FREEZES = """
import threading, time
from exports.faults import point

def run():
    while True:
        point("first_row")
        print("went on", flush=True)

threading.Thread(target=run, daemon=True).start()
# A signal to the process would go to the main thread first, which is busy.
while True:
    sum(range(100_000))
"""


def test_a_stopped_thread_continues_only_after_sigcont_and_can_be_killed(tmp_path):
    output, armed = tmp_path / "output", tmp_path / "faults"
    armed.write_text("first_row=stop")
    environment = os.environ | {faults.VARIABLE: f"@{armed}"}
    with (
        output.open("w") as file,
        subprocess.Popen([sys.executable, "-c", FREEZES], env=environment, stdout=file) as it,
    ):
        try:
            for times in range(20):
                wait_until(lambda: is_frozen(it.pid))
                assert output.read_text().count("went on") == times
                it.send_signal(signal.SIGCONT)
                wait_until(lambda n=times: output.read_text().count("went on") > n)
            wait_until(lambda: is_frozen(it.pid))
            armed.write_text("first_row=kill")
            it.send_signal(signal.SIGCONT)
            assert it.wait(30) == -signal.SIGKILL
        finally:
            it.kill()


def is_frozen(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# "once:" needs a file, beside which its marker lies.
@pytest.mark.parametrize("armed", ["mid_row=kill", "mid_rows=explode", "mid_rows", "mid_rows=once:raise"])
def test_an_unknown_point_or_action_raises(monkeypatch, armed):
    monkeypatch.setenv(faults.VARIABLE, armed)
    with pytest.raises(ValueError, match="is not a fault"):
        faults.point("mid_rows")


def test_a_file_arms_while_the_process_runs_and_once_acts_one_time(monkeypatch, tmp_path):
    armed = tmp_path / "faults"
    monkeypatch.setenv(faults.VARIABLE, f"@{armed}")
    faults.point("first_row")
    armed.write_text("first_row=once:raise,mid_rows=once:raise\n")
    assert not faults.marker_path(armed, "first_row").exists()
    with pytest.raises(faults.FaultRaised):
        faults.point("first_row")
    faults.point("first_row")
    assert faults.marker_path(armed, "first_row").exists()
    with pytest.raises(faults.FaultRaised):
        faults.point("mid_rows")


def test_each_point_is_in_the_code():
    sources = [path.read_text() for path in Path(faults.__file__).parent.rglob("*.py")]
    calls = [call for source in sources for call in re.findall(r"faults\.point\((.*)\)", source)]
    assert {name for call in calls for name in re.findall(r'"(\w+)"', call)} == set(faults.POINTS)
