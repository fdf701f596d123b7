"""The form in a browser: the number of rows before the click, columns, presets, and opening it again."""

import csv
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenVisit
from tests.e2e.visits import FINISH, Visit, press_export


def table_of(download: Any) -> list[list[str]]:
    with download.path().open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_the_rows_are_told_before_the_click_and_chosen_columns_are_in_the_file(visit: Visit):
    page = visit.page
    page.locator("[name=month_from]").select_option("2")
    page.locator("[name=month_to]").select_option("2")
    expect(page.locator(".export-estimate")).to_contain_text("24,951 rows", timeout=FINISH)
    expect(page.locator("button[name=estimate]")).to_have_count(0)
    page.locator(".export-columns summary").click()
    for box in page.locator("[name=columns]").all():
        box.set_checked(box.get_attribute("value") in ("carrier_id", "number"))
    page.locator("[name='position.number']").fill("1")
    page.locator("[name='position.carrier_id']").fill("2")
    page.locator("[name='header.number']").fill("Flight no.")
    with page.expect_download() as download:
        press_export(page)
    header, *lines = table_of(download.value)
    assert (header, len(lines)) == (["Flight no.", "Carrier"], 24_951)
    assert "from-month-february-to-month-february" in download.value.suggested_filename


def test_nothing_that_matches_is_said_and_not_downloaded(visit: Visit):
    page = visit.page
    for name, value in (("month_from", "1"), ("month_to", "1"), ("origin", "JFK"), ("carrier", "OO")):
        page.locator(f"[name={name}]").select_option(value)
    expect(page.locator(".export-estimate")).to_have_text("Nothing matches.", timeout=FINISH)
    downloads: list[Any] = []
    page.on("download", lambda download: downloads.append(download))
    press_export(page)
    expect(page.locator("export-progress").first).to_contain_text("Nothing matched", timeout=FINISH)
    page.wait_for_timeout(500)
    assert downloads == []


def test_without_javascript_a_preset_is_saved_opened_edited_and_deleted(open_visit: OpenVisit):
    page = open_visit("grace", java_script_enabled=False).go("/exports/new/weather/").page
    page.locator("[name=origin]").select_option("JFK")
    page.get_by_label("Format").select_option("CSV")
    page.get_by_role("button", name="How much is it?").click()
    expect(page.locator(".export-estimate")).to_contain_text("8,706 rows")
    page.locator(".export-save summary").click()
    page.get_by_label("Name", exact=True).fill("Kennedy")
    page.get_by_role("button", name="Save").click()
    page.goto("/exports/new/weather/")
    page.get_by_role("link", name="Kennedy", exact=True).click()
    assert page.locator("[name=origin]").input_value() == "JFK"
    page.get_by_role("button", name="Export", exact=True).click()
    page.wait_for_url("**/page/")
    page.get_by_role("link", name="Edit and run again").click()
    assert page.locator("[name=origin]").input_value() == "JFK"
    assert page.get_by_label("Format").input_value() == "csv"
    page.get_by_role("link", name="Kennedy", exact=True).click()
    page.get_by_role("button", name="Delete the preset Kennedy").click()
    expect(page.get_by_role("link", name="Kennedy", exact=True)).to_have_count(0)


@pytest.mark.usefixtures("slowly")
def test_the_page_of_a_running_export_shows_its_first_rows(visit: Visit):
    export_id = visit.export(month_from="4", month_to="4")
    visit.go(f"/exports/{export_id}/page/")
    rows = visit.page.locator(".export-table tbody tr")
    expect(rows).to_have_count(20, timeout=FINISH)
    expect(visit.page.locator("[data-time-zone]")).to_have_text("America/New_York")
