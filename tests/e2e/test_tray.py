"""The tray on pages without a list: what runs, what is ready, one socket for all tabs."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenVisit, in_both_browsers
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH

COUNT_SOCKETS = (
    "window.sockets = 0; window.WebSocket = class extends WebSocket { constructor(url) { super(url); sockets += 1; } };"
)
# A page in the background, which Playwright cannot have, and the notifications that it shows.
WATCH_NOTES = """
window.notes = [];
window.isAway = false;
Object.defineProperty(document, "visibilityState", { get: () => (isAway ? "hidden" : "visible") });
window.Notification = class extends Notification {
  constructor(title, options) { super(title, options); notes.push(`${title}: ${options.body}`); }
};
"""


def elsewhere(stack: Stack, username: str) -> str:
    """Return the path of a page without a list of exports: that of a file which the user has seen."""
    client = stack.client(username)
    urls = client.make("weather", origin="EWR")["urls"]
    client.send_form(urls["seen"], json=True)
    return urls["page"]


@in_both_browsers
@pytest.mark.usefixtures("slowly")
def test_the_tray_follows_what_was_requested_elsewhere_to_the_download(stack: Stack, open_visit: OpenVisit):
    visit = open_visit("grace").go(elsewhere(stack, "grace"))
    state = stack.client("grace").request_export(month_from="9")
    pill = visit.page.locator(".export-tray-pill")
    expect(pill).to_contain_text("1 running", timeout=FINISH)
    visit.page.wait_for_function("() => /^[0-9]+% · /.test(document.title)")
    pill.click()
    expect(visit.page.locator(".export-tray-rows")).to_contain_text("Writing rows")
    stack.hurry()
    toast = visit.page.locator(".export-tray-toast")
    toast.get_by_role("button", name="Download").wait_for(timeout=FINISH)
    with visit.page.expect_download() as download:
        toast.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.endswith(".csv")
    visit.page.wait_for_function("() => !/^[0-9]+% · /.test(document.title)")
    assert stack.client("grace").state(state)["urls"]["seen"] is None


@pytest.mark.usefixtures("slowly")
def test_an_export_downloads_by_itself_on_the_next_page(stack: Stack, open_visit: OpenVisit):
    path = elsewhere(stack, "grace")
    visit = open_visit("grace").go()
    export_id = visit.export(month_from="10")
    visit.wait_for_bar(export_id, 0.05)
    stack.hurry()
    with visit.page.expect_download(timeout=FINISH):
        visit.go(path)


def test_several_ready_files_are_one_note_that_opens_the_list(stack: Stack, open_visit: OpenVisit):
    client = stack.client("staff")
    states = [client.request_export("weather", origin=origin) for origin in ("JFK", "LGA")]
    for state in states:
        client.wait_for(state, "ready")
    visit = open_visit("staff").go(elsewhere(stack, "staff"))
    toast = visit.page.locator(".export-tray-toast")
    expect(toast).to_contain_text("2 files are ready")
    toast.get_by_role("button", name="Show").click()
    expect(visit.page.locator(".export-tray-rows").get_by_role("button", name="Download")).to_have_count(3)


@in_both_browsers
@pytest.mark.usefixtures("slowly")
def test_the_tabs_of_a_browser_share_one_socket_and_the_last_one_keeps_it(stack: Stack, open_visit: OpenVisit):
    first = open_visit("grace")
    first.page.context.add_init_script(COUNT_SOCKETS)
    tabs = [first.go("/exports/"), *(first.new_tab().go("/exports/") for _ in range(3))]
    state = stack.client("grace").request_export(month_from="11")
    for tab in tabs:
        expect(tab.card(state["id"])).to_be_visible()
    assert sum(tab.page.evaluate("sockets") for tab in tabs) == 1
    for tab in tabs[:3]:
        tab.page.close()
    tabs[3].wait_for_ready(state["id"])
    assert tabs[3].page.evaluate("sockets") == 1


def test_a_user_who_asked_for_it_is_notified_on_the_desktop(stack: Stack, open_visit: OpenVisit):
    path, client = elsewhere(stack, "grace"), stack.client("grace")
    visit = open_visit("grace", permissions=["notifications"])
    visit.page.add_init_script(WATCH_NOTES)
    visit.go(path).page.locator(".export-tray-pill").click()
    visit.page.get_by_label("Notify me here when an export is ready").check()
    client.make("weather", origin="JFK")
    expect(visit.page.locator(".export-tray-toast")).to_contain_text("Ready")
    visit.page.evaluate("isAway = true")
    client.make("weather", origin="LGA")
    visit.page.wait_for_function("() => notes.length > 0")
    assert visit.page.evaluate("notes.map((note) => note.replace(/-20.*/, ''))") == [
        "Weather, Airport: La Guardia (LGA): Ready: weather-airport-la-guardia-lga"
    ]
