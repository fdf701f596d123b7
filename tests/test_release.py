"""`bin/release`, run in a clone of this repository."""

import re
import tomllib
from datetime import date
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from tests.wheel import ROOT

pytestmark = pytest.mark.servers


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with the files of this checkout committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone of the repository")
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", "--no-tags", str(ROOT), str(clone)], check=True)
    for name in ("bin", "pyproject.toml", "CHANGELOG.md"):
        run(["cp", "-r", str(ROOT / name), str(clone)], check=True)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    (clone / ".git" / "info" / "exclude").write_text(".venv\n")
    for name, value in (("user.name", "Release"), ("user.email", "release@exports.example")):
        run(["git", "config", name, value], cwd=clone, check=True)
    run(["git", "add", "--all"], cwd=clone, check=True)
    run(["git", "commit", "--quiet", "--allow-empty", "-m", "This checkout"], cwd=clone, check=True)
    return clone


def release(clone: Path, version: str = "0.2.0") -> CompletedProcess[str]:
    return run(["bin/release", version], cwd=clone, capture_output=True, text=True)


def test_one_command_makes_a_release(clone: Path):
    if "## [Unreleased]\n\n## [" in (clone / "CHANGELOG.md").read_text():
        pytest.skip("there are no changes since the last release")
    ended = release(clone)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("PASSED") == 2
    assert sorted(path.name for path in (clone / "dist").iterdir() if path.name[0] != ".") == [
        "django_live_exports-0.2.0-py3-none-any.whl",
        "django_live_exports-0.2.0.tar.gz",
    ]
    assert tomllib.loads((clone / "pyproject.toml").read_text())["project"]["version"] == "0.2.0"
    changelog = (clone / "CHANGELOG.md").read_text()
    assert f"## [Unreleased]\n\n## [0.2.0] - {date.today()}\n\n- " in changelog
    assert re.search(r"(?m)^\[0\.2\.0\]: .+/compare/v0\.1\.0\.\.\.v0\.2\.0$", changelog)
    log = run(["git", "log", "-1", "--format=%s %D"], cwd=clone, capture_output=True, text=True).stdout
    assert log.startswith("Release 0.2.0 ")
    assert "tag: v0.2.0" in log
    assert run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True).stdout == ""
    assert "is tagged already" in release(clone).stderr


@pytest.mark.parametrize("version", ["", "0.2", "v0.2.0"])
def test_a_version_has_three_numbers(clone: Path, version: str):
    assert "Usage" in release(clone, version).stderr


def test_changes_that_are_not_committed_end_it(clone: Path):
    (clone / "README.md").write_text("changed")
    ended = release(clone)
    assert (ended.returncode, "not committed" in ended.stderr) == (1, True)
