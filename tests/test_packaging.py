"""The wheel `django-live-exports`, built as a release would be, and the requirements of the whole application."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from subprocess import run
from zipfile import ZipFile

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Django's own documentation tells its users to import it, so whoever requires Django has it.
COMES_WITH_DJANGO = {"asgiref"}


def required_by_the_application() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def required_by_the_wheel() -> list[Requirement]:
    project = PYPROJECT["project"]
    extras = (line for lines in project["optional-dependencies"].values() for line in lines)
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


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


def test_the_wheel_has_its_name_and_runs_on_every_platform(wheel, metadata):
    assert metadata.name == "django-live-exports"
    assert Path(wheel.filename).name == f"django_live_exports-{metadata.version}-py3-none-any.whl"


def test_the_wheel_has_every_file_of_the_app(wheel):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exports").rglob("*") if path.is_file()}
    ours = {name for name in files if "__pycache__" not in name}
    assert ours <= set(wheel.namelist())


@pytest.mark.parametrize(
    "name",
    [
        "exports/migrations/0001_initial.py",
        "exports/templates/exports/page.html",
        "exports/management/commands/exports.py",
        "exports/static/exports/exports.js",
        "exports/static/exports/exports.css",
    ],
)
def test_the_wheel_has_templates_migrations_commands_and_the_frontend(wheel, name):
    assert name in wheel.namelist()


def test_the_wheel_has_every_module_of_the_frontend(wheel):
    modules = {f"exports/static/exports/{path.name}" for path in (ROOT / "frontend").glob("*.js")}
    assert modules <= set(wheel.namelist())


def test_the_wheel_has_nothing_but_the_app(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"exports"}
    assert not [name for name in wheel.namelist() if "test" in name or name.endswith((".pyc", ".mjs"))]


def test_the_wheel_has_its_licence_and_its_description(wheel, metadata):
    assert metadata.license_expression == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    assert metadata.description


def test_the_wheel_needs_django_tqdm_and_xlsxwriter_only(metadata):
    needed = {canonicalize_name(each.name) for each in metadata.requires_dist if each.marker is None}
    assert needed == {"django", "tqdm", "xlsxwriter"}


def test_the_wheel_offers_the_live_part_and_the_databases_as_extras(metadata):
    live = {each.name for each in metadata.requires_dist if each.marker and each.marker.evaluate({"extra": "live"})}
    assert {"channels", "channels-redis", "daphne", "huey"} <= live
    assert "postgres" in metadata.provides_extra


@pytest.mark.parametrize("requirement", required_by_the_application() + required_by_the_wheel(), ids=str)
def test_every_requirement_stays_within_compatible_releases(requirement):
    assert is_bounded(requirement.specifier)


def is_bounded(specifier: SpecifierSet) -> bool:
    """Whether both ends are said: from a release that is known to work, to one that may break."""
    operators = {each.operator for each in specifier}
    return bool(operators & {"==", "~="}) or ({">=", "<"} <= operators)


def test_the_application_and_the_wheel_agree_on_releases():
    application = {canonicalize_name(each.name): each for each in required_by_the_application()}
    for wheels in required_by_the_wheel():
        if own := application.get(canonicalize_name(wheels.name)):
            lowest = next(each.version for each in own.specifier if each.operator in (">=", "=="))
            assert wheels.specifier.contains(lowest), f"{own} and {wheels}"


def test_what_the_app_imports_is_required():
    declared = {canonicalize_name(each.name) for each in required_by_the_wheel()}
    assert distributions_of(imported_by("exports")) - COMES_WITH_DJANGO <= declared


def test_what_the_project_imports_is_required():
    declared = {canonicalize_name(each.name) for each in required_by_the_application()}
    assert distributions_of(imported_by("project")) - COMES_WITH_DJANGO <= declared


def test_what_the_tests_import_is_required():
    everything = required_by_the_application() + required_by_the_wheel()
    declared = {canonicalize_name(each.name) for each in everything}
    assert distributions_of(imported_by("tests")) - COMES_WITH_DJANGO <= declared


def imported_by(folder: str) -> set[str]:
    """The top-level names that are not Python's own nor ours."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return (
        {name.split(".")[0] for name in names}
        - set(sys.stdlib_module_names)
        - {"exports", "project", "tests", "bench", "__future__"}
    )


def distributions_of(imported: set[str]) -> set[str]:
    found = packages_distributions()
    return {canonicalize_name(found.get(name, [name])[0]) for name in imported}
