"""Packaging: the requirements, the changelog and the CI workflow."""

import ast
import json
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
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


# The requirements


@pytest.mark.parametrize("requirement", APPLICATION + WHEEL, ids=str)
def test_requirements_have_a_lowest_version(requirement: Requirement):
    assert {each.operator for each in requirement.specifier} & {"==", "~=", ">="}


def test_highest_versions_of_the_app_have_a_reason_beside_them():
    text = (ROOT / "pyproject.toml").read_text()
    declared = text[text.index("\ndependencies = [") : text.index("\n# A new version of a tool")]
    limited = [line for line in declared.splitlines() if re.match(r'  "[^"]*<\d', line)]
    assert len(limited) >= 6
    assert [line for line in limited if not re.search(r'",  # \w+', line)] == []
    for name in ("s3", "operations", "postgres", "parquet"):
        assert "<" not in " ".join(PROJECT["optional-dependencies"][name])


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
    ours = {"exports", "project", "tests", "bench", "bin"}
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
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    classifiers = PROJECT["classifiers"]
    python = {name.rpartition(" ")[2] for name in classifiers if re.search(r"Python :: 3\.\d+$", name)}
    django = {name.rpartition(" ")[2] for name in classifiers if re.search(r"Django :: \d", name)}
    assert {each["python"] for each in matrix} == python == {"3.11", "3.12", "3.13", "3.14"}
    assert {each["django"] for each in matrix} == django == {"5.2", "6.0", "6.1"}
    # Django 6.0 needs Python 3.12.
    valid = {(py, dj) for py in python for dj in django if dj == "5.2" or py != "3.11"}
    assert {(each["python"], each["django"]) for each in matrix} == valid
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(min(python))
    [requirement] = [each for each in WHEEL if each.name == "Django"]
    assert all(requirement.specifier.contains(f"{version}.8") for version in django)


def test_the_workflow_runs_a_script_of_the_repository(workflow: dict[str, Any]):
    for command in [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]:
        script = ROOT / command.split()[0]
        assert script.is_file()
        assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"], ids=str
)
def test_configuration_files_are_valid_yaml(path: Path):
    assert yaml.safe_load(path.read_text())
