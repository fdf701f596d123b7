"""A project with a user model of another primary key and another name field, in processes with those settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.office.processes import ROOT


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "SITE_FOLDER": str(folder), "DJANGO_SETTINGS_MODULE": "tests.stacks.people.settings"}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "manage.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.shows("own user model")
def test_a_project_with_its_own_user_model_exports_from_request_to_mail(tmp_path: Path):
    run(tmp_path, "migrate", "--run-syncdb", "--verbosity=0")
    assert "no changes" in run(tmp_path, "makemigrations", "exports", "--check").lower()
    assert "no issues" in run(tmp_path, "check", "--tag=exports")
    seen = json.loads(run(tmp_path, "shell", "--no-imports", "-c", "import tests.stacks.people.visit").splitlines()[-1])
    assert seen["file"] == seen["public"] == seen["expected"]
    assert (seen["asked"], seen["stranger"], seen["socket"], seen["again"]) == (202, 0, "queued", 201)
    assert seen["mails"] == [["kim@example.com"]]
    assert [answer for name, answer in seen.items() if name.startswith("admin ")] == [[200, True]] * 3
    assert seen["audit page"] == 200
