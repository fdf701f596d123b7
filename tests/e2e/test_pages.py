"""The pages: Content Security Policy, keyboard, screen readers, double clicks, and use without JavaScript."""

import csv
import re

import pytest
from playwright.sync_api import ConsoleMessage, Page, Response, expect

from tests.e2e.conftest import OpenVisit, in_both_browsers
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Visit, assert_ended_well, press_export

PATHS = {
    None: ["/login/", "/nothing-here/"],
    "ada": ["/", "/?month_from=2", "/exports/", "/exports/new/flights/", "/exports/new/weather/", "/nothing-here/"],
    "staff": ["/admin/", "/admin/exports/filerequest/"],
}
# What screen readers hear: each text that a live region gets.
RECORD_ANNOUNCEMENTS = """() => {
  window.announced = [];
  new MutationObserver((records) => {
    const regions = records.map(({ target }) => target.closest?.("[role=status]")).filter(Boolean);
    announced.push(...new Set(regions.map((region) => region.textContent)));
  }).observe(document, { subtree: true, childList: true });
}"""


def collect_errors(page: Page) -> list[str]:
    """Return a list that fills with the errors of scripts and of the Content Security Policy from now on."""
    errors: list[str] = []

    def add(message: ConsoleMessage) -> None:
        # The browser also logs a missing page, and an estimate above the limit of a minute, which many tests share.
        if message.type == "error" and not re.search("status of (404|429)", message.text):
            errors.append(message.text)

    page.on("console", add)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


@pytest.mark.parametrize("who", PATHS)
def test_a_page_breaks_no_rule_of_its_policy(open_visit: OpenVisit, who: str | None):
    visit = open_visit(who)
    errors = collect_errors(visit.page)
    for path in PATHS[who]:
        answer = visit.page.goto(path, wait_until="load")
        assert "default-src 'self'" in answer.headers["content-security-policy"], path
        assert "unsafe" not in answer.headers["content-security-policy"], path
        assert errors == visit.page.evaluate("recorder.violations") == [], path


@in_both_browsers
def test_an_export_from_click_to_file_breaks_no_rule_of_the_policy(visit: Visit):
    errors = collect_errors(visit.page)
    # Firefox gives up a navigation during which a download begins.
    with visit.page.expect_download(timeout=FINISH):
        export_id = visit.export(month_from="4", month_to="4")
        visit.wait_for_ready(export_id)
    visit.go(f"/exports/{export_id}/page/").card(export_id).wait_for()
    assert errors == visit.page.evaluate("recorder.violations") == []


def test_an_invalid_field_shows_its_error_without_leaving_the_page(visit: Visit):
    visit.page.locator("[name=month_from]").select_option("5")
    visit.page.locator("[name=month_to]").select_option("4")
    press_export(visit.page)
    visit.page.get_by_text("Choose a month that is not before the first one.", exact=True).wait_for()
    assert visit.page.locator("[name=month_to]").get_attribute("aria-invalid") == "true"


@in_both_browsers
def test_an_export_can_be_requested_and_downloaded_by_keyboard(visit: Visit):
    """Reach the button by Tab, request the file by Enter, and download it by Enter on the link of its card."""
    page = visit.page
    for name in ("month_from", "month_to"):
        tab_to(page, f"[name={name}]")
        page.keyboard.type("March")
    tab_to(page, "[name=format]")
    page.keyboard.type("CSV")
    tab_to(page, ".export-formats .export-button-main")
    with page.expect_response(lambda answer: answer.url.endswith("/exports/new/flights/")) as answered:
        page.keyboard.press("Enter")
    export_id = answered.value.json()["id"]
    visit.wait_for_ready(export_id)
    tab_to(page, f'export-progress[export-id="{export_id}"] [data-part=download]')
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    # Firefox has saved it before, and adds a number.
    assert re.sub(r"\(\d+\)", "", download.value.suggested_filename) == visit.state(export_id)["file"]["name"]
    assert visit.state(export_id)["receipt"]["rows"] == 28_834


def tab_to(page: Page, selector: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"The keyboard does not reach {selector}.")


@pytest.mark.usefixtures("slowly")
def test_screen_readers_get_the_progress_and_the_end(visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    bar = visit.page.get_by_role("progressbar", name="Export: Flights").first
    assert float(bar.get_attribute("value")) > 0
    visit.wait_for_ready(export_id)
    announcement = visit.part(export_id, "announce")
    assert announcement.get_attribute("role") == "status"
    expect(announcement).to_contain_text("Ready", timeout=FINISH)


def test_ready_is_announced_once_with_the_download_that_starts_by_itself(visit: Visit):
    visit.page.evaluate(RECORD_ANNOUNCEMENTS)
    with visit.page.expect_download() as download:
        export_id = visit.export(month_from="4", month_to="4")
    name = download.value.suggested_filename
    visit.part(export_id, "notice").get_by_text("The download has started.").wait_for()
    [spoken] = [each for each in visit.page.evaluate("announced") if "Ready" in each]
    assert re.match(rf"Flights, .*: Ready: {re.escape(name)}, \S+\sMB\. The download has started\. ", spoken)
    visit.part(export_id, "download").click()
    expect(visit.part(export_id, "announce")).to_have_text(re.compile("^The download has started"))


@in_both_browsers
def test_a_page_loads_three_scripts_and_styles_all_compressed(visit: Visit):
    answers: list[Response] = []
    visit.page.on("response", lambda answer: answers.append(answer))
    visit.go()
    encodings = {
        each.url: each.headers.get("content-encoding") for each in answers if re.search(r"\.(js|css)$", each.url)
    }
    assert len(encodings) == 3
    assert set(encodings.values()) == {"gzip"}


def test_without_javascript_an_export_can_be_requested_and_downloaded(open_visit: OpenVisit):
    page = open_visit("ada", java_script_enabled=False).go().page
    page.locator("[name=month_from]").select_option("1")
    page.locator("[name=month_to]").select_option("3")
    press_export(page)
    page.wait_for_url("**/page/")
    link = page.get_by_role("link", name="Download")
    link.wait_for(timeout=FINISH)
    with page.expect_download() as download:
        link.click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == 1 + 80_789


# Only JavaScript knows the time zone of the browser.
@pytest.mark.parametrize(("has_script", "hour"), [(True, "01"), (False, "06")])
def test_csv_for_a_spreadsheet_can_be_chosen_with_and_without_javascript(
    open_visit: OpenVisit, has_script: bool, hour: str
):
    page = open_visit("ada", java_script_enabled=has_script).go("/exports/new/weather/").page
    page.get_by_label("Format").select_option("CSV")
    page.get_by_label("CSV for").select_option("a spreadsheet")
    page.locator("[name=origin]").select_option("JFK")
    press_export(page)
    with page.expect_download() as download:
        if not has_script:
            page.get_by_role("link", name="Download").click(timeout=FINISH)
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        [_header, first, *_] = csv.reader(file)
    assert first[:3] == [f"2013-01-01 {hour}:00:00", "JFK", "39.02"]


@pytest.mark.usefixtures("slowly")
def test_without_javascript_an_export_can_be_cancelled_and_retried(open_visit: OpenVisit):
    page = open_visit("ada", java_script_enabled=False).go().page
    press_export(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled").wait_for()
    first = page.url
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Cancel").wait_for()
    assert page.url != first


@pytest.mark.usefixtures("slowly")
def test_a_page_whose_script_was_not_loaded_offers_to_look_again(stack: Stack, open_visit: OpenVisit):
    """The start page is the project's own: it does not reload itself."""
    state = stack.client("ada").request_export()
    page = open_visit("ada").page
    page.route("**/*.js", lambda route: route.abort())
    page.goto("/")
    link = page.locator(f"export-progress[export-id='{state['id']}'] .export-reload")
    expect(link).to_be_hidden()
    expect(link).to_be_visible()
    link.click()
    bar = page.locator("export-progress progress")
    first = bar.evaluate("bar => bar.value")
    page.wait_for_function("first => document.querySelector('export-progress progress').value > first", arg=first)


@pytest.mark.usefixtures("slowly")
def test_a_page_whose_modules_were_not_loaded_updates_itself(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").request_export()
    page = open_visit("ada").page
    page.route(re.compile(r"/(state|bundle)[.\w]*\.js"), lambda route: route.abort())
    page.goto(state["urls"]["page"])
    page.wait_for_url("**/page/?plain=1")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled").wait_for()


def test_a_double_click_requests_one_export(visit: Visit):
    posts = []
    visit.page.on("request", lambda request: posts.append(request) if request.url.endswith("/new/flights/") else None)
    # The token of another form, or of the cookie, is sent then.
    fields = visit.page.locator("export-form [name=csrfmiddlewaretoken]")
    fields.evaluate_all("(fields) => fields.forEach((field) => field.remove())")
    button = visit.page.locator(".export-formats .export-button-main")
    visit.page.locator("export-form [name=month_from]").select_option("1")
    visit.page.locator("export-form [name=month_to]").select_option("1")
    button.dblclick(delay=100)
    visit.page.locator("export-progress[status=ready]").first.wait_for(timeout=FINISH)
    # A second after the first answer the same button requests another file.
    visit.page.wait_for_timeout(1_100)
    button.click()
    expect(visit.page.locator("export-progress").nth(1)).to_be_visible()
    assert len(posts) == 2


@pytest.mark.usefixtures("slowly")
def test_a_page_works_after_the_user_signed_in_again_in_another_tab(stack: Stack, visit: Visit):
    """Django changes the CSRF token then, so that the one in the page is refused."""
    export_id = visit.export()
    elsewhere = visit.new_tab().go()
    elsewhere.page.get_by_role("button", name="Log out").click()
    elsewhere.page.get_by_label("Username").fill("ada")
    elsewhere.page.get_by_label("Password").fill(stack.demo.passwords["ada"])
    elsewhere.page.get_by_role("button", name="Log in").click()
    elsewhere.page.wait_for_url(stack.url + "/")
    visit.part(export_id, "cancel").get_by_role("button").click()
    visit.wait_for_status(export_id, "cancelled")


@pytest.mark.usefixtures("slowly")
def test_a_page_whose_user_logs_out_elsewhere_says_so(visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.1)
    elsewhere = visit.new_tab().go()
    elsewhere.page.get_by_role("button", name="Log out").click()
    elsewhere.page.wait_for_url("**/login/")
    visit.part(export_id, "notice").get_by_text("You are logged out.").wait_for(timeout=FINISH)
    assert visit.part(export_id, "login").is_visible()
    assert visit.entries(export_id)[-1].link is None


@in_both_browsers
def test_the_history_page_follows_active_exports(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").request_export()
    visit = open_visit("ada").go("/exports/")
    visit.wait_for_ready(state["id"])
    assert_ended_well(visit, state["id"])
