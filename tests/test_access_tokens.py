"""API tokens: made, scoped, expiring, used and revoked, for requests over HTTP."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone

from exports.access import tokens
from exports.models import AccessToken, Actor, AuditEntry, Status
from exports.models.audit import SYSTEM
from tests.office import people, rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

CHOICES = {"month": "4", "format": "csv"}


def made(owner: User, **scope: Any) -> tuple[AccessToken, dict[str, str]]:
    """Return a token of this user and the header of a request with it."""
    token, text = tokens.create(owner, "nightly", SYSTEM, **scope)
    return token, {"authorization": f"Bearer {text}"}


def status_of(headers: dict[str, str]) -> int:
    return Client().get("/exports/", headers=headers).status_code


def test_the_secret_is_not_stored(owner: User):
    token, text = tokens.create(owner, "nightly", SYSTEM)
    assert (len(text), text[:4]) == (47, "exp_")
    stored = AccessToken.objects.values().get()
    assert stored["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert text[10:] not in str(stored)
    assert str(token) == f"nightly {text[:10]}"


def test_a_token_counts_without_any_setting_and_without_a_csrf_token(owner: User):
    token, headers = made(owner, can_create=True)
    answer = Client(enforce_csrf_checks=True).post("/exports/new/report/", CHOICES, headers=headers)
    assert answer.status_code == 202
    entry = AuditEntry.objects.get(verb="request")
    assert (entry.actor_kind, entry.user_id, entry.actor_name) == ("token", owner.pk, str(token))


@pytest.mark.parametrize("text", ["Bearer exp_", "bearer  EXP_x", "Bearer exp_" + "x" * 43, "Bearer exp_\x00é"])
def test_a_token_that_is_unknown_is_refused_whatever_the_cookies_say(browser: Client, text: str):
    answer = browser.get("/exports/", headers={"authorization": text})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "end",
    [
        lambda token: tokens.revoke(token, SYSTEM),
        lambda token: AccessToken.objects.update(expires_at=timezone.now()),
        lambda token: people.deactivate(token.owner),
        lambda token: token.owner.delete(),
    ],
    ids=["revoked", "expired", "deactivated", "deleted"],
)
def test_a_token_that_has_ended_is_refused(owner: User, end: Any):
    token, headers = made(owner, expires_at=timezone.now() + timedelta(hours=1))
    assert status_of(headers) == 200
    end(token)
    assert status_of(headers) == 401


def test_a_site_can_do_without_tokens(owner: User, settings: LazySettings):
    _token, headers = made(owner)
    settings.EXPORTS = {**settings.EXPORTS, "ACCESS_TOKENS": False}
    assert Client().get("/exports/", headers=headers | {"accept": "application/json"}).status_code == 401
    assert Client(enforce_csrf_checks=True).post("/exports/new/report/", headers=headers).status_code == 403


def test_the_last_use_is_written_once_a_minute(owner: User, django_assert_num_queries: Any):
    token, headers = made(owner)
    request = RequestFactory().get("/", headers=headers)
    with django_assert_num_queries(2):
        tokens.token_of(request)
    first = AccessToken.objects.get().last_used_at
    with django_assert_num_queries(1):
        found = tokens.token_of(request)
    assert (found, AccessToken.objects.get().last_used_at) == (token, first)
    AccessToken.objects.update(last_used_at=first - timedelta(seconds=61))
    tokens.token_of(request)
    assert AccessToken.objects.get().last_used_at > first


def test_making_and_revoking_are_recorded_once(owner: User):
    token, _headers = made(owner)
    assert [tokens.revoke(token, Actor.of(owner)) for _ in range(2)] == [True, False]
    entries = AuditEntry.objects.filter(verb="token").order_by("pk")
    assert [(each.actor, each.reason) for each in entries] == [
        ("system", f"created: {token}"),
        (f"user {owner.pk}", f"revoked: {token}"),
    ]


def test_a_token_with_types_sees_no_others(owner: User):
    report, long = rows.ready(owner), rows.ready(owner, file_type="long")
    _token, headers = made(owner, exporters=["long"])
    [listed] = Client().get("/exports/", headers=headers).json()["exports"]
    assert listed["id"] == str(long.pk)
    assert Client().get(f"/exports/{long.pk}/", headers=headers).status_code == 200
    assert Client().get(f"/exports/{report.pk}/", headers=headers).status_code == 404


READ_ONLY = "This API token only reads: it can request nothing and change nothing."
CHANGES = {"cancel": "queued", "expire": "ready", "revoke": "ready", "delete": "failed"}


@pytest.mark.parametrize(("view", "status"), CHANGES.items())
def test_a_token_that_only_reads_changes_nothing(owner: User, view: str, status: str):
    export = rows.IN_STATUS[Status(status)](owner)
    _token, headers = made(owner)
    answer = Client().post(f"/exports/{export.pk}/{view}/", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, {"code": "read_only_token", "message": READ_ONLY})
