"""API tokens: made, scoped, expiring, used and revoked, for requests over HTTP."""

import hashlib
import re
from contextlib import closing
from datetime import timedelta
from functools import partial
from inspect import isfunction, signature
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.debug import ExceptionReporter

from exports import housekeeping, services
from exports.access import tenants, tokens
from exports.exceptions import ReadOnlyToken
from exports.http import responses
from exports.models import AccessToken, Actor, AuditEntry, Feed, Preset, Status
from exports.models.audit import SYSTEM
from exports.models.feed import create_feed
from tests.office import people, rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

CHOICES = {"month": "4", "format": "csv"}


def made(owner: User, **scope: Any) -> tuple[AccessToken, dict[str, str]]:
    """Return a token of this user and the header of a request with it."""
    token, text = tokens.create(owner, "nightly", SYSTEM, **scope)
    return token, {"authorization": f"Bearer {text}"}


def takes_actor(function: object) -> bool:
    """Return True for the public verbs of services, all of which name their actor."""
    is_verb = isfunction(function) and function.__module__.startswith(services.__name__)
    # A public link is for anyone, whoever opens it.
    return is_verb and "actor" in signature(function).parameters and function is not services.find_public


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


def test_no_token_outlives_the_longest_time_of_the_site(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCESS_TOKEN_MAX_AGE_SECONDS": 60}
    for asked in (None, timezone.now() + timedelta(days=1)):
        token, _headers = made(owner, expires_at=asked)
        assert timezone.now() < token.expires_at <= timezone.now() + timedelta(seconds=60)


def test_a_field_of_the_projects_user_is_not_taken_for_a_token(owner: User):
    owner.access_token = "a token of another site"
    assert Actor.of(owner).kind == "user"


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


def test_a_token_that_only_reads_does_not_mark_the_end_of_an_export_as_seen(owner: User):
    export = rows.ready(owner)
    for can_create, status in ((False, 403), (True, 200)):
        assert rows.fresh(export).seen_at is None
        _token, headers = made(owner, can_create=can_create)
        assert Client().post(f"/exports/{export.pk}/seen/", headers=headers).status_code == status
    assert rows.fresh(export).seen_at is not None


def test_reports_of_errors_do_not_show_the_text_of_a_token_or_of_an_address(
    owner: User, monkeypatch: pytest.MonkeyPatch
):
    text = tokens.create(owner, "nightly", SYSTEM)[1]
    request = RequestFactory().get("/exports/", headers={"authorization": f"Bearer {text}"})
    monkeypatch.setattr(AccessToken, "mark_used", lambda *_args: 1 / 0)
    monkeypatch.setattr("exports.access.tokens.record", lambda *_args, **_columns: 1 / 0)
    monkeypatch.setattr("exports.models.feed.record", lambda *_args, **_columns: 1 / 0)
    chosen = {"name": "Month end", "file_type": "report"}
    for call in (
        partial(tokens.token_of, request), partial(tokens.create, owner, "monthly", SYSTEM),
        partial(create_feed, owner, SYSTEM, **chosen),
    ):  # fmt: skip
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        # The first frame is that of this test.
        reporter = ExceptionReporter(request, caught.type, caught.value, caught.tb.tb_next)
        for report in (reporter.get_traceback_html(), reporter.get_traceback_text()):
            assert "ZeroDivisionError" in report
            assert not re.search(r"(exp|feed)_[\w-]{43}", report)


@pytest.mark.parametrize("verb", sorted(name for name, each in vars(services).items() if takes_actor(each)))
def test_every_verb_refuses_an_actor_that_only_reads(owner: User, verb: str):
    """Whatever way it is called: by a page, a program or an interface that is added later."""
    token, _text = tokens.create(owner, "reader", SYSTEM)
    actor = Actor.of(token.user())
    export, function = rows.ready(owner), getattr(services, verb)
    objects = {"user": owner, "export": export, "feed": Feed(owner=owner, file_type="report")}
    first = objects[next(iter(signature(function).parameters))]
    others: dict[str, Any] = {
        "request_export": {"file_type": "report", "criteria": {"month": "4"}},
        "check_request": {"file_type": "report", "criteria": {}, "format": "", "options": None, "columns": None},
        "remove_replaced": {"newest": export},
        "request_rows": {
            "rows": [], "columns": [], "format": "csv", "options": {}, "filename": "x.csv", "is_small": True,
        },
    }  # fmt: skip
    with pytest.raises(ReadOnlyToken):
        function(first, **others.get(verb, {}), actor=actor)
    denied = AuditEntry.objects.get(outcome="denied")
    assert (denied.actor_kind, denied.actor_name, denied.reason) == ("token", str(token), "read_only_token")
    assert (rows.fresh(export).status, rows.fresh(export).epoch) == ("ready", export.epoch)


def test_a_read_only_token_leaves_presets_as_they_are_and_asks_no_estimates(owner: User):
    preset = Preset.objects.create(owner=owner, file_type="report", name="Month end", criteria="month=4", format="csv")
    _token, headers = made(owner)
    for address in (f"presets/{preset.pk}/delete/", "new/report/presets/", "new/report/estimate/"):
        answer = Client().post(f"/exports/{address}", CHOICES | {"preset_name": "Mine"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only_token")
    assert Preset.objects.get() == preset


def test_a_token_with_types_knows_no_others_in_forms_presets_and_rows(owner: User):
    preset = Preset.objects.create(owner=owner, file_type="report", name="Month end", criteria="month=4", format="csv")
    export = rows.running(owner)
    _token, headers = made(owner, exporters=["long"], can_create=True)
    client = Client(headers=headers)
    assert client.get("/exports/new/long/").status_code == 200
    answers = [
        client.get("/exports/new/report/"),
        client.get("/exports/new/nowhere/"),
        client.post("/exports/new/report/", CHOICES),
        client.post("/exports/new/report/estimate/", CHOICES),
        client.post("/exports/new/report/presets/", CHOICES | {"preset_name": "x"}),
        client.post(f"/exports/presets/{preset.pk}/delete/"),
        client.get(f"/exports/{export.pk}/rows/"),
    ]
    assert {(each.status_code, each.content) for each in answers} == {(404, answers[1].content)}
    assert not AuditEntry.objects.filter(verb="request").exists()


def test_the_audit_log_names_the_token_that_downloaded_and_its_link_ends_with_it(owner: User):
    token, headers = made(owner)
    export = rows.ready(owner)
    ticket = Client().get(f"/exports/{export.pk}/", headers=headers).json()["urls"]["ticket"]
    assert Client().get(ticket).getvalue() == rows.CONTENT
    entry = AuditEntry.objects.get(verb="download")
    assert (entry.actor, entry.outcome) == (f"token {owner.pk} {token}", "sent")
    tokens.revoke(token, SYSTEM)
    assert Client().get(ticket).status_code == 404


def test_a_revoked_token_ends_its_running_downloads(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(responses, "RECHECK_SECONDS", 0.0)
    (token, headers), export = made(owner), rows.ready(owner, b"x" * (3 * responses.BLOCK))
    ticket = Client().get(f"/exports/{export.pk}/", headers=headers).json()["urls"]["ticket"]
    with closing(Client().get(ticket)) as response:
        blocks = iter(response)
        next(blocks)
        tokens.revoke(token, SYSTEM)
        with pytest.raises(responses.DownloadStopped):
            next(blocks)


def test_a_token_counts_in_its_tenant_only(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "TENANT_OF": lambda request: request.headers["x-tenant"]}
    with tenants.active("north"):
        _token, headers = made(owner)
    for tenant, expected in (("north", True), ("south", False)):
        request = RequestFactory().get("/", headers=headers | {"x-tenant": tenant})
        with tenants.active(tenants.tenant_of(request)):
            assert (tokens.token_of(request) is not None) == expected


def test_housekeeping_forgets_tokens_that_ended_long_ago(owner: User):
    now, long_ago = timezone.now(), timezone.now() - timedelta(days=31)
    for name, ended in {
        "valid": {"expires_at": now + timedelta(hours=1)}, "endless": {}, "just revoked": {"revoked_at": now},
        "revoked": {"revoked_at": long_ago}, "expired": {"expires_at": long_ago},
    }.items():  # fmt: skip
        token, _text = tokens.create(owner, name, SYSTEM)
        AccessToken.objects.filter(pk=token.pk).update(**ended)
    assert housekeeping.sweep().forgotten_tokens == 2
    assert {token.name for token in AccessToken.objects.all()} == {"valid", "endless", "just revoked"}
