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


@pytest.mark.parametrize("name", ["bundle.js", "bundle.css"])
async def test_the_bundle_is_served_compressed(settings: Any, name: str) -> None:
    async def not_found(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=404)

    settings.WHITENOISE_USE_FINDERS = settings.WHITENOISE_AUTOREFRESH = True
    request = RequestFactory().get(f"/static/exports/{name}", headers={"accept-encoding": "gzip"})
    answer = await StaticFiles(not_found)(request)
    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.content) == (ROOT / "frontend" / name).read_bytes()
