"""What is published: the wheel, the source distribution, and what an installation of each brings."""

import gettext
import json
import tarfile
from pathlib import Path
from subprocess import run
from zipfile import ZipFile

import pytest
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name

from bin.compile_translations import compile_translations
from tests.wheel import ROOT, build, install, new_environment

SETTINGS = """
SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.staticfiles", "exports"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
ROOT_URLCONF, STATIC_URL, LANGUAGES = "urls", "/static/", [("en", "English")]
"""
URLS = 'from django.urls import include, path\nurlpatterns = [path("exports/", include("exports.urls"))]\n'
PROGRAM = """
import importlib.metadata, json, pathlib, django, exports
from django.contrib.staticfiles import finders
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
root = pathlib.Path(exports.__file__).parent
print(json.dumps({
    "root": str(root),
    "names": [
        name for name, found in importlib.metadata.packages_distributions().items() if "django-live-exports" in found
    ],
    "static": finders.find("exports/exports.js"),
    "is_typed": (root / "py.typed").is_file(),
    "sources": len(list(root.glob("locale/*/LC_MESSAGES/*.po"))),
    "compiled": len(list(root.glob("locale/*/LC_MESSAGES/*.mo"))),
}))
"""


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Metadata:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Metadata.from_email(archive.read(name))


def test_the_wheel_has_its_name_and_runs_on_every_platform(wheel: Path, metadata: Metadata):
    assert metadata.name == "django-live-exports"
    assert wheel.name == f"django_live_exports-{metadata.version}-py3-none-any.whl"


def test_the_wheel_contains_the_app_and_the_frontend_and_nothing_else(names: set[str]):
    app = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exports").rglob("*") if path.is_file()}
    frontend = {f"exports/static/exports/{path.name}" for path in (ROOT / "frontend").iterdir() if path.is_file()}
    expected = {name for name in app | frontend if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"exports/py.typed", "exports/migrations/0001_initial.py", "exports/static/exports/exports.js"} <= expected


def test_the_wheel_has_licence_authors_links_and_description(names: set[str], metadata: Metadata):
    assert metadata.license_expression == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
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


def test_the_wheel_has_a_compiled_file_for_each_translation(names: set[str]):
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exports" / "locale").rglob("*.po")}
    assert {name.removesuffix(".po") + ".mo" for name in sources} <= names


def test_a_translation_is_compiled_without_its_fuzzy_messages(tmp_path: Path):
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    header = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    messages = 'msgid "Queued"\nmsgstr "In der Warteschlange"\n\n#, fuzzy\nmsgid "Ready"\nmsgstr "Bereit?"\n'
    (folder / "django.po").write_text(f"{header}\n{messages}")
    compile_translations(tmp_path)
    german = gettext.translation("django", str(tmp_path), ["de"])
    assert german.gettext("Queued") == "In der Warteschlange"
    assert german.gettext("Ready") == "Ready"
    assert [path.name for path in folder.iterdir() if path.suffix not in (".po", ".mo")] == []


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheel, its extra `live`, and what these need."""
    return new_environment(tmp_path_factory.mktemp("site") / "venv", f"django-live-exports[live] @ {wheel.as_uri()}")


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_an_installation_works_in_a_project_with_django_alone(
    kind: str, wheel: Path, environment: Path, tmp_path: Path
):
    if kind == "editable":
        install(environment, "-e", str(ROOT))
    else:
        package = wheel if kind == "wheel" else build("sdist", tmp_path)
        install(environment, "--force-reinstall", "--no-deps", str(package))
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "urls.py").write_text(URLS)
    paths = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(tmp_path)}
    ended = run([environment, "-c", PROGRAM], cwd=tmp_path, env=paths, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["root"].startswith(str(ROOT) if kind == "editable" else str(environment.parent.parent))
    assert found["static"]
    assert found["is_typed"]
    assert found["sources"] == found["compiled"]
    # An editable install exposes the app by an import hook, which has a name that nothing else has.
    assert [name for name in found["names"] if not name.startswith("_")] == ["exports"] * (kind != "editable")
    alone = run([environment, "-c", "import project"], cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'project'" in alone.stderr


def test_the_source_distribution_has_what_its_tests_need(tmp_path: Path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"bin/test", "docs/settings.md", "tests/settings.py", "exports/static/exports/exports.js"} <= names
