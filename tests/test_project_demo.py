"""The demo: the archive that its data comes from, and the site with its own settings."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from project.demo import source
from tests.demo.archive import write_archive

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / source.FILE_NAME)


def test_a_table_is_read_from_the_archive_line_by_line(archive: Path):
    flights = source.lines(archive, "flights")
    assert next(flights)[:3] == ["year", "month", "day"]
    assert next(flights)[-1] == "2013-01-01T10:00:00Z"
    assert list(source.lines(archive, "airlines"))[1] == ["UA", "United Air Lines Inc."]


def test_an_existing_archive_is_not_downloaded_again_and_another_refused_with_advice(archive: Path):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert source.fetch(archive.parent, sha256=digest) == archive
    with pytest.raises(source.SourceUnusable, match=r"is not the expected file .*Delete it and load again"):
        source.fetch(archive.parent)


def test_the_demo_site_passes_its_tests(tmp_path: Path):
    """Run tests/demo/site.py with the settings of the demo."""
    own = ("DJANGO_", "DATABASE_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {"SECRET_KEY": "only-for-tests", "VAR_DIR": str(tmp_path), "TIME_ZONE": "Asia/Tokyo"}
    arguments = ["-q", "-p", "no:cacheprovider", "--ds=project.settings", "tests/demo/site.py"]
    command = [sys.executable, "-m", "pytest", *arguments]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
