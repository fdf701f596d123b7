"""The demo in another language: chosen without JavaScript, and from right to left no wider than the screen."""

from pathlib import Path

import pytest

from tests.e2e.conftest import OpenVisit
from tests.e2e.test_screenshots import save

SCREENS = [{"width": 360, "height": 740}, {"width": 1280, "height": 800}]


@pytest.mark.parametrize("screen", SCREENS, ids=["phone", "laptop"])
def test_pages_in_arabic_are_no_wider_than_the_screen(open_visit: OpenVisit, screen: dict[str, int]):
    visit = open_visit("ada", viewport=screen, java_script_enabled=False).go()
    visit.page.locator(".site-languages [value=ar]").click()
    for path in ("/", "/exports/", "/exports/new/weather/"):
        page = visit.go(path).page
        assert page.locator("html").get_attribute("dir") == "rtl"
        # In a page from right to left the overflow is on the left, at negative positions.
        assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]


def test_the_page_of_an_export_in_arabic(open_visit: OpenVisit, folder: Path):
    visit = open_visit("ada", viewport=SCREENS[0]).go()
    export_id = visit.export("csv", month_from="2", month_to="2")
    visit.wait_for_status(export_id, "ready")
    visit.page.locator(".site-languages [value=ar]").click()
    visit.go(f"/exports/{export_id}/page/").wait_for_status(export_id, "ready")
    save(visit.page, folder, "arabic.png")


def test_the_card_speaks_the_language_of_the_page(open_visit: OpenVisit):
    visit = open_visit("ada").go()
    visit.page.locator(".site-languages [value=de]").click()
    export_id = visit.export("csv", month_from="2", month_to="2")
    visit.wait_for_status(export_id, "ready")
    assert visit.part(export_id, "status").inner_text().startswith("Fertig: ")
    assert "Zeilen" in visit.part(export_id, "detail").inner_text()
