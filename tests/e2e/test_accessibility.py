"""axe-core over every page, mail and state of the app: light, dark, forced colours, zoomed, and with text of 200 %.

Success criterion 1.4.10 of WCAG means a screen of 1,280 by 1,024 px at 400 %: 320 by 256 CSS pixels. Of the admin only
the parts that are the app's own are judged.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from django.utils import translation
from playwright.sync_api import Browser, Page, expect

from exports.models import Notification, Status
from exports.notifications import compose
from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Visit
from tests.servers import NotInstalled
from tests.shop.requests import in_status

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
# axe takes the colour of a text from -webkit-text-fill-color (checked with 4.11.0), for which Chromium does not report
# the forced colour.
READ_FORCED_COLOURS = """() => {
  const read = CSSStyleDeclaration.prototype.getPropertyValue;
  CSSStyleDeclaration.prototype.getPropertyValue = function (name) {
    return read.call(this, name === "-webkit-text-fill-color" ? "color" : name);
  };
}"""
VIOLATIONS = """async ([include, rules]) => {
  const options = { iframes: false, resultTypes: ["violations"], ...(rules && { runOnly: rules }) };
  const { violations } = await axe.run(include ? { include: [include] } : document, options);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
}"""
# Elements whose text is wider than they are, and hidden there.
CUT = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const { overflowX, position } = getComputedStyle(element);
  const isCut = ["hidden", "clip"].includes(overflowX) && element.scrollWidth > element.clientWidth + 1;
  return isCut && position !== "absolute" && element.textContent.trim() && element.checkVisibility();
}).map((element) => element.outerHTML.slice(0, 120))"""
LIST_OF_STAFF = "/admin/exports/filerequest/"
# Colours change gradually.
OPEN_DETAILS = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# A mail is no page: the program that shows it has the landmarks.
WITHOUT_LANDMARKS = "axe.configure({ rules: ['landmark-one-main', 'region'].map((id) => ({ id, enabled: false })) })"
SUBMIT_TO = """(path) => {
  const form = document.querySelector("form[method=post]");
  form.action = path;
  form.submit();
}"""
SETTLED = """() => {
  const changing = document.getAnimations().filter((each) => each instanceof CSSTransition);
  return Promise.allSettled(changing.map((each) => each.finished));
}"""
MOVING = "document.getAnimations().filter((each) => each.playState === 'running').length"

COLOURS = ["color-contrast", "link-in-text-block"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SCREEN = {"width": 1280, "height": 1024}
ZOOMS = (2, 4)
PAGES = {
    "ada": [
        "/", "/exports/", "/exports/?q=nothing", "/exports/new/flights/", "/exports/new/weather/",
        "/exports/new/reference/", "/exports/tokens/", "/mails/", "/nothing-here/",
        "/exports/file/expired/",
    ],
    None: ["/login/"],
}  # fmt: skip
# What is filled in on a page, and the button that is pressed.
FORMS = [
    ("/exports/tokens/", "[name=name]", "Report", "Make a token"),
    ("/exports/new/flights/", "[name=feed_name]", "Workbook", "Make an address"),
]
# More fields than Django reads.
TOO_LONG = f"/?{'a&' * 1001}"
NOTICES = {"ready": Status.READY, "failed": Status.FAILED, "cancelled": Status.CANCELLED}


@pytest.fixture
def exports(stack: Stack) -> Iterator[dict[str, str]]:
    """The address of the page of an export of ada in each status."""
    client, staff = stack.client("ada"), stack.client("staff")
    found = {"ready": client.make("weather", origin="JFK")["urls"]["page"]}
    shared = client.make("weather", origin="EWR")
    client.send_form(f"/exports/{shared['id']}/expire/", json=True)
    found["expired"] = shared["urls"]["page"]
    with stack.failing():
        lost = client.wait_for(client.request_export("weather", origin="LGA"), "failed")
    found["failed"] = lost["urls"]["page"]
    with stack.slowly():
        running = client.request_export(month_from="1")
        client.wait_for(running, "running")
        for status, month in (("cancelled", "2"), ("queued", "3")):
            found[status] = client.request_export(month_from=month)["urls"]["page"]
        staff.send_form(found["cancelled"].replace("/page/", "/cancel/"), json=True)
        found["running"] = running["urls"]["page"]
        yield found


def faults_of(page: Page, name: str, include: str | None = None) -> list[str]:
    """Return what axe says of the page in its looks, and what does not fit at 320 px and with text of 200 %."""
    faults = []

    def judge(look: str, rules: list[str] | None = None) -> None:
        page.evaluate(SETTLED)
        faults.extend(f"{name}, {look}: {each}" for each in page.evaluate(VIOLATIONS, [include, rules]))

    page.set_viewport_size(SCREEN)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    judge("light")
    if page.evaluate(MOVING):
        faults.append(f"{name}: something moves although motion is to be reduced")
    page.emulate_media(color_scheme="dark")
    judge("dark", COLOURS)
    page.evaluate(READ_FORCED_COLOURS)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, forced_colors="active")
        judge(f"forced colours, {scheme}", COLOURS)
    page.emulate_media(color_scheme="light", forced_colors="none")
    if include is not None:
        return faults
    for zoom in ZOOMS:
        with zoomed(page, zoom) as width:
            look = f"zoom of {zoom * 100} %"
            judge(look)
            faults.extend(f"{name}, {look}: {each}" for each in overflowing(page, width))
            if zoom == 2:
                page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
                faults.extend(f"{name}, {look}, text of 200 %: {each}" for each in overflowing(page, width))
                page.evaluate("() => { document.documentElement.style.fontSize = ''; }")
    return faults


@contextmanager
def zoomed(page: Page, zoom: int) -> Iterator[int]:
    """Zoom the page on SCREEN as a browser does, with fewer and larger CSS pixels; yield its width in them."""
    session = page.context.new_cdp_session(page)
    size = {side: pixels // zoom for side, pixels in SCREEN.items()}
    session.send("Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": zoom, "mobile": False})
    assert page.evaluate("[innerWidth, innerHeight, devicePixelRatio]") == [size["width"], size["height"], zoom]
    yield size["width"]
    session.send("Emulation.clearDeviceMetricsOverride")
    session.detach()


def overflowing(page: Page, width: int) -> list[str]:
    """Return what is wider than the page, or cut off."""
    found = [f"cut off: {each}" for each in page.evaluate(CUT)]
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        found.append(f"{wide} px wide")
    return found


def judged(visit: Visit, path: str, **options: Any) -> list[str]:
    visit.go(path).page.wait_for_function("() => window.axe")
    visit.page.evaluate(OPEN_DETAILS)
    return faults_of(visit.page, path, **options)


@pytest.fixture
def open_judged(open_visit: OpenVisit) -> OpenVisit:
    """Return a function like `open_visit` for tabs in which axe is loaded."""
    if not AXE.is_file():
        raise NotInstalled(
            "axe-core is not installed: npm install --prefix .venv --no-save "
            "xlsx@0.18.5 axe-core@4.11.0 typescript@5.9.3"
        )

    def open(*user: str | None) -> Visit:
        visit = open_visit(*user)
        visit.page.add_init_script(path=AXE)
        return visit

    return open


def test_axe_finds_nothing_on_the_pages_of_the_site(open_judged: OpenVisit):
    faults = []
    for who, paths in PAGES.items():
        visit = open_judged(who)
        faults += [fault for path in paths for fault in judged(visit, path)]
    assert faults == []


def test_axe_finds_nothing_on_an_export_in_any_status_nor_in_the_admin(open_judged: OpenVisit, exports: dict[str, str]):
    visit, staff = open_judged("ada"), open_judged("staff")
    faults = judged(staff, LIST_OF_STAFF, include="export-progress")
    for status, path in exports.items():
        visit.go(path).page.wait_for_function("() => window.axe")
        expect(visit.page.locator(f"export-progress[status={status}]").first).to_be_visible(timeout=FINISH)
        faults += faults_of(visit.page, status)
    staff_page = f"{LIST_OF_STAFF}{exports['failed'].split('/')[2]}/change/"
    faults += judged(staff, staff_page, include=".export-admin-state")
    faults += faults_of(staff.page, "timeline", include=".export-admin-timeline")
    visit.page.set_viewport_size(SCREEN)
    visit.go(exports["ready"]).page.locator(".export-tray-pill").click()
    faults += faults_of(visit.page, "tray")
    assert faults == []


def test_axe_finds_nothing_on_what_forms_answer(open_judged: OpenVisit, exports: dict[str, str]):
    visit = open_judged("ada")
    page, faults = visit.page, []
    for path, field, text, button in FORMS:
        visit.go(path).page.evaluate(OPEN_DETAILS)
        page.locator(field).fill(text)
        page.get_by_role("button", name=button).click()
        page.get_by_text("Copy it now").wait_for()
        page.evaluate(OPEN_DETAILS)
        faults += faults_of(page, f"{path} after {button}")
    visit.go(exports["failed"]).page.evaluate(SUBMIT_TO, exports["failed"].replace("/page/", "/share/"))
    page.get_by_role("heading", name="That is not possible").wait_for()
    faults += faults_of(page, "403 of the app")
    page.context.clear_cookies(name="csrftoken")
    visit.go("/exports/tokens/").page.context.clear_cookies(name="csrftoken")
    page.evaluate(SUBMIT_TO, "/exports/tokens/")
    page.get_by_role("heading", name="Not accepted").wait_for()
    faults += faults_of(page, "403 of the site")
    assert faults == []


def test_axe_finds_nothing_without_javascript_nor_on_the_error_pages(stack: Stack, open_judged: OpenVisit):
    ready = stack.client("ada").make("weather", origin="JFK")["urls"]["page"]
    visit = open_judged("ada")
    # The page's own scripts are blocked; axe is put into the page by the browser.
    visit.page.route("**/*.js", lambda route: route.abort())
    faults = judged(visit, ready)
    expect(visit.page.locator(".export-tray-link")).to_be_visible()
    faults += judged(visit, f"{ready}?plain=1") + judged(visit, TOO_LONG)
    expect(visit.page.get_by_role("heading", name="Not understood")).to_be_visible()
    with stack.without_sessions():
        faults += judged(visit, "/")
        expect(visit.page.get_by_role("heading", name="Something went wrong")).to_be_visible()
    assert faults == []


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["en", "ar"])
def test_axe_finds_nothing_in_the_mails(browser: Browser, language: str):
    with translation.override(language), browser.new_page() as page:
        notices = [Notification(request=in_status(status), kind=kind) for kind, status in NOTICES.items()]
        faults = []
        for told in (*([notice] for notice in notices), notices):
            page.set_content(str(compose(told).alternatives[0][0]))
            page.add_script_tag(path=AXE)
            page.evaluate(WITHOUT_LANDMARKS)
            faults += faults_of(page, " and ".join(each.kind for each in told))
    assert faults == []
