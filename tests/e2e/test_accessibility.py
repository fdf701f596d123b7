"""axe-core over every page and state of the app: light, dark, forced colours, 320 px wide and with text of 200 %.

A width of 320 px is also a zoom of 400 % on a screen of 1,280 px. Of the admin only the parts that are the app's own
are judged.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Visit
from tests.servers import NotInstalled

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
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
SETTLED = """() => {
  const changing = document.getAnimations().filter((each) => each instanceof CSSTransition);
  return Promise.allSettled(changing.map((each) => each.finished));
}"""
MOVING = "document.getAnimations().filter((each) => each.playState === 'running').length"

COLOURS = ["color-contrast", "link-in-text-block"]
WIDE, NARROW, LARGE_TEXT = (
    {"width": 1280, "height": 900}, {"width": 320, "height": 640}, {"width": 640, "height": 800}
)  # fmt: skip
PAGES = {
    "ada": [
        "/", "/exports/", "/exports/?q=nothing", "/exports/new/flights/", "/exports/new/weather/",
        "/exports/new/reference/", "/exports/tokens/", "/exports/webhooks/", "/mails/", "/nothing-here/",
    ],
    None: ["/login/"],
}  # fmt: skip


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

    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    judge("light")
    if page.evaluate(MOVING):
        faults.append(f"{name}: something moves although motion is to be reduced")
    page.emulate_media(color_scheme="dark")
    judge("dark", COLOURS)
    page.emulate_media(color_scheme="light", forced_colors="active")
    judge("forced colours", COLOURS)
    page.emulate_media(forced_colors="none")
    if include is not None:
        return faults
    for look, size, text in (("320 px", NARROW, "100%"), ("text of 200 %", LARGE_TEXT, "200%")):
        page.set_viewport_size(size)
        page.evaluate("(size) => { document.documentElement.style.fontSize = size; }", text)
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > size["width"]:
            faults.append(f"{name}, {look}: {wide} px wide")
        faults.extend(f"{name}, {look}: cut off: {each}" for each in page.evaluate(CUT))
    page.evaluate("() => { document.documentElement.style.fontSize = ''; }")
    return faults


def judged(visit: Visit, path: str, **options: Any) -> list[str]:
    visit.go(path).page.wait_for_function("() => window.axe")
    return faults_of(visit.page, path, **options)


@pytest.fixture
def open_judged(open_visit: OpenVisit) -> OpenVisit:
    """Return a function like `open_visit` for tabs in which axe is loaded."""
    if not AXE.is_file():
        raise NotInstalled(
            "axe-core is not installed: npm install --prefix .venv --no-save xlsx@0.18.5 axe-core@4.11.0"
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
    visit.page.set_viewport_size(WIDE)
    visit.go(exports["ready"]).page.locator(".export-tray-pill").click()
    faults += faults_of(visit.page, "tray")
    assert faults == []
