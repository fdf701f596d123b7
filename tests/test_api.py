"""The JSON API: what programs ask for, and what they are told when it cannot be done."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from exports.access import tokens
from exports.http import waiting
from exports.models import Actor, AuditEntry, FileRequest, Preset, Status
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import signed_in
from tests.office.exports import ReportExport, open_office
from tests.shop.runs import configure

pytestmark = pytest.mark.django_db

ROOT = "/exports/api/v1/"
JSON = "application/json"
REPORT = {"type": "report", "criteria": {"month": 4}, "format": "csv"}


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings)
    with open_office():
        yield


@pytest.fixture
def ada() -> User:
    return people.user("ada")


@pytest.fixture
def client(ada: User) -> Client:
    return signed_in(ada)


def post(client: Client, path: str, body: Any = None, **headers: str) -> HttpResponse:
    return (
        client.post(f"{ROOT}{path}", body, JSON, headers=headers)
        if body is not None
        else client.post(f"{ROOT}{path}", b"", JSON, headers=headers)
    )


def create(client: Client, body: Any = REPORT, **headers: str) -> HttpResponse:
    return post(client, "exports/", body, **{name.replace("_", "-"): value for name, value in headers.items()})


def check_problem(response: HttpResponse, status: int, code: str) -> dict[str, Any]:
    """Check that the response is a problem of this code, and return it."""
    told = json.loads(response.content)
    assert (response.status_code, told["code"]) == (status, code), told
    assert response.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= told.keys()
    assert told["status"] == status
    return told


# Types


def test_types_have_schemas_of_what_may_be_chosen(client: Client):
    [report] = [each for each in client.get(f"{ROOT}types/").json()["types"] if each["type"] == "report"]
    assert report == client.get(f"{ROOT}types/report/").json()
    assert report["criteria"]["properties"]["month"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 12,
        "title": "Month",
    }
    assert (report["criteria"]["required"], report["criteria"]["additionalProperties"]) == (["month"], False)
    assert report["columns"]["default"] == ["username"]
    assert report["options"]["csv"]["properties"]["delimiter"]["enum"] == [",", ";", "\t"]
    assert [each["format"] for each in report["formats"]] == ["csv", "xlsx"]


def test_types_that_the_user_may_not_export_are_not_listed(client: Client, ada: User):
    people.refuse(ada)
    assert "report" not in [each["type"] for each in client.get(f"{ROOT}types/").json()["types"]]
    check_problem(client.get(f"{ROOT}types/report/"), 403, "not_allowed")
    check_problem(client.get(f"{ROOT}types/nothing/"), 404, "not_found")


def test_an_estimate_requests_nothing_and_tells_how_many_more_are_allowed(client: Client):
    response = post(client, "types/report/estimate/", {"criteria": {"month": 4}})
    assert response.json() == {"rows": 1, "bytes": None, "seconds": None, "text": "1 row"}
    assert response.headers["RateLimit-Policy"] == '"estimates";q=60;w=60'
    assert re.fullmatch(r'"estimates";r=\d+;t=\d+', response.headers["RateLimit"])
    assert not FileRequest.objects.exists()


# Create


def test_a_request_is_accepted_with_where_to_follow_it(client: Client, ada: User):
    response = create(client)
    state = response.json()
    assert (response.status_code, state["status"], response.headers["Retry-After"]) == (202, "queued", "2")
    assert response.headers["Location"] == f"{ROOT}exports/{state['id']}/"
    assert response.headers["RateLimit-Policy"] == '"queued";q=20, "today";q=500;w=86400'
    assert response.headers["RateLimit"].startswith('"queued";r=19;t=15, "today";r=499;t=')
    export = FileRequest.objects.get()
    assert (export.requester, export.criteria, export.format) == (ada, "month=4", "csv")
    assert AuditEntry.objects.get(verb=AuditEntry.Verb.REQUEST).user == ada


def test_columns_options_and_numbers_are_taken_as_they_were_sent(client: Client):
    chosen = {"columns": [{"name": "username", "header": "Who"}], "options": {"delimiter": ";"}}
    assert create(client, {**REPORT, **chosen}).status_code == 202
    export = FileRequest.objects.get()
    assert (export.columns, export.options["delimiter"]) == ([["username", "Who"]], ";")
    check_problem(create(client, {**REPORT, "criteria": {"month": 4.0}, "columns": ["none"]}), 400, "bad_option")
    told = check_problem(create(client, {**REPORT, "criteria": {"month": 1.5}}), 400, "invalid_criteria")
    assert told["fields"] == {"month": ["Enter a whole number."]}


@pytest.mark.parametrize(
    ("body", "status", "code", "fields"),
    [
        ({**REPORT, "typo": 1}, 400, "unknown_fields", {"typo"}),
        ({**REPORT, "criteria": {"mont": 4}}, 400, "unknown_fields", {"mont"}),
        ({**REPORT, "criteria": {"month": {"is": 4}}}, 400, "invalid_body", {"month"}),
        ({"criteria": {}}, 400, "invalid_body", {"type"}),
        ({**REPORT, "criteria": {"month": 13}}, 400, "invalid_criteria", {"month"}),
        ({**REPORT, "columns": []}, 400, "invalid_criteria", {"columns"}),
        ({**REPORT, "format": "docx"}, 400, "unknown_format", set()),
        ({**REPORT, "options": {"colour": "red"}}, 400, "bad_option", set()),
        ({**REPORT, "options": {"delimiter": 10**30}}, 400, "bad_option", set()),
        ({**REPORT, "time_zone": "Europe/Atlantis"}, 400, "invalid_body", {"time_zone"}),
        ({**REPORT, "time_zone": "../\0"}, 400, "invalid_body", {"time_zone"}),
        ({**REPORT, "callback_url": "nowhere"}, 400, "bad_option", set()),
        ({**REPORT, "type": "nothing"}, 404, "not_found", set()),
        ("[]", 400, "invalid_body", set()),
        ('{"type": "report", "type": "long"}', 400, "invalid_body", set()),
        ('{"type": "\\ud800"}', 400, "invalid_body", set()),
        ("", 400, "invalid_body", {"__all__"}),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_by_name(
    client: Client, body: Any, status: int, code: str, fields: set[str]
):
    assert check_problem(create(client, body), status, code).get("fields", {}).keys() == fields
    assert not FileRequest.objects.exists()


def test_bodies_of_other_types_are_refused(client: Client):
    check_problem(client.post(f"{ROOT}exports/", {"type": "report"}), 415, "unsupported_media_type")
    check_problem(client.post(f"{ROOT}exports/", "a=b", "text/plain"), 415, "unsupported_media_type")


def test_a_repeated_request_with_its_key_gets_the_same_export(client: Client):
    first = create(client, idempotency_key="k").json()
    assert loop.dispatch(FileRequest.objects.get().pk)
    again = create(client, idempotency_key="k")
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, first["id"], "ready")
    check_problem(create(client, {**REPORT, "format": "xlsx"}, idempotency_key="k"), 422, "key_reused")
    check_problem(create(client, idempotency_key="k" * 201), 400, "invalid_parameters")
    assert client.delete(f"{ROOT}exports/{first['id']}/").status_code == 204
    check_problem(create(client, idempotency_key="k"), 404, "not_found")


def test_a_quota_that_is_reached_says_when_to_try_again(client: Client, settings: LazySettings):
    configure(settings, MAX_QUEUED_PER_USER=1)
    create(client)
    response = create(client, {**REPORT, "criteria": {"month": 5}})
    assert check_problem(response, 429, "too_many_queued")["limit"] == 1
    assert response.headers["Retry-After"] == "15"
    assert response.headers["RateLimit"].startswith('"queued";r=0;t=15')


# Wait


@pytest.fixture
def ends_while_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Run what is queued at the second look, in place of a worker; return the pauses between the looks."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            for export in FileRequest.objects.active():
                loop.dispatch(export.pk)

    monkeypatch.setattr(waiting.time, "sleep", pause)
    return pauses


@pytest.mark.django_db(transaction=True)
def test_who_waits_is_sent_to_the_file(client: Client, ends_while_waiting: list[float]):
    response = create(client, prefer="respond-async, wait=20")
    assert (response.status_code, response.headers["Preference-Applied"]) == (303, "respond-async, wait=20")
    assert client.get(response.headers["Location"]).getvalue().endswith(b"Name\r\nada\r\n")
    assert len(ends_while_waiting) == 2


@pytest.mark.django_db(transaction=True)
def test_waiting_is_capped_and_limited_for_each_user(
    client: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
):
    configure(settings, MAX_WAIT_SECONDS=0.2)
    assert create(client, prefer="wait=1000").status_code == 202
    monkeypatch.setattr(waiting, "MAX_WAITING_PER_USER", 0)
    assert "Preference-Applied" not in create(client, prefer="wait=1000").headers


@pytest.mark.django_db(transaction=True)
def test_an_export_that_ends_without_a_file_is_told_as_it_is(client: Client, monkeypatch: pytest.MonkeyPatch):
    def cancel(seconds: float) -> None:
        post(client, f"exports/{FileRequest.objects.get().pk}/cancel/")

    monkeypatch.setattr(waiting.time, "sleep", cancel)
    response = create(client, prefer="wait=20")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=x", "wait=-1", "wait=²", "wait=9999999", ";,=", "return=minimal"]
)
def test_preferences_that_are_not_understood_do_not_count(client: Client, prefer: str):
    response = create(client, prefer=prefer)
    assert (response.status_code, response.headers.get("Preference-Applied")) == (202, None)


# Follow and change


def test_states_are_polled_with_an_etag(client: Client, ada: User):
    url = f"{ROOT}exports/{rows.ready(ada).pk}/"
    etag = client.get(url).headers["ETag"]
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(f"{ROOT}exports/{rows.expired(ada).pk}/").status_code == 410


def test_exports_are_cancelled_expired_retried_and_deleted(client: Client, ada: User):
    waiting_one, ready = rows.queued(ada), rows.ready(ada)
    assert post(client, f"exports/{waiting_one.pk}/cancel/").json()["status"] == Status.CANCELLED
    check_problem(post(client, f"exports/{waiting_one.pk}/cancel/"), 409, "too_late")
    again = post(client, f"exports/{ready.pk}/retry/", {"fresh": True})
    assert (again.status_code, again.headers["Location"]) == (201, f"{ROOT}exports/{again.json()['id']}/")
    check_problem(post(client, f"exports/{ready.pk}/retry/"), 409, "too_late")
    assert post(client, f"exports/{ready.pk}/expire/", {}).json()["status"] == Status.EXPIRED
    assert client.delete(f"{ROOT}exports/{ready.pk}/").status_code == 204
    check_problem(client.get(f"{ROOT}exports/{ready.pk}/"), 404, "not_found")


@pytest.mark.parametrize("path", ["cancel/", "expire/", "retry/"])
def test_changes_refuse_fields_that_they_do_not_have(client: Client, ada: User, path: str):
    check_problem(post(client, f"exports/{rows.ready(ada).pk}/{path}", {"typo": 1}), 400, "unknown_fields")


# List


@pytest.mark.both_databases
def test_the_list_is_paged_by_cursors_that_later_exports_do_not_move(client: Client, ada: User):
    exports = [rows.queued(ada) for _ in range(5)]
    FileRequest.objects.update(requested_at=exports[0].requested_at)
    seen: list[str] = []
    query = "?limit=2"
    while query:
        page = client.get(f"{ROOT}exports/{query}").json()
        seen += [state["id"] for state in page["exports"]]
        rows.queued(ada)
        query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == sorted((str(each.pk) for each in exports), reverse=True)


def test_the_list_has_filters(client: Client, ada: User):
    rows.queued(ada, label="April")
    ready = rows.ready(ada)
    rows.ready(people.user("grace"))

    def found(query: str) -> int:
        return len(client.get(f"{ROOT}exports/?{query}").json()["exports"])

    assert [found(query) for query in ("", "status=active", "status=ready", "q=april", "type=long")] == [2, 1, 1, 1, 0]
    [state] = client.get(f"{ROOT}exports/?status=ready").json()["exports"]
    assert state["id"] == str(ready.pk)


def cursor(moment: str) -> str:
    return urlsafe_b64encode(f"{moment} {'0' * 32}".encode()).decode()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_parameters"),
        ("status=nothing", "invalid_parameters"),
        ("q=%00", "invalid_parameters"),
        ("cursor=nothing", "invalid_parameters"),
        ("cursor=MjAyNiBh", "invalid_parameters"),
        (f"cursor={cursor('0001-01-01T00:00:00+23:59')}", "invalid_parameters"),
        (f"cursor={cursor('9999-12-31T23:59:59-23:59')}", "invalid_parameters"),
        ("sort=size", "unknown_fields"),
    ],
)
def test_the_list_refuses_parameters_that_it_cannot_use(client: Client, query: str, code: str):
    name = query.partition("=")[0]
    assert name in check_problem(client.get(f"{ROOT}exports/?{query}"), 400, code)["fields"]


# Presets


def test_presets_are_saved_listed_and_deleted(client: Client, ada: User):
    chosen = {"criteria": {"month": 4}, "format": "csv", "columns": [{"name": "username", "header": "Who"}]}
    saved = post(client, "types/report/presets/", {**chosen, "name": "April"})
    assert saved.status_code == 201
    [listed] = client.get(f"{ROOT}types/report/presets/").json()["presets"]
    assert listed == saved.json()
    # What a preset has can be sent as it is.
    again = {name: listed[name] for name in ("type", "criteria", "format", "columns", "options")}
    assert create(client, again).status_code == 202
    check_problem(signed_in(people.user("grace")).delete(f"{ROOT}presets/{saved.json()['id']}/"), 404, "not_found")
    assert client.delete(f"{ROOT}presets/{saved.json()['id']}/").status_code == 204
    assert not Preset.objects.exists()


def test_presets_need_a_name_and_a_permission_to_be_shared(client: Client, ada: User):
    chosen = {"criteria": {"month": 4}, "name": " "}
    check_problem(post(client, "types/report/presets/", chosen), 400, "bad_preset")
    check_problem(post(client, "types/report/presets/", {**chosen, "is_shared": True}), 403, "bad_preset")
    people.refuse(ada)
    check_problem(client.get(f"{ROOT}types/report/presets/"), 403, "not_allowed")


# Who asks


def test_a_session_needs_the_csrf_token_and_a_bearer_token_does_not(ada: User):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    check_problem(create(browser), 403, "csrf_failed")
    browser.cookies["csrftoken"] = "a" * 32
    assert create(browser, x_csrftoken="a" * 32).status_code == 202
    _token, text = tokens.create(ada, "script", Actor.of(ada), can_create=True)
    program = Client(enforce_csrf_checks=True, headers={"authorization": f"Bearer {text}"})
    state = create(program).json()
    assert loop.dispatch(state["id"])
    ticket = program.get(f"{ROOT}exports/{state['id']}/").json()["urls"]["ticket"]
    assert Client().get(ticket).getvalue().endswith(b"Name\r\nada\r\n")


def test_a_request_without_a_user_is_told_how_to_sign_in():
    response = Client().get(f"{ROOT}exports/")
    check_problem(response, 401, "not_signed_in")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    check_problem(create(Client(headers={"authorization": "Bearer exp_wrong"})), 401, "not_signed_in")


def test_addresses_and_methods_that_do_not_exist_are_problems_too(client: Client):
    check_problem(client.get(f"{ROOT}nothing"), 404, "not_found")
    check_problem(client.get(f"{ROOT}exports/nothing/"), 404, "not_found")
    response = client.patch(f"{ROOT}exports/")
    check_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, POST"


def test_head_is_answered_as_get_without_a_body(client: Client, ada: User):
    export = rows.ready(ada)
    for path in (f"exports/{export.pk}/", "exports/", "types/", "types/report/", "types/report/presets/"):
        asked, got = client.head(f"{ROOT}{path}"), client.get(f"{ROOT}{path}")
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["Content-Length"] == got.headers["Content-Length"]
        assert asked.headers.get("ETag") == got.headers.get("ETag")
    response = client.head(f"{ROOT}exports/{export.pk}/cancel/")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert client.head(f"{ROOT}exports/nothing/").status_code == 404
    assert Client().head(f"{ROOT}types/").status_code == 401


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_of_the_code_is_left_to_django(
    client: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, debug: bool
):
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    settings.DEBUG = debug
    monkeypatch.setattr(ReportExport, "get_form", fail)
    with pytest.raises(ZeroDivisionError):
        client.get(f"{ROOT}types/report/")


def test_a_site_without_a_queue_says_so(client: Client, settings: LazySettings):
    settings.EXPORTS = {name: value for name, value in settings.EXPORTS.items() if name != "QUEUE_BACKEND"}
    check_problem(create(client), 503, "no_queue")


def test_answers_are_kept_by_no_cache(client: Client, ada: User):
    paths = ["types/", "types/report/", "exports/", f"exports/{rows.ready(ada).pk}/", "types/report/presets/", "x"]
    assert {client.get(f"{ROOT}{path}").headers["Cache-Control"] for path in paths} == {"private, no-store"}


def test_the_urls_of_states_work_for_the_api_too(client: Client, ada: User):
    state = client.get(f"{ROOT}exports/{rows.ready(ada).pk}/").json()
    assert client.get(urlsplit(state["urls"]["self"]).path).json()["id"] == state["id"]
