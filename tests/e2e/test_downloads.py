"""Downloads in Chromium and Firefox: in place, with live cards, and never a page saved as the file."""

import csv

import pytest
from playwright.sync_api import Download, Page

from tests.e2e.conftest import OpenVisit, in_both_browsers
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Visit

pytestmark = in_both_browsers

RECORD_CLOSES = """
window.closes = [];
window.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    this.addEventListener("close", (event) => closes.push(event.code));
  }
};
"""


def rows_of(download: Download) -> int:
    with download.path().open(encoding="utf-8-sig", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def collect_downloads(page: Page) -> list[str]:
    names: list[str] = []
    page.on("download", lambda download: names.append(download.suggested_filename))
    return names


def test_a_download_leaves_the_socket_of_the_page_open(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="1", month_to="1")
    visit = open_visit("ada")
    visit.page.add_init_script(RECORD_CLOSES)
    visit.go()
    with visit.page.expect_download() as download:
        visit.part(state["id"], "download").click()
    assert download.value.suggested_filename == state["file"]["name"]
    assert rows_of(download.value) == 27_004
    # Firefox closed it 0.35 s after a link was followed.
    visit.page.wait_for_timeout(1_000)
    assert visit.page.evaluate("closes") == []


def test_an_export_downloads_by_itself_and_again_when_asked(visit: Visit):
    with visit.page.expect_download(timeout=FINISH) as download:
        export_id = visit.export(month_from="2", month_to="2")
    assert rows_of(download.value) == 24_951
    with visit.page.expect_download() as again:
        visit.part(export_id, "download").click()
    assert rows_of(again.value) == 24_951


@pytest.mark.usefixtures("slowly")
def test_an_export_downloads_by_itself_after_a_reload(visit: Visit):
    export_id = visit.export(month_from="1", month_to="2")
    visit.wait_for_bar(export_id, 0.05)
    with visit.page.expect_download(timeout=FINISH) as download:
        visit.page.reload()
        visit.stack.hurry()
    assert rows_of(download.value) == 27_004 + 24_951


@pytest.mark.usefixtures("slowly")
def test_of_exports_requested_together_the_first_is_downloaded(visit: Visit):
    names = collect_downloads(visit.page)
    ids = [visit.export(month_from=month) for month in "123"]
    visit.stack.hurry()
    for export_id in ids:
        visit.wait_for_status(export_id, "ready")
    visit.page.wait_for_timeout(500)
    assert len(names) == 1
    notices = [visit.part(export_id, "notice").inner_text() for export_id in ids]
    assert sum(notice.startswith("Press Download") for notice in notices) == 2


def test_a_refused_download_is_explained_and_nothing_is_saved(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="3", month_to="3")
    visit = open_visit("ada").go()
    names = collect_downloads(visit.page)
    visit.page.context.clear_cookies()
    visit.part(state["id"], "download").click()
    visit.part(state["id"], "notice").get_by_text("You are logged out.").wait_for()
    visit.page.wait_for_timeout(500)
    assert names == []
