"""All tests of the admin's export once more in the admin of django-unfold, which is installed for a whole process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.servers
@pytest.mark.shows("django-unfold")
def test_the_admin_of_django_unfold_exports_its_lists(tmp_path: Path):
    command = [sys.executable, "-m", "pytest", "-q", "--ds=tests.backoffice.unfold", "-p", "no:cacheprovider"]
    command += [f"--basetemp={tmp_path / 'tests'}", "tests/test_admin_export.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
