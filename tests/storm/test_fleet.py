"""A fleet of hosts loses nothing while hosts are cut off, killed, frozen and added, and while it is upgraded."""

import re
import subprocess
import sys

import pytest

from tests.storm.network import UNSHARED, NoNamespaces, need_namespaces
from tests.storm.programs import ROOT

EXPORTS, FAULTS = 100, 30
SECONDS = 10 * 60

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_postgres", "namespaces")]


@pytest.fixture(scope="module")
def namespaces() -> None:
    try:
        need_namespaces()
    except NoNamespaces as error:
        pytest.skip(str(error))


def run_fleet(*arguments: str) -> str:
    """Return what a fleet printed. It prints its seed, which `bin/storm --fleet --seed` takes."""
    command = [*UNSHARED, sys.executable, "-m", "tests.storm.fleet", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


def test_hosts_that_share_only_servers_lose_nothing_in_a_storm():
    printed = run_fleet("--exports", str(EXPORTS), "--faults", str(FAULTS), "--minutes", "1")

    [strikes] = re.findall(r"^fleet of \d+: (.*)", printed, re.MULTILINE)
    assert sum(map(int, re.findall(r"\d+", strikes))) >= FAULTS, printed
    assert sum(map(int, re.findall(r"ready (\d+)", printed))) >= EXPORTS, printed


def test_an_upgrade_of_one_host_after_the_other_loses_nothing():
    """From the newest tag, or from the commit before the newest migration."""
    revision = previous_revision()
    if not revision:
        pytest.skip("There is no history of git with an earlier version.")
    run_fleet("--upgrade-from", revision)


def previous_revision() -> str:
    if tag := git("describe", "--tags", "--abbrev=0", "HEAD^"):
        return tag
    newest = git("log", "-1", "--diff-filter=A", "--format=%H", "--", "exports/migrations/*.py")
    return git("rev-parse", "--verify", "--quiet", f"{newest}^") if newest else ""


def git(*arguments: str) -> str:
    """Return what git prints, or '' if it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
