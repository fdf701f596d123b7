"""The HTTP doors as their callers see them: polling, asking, changing, the history."""

import json
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from exports.exporters import registry
from exports.models import FileRequest, Status, transitions
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of
from tests.office.exports import open_office

pytestmark = pytest.mark.django_db

FORM = "/exports/new/report/"
ASKED = {"month": "4", "format": "csv"}


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


@pytest.fixture
def client(owner: User) -> Client:
    """A browser in which the owner is signed in."""
    return signed_in(owner)


# Polling


@pytest.mark.parametrize("status", Status.values)
def test_polling_gives_the_one_json_shape_in_every_status(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.get(url_of("detail", request))
    state, expected = response.json(), serialize(request)
    assert response.status_code == (410 if status == "expired" else 200)
    assert response["Content-Type"] == "application/json"
    ticket, until = state["urls"].pop("ticket"), state["urls"].pop("ticket_expires_at")
    assert (ticket is not None) == (until is not None) == (status == "ready")
    del expected["urls"]["ticket"], expected["urls"]["ticket_expires_at"]
    assert state == json.loads(json.dumps(expected))


@pytest.mark.parametrize("status", Status.values)
def test_the_addresses_in_a_state_are_those_that_apply(client: Client, owner: User, status: str):
    urls = client.get(url_of("detail", rows.IN_STATUS[status](owner)), headers=JSON).json()["urls"]
    assert (urls["cancel"] is not None) == (status in ("queued", "running"))
    assert (urls["retry"] is not None) == (status in ("failed", "cancelled", "expired"))
    assert (urls["download"] is not None) == (status == "ready")


def test_retry_after_is_sent_while_the_request_is_under_way_and_not_afterwards(client: Client, owner: User):
    for status, make in rows.IN_STATUS.items():
        response = client.get(url_of("detail", make(owner)))
        assert ("Retry-After" in response.headers) == (status in ("queued", "running"))


def test_an_unchanged_state_is_a_304_without_a_body(client: Client, owner: User):
    address = url_of("detail", rows.running(owner))
    first = client.get(address)
    again = client.get(address, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert again["Retry-After"] == first["Retry-After"]
    assert client.get(address, headers={"if-none-match": f'"other", {first["ETag"]}'}).status_code == 304


def test_a_ticket_that_is_signed_anew_does_not_change_the_etag(client: Client, owner: User):
    address = url_of("detail", rows.ready(owner))
    first = client.get(address)
    assert client.get(address, headers={"if-none-match": first["ETag"]}).status_code == 304


def test_progress_changes_the_etag(client: Client, owner: User):
    request, claim = rows.claimed(owner)
    first = client.get(url_of("detail", request))
    snapshot = rows.fresh(request).progress
    assert transitions.renew_lease(claim, snapshot, began_phase=False, moved=True)
    assert client.get(url_of("detail", request), headers={"if-none-match": first["ETag"]}).status_code == 200


def test_moving_up_in_the_queue_changes_the_etag_though_the_row_did_not_move(client: Client, owner: User):
    ahead, waiting = rows.queued(people.user("ahead")), rows.queued(owner)
    first = client.get(url_of("detail", waiting))
    same = client.get(url_of("detail", waiting), headers={"if-none-match": first["ETag"]})
    transitions.cancel(ahead)
    moved_up = client.get(url_of("detail", waiting), headers={"if-none-match": first["ETag"]})
    assert same.status_code == 304
    assert first.json()["progress"]["queue_position"] == 2
    assert moved_up.json()["progress"]["queue_position"] == 1
    assert moved_up.json()["seq"] == first.json()["seq"]


def test_an_expired_file_is_gone_for_every_poll(client: Client, owner: User):
    address = url_of("detail", rows.expired(owner))
    first = client.get(address)
    again = client.get(address, headers={"if-none-match": first["ETag"]})
    assert (first.status_code, again.status_code) == (410, 410)
    assert again.json()["status"] == "expired"
    assert "Retry-After" not in again.headers


def test_head_answers_like_get_without_a_body(client: Client, owner: User):
    request = rows.ready(owner)
    for name in ("detail", "page"):
        assert client.head(url_of(name, request)).status_code == 200
    for address in ("/exports/", FORM):
        assert (client.head(address).status_code, client.head(address).content) == (200, b"")


def test_no_state_is_kept_by_a_shared_cache(client: Client, owner: User):
    request = rows.ready(owner)
    for address in (
        url_of("detail", request),
        url_of("page", request),
        "/exports/",
        FORM,
        url_of("detail", rows.expired(owner)),
    ):
        assert "private" in client.get(address)["Cache-Control"]


# Asking


def ask(client: Client, headers: dict[str, str], **changes: str) -> object:
    return client.post(FORM, ASKED | changes, headers=headers)


def test_asking_by_json_is_accepted_with_the_state_and_its_address(client: Client, owner: User):
    response = ask(client, JSON)
    request = FileRequest.objects.get()
    assert response.status_code == 202
    assert response["Location"] == response.json()["urls"]["self"] == url_of("detail", request)
    assert response.json()["status"] == "queued"
    assert (request.requester, request.criteria, request.format) == (owner, "month=4", "csv")


def test_asking_by_form_leads_to_the_page(client: Client):
    response = ask(client, HTML)
    assert response.status_code == 303
    assert response["Location"] == url_of("page", FileRequest.objects.get())


def test_a_double_click_asks_once(client: Client):
    first, second = ask(client, JSON), ask(client, JSON)
    assert first.json()["id"] == second.json()["id"]
    assert second.status_code == 202
    assert FileRequest.objects.count() == 1
    assert ask(client, HTML)["Location"] == first.json()["urls"]["page"]


def test_another_filter_is_another_request(client: Client):
    assert ask(client, JSON).json()["id"] != ask(client, JSON, month="5").json()["id"]


def test_criteria_that_the_form_refuses_come_back_with_the_reasons_as_json(client: Client):
    response = ask(client, JSON, month="13")
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["code"] == "invalid_criteria"
    assert list(error["fields"]) == ["month"]
    assert "12" in error["fields"]["month"][0]
    assert not FileRequest.objects.exists()


def test_criteria_that_the_form_refuses_come_back_in_the_form(client: Client):
    response = ask(client, HTML, month="13", note="<b>kept</b>")
    page = response.content.decode()
    assert response.status_code == 400
    assert 'value="13"' in page
    assert "&lt;b&gt;kept&lt;/b&gt;" in page
    assert "less than or equal to 12" in page


def test_an_unknown_format_is_refused_with_the_known_ones(client: Client):
    by_script, by_form = ask(client, JSON, format="<docx>"), ask(client, HTML, format="<docx>")
    assert (by_script.status_code, by_form.status_code) == (400, 400)
    assert by_script.json()["error"]["code"] == "unknown_format"
    assert "csv, xlsx" in by_script.json()["error"]["message"]
    assert "csv, xlsx" in by_form.content.decode()
    assert "<docx>" not in by_form.content.decode()


@pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize(("name", "value"), [("option_colour", "red"), ("option_delimiter", "x")])
def test_an_option_that_the_format_does_not_have_is_refused(
    client: Client, headers: dict[str, str], name: str, value: str
):
    response = ask(client, headers, **{name: value})
    assert response.status_code == 400
    assert name.removeprefix("option_") in response.content.decode()
    assert headers is HTML or response.json()["error"]["code"] == "bad_option"


def test_an_option_that_the_format_has_is_kept(client: Client):
    ask(client, JSON, option_delimiter=";", option_bom="false")
    options = FileRequest.objects.get().options
    assert (options["delimiter"], options["bom"]) == (";", False)


def test_an_empty_format_is_the_first_one_that_the_export_offers(client: Client):
    assert ask(client, JSON, format="").json()["format"] == "csv"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "", "Nowhere/Land", "../../etc/passwd", "\0", "x" * 5000, "America"])
def test_a_time_zone_is_taken_where_it_is_one_and_breaks_nothing_where_it_is_not(client: Client, zone: str):
    assert ask(client, JSON, time_zone=zone).status_code == 202
    assert FileRequest.objects.get().requester_timezone == ("Europe/Berlin" if zone == "Europe/Berlin" else "UTC")


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])
def test_an_unknown_export_is_not_found(client: Client, method: str, headers: dict[str, str]):
    response = getattr(client, method)("/exports/new/nothing/", headers=headers)
    assert response.status_code == 404
    assert headers is HTML or response.json()["error"]["code"] == "not_found"


def test_whom_the_export_refuses_gets_no_request(owner: User):
    client = signed_in(people.refuse(owner))
    assert ask(client, JSON).json()["error"]["code"] == "not_allowed"
    assert ask(client, HTML).status_code == 403
    assert not FileRequest.objects.exists()


def test_the_form_page_shows_the_filter_and_a_button_for_each_format(client: Client):
    page = client.get(FORM).content.decode()
    assert 'name="month"' in page
    assert 'value="csv"' in page
    assert 'value="xlsx"' in page


def test_asking_rings_and_tells_only_when_the_transaction_commits(
    client: Client, settings: LazySettings, django_capture_on_commit_callbacks
):
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": "tests.test_http_views.RecordingQueue"}
    rung.clear()
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        ask(client, JSON)
        assert rung == []
    assert len(callbacks) == 2
    assert rung == ["small"]


rung: list[str] = []


class RecordingQueue:
    @staticmethod
    def wake(queue_name: str) -> None:
        rung.append(queue_name)


# The token against forged requests


def test_a_post_without_the_csrf_token_changes_nothing(owner: User):
    request, client = rows.queued(owner), signed_in(owner, enforce_csrf_checks=True)
    for address in (FORM, *(url_of(name, request) for name in ("cancel", "retry", "seen", "expire", "revoke"))):
        assert client.post(address, ASKED).status_code == 403
        assert client.post(address, ASKED, headers=JSON).status_code == 403
    assert rows.fresh(request).status == "queued"
    assert FileRequest.objects.count() == 1


def test_the_token_of_the_form_page_lets_it_post(owner: User):
    client = signed_in(owner, enforce_csrf_checks=True)
    page = client.get(FORM).content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert client.post(FORM, ASKED | {"csrfmiddlewaretoken": token}).status_code == 303


def test_the_token_of_the_cookie_lets_a_script_post(owner: User):
    client = signed_in(owner, enforce_csrf_checks=True)
    request = rows.queued(owner)
    client.get(url_of("page", request))
    headers = JSON | {"x-csrftoken": client.cookies["csrftoken"].value}
    assert client.post(url_of("cancel", request), headers=headers).json()["status"] == "cancelled"


# Changing


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_cancel_ends_a_request_that_is_under_way(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.post(url_of("cancel", request), headers=JSON)
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert response.json()["seq"] == request.seq + 1


@pytest.mark.parametrize(
    ("name", "on_time"), [("cancel", ("queued", "running")), ("expire", ("ready",)), ("revoke", ("ready",))]
)
def test_what_comes_too_late_is_a_conflict_and_shows_how_things_are(
    client: Client, owner: User, name: str, on_time: tuple[str, ...]
):
    for status in set(Status.values) - set(on_time):
        request = rows.IN_STATUS[status](owner)
        response = client.post(url_of(name, request), headers=JSON)
        assert (response.status_code, response.json()["status"]) == (409, status)
        assert rows.fresh(request).seq == request.seq
        by_form = client.post(url_of(name, request), headers=HTML)
        assert (by_form.status_code, by_form["Location"]) == (303, url_of("page", request))


@pytest.mark.parametrize("name", ["cancel", "retry", "seen", "expire", "revoke"])
def test_a_get_changes_nothing(client: Client, owner: User, name: str):
    request = rows.queued(owner)
    response = client.get(url_of(name, request))
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert rows.fresh(request).status == "queued"


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_trying_again_makes_a_new_request_for_the_same(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.post(url_of("retry", request), headers=JSON)
    again = FileRequest.objects.exclude(pk=request.pk).get()
    assert response.status_code == 201
    assert response["Location"] == url_of("detail", again)
    assert response.json()["id"] == str(again.pk)
    assert (again.criteria, again.format, again.status) == (request.criteria, request.format, "queued")
    assert rows.fresh(request).status == status
    by_form = client.post(url_of("retry", request), headers=HTML)
    assert (by_form.status_code, by_form["Location"]) == (303, url_of("page", again))


@pytest.mark.parametrize("status", ["queued", "running", "ready"])
def test_what_has_not_ended_without_a_file_cannot_be_tried_again(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.post(url_of("retry", request), headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "too_late")
    assert client.post(url_of("retry", request), headers=HTML).status_code == 409
    assert FileRequest.objects.count() == 1


def test_trying_again_with_a_filter_that_does_not_hold_any_more_says_so(client: Client, owner: User):
    request = rows.failed(owner, criteria="month=13")
    response = client.post(url_of("retry", request), headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_criteria")
    assert client.post(url_of("retry", request), headers=HTML).status_code == 400


def test_trying_again_what_nobody_makes_any_more_is_not_found(client: Client, owner: User):
    request = rows.failed(owner)
    registry.handlers.pop("report")
    assert client.post(url_of("retry", request), headers=JSON).status_code == 404
    assert client.post(url_of("retry", request), headers=HTML).status_code == 404


@pytest.mark.parametrize("verb", ["expire", "revoke"])
def test_a_link_dies_at_once(client: Client, owner: User, verb: str):
    request = rows.ready(owner)
    address = ticket_for(request, owner)
    assert status_of(client, address) == 200
    state = client.post(url_of(verb, request), headers=JSON).json()
    assert state["status"] == ("expired" if verb == "expire" else "ready")
    assert status_of(client, address) == 404


def test_after_a_revocation_the_download_leads_to_a_new_link(client: Client, owner: User):
    request = rows.ready(owner)
    client.post(url_of("revoke", request))
    assert client.get(url_of("download", request), follow=True).getvalue() == rows.CONTENT


# The history


def test_the_list_shows_ones_own_requests_newest_first_by_pages(client: Client, owner: User):
    for month in range(1, 13):
        rows.queued(owner, criteria=f"month={month}", description=f"Month {month}")
        rows.cancelled(owner, description=f"Old month {month}")
    rows.queued(people.user("other"), description="Somebody else's")
    first, second = client.get("/exports/"), client.get("/exports/?page=2")
    titles = [each["title"] for each in [*first.context["exports"], *second.context["exports"]]]
    assert titles == [each.description for each in FileRequest.objects.filter(requester=owner)]
    assert "Somebody else" not in (first.content + second.content).decode()


@pytest.mark.parametrize("page", ["0", "-1", "x", "9999", "1 OR 1=1"])
def test_a_page_that_there_is_not_shows_the_nearest_one(client: Client, page: str):
    assert client.get("/exports/", {"page": page}).status_code == 200
