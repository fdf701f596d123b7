"""The lists of exports: live, wherever an export was requested, after Back and after a reload; delete and clear."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenVisit, in_both_browsers
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH


@pytest.mark.usefixtures("slowly")
def test_an_export_of_a_program_appears_in_every_list_and_its_form(stack: Stack, open_visit: OpenVisit):
    visits = [
        open_visit("ada").go(path) for path in ("/", "/exports/", "/exports/new/flights/", "/exports/new/weather/")
    ]
    for visit in visits:
        visit.page.wait_for_function("() => document.querySelector('export-list:defined') !== null")
    state = stack.client("ada").request_export(month_from="6")
    for visit in visits[:3]:
        expect(visit.card(state["id"])).to_be_visible()
    assert visits[3].card(state["id"]).count() == 0


@in_both_browsers
@pytest.mark.usefixtures("slowly")
def test_after_back_the_list_has_what_was_requested_meanwhile(open_visit: OpenVisit):
    visit = open_visit("grace").go("/exports/")
    visit.page.get_by_role("link", name="Flights", exact=True).click()
    visit.page.wait_for_url("**/")
    export_id = visit.export(month_from="7")
    visit.page.go_back()
    expect(visit.card(export_id)).to_be_visible()
    visit.go("/exports/new/flights/")
    visit.page.reload()
    expect(visit.card(export_id)).to_be_visible()


def test_a_deleted_export_leaves_the_lists_of_all_tabs(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make("weather", origin="JFK")
    listed = open_visit("ada").go("/exports/")
    second = listed.new_tab().go("/exports/new/weather/")
    listed.part(state["id"], "delete").get_by_role("button").click()
    expect(listed.card(state["id"])).to_have_count(0)
    expect(second.card(state["id"])).to_have_count(0)


@pytest.mark.usefixtures("slowly")
def test_a_page_shows_the_new_export_after_try_again_and_a_reload(stack: Stack, open_visit: OpenVisit):
    client = stack.client("ada")
    state = client.request_export(month_from="5")
    client.send_form(state["urls"]["cancel"], json=True)
    visit = open_visit("ada").go(state["urls"]["page"])
    with visit.page.expect_response(lambda answer: answer.url.endswith("/retry/")) as answered:
        visit.part(state["id"], "retry").get_by_role("button").click()
    again = answered.value.json()["id"]
    visit.card(again).wait_for()
    visit.page.reload()
    expect(visit.card(again)).to_be_visible()


def test_without_javascript_the_list_is_searched_and_cleared(stack: Stack, open_visit: OpenVisit):
    client = stack.client("ada")
    kept = client.make("weather", origin="EWR")
    gone = client.request_export(month_from="8")
    client.send_form(gone["urls"]["cancel"], json=True)
    visit = open_visit("ada", java_script_enabled=False).go("/exports/")
    visit.page.get_by_label("Search").fill("weather")
    visit.page.get_by_role("button", name="Show").click()
    expect(visit.card(kept["id"])).to_be_visible()
    expect(visit.card(gone["id"])).to_have_count(0)
    visit.page.get_by_role("button", name="Clear ended exports").click()
    expect(visit.card(kept["id"])).to_be_visible()
    expect(visit.card(gone["id"])).to_have_count(0)


@pytest.mark.usefixtures("slowly")
def test_the_receipt_appears_on_the_page_of_an_export_without_a_reload(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").request_export(month_from="12")
    visit = open_visit("ada").go(state["urls"]["page"])
    assert visit.page.locator(".export-receipt").count() == 0
    stack.hurry()
    expect(visit.page.locator(".export-receipt")).to_contain_text("28,135 rows", timeout=FINISH)
