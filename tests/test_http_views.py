"""Polling, requesting, changing and listing exports over HTTP."""

import json

import pytest
from django.conf import LazySettings, settings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from exports.exporters import registry
from exports.models import FileRequest, Status, transitions
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

FORM = "/exports/new/report/"
POSTED = {"month": "4", "format": "csv"}
BOTH = pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])


# Polling


@pytest.mark.parametrize("status", Status.values)
def test_polling_returns_the_state_in_every_status(browser: Client, owner: User, status: str):
    export = rows.IN_STATUS[status](owner)
    response = browser.get(url_of("detail", export))
    state, expected = response.json(), serialize(export)
    assert response.status_code == (410 if status == "expired" else 200)
    assert response["Content-Type"] == "application/json"
    assert ("Retry-After" in response.headers) == (status in ("queued", "running"))
    ticket, until = state["urls"].pop("ticket"), state["urls"].pop("ticket_expires_at")
    assert (ticket is not None) == (until is not None) == (status == "ready")
    del expected["urls"]["ticket"], expected["urls"]["ticket_expires_at"]
    if state["worker"] is not None:
        # It was asked a moment later.
        expected["worker"]["silent_seconds"] = state["worker"]["silent_seconds"]
    assert state == json.loads(json.dumps(expected))


def test_polling_an_unchanged_state_is_304_without_a_body(browser: Client, owner: User):
    url = url_of("detail", rows.running(owner))
    first = browser.get(url)
    again = browser.get(url, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (again["ETag"], again["Retry-After"]) == (first["ETag"], first["Retry-After"])
    assert browser.get(url, headers={"if-none-match": f'"other", {first["ETag"]}'}).status_code == 304


def test_a_new_ticket_does_not_change_the_etag(browser: Client, owner: User):
    url = url_of("detail", rows.ready(owner))
    assert browser.get(url, headers={"if-none-match": browser.get(url)["ETag"]}).status_code == 304


def test_progress_changes_the_etag(browser: Client, owner: User):
    export, claim = rows.claimed(owner)
    first = browser.get(url_of("detail", export))
    assert transitions.renew_lease(claim, rows.fresh(export).progress, began_phase=False, progressed=True)
    assert browser.get(url_of("detail", export), headers={"if-none-match": first["ETag"]}).status_code == 200


def test_a_new_place_in_the_queue_changes_the_etag_but_not_seq(browser: Client, owner: User):
    ahead, waiting = rows.queued(people.user("ahead")), rows.queued(owner)
    first = browser.get(url_of("detail", waiting))
    same = browser.get(url_of("detail", waiting), headers={"if-none-match": first["ETag"]})
    transitions.cancel(ahead)
    moved_up = browser.get(url_of("detail", waiting), headers={"if-none-match": first["ETag"]})
    assert same.status_code == 304
    assert first.json()["progress"]["queue_position"] == 2
    assert moved_up.json()["progress"]["queue_position"] == 1
    assert moved_up.json()["seq"] == first.json()["seq"]


def test_an_expired_export_is_410_even_if_unchanged(browser: Client, owner: User):
    url = url_of("detail", rows.expired(owner))
    first = browser.get(url)
    again = browser.get(url, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.json()["status"]) == (410, "expired")


def test_head_has_the_status_of_get_and_no_body(browser: Client, owner: User):
    export = rows.ready(owner)
    for url in (url_of("detail", export), url_of("page", export), "/exports/", FORM):
        assert (browser.head(url).status_code, browser.head(url).content) == (200, b"")


def test_shared_caches_store_no_page_and_no_state(browser: Client, owner: User):
    ready, expired = rows.ready(owner), rows.expired(owner)
    for url in (url_of("detail", ready), url_of("page", ready), url_of("detail", expired), "/exports/", FORM):
        assert "private" in browser.get(url)["Cache-Control"]


# Requesting


def post(client: Client, headers: dict[str, str], **changes: str) -> HttpResponse:
    return client.post(FORM, POSTED | changes, headers=headers)


def test_a_program_gets_202_with_the_state_and_its_url(browser: Client, owner: User):
    response = post(browser, JSON)
    export = FileRequest.objects.get()
    assert response.status_code == 202
    assert response["Location"] == response.json()["urls"]["self"] == url_of("detail", export)
    assert response.json()["status"] == "queued"
    assert (export.requester, export.criteria, export.format) == (owner, "month=4", "csv")


def test_a_browser_is_redirected_to_the_page(browser: Client):
    response = post(browser, HTML)
    assert (response.status_code, response["Location"]) == (303, url_of("page", FileRequest.objects.get()))


def test_a_double_click_makes_one_export_and_another_filter_a_second(browser: Client):
    first, second = post(browser, JSON), post(browser, JSON)
    assert first.json()["id"] == second.json()["id"]
    assert second.status_code == 202
    assert FileRequest.objects.count() == 1
    assert post(browser, HTML)["Location"] == first.json()["urls"]["page"]
    assert post(browser, JSON, month="5").json()["id"] != first.json()["id"]


def test_invalid_criteria_are_returned_as_json_by_field(browser: Client):
    response = post(browser, JSON, month="13")
    error = response.json()["error"]
    assert (response.status_code, error["code"], list(error["fields"])) == (400, "invalid_criteria", ["month"])
    assert "12" in error["fields"]["month"][0]
    assert not FileRequest.objects.exists()


def test_invalid_criteria_are_shown_in_the_form(browser: Client):
    response = post(browser, HTML, month="13", note="<b>kept</b>")
    page = response.content.decode()
    assert response.status_code == 400
    for text in ('value="13"', "&lt;b&gt;kept&lt;/b&gt;", "less than or equal to 12"):
        assert text in page


@BOTH
def test_an_unknown_format_is_refused_with_the_known_ones(browser: Client, headers: dict[str, str]):
    response = post(browser, headers, format="<docx>")
    assert response.status_code == 400
    assert "csv, xlsx" in response.content.decode()
    assert headers is JSON or "<docx>" not in response.content.decode()
    assert headers is HTML or response.json()["error"]["code"] == "unknown_format"


@BOTH
@pytest.mark.parametrize(("name", "value"), [("option_colour", "red"), ("option_delimiter", "x")])
def test_an_unknown_option_is_refused(browser: Client, headers: dict[str, str], name: str, value: str):
    response = post(browser, headers, **{name: value})
    assert response.status_code == 400
    assert name.removeprefix("option_") in response.content.decode()
    assert headers is HTML or response.json()["error"]["code"] == "bad_option"


def test_options_are_stored_and_an_empty_format_is_the_first_one(browser: Client):
    assert post(browser, JSON, format="", option_delimiter=";", option_bom="false").json()["format"] == "csv"
    options = FileRequest.objects.get().options
    assert (options["delimiter"], options["bom"]) == (";", False)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "", "Nowhere/Land", "../../etc/passwd", "\0", "x" * 5000, "America"])
def test_an_unknown_time_zone_is_replaced_by_the_active_one(browser: Client, zone: str):
    assert post(browser, JSON, time_zone=zone).status_code == 202
    known = "Europe/Berlin" if zone == "Europe/Berlin" else settings.TIME_ZONE
    assert FileRequest.objects.get().requester_timezone == known


@BOTH
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_file_type_is_404(browser: Client, method: str, headers: dict[str, str]):
    response = getattr(browser, method)("/exports/new/nothing/", headers=headers)
    assert response.status_code == 404
    assert headers is HTML or response.json()["error"]["code"] == "not_found"


def test_a_user_whom_the_export_refuses_gets_403(owner: User):
    client = signed_in(people.refuse(owner))
    assert post(client, JSON).json()["error"]["code"] == "not_allowed"
    assert post(client, HTML).status_code == 403
    assert not FileRequest.objects.exists()


def test_a_request_wakes_a_worker_and_publishes_only_on_commit(
    browser: Client, settings: LazySettings, django_capture_on_commit_callbacks
):
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": "tests.test_http_views.RecordingQueue"}
    woken.clear()
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        post(browser, JSON)
        assert woken == []
    assert len(callbacks) == 3
    assert woken == ["small"]


woken: list[str] = []


class RecordingQueue:
    @staticmethod
    def wake(queue_name: str) -> None:
        woken.append(queue_name)


def test_the_csrf_token_of_the_form_and_of_the_cookie_are_accepted(owner: User):
    client = signed_in(owner, enforce_csrf_checks=True)
    page = client.get(FORM).content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert client.post(FORM, POSTED | {"csrfmiddlewaretoken": token}).status_code == 303
    headers = JSON | {"x-csrftoken": client.cookies["csrftoken"].value}
    cancelled = client.post(url_of("cancel", FileRequest.objects.get()), headers=headers)
    assert cancelled.json()["status"] == "cancelled"


# Changing


@pytest.mark.parametrize("status", ["queued", "running"])
def test_cancel_ends_an_active_export(browser: Client, owner: User, status: str):
    export = rows.IN_STATUS[status](owner)
    response = browser.post(url_of("cancel", export), headers=JSON)
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert response.json()["seq"] == export.seq + 1


@pytest.mark.parametrize(
    ("name", "possible"), [("cancel", ("queued", "running")), ("expire", ("ready",)), ("revoke", ("ready",))]
)
def test_a_change_that_comes_too_late_is_409_with_the_state(
    browser: Client, owner: User, name: str, possible: tuple[str, ...]
):
    for status in set(Status.values) - set(possible):
        export = rows.IN_STATUS[status](owner)
        response = browser.post(url_of(name, export), headers=JSON)
        assert (response.status_code, response.json()["status"]) == (409, status)
        assert rows.fresh(export).seq == export.seq
        by_form = browser.post(url_of(name, export), headers=HTML)
        assert (by_form.status_code, by_form["Location"]) == (303, url_of("page", export))


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_retry_makes_a_new_export_of_the_same_criteria(browser: Client, owner: User, status: str):
    export = rows.IN_STATUS[status](owner)
    response = browser.post(url_of("retry", export), headers=JSON)
    again = FileRequest.objects.exclude(pk=export.pk).get()
    assert (response.status_code, response["Location"]) == (201, url_of("detail", again))
    assert response.json()["id"] == str(again.pk)
    assert (again.criteria, again.format, again.status) == (export.criteria, export.format, "queued")
    assert rows.fresh(export).status == status
    by_form = browser.post(url_of("retry", export), headers=HTML)
    assert (by_form.status_code, by_form["Location"]) == (303, url_of("page", again))


@BOTH
@pytest.mark.parametrize("status", ["queued", "running", "ready"])
def test_retry_before_such_an_end_is_409(browser: Client, owner: User, status: str, headers: dict[str, str]):
    response = browser.post(url_of("retry", rows.IN_STATUS[status](owner)), headers=headers)
    assert response.status_code == 409
    assert headers is HTML or response.json()["error"]["code"] == "too_late"
    assert FileRequest.objects.count() == 1


@BOTH
def test_retry_with_criteria_that_are_no_longer_valid_is_400(browser: Client, owner: User, headers: dict[str, str]):
    response = browser.post(url_of("retry", rows.failed(owner, criteria="month=13")), headers=headers)
    assert response.status_code == 400
    assert headers is HTML or response.json()["error"]["code"] == "invalid_criteria"


@BOTH
def test_retry_of_a_file_type_that_is_gone_is_404(browser: Client, owner: User, headers: dict[str, str]):
    export = rows.failed(owner)
    registry.handlers.pop("report")
    assert browser.post(url_of("retry", export), headers=headers).status_code == 404


@pytest.mark.parametrize("verb", ["expire", "revoke"])
def test_expire_and_revoke_end_tickets_at_once(browser: Client, owner: User, verb: str):
    export = rows.ready(owner)
    url = ticket_for(export, owner)
    assert status_of(browser, url) == 200
    state = browser.post(url_of(verb, export), headers=JSON).json()
    assert state["status"] == ("expired" if verb == "expire" else "ready")
    assert status_of(browser, url) == 404
    if verb == "revoke":
        assert browser.get(url_of("download", export), follow=True).getvalue() == rows.CONTENT


# The list


def test_the_list_shows_the_users_own_exports_newest_first(browser: Client, owner: User):
    for month in range(1, 13):
        rows.queued(owner, criteria=f"month={month}", description=f"Month {month}")
        rows.cancelled(owner, description=f"Old month {month}")
    rows.queued(people.user("other"), description="Of another user")
    first, second = browser.get("/exports/"), browser.get("/exports/?page=2")
    titles = [each["title"] for each in [*first.context["exports"], *second.context["exports"]]]
    assert titles == [each.description for each in FileRequest.objects.filter(requester=owner)]
    assert "Of another user" not in (first.content + second.content).decode()


@pytest.mark.parametrize("page", ["0", "-1", "x", "9999", "1 OR 1=1"])
def test_a_page_that_does_not_exist_shows_the_nearest_one(browser: Client, page: str):
    assert browser.get("/exports/", {"page": page}).status_code == 200
