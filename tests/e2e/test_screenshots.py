"""The pictures of the documentation. Write them into docs/ with:

.venv/bin/python -m pytest tests/e2e/test_screenshots.py tests/e2e/test_admin_export.py --save-screenshots
"""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from exports.models import Notification, Status
from exports.notifications import compose
from tests.e2e.conftest import OpenVisit
from tests.shop.requests import in_status

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LAPTOP, PHONE = {"width": 1000, "height": 880}, {"width": 360, "height": 440}


def save(page: Page, folder: Path, name: str) -> None:
    """Take a picture that documents show under this name."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    page.screenshot(path=folder / name)
    assert (folder / name).stat().st_size > 5_000


def test_an_export_in_progress(open_visit: OpenVisit, folder: Path):
    visit = open_visit("ada", viewport=LAPTOP).go()
    visit.wait_for_bar(visit.export("xlsx"), 0.6)
    save(visit.page, folder, "live.png")


def test_an_export_in_progress_on_a_phone_in_the_dark(open_visit: OpenVisit, folder: Path):
    visit = open_visit("ada", viewport=PHONE, color_scheme="dark").go()
    export_id = visit.export("xlsx")
    visit.wait_for_bar(export_id, 0.3)
    visit.page.goto(visit.state(export_id)["urls"]["page"])
    visit.wait_for_bar(export_id, 0.4)
    save(visit.page, folder, "phone.png")


def test_the_page_of_a_ready_export(open_visit: OpenVisit, folder: Path):
    visit = open_visit("ada", viewport=LAPTOP).go()
    export_id = visit.export("csv", month_from="2", month_to="2")
    visit.wait_for_status(export_id, "ready")
    visit.page.goto(visit.state(export_id)["urls"]["page"])
    visit.wait_for_status(export_id, "ready")
    save(visit.page, folder, "ready.png")


def test_the_form_of_an_export(open_visit: OpenVisit, folder: Path):
    visit = open_visit("grace", viewport={"width": 1000, "height": 480}).go("/exports/new/weather/")
    save(visit.page, folder, "form.png")


@pytest.mark.django_db
@pytest.mark.parametrize("width", [360, 700])
def test_a_mail(browser: Browser, folder: Path, tmp_path: Path, width: int):
    notice = Notification(request=in_status(Status.READY, label="Status: Open"), kind="ready")
    with browser.new_page(viewport={"width": width, "height": 480}) as page:
        page.set_content(str(compose([notice]).alternatives[0][0]))
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            save(page, tmp_path, f"{scheme}.png")
            if (width, scheme) == (700, "light"):
                save(page, folder, "mail.png")
            elif (width, scheme) == (360, "dark"):
                save(page, folder, "mail_dark.png")
