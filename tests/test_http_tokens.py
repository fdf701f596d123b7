"""The page of API tokens: made, shown once, listed and revoked, with and without a script, by users only."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from exports.access import tokens
from exports.http.tokens import MAX_TOKENS
from exports.models import AccessToken, AuditEntry
from exports.models.audit import SYSTEM
from tests.office import people
from tests.office.browsers import HTML, JSON, signed_in
from tests.office.markup import check_forms, check_labels, check_page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

PAGE = "/exports/tokens/"
NIGHTLY = {"name": "nightly", "types": ["report"], "days": "30"}


def errors_of(browser: Client, **fields: Any) -> dict[str, list[str]]:
    answer = browser.post(PAGE, NIGHTLY | fields, headers=JSON)
    assert answer.status_code == 400
    return answer.json()["error"]["fields"]


def test_a_token_is_made_shown_once_listed_and_revoked_without_a_script(browser: Client, owner: User):
    empty = browser.get(PAGE, headers=HTML)
    assert b"You have no tokens." in empty.content
    made = browser.post(PAGE, NIGHTLY, headers=HTML)
    text = made.content.decode().partition('<code id="export-token-text">')[2].partition("<")[0]
    token = AccessToken.objects.get()
    assert (token.owner, token.name, token.can_create, token.exporters) == (owner, "nightly", False, ["report"])
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert Client().get("/exports/", headers={"authorization": f"Bearer {text}"}).status_code == 200
    assert "no-store" in made.headers["Cache-Control"]

    listed = browser.get(PAGE, headers=HTML)
    assert text not in listed.content.decode()
    for shown in (token.prefix, "nightly", "Monthly report", "only reads exports", "Last used:"):
        assert shown in listed.content.decode()
    for response in (empty, made, listed):
        check_page(response.content.decode())
    assert browser.post(f"{PAGE}{token.pk}/revoke/", headers=HTML).headers["Location"] == PAGE
    assert Client().get("/exports/", headers={"authorization": f"Bearer {text}"}).status_code == 401
    after = browser.get(PAGE, headers=HTML).content.decode()
    assert ("Revoked:" in after, f"{PAGE}{token.pk}/revoke/" in after) == (True, False)
    assert [each.actor for each in AuditEntry.objects.filter(verb="token")] == [f"user {owner.pk}"] * 2


def test_programs_of_a_session_speak_json(browser: Client):
    made = browser.post(PAGE, {"name": "nightly", "can_create": True, "days": 1}, "application/json", headers=JSON)
    assert made.status_code == 201
    body = made.json()
    [listed] = browser.get(PAGE, headers=JSON).json()["tokens"]
    assert {**listed, "token": body["token"]} == body
    assert (listed["types"], listed["can_create"], listed["begins_with"]) == ([], True, body["token"][:10])
    revoked = [browser.post(f"{PAGE}{listed['id']}/revoke/", headers=JSON).json() for _ in range(2)]
    assert revoked[0]["revoked_at"] == revoked[1]["revoked_at"] is not None


def test_a_form_that_is_not_valid_says_where(browser: Client):
    assert errors_of(browser, name="") == {"name": ["This field is required."]}
    assert errors_of(browser, name="x" * 61).keys() == {"name"}
    assert errors_of(browser, types=["long", "nowhere"]).keys() == {"types"}
    assert errors_of(browser, days="366").keys() == errors_of(browser, days="").keys() == {"days"}
    page = browser.post(PAGE, {**NIGHTLY, "days": "0"}, headers=HTML)
    assert page.status_code == 400
    check_forms(check_page(page.content.decode()))
    unknown = browser.post(PAGE, {**NIGHTLY, "scope": "all"}, "application/json", headers=JSON)
    assert unknown.json()["error"]["code"] == "unknown_fields"


def test_a_second_token_of_a_name_is_refused_until_the_first_has_ended(browser: Client, owner: User):
    assert browser.post(PAGE, NIGHTLY, headers=JSON).status_code == 201
    assert errors_of(browser) == {"name": ["You have a token of this name already."]}
    tokens.revoke(AccessToken.objects.get(), SYSTEM)
    assert browser.post(PAGE, NIGHTLY, headers=JSON).status_code == 201


def test_a_user_has_only_so_many_tokens(browser: Client, owner: User):
    for number in range(MAX_TOKENS):
        tokens.create(owner, str(number), SYSTEM)
    assert errors_of(browser) == {"__all__": ["You have 50 tokens and may have no more."]}


def test_a_token_may_be_without_an_end_where_the_site_allows_it(browser: Client, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCESS_TOKEN_MAX_AGE_SECONDS": None}
    made = browser.post(PAGE, {**NIGHTLY, "days": ""}, headers=JSON).json()
    assert made["expires_at"] is None
    assert b"Does not expire" in browser.get(PAGE, headers=HTML).content


def test_only_types_that_the_user_may_request_are_offered(owner: User):
    people.refuse(owner)
    assert errors_of(signed_in(owner)).keys() == {"types"}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("address", [PAGE, f"{PAGE}1/revoke/"])
def test_a_token_can_neither_make_nor_revoke_tokens(browser: Client, owner: User, method: str, address: str):
    """Not even together with the cookie of its user."""
    token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    address = address.replace("/1/", f"/{token.pk}/")
    answer = getattr(browser, method)(address, NIGHTLY, headers={"authorization": f"Bearer {text}"})
    assert answer.status_code == (405 if (method, address) == ("get", f"{PAGE}{token.pk}/revoke/") else 403)
    assert AccessToken.objects.valid().get() == token


def test_tokens_of_other_users_are_not_there(browser: Client):
    token, _text = tokens.create(people.user("stranger"), "theirs", SYSTEM)
    answers = [browser.post(f"{PAGE}{pk}/revoke/", headers=JSON) for pk in (token.pk, token.pk + 1)]
    assert [each.status_code for each in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert AccessToken.objects.valid().exists()
    assert browser.get(PAGE, headers=JSON).json() == {"tokens": []}


def test_a_page_of_another_site_makes_no_token(owner: User):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    assert browser.post(PAGE, NIGHTLY).status_code == 403
    assert Client().post(PAGE, NIGHTLY, headers=JSON).status_code == 401


def test_a_site_without_tokens_has_no_page(browser: Client, settings: LazySettings):
    assert PAGE.encode() in browser.get("/exports/", headers=HTML).content
    settings.EXPORTS = {**settings.EXPORTS, "ACCESS_TOKENS": False}
    assert browser.get(PAGE, headers=HTML).status_code == 404
    assert PAGE.encode() not in browser.get("/exports/", headers=HTML).content


def test_every_field_has_a_label(browser: Client):
    check_labels(check_page(browser.get(PAGE, headers=HTML).content.decode()))
