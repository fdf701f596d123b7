"""The app runs with cron alone, without huey, channels, redis and daphne installed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.seed.alone import MISSING

ROOT = Path(__file__).resolve().parent.parent


class Site:
    """A site in a folder. Each command runs in a new process in which warnings are errors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manage(self, *arguments: str) -> str:
        """Return what a command of manage.py prints."""
        environment = {**os.environ, "SEED_FOLDER": str(self.folder)}
        command = [sys.executable, "-W", "error", "-m", "tests.seed.alone", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def step(self, name: str) -> dict[str, Any]:
        return json.loads(self.manage(name))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.manage("migrate", "--run-syncdb", "--verbosity=0")
    assert site.step("settle") == {"missing": list(MISSING)}
    return site


@pytest.mark.shows("cron only")
def test_request_process_mail_download_and_clean_with_cron_only(site: Site):
    assert "no issues" in site.manage("check", "--tag=exports")
    asked = site.step("ask")
    assert "back to you on login-events.xlsx" in asked["page"]
    assert asked["status"] == 202
    assert site.step("count")["statuses"] == ["queued", "queued"]
    assert site.manage("exports", "housekeep", "--once").startswith("swept: ")
    told = site.manage("exports", "process", "--sleep=0.1", "--timeout=600", "--items=20")
    assert f"orders {asked['id']}: ready" in told
    assert told.endswith("Handled 2 requests.\n")
    assert site.step("count") == {"statuses": ["ready", "ready"], "files": 2, "work": 0, "mails": 2}
    assert site.step("fetch") == {"mails": 2, "spreadsheet": "PK", "lines": 51}
    assert site.manage("exports", "clean").startswith("Swept: nothing.\nRemoved 0 of 0")
    assert site.step("expire") == {"expired": 2}
    told = site.manage("exports", "clean", "--timeout=60", "--sleep=0.1")
    assert told == "Swept: expired 2, deleted 2.\nRemoved 2 of 2 expired requests: all of them.\n"
    assert site.step("count") == {"statuses": [], "files": 0, "work": 0, "mails": 2}
