"""The export of a changelist in a browser, in Django's own admin and in that of django-unfold."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, Page, expect

from exports.models import Webhook
from tests.e2e.test_accessibility import AXE, faults_of
from tests.e2e.test_screenshots import save
from tests.e2e.visits import checking_frames
from tests.office.browsers import signed_in
from tests.office.processes import Daphne, Worker
from tests.shop.models import Customer, Order
from tests.shop.runs import use_folders

pytestmark = pytest.mark.django_db(transaction=True)

ORDERS = "/backoffice/shop/order/"
READY_MS = 30_000


class BackofficeDaphne(Daphne):
    def options(self) -> dict[str, Any]:
        return with_settings(super().options(), self.changes)


class BackofficeWorker(Worker):
    def options(self) -> dict[str, Any]:
        return with_settings(super().options(), self.changes)


def with_settings(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    environment = {**options["env"], "DJANGO_SETTINGS_MODULE": "tests.backoffice.settings"}
    # Only the test itself may ask the database beside an event loop.
    environment.pop("DJANGO_ALLOW_ASYNC_UNSAFE")
    if changes["WITH_UNFOLD"]:
        environment["WITH_UNFOLD"] = "1"
    return {**options, "env": environment}


@pytest.fixture(params=["plain", "unfold"])
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def site(valkey: Any, settings: Any, tmp_path: Path, theme: str) -> Iterator[str]:
    """The address of a running backoffice with seven orders."""
    use_folders(settings, tmp_path)
    ada = Customer.objects.create(name="Ada", city="Oslo")
    for number in range(1, 8):
        status = "open" if number < 4 else "sent"
        Order.objects.create(
            number=f"n{number}", customer=ada, status=status, quantity=number, ordered_on=date(2026, 5, number)
        )
    changes = {"WITH_UNFOLD": theme == "unfold"}
    with ExitStack() as opened:
        web = opened.enter_context(BackofficeDaphne(**changes))
        opened.enter_context(BackofficeWorker("small", **changes))
        yield f"http://127.0.0.1:{web.port}"


@contextmanager
def context_of(browser: Browser, site: str, **options: Any) -> Iterator[BrowserContext]:
    """Open a browser context in which a superuser is signed in."""
    root = User.objects.filter(username="sees all").first() or User.objects.create_superuser("sees all")
    cookie = signed_in(root).cookies[django_settings.SESSION_COOKIE_NAME].value
    with browser.new_context(base_url=site, **options) as context, checking_frames(context):
        context.add_cookies([{"name": django_settings.SESSION_COOKIE_NAME, "value": cookie, "url": site}])
        yield context


def export_as(page: Page, format: str) -> None:
    page.locator("export-form select[name=format]").select_option(format)
    page.locator("export-form button.export-button-main").click()


def numbers_in(path: Path) -> list[Any]:
    sheet = openpyxl.load_workbook(path).active
    return [row[0] for row in sheet.iter_rows(values_only=True)]


def test_a_filtered_list_is_exported_with_the_chosen_columns(
    browser: Browser, site: str, theme: str, tmp_path: Path, folder: Path
):
    with context_of(browser, site, viewport={"width": 1100, "height": 960}) as context:
        page = context.new_page()
        page.add_init_script(path=AXE)
        page.goto(f"{ORDERS}?status__exact=sent&o=1")
        page.get_by_role("link", name="Export", exact=True).click()
        for label in ("Customer", "Large"):
            page.get_by_label(label, exact=True).uncheck()
        export_as(page, "xlsx")
        card = page.locator("export-progress[status=ready]")
        card.wait_for(timeout=READY_MS)
        if theme == "plain":
            save(page, folder, "admin.png")
        with page.expect_download() as downloading:
            card.locator("[data-part=download]").click()
        downloading.value.save_as(tmp_path / "orders.xlsx")
        assert numbers_in(tmp_path / "orders.xlsx") == ["Order number", "n4", "n5", "n6", "n7"]
        [header] = openpyxl.load_workbook(tmp_path / "orders.xlsx").active.iter_rows(max_row=1, values_only=True)
        assert "Customer" not in header
        assert "Customer city" in header
        page.set_viewport_size({"width": 360, "height": 780})
        form = page.locator("export-form").bounding_box()
        assert form is not None
        assert form["x"] + form["width"] <= 360
        # In light, dark and forced colours.
        assert faults_of(page, theme, include=".export-admin") == []


@pytest.mark.parametrize("theme", ["plain"])
def test_axe_finds_nothing_on_the_pages_of_a_site_without_a_stylesheet(browser: Browser, site: str, theme: str):
    with context_of(browser, site) as context:
        page = context.new_page()
        page.add_init_script(path=AXE)
        webhook = Webhook.objects.create(owner=User.objects.get(), url="https://hooks.example/")
        page.goto(f"{ORDERS}export/")
        export_as(page, "csv")
        title = page.locator("export-progress[status=ready] [data-part=title]")
        title.wait_for(timeout=READY_MS)
        webhooks = ["/exports/webhooks/", f"/exports/webhooks/{webhook.pk}/"]
        for path in (title.get_attribute("href"), "/exports/", *webhooks):
            page.goto(path)
            assert faults_of(page, path) == []
        expect(page.get_by_role("rowheader", name="ready")).to_be_visible()


@pytest.mark.parametrize("theme", ["plain"])
def test_selected_rows_are_exported_without_javascript(browser: Browser, site: str, theme: str):
    # No page of django-unfold shows anything without JavaScript.
    with context_of(browser, site, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(ORDERS)
        for place in (0, 1):
            page.locator("input[name=_selected_action]").nth(place).check()
        page.locator("select[name=action]").first.select_option("export_selected")
        page.locator("button[name=index]").first.click()
        export_as(page, "csv")
        page.locator("export-progress[status=ready] a[href*=download]").wait_for(timeout=READY_MS)
        state = json.loads(page.locator("export-progress script").first.text_content() or "")
        assert (state["label"], state["progress"]["rows_done"]) == ("2 selected", 2)
