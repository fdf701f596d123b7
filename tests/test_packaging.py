"""Packaging: the wheel as a release builds it, the requirements, the changelog and the CI workflow."""

import ast
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from subprocess import run
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sbom import bill, locked

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
WHEEL = [Requirement(line) for line in PROJECT["dependencies"]] + EXTRAS
APPLICATION = [
    Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")
]
# Django's documentation tells its users to import it.
COMES_WITH_DJANGO = {"asgiref"}


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    with ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Metadata:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Metadata.from_email(wheel.read(name))


def test_the_wheel_has_its_name_and_runs_on_every_platform(wheel: ZipFile, metadata: Metadata):
    assert metadata.name == "django-live-exports"
    assert Path(wheel.filename or "").name == f"django_live_exports-{metadata.version}-py3-none-any.whl"


def test_the_wheel_contains_the_app_and_the_frontend_and_nothing_else(wheel: ZipFile):
    app = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exports").rglob("*") if path.is_file()}
    frontend = {f"exports/static/exports/{path.name}" for path in (ROOT / "frontend").iterdir() if path.is_file()}
    expected = {name for name in app | frontend if "__pycache__" not in name}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected
    assert {"exports/py.typed", "exports/migrations/0001_initial.py", "exports/static/exports/exports.js"} <= expected


def test_the_wheel_has_licence_authors_links_and_description(wheel: ZipFile, metadata: Metadata):
    assert metadata.license_expression == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    assert metadata.author == "Live Exports contributors"
    assert {"Repository", "Documentation", "Changelog", "Issues"} == set(metadata.project_urls or ())
    assert metadata.keywords
    assert metadata.description


def test_the_wheel_needs_only_django_tqdm_and_xlsxwriter(metadata: Metadata):
    required = metadata.requires_dist or []
    needed = {canonicalize_name(each.name) for each in required if each.marker is None}
    assert needed == {"django", "tqdm", "xlsxwriter"}
    live = {each.name for each in required if each.marker and each.marker.evaluate({"extra": "live"})}
    assert {"channels", "channels-redis", "daphne", "huey"} <= live
    assert "postgres" in (metadata.provides_extra or ())


# The requirements


@pytest.mark.parametrize("requirement", APPLICATION + WHEEL, ids=str)
def test_requirements_have_a_lowest_and_a_highest_version(requirement: Requirement):
    operators = {each.operator for each in requirement.specifier}
    assert operators & {"==", "~="} or {">=", "<"} <= operators


def test_the_application_and_the_wheel_require_the_same_versions():
    application = {canonicalize_name(each.name): each for each in APPLICATION}
    for requirement in WHEEL:
        if ours := application.get(canonicalize_name(requirement.name)):
            lowest = next(each.version for each in ours.specifier if each.operator in (">=", "=="))
            assert requirement.specifier.contains(lowest), f"{ours} and {requirement}"


def test_the_lock_has_every_required_package_in_an_allowed_version():
    versions = {canonicalize_name(package["name"]): package["version"] for package in locked()}
    for requirement in APPLICATION:
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_bill_of_materials_is_valid_and_lists_the_lock():
    text = json.dumps(bill())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert len(bill()["components"]) == len(locked())


@pytest.mark.parametrize(
    ("folder", "declared"),
    [("exports", WHEEL), ("project", APPLICATION), ("tests", APPLICATION + WHEEL)],
    ids=["exports", "project", "tests"],
)
def test_imported_packages_are_required(folder: str, declared: list[Requirement]):
    trees = [ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    ours = {"exports", "project", "tests", "bench"}
    imported = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - ours
    distributions = packages_distributions()
    found = {canonicalize_name(distributions.get(name, [name])[0]) for name in imported}
    assert found - COMES_WITH_DJANGO <= {canonicalize_name(each.name) for each in declared}


# The release


def test_the_changelog_has_an_unreleased_section_and_the_current_version():
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == PROJECT["version"]
    assert all(date for _, date in headings[1:])


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())


def test_the_workflow_tests_the_versions_that_the_wheel_declares(workflow: dict[str, Any]):
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    classifiers = PROJECT["classifiers"]
    python = {name.rpartition(" ")[2] for name in classifiers if re.search(r"Python :: 3\.\d+$", name)}
    django = {name.rpartition(" ")[2] for name in classifiers if re.search(r"Django :: \d", name)}
    assert {each["python"] for each in versions} == python
    assert {each["django"] for each in versions} == django
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(min(python))
    [requirement] = [each for each in WHEEL if each.name == "Django"]
    assert all(requirement.specifier.contains(version) for version in django)


def test_the_workflow_runs_a_script_of_the_repository(workflow: dict[str, Any]):
    [command] = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    script = ROOT / command.split()[0]
    assert script.is_file()
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"], ids=str
)
def test_configuration_files_are_valid_yaml(path: Path):
    assert yaml.safe_load(path.read_text())
