"""Sites whose settings need processes: another user model, replicas, and a system that is not POSIX."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.office.processes import ROOT
from tests.stacks.people.not_posix import NAMES

SETTINGS = "tests.stacks.people.settings"


def run(folder: Path, *command: str, settings: str = SETTINGS, succeeds: bool = True) -> str:
    environment = {**os.environ, "SITE_FOLDER": str(folder), "DJANGO_SETTINGS_MODULE": settings}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
    return done.stdout + ("" if succeeds else done.stderr)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site with its empty tables."""
    folder = tmp_path_factory.mktemp("site")
    run(folder, "manage.py", "migrate", "--run-syncdb", "--verbosity=0")
    return folder


@pytest.fixture
def site(migrated: Path, tmp_path: Path) -> Path:
    """Return the folder of a new site."""
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    return tmp_path


def check_visit(output: str) -> None:
    """Fail unless the users of tests/stacks/people/visit.py saw what they should."""
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert seen["file"] == seen["public"] == seen["expected"]
    assert (seen["asked"], seen["stranger"], seen["socket"], seen["again"]) == (202, 0, "queued", 201)
    assert seen["mails"] == [["kim@example.com"]]
    assert [answer for name, answer in seen.items() if name.startswith("admin ")] == [[200, True]] * 3
    assert seen["audit page"] == 200


VISIT = ("manage.py", "shell", "--no-imports", "-c", "import tests.stacks.people.visit")


@pytest.mark.shows("own user model")
def test_a_project_with_its_own_user_model_exports_from_request_to_mail(site: Path):
    assert "No changes" in run(site, "manage.py", "makemigrations", "exports", "--check", "--dry-run")
    check_visit(run(site, *VISIT))


@pytest.mark.shows("replica router")
def test_a_site_that_reads_from_replicas_reads_the_apps_tables_where_they_are_written(site: Path):
    replica = "tests.stacks.people.replica"
    shutil.copy(site / "db.sqlite3", site / "replica.sqlite3")
    check_visit(run(site, *VISIT, settings=replica))
    without = site / "without_pin.py"
    without.write_text(f"from {replica} import *\nDATABASE_ROUTERS = DATABASE_ROUTERS[1:]\n")
    start = f"import sys, django; sys.path.insert(0, {str(site)!r}); django.setup()"
    check = "from django.core.management import call_command; call_command('check')"
    assert "exports.E049" in run(site, "-c", f"{start}; {check}", settings="without_pin", succeeds=False)


@pytest.mark.shows("Windows")
def test_without_what_only_posix_has_all_modules_can_be_imported_and_exports_are_made(site: Path):
    check_visit(run(site, "-m", "tests.stacks.people.not_posix"))


def posix_calls() -> Iterator[str]:
    """Yield each use of a name that Windows lacks in a function that does not ask for this name with hasattr."""
    for path in (ROOT / "exports").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for block in tree.body:
            text = ast.unparse(block)
            for node in ast.walk(block):
                is_used = isinstance(node, ast.Attribute) and node.attr in NAMES.get(ast.unparse(node.value), ())
                if is_used and f"hasattr({ast.unparse(node.value)}, {node.attr!r})" not in text:
                    yield f"{path.relative_to(ROOT)}: {ast.unparse(node)}"


def test_no_name_that_windows_lacks_is_used_without_a_guard():
    # Faults are what tests alone arm.
    assert [use for use in posix_calls() if "faults.py" not in use] == []
