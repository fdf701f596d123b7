"""POSTs with a JSON body have the fields of the form; whatever is not understood is refused by name."""

import json
from typing import Any

import pytest
from django import forms
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from exports.http.bodies import names_of
from exports.models import FileRequest
from tests.office import rows
from tests.office.browsers import HTML, JSON, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

FORM = "/exports/new/report/"
VERBS = ["cancel", "retry", "expire", "revoke", "share", "seen"]


def post(browser: Client, url: str, body: Any, content_type: str = "application/json", **options: Any) -> HttpResponse:
    return browser.post(url, body if isinstance(body, str) else json.dumps(body), content_type, **options)


def test_json_and_a_form_request_the_same_export(browser: Client):
    by_form = browser.post(FORM, {"month": "4", "note": "ä", "format": "xlsx"}, headers=JSON)
    by_json = post(browser, FORM, {"month": 4, "note": "ä", "format": "xlsx"})
    assert by_json.status_code == 202
    # Equal requests are one export while it is active.
    assert by_json.json()["id"] == by_form.json()["id"]
    assert by_json.json()["format"] == "xlsx"


def test_options_time_zone_and_fresh_are_fields_too(browser: Client, owner: User):
    body = {"month": 4, "format": "csv", "option_csv.bom": True, "time_zone": "Asia/Tokyo", "fresh": True}
    export = FileRequest.objects.get(pk=post(browser, FORM, body).json()["id"])
    assert export.options["bom"] is True
    assert export.requester_timezone == "Asia/Tokyo"


def test_json_is_validated_by_the_same_form(browser: Client):
    response = post(browser, FORM, {"month": 13, "format": "csv"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_criteria"
    assert list(response.json()["error"]["fields"]) == ["month"]
    assert not FileRequest.objects.exists()


def test_unknown_fields_are_named(browser: Client):
    response = post(browser, FORM, {"month": 4, "format": "csv", "status": "open", "option_csv.colour": "red"})
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "code": "unknown_fields",
            "message": "There are no such fields: status, option_csv.colour.",
            "fields": {"status": ["There is no such field."], "option_csv.colour": ["There is no such field."]},
        }
    }
    assert not FileRequest.objects.exists()


def test_columns_are_chosen_by_a_list_and_renamed_by_name(browser: Client):
    body = {"month": 4, "format": "csv", "columns": ["username"], "header.username": "Login"}
    response = post(browser, FORM, body)
    assert response.status_code == 202
    assert FileRequest.objects.get(pk=response.json()["id"]).columns == [["username", "Login"]]
    refused = post(browser, FORM, body | {"header.email": "Mail"}).json()["error"]
    assert (refused["code"], list(refused["fields"])) == ("unknown_fields", ["header.email"])


@pytest.mark.parametrize("name", ["estimate", "presets"])
def test_estimates_and_presets_take_json_and_name_unknown_fields(browser: Client, name: str):
    body = {"month": 4, "format": "csv"} | ({"preset_name": "April"} if name == "presets" else {})
    assert post(browser, f"{FORM}{name}/", body).status_code in (200, 201)
    refused = post(browser, f"{FORM}{name}/", body | {"colour": "red"}).json()["error"]
    assert (refused["code"], list(refused["fields"])) == ("unknown_fields", ["colour"])


def test_null_is_a_field_without_a_value(browser: Client):
    response = post(browser, FORM, {"month": None, "format": "csv"})
    assert response.json()["error"]["fields"] == {"month": ["This field is required."]}
    post(browser, FORM, {"month": 4, "note": None})
    assert FileRequest.objects.get().criteria == "month=4"


@pytest.mark.parametrize("body", ['{"month": 4', "[4]", '"month=4"', '{"month": 4, "month": 5}', "[" * 100_000, "\x00"])
def test_a_body_that_is_no_json_object_is_400(browser: Client, body: str):
    response = post(browser, FORM, body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_body")
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize("value", [{"gte": 4}, [[4]], [{"a": 1}]])
def test_nested_values_are_refused_by_the_name_of_their_field(browser: Client, value: object):
    response = post(browser, FORM, {"month": value, "format": "csv"})
    assert (response.status_code, list(response.json()["error"]["fields"])) == (400, ["month"])


def test_a_body_has_at_most_as_many_values_as_a_form(browser: Client, settings: LazySettings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 5
    assert post(browser, FORM, {"month": 4, "note": ["a"] * 5}).status_code == 400
    assert post(browser, FORM, {"month": 4, "note": ["a"] * 4}).status_code == 202


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/vnd.api+json", ""])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_a_body_of_another_type_is_415(browser: Client, owner: User, verb: str, content_type: str):
    url = url_of(verb, rows.queued(owner)) if verb else FORM
    response = post(browser, url, '{"month": 4}', content_type, headers=JSON)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"
    assert FileRequest.objects.filter(status="queued").count() == (1 if verb else 0)


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_ignores_a_field_of_json(browser: Client, owner: User, verb: str):
    export = rows.queued(owner)
    response = post(browser, url_of(verb, export), {"reason": "late"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_fields")
    assert rows.fresh(export).status == "queued"


@pytest.mark.parametrize(("body", "content_type"), [("", ""), ("", "application/json"), ("{}", "application/json")])
def test_a_verb_needs_no_body(browser: Client, owner: User, body: str, content_type: str):
    export = rows.queued(owner)
    assert post(browser, url_of("cancel", export), body, content_type, headers=JSON).status_code == 200
    assert rows.fresh(export).status == "cancelled"


def test_a_client_that_sends_json_is_answered_in_json(browser: Client):
    assert post(browser, FORM, {"month": 4}, headers={"accept": "*/*"})["Content-Type"] == "application/json"
    assert post(browser, FORM, {"month": 4}, headers=HTML).status_code == 303
    assert post(Client(), FORM, {"month": 4}).json()["error"]["code"] == "not_signed_in"


def test_json_needs_the_csrf_token_in_its_header(owner: User):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner)
    strict.get(FORM)
    token = strict.cookies["csrftoken"].value
    assert post(strict, FORM, {"month": 4, "csrfmiddlewaretoken": token}).status_code == 403
    assert post(strict, FORM, {"month": 4}, headers={"x-csrftoken": token}).status_code == 202


def test_a_field_of_several_inputs_is_known_by_the_name_of_each():
    class Range(forms.Form):
        since = forms.SplitDateTimeField()
        day = forms.DateField(widget=forms.SelectDateWidget)
        kinds = forms.MultipleChoiceField(choices=[("a", "A")])

    names = set(names_of(Range(prefix="p")))
    assert {"p-since_0", "p-since_1", "p-day_day", "p-day_month", "p-day_year", "p-kinds"} <= names
