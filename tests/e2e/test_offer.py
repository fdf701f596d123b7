"""The form when a recent file exists, and when a limit is reached."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Route, expect

from tests.e2e.stack import Stack
from tests.e2e.visits import Visit, press_export

REQUEST_URL = re.compile(r"/exports/new/flights/$")


def answering(status: int, body: dict[str, Any], **headers: str) -> Callable[[Route], None]:
    """Return a handler that answers requests for an export like this, unless a new file is requested."""

    def handle(route: Route) -> None:
        if 'name="fresh"' in (route.request.post_data or ""):
            route.continue_()
        else:
            given = {"content-type": "application/json", **headers}
            route.fulfill(status=status, headers=given, body=json.dumps(body))

    return handle


def test_a_recent_file_is_shown_with_its_age_and_a_button_for_a_new_one(stack: Stack, visit: Visit) -> None:
    made = stack.client("ada").make(month_from="1", month_to="1")
    visit.page.route(REQUEST_URL, answering(200, {**made, "reused": {"age_seconds": 180}}))

    press_export(visit.page)

    offer = visit.page.locator(".export-offer")
    expect(offer).to_contain_text("Made 3 minutes ago, with the same choices.")
    expect(visit.part(made["id"], "status")).to_contain_text("Ready")
    with visit.page.expect_response(REQUEST_URL) as answered:
        offer.get_by_role("button", name="Make it again").click()
    assert answered.value.status == 202
    newer = answered.value.json()
    assert newer["id"] != made["id"]
    expect(offer).to_have_count(0)
    expect(visit.card(newer["id"])).to_have_count(1)


def test_a_limit_is_shown_and_the_form_keeps_what_was_chosen(visit: Visit) -> None:
    message = "You have 20 exports waiting and may have no more."
    error = {"error": {"code": "too_many_queued", "message": message, "limit": 20}}
    visit.page.route(REQUEST_URL, answering(429, error, **{"retry-after": "15"}))
    chosen = visit.page.locator("export-form select").first
    chosen.select_option(index=1)
    value = chosen.input_value()

    press_export(visit.page)

    expect(visit.page.get_by_role("alert")).to_contain_text(f"{message} Try again in 15 seconds")
    assert chosen.input_value() == value
