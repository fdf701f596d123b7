"""The bundle that bin/bundle.py makes of the modules: current, small, and loaded by pages."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from exports.http import assets
from project.static_files import StaticFiles

ROOT = Path(__file__).resolve().parent.parent
BUDGET_BYTES = 25 * 1024

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def bundled() -> None:
    subprocess.run([sys.executable, "bin/bundle.py"], cwd=ROOT, check=True)


def test_the_bundle_is_made_of_the_present_modules() -> None:
    assert assets.is_bundle_current(ROOT / "frontend")


def test_script_and_styles_fit_into_25_kb_compressed_with_those_of_the_demo() -> None:
    files = [
        *(ROOT / "frontend" / name for name in ("bundle.js", "bundle.css")),
        ROOT / "project" / "static" / "site.css",
    ]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < BUDGET_BYTES


def test_a_changed_module_makes_pages_load_the_modules(tmp_path: Path) -> None:
    for path in (ROOT / "frontend").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert assets.is_bundle_current(tmp_path)
    (tmp_path / "clock.js").write_text("export const systemClock = null;")
    assert not assets.is_bundle_current(tmp_path)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("exports/bundle.js", "frontend/bundle.js"),
        ("exports/bundle.css", "frontend/bundle.css"),
        ("exports/exports.js", "frontend/exports.js"),
        ("site.css", "project/static/site.css"),
    ],
)
async def test_scripts_and_styles_are_served_compressed(settings: Any, url: str, source: str) -> None:
    async def not_found(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=404)

    settings.WHITENOISE_USE_FINDERS = settings.WHITENOISE_AUTOREFRESH = True
    settings.STATICFILES_DIRS = [ROOT / "project" / "static"]
    get, content = RequestFactory().get, (ROOT / source).read_bytes()
    answer = await StaticFiles(not_found)(get(f"/static/{url}", headers={"accept-encoding": "gzip"}))
    assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(answer.content) == content
    assert int(answer["Content-Length"]) == len(answer.content)
    plain = await StaticFiles(not_found)(get(f"/static/{url}"))
    assert ("Content-Encoding" in plain, plain.content) == (False, content)
