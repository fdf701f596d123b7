"""Quotas per user: which one was reached, when it ends, what does not count, and that they hold under concurrency."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone, translation

from exports import checks, services
from exports.contrib.bgfiles import toolbox
from exports.exceptions import LimitReached
from exports.models import Artifact, FileRequest, Status, quotas, transitions
from exports.shortcuts import export_response
from exports.state import limit_message
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.shop.requests import WAIT_SECONDS, at_once, queued
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("office")]

FORM = "/exports/new/report/"
HOUR = 3600
WAITS_FOR_THIS = "NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
ONE_OF_EACH = {"MAX_QUEUED_PER_USER": 1, "MAX_PER_USER_PER_DAY": 1, "MAX_RUNNING_PER_USER": 1}


@pytest.fixture
def ada() -> User:
    return people.user("ada")


def ask(by: Any, number: int = 0) -> FileRequest:
    return services.request_export(by, "report", {"month": 4, "note": f"number {number}"})[0]


def asked_ago(by: User, number: int, **ago: float) -> FileRequest:
    export = ask(by, number)
    FileRequest.objects.filter(pk=export.pk).update(requested_at=timezone.now() - timedelta(**ago))
    return export


def claim(export: FileRequest) -> Any:
    return transitions.claim(export, owner="a:1:1", extension="csv")


def reached(by: Any, number: int = 99) -> LimitReached:
    with pytest.raises(LimitReached) as refused:
        ask(by, number)
    return refused.value


# Waiting requests


def test_a_user_may_have_only_so_many_requests_waiting(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=2)
    ask(ada, 1), ask(ada, 2)
    assert (reached(ada).code, reached(ada).limit) == ("too_many_queued", 2)
    assert FileRequest.objects.count() == 2
    assert ask(people.user("bob")).status == Status.QUEUED


@pytest.mark.parametrize("leave", [transitions.cancel, claim])
def test_a_claim_or_a_cancel_makes_room(settings: LazySettings, ada: User, leave: Any) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1)
    first = ask(ada, 1)
    assert leave(first)
    assert ask(ada, 2).status == Status.QUEUED
    assert reached(ada, 3).code == "too_many_queued"


def test_joining_an_equal_request_is_not_limited(settings: LazySettings, ada: User) -> None:
    configure(settings, **ONE_OF_EACH)
    first = ask(ada, 1)
    assert services.request_export(ada, "report", {"month": 4, "note": "number 1"}) == (first, False)


def test_without_quotas_nothing_is_limited(settings: LazySettings, ada: User) -> None:
    configure(settings, **dict.fromkeys(ONE_OF_EACH))
    assert len({ask(ada, number).pk for number in range(30)}) == 30


# Requests per day


def test_requests_of_the_last_day_count_whatever_their_status(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=3)
    asked_ago(ada, 1, hours=25)
    transitions.cancel(asked_ago(ada, 2, hours=20))
    asked_ago(ada, 3, hours=2)
    ask(ada, 4)

    limit = reached(ada)

    assert (limit.code, limit.limit) == ("too_many_today", 3)
    assert limit.seconds == pytest.approx(4 * HOUR, abs=60)


def test_a_lowered_daily_quota_ends_when_enough_are_a_day_old(settings: LazySettings, ada: User) -> None:
    for number, hours in enumerate((23, 20, 10)):
        asked_ago(ada, number, hours=hours)
    configure(settings, MAX_PER_USER_PER_DAY=2)
    assert reached(ada).seconds == pytest.approx(4 * HOUR, abs=60)


def test_a_request_that_is_deleted_while_the_quotas_are_read_is_no_error(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=5, MAX_QUEUED_PER_USER=None)
    asked = [ask(ada, number) for number in range(2)]

    def delete_after(execute: Callable[..., Any], *call: Any) -> Any:
        result = execute(*call)
        if asked:
            asked.pop().delete()
        return result

    with connection.execute_wrapper(delete_after):
        assert [quota.code for quota in quotas.quotas_of(ada.pk)] == ["too_many_today"]


# Exemptions


def test_add_request_neither_counts_nor_is_limited(settings: LazySettings, ada: User) -> None:
    configure(settings, **ONE_OF_EACH)

    added = [toolbox.add_request("month=4", "report", requester=ada) for _ in range(3)]
    asked = ask(ada)

    assert len({each.pk for each in (*added, asked)}) == 4
    assert reached(ada).code == "too_many_queued"
    assert toolbox.add_request("month=4", "report", requester=ada).pk
    assert all(claim(each) for each in (*added, asked))


def test_the_permission_exceed_limits_exempts_a_user(settings: LazySettings, ada: User) -> None:
    configure(settings, **ONE_OF_EACH)
    ada.user_permissions.add(Permission.objects.get(codename="exceed_limits"))
    requests = [ask(User.objects.get(pk=ada.pk), number) for number in range(3)]
    assert all(claim(each) for each in requests)


def test_anonymous_requests_are_not_limited(settings: LazySettings) -> None:
    configure(settings, **ONE_OF_EACH)
    assert ask(AnonymousUser()).pk != ask(AnonymousUser()).pk


# Responses


@pytest.fixture
def client(settings: LazySettings, ada: User) -> Client:
    """The browser of a user who has reached the quota of one waiting request."""
    configure(settings, MAX_QUEUED_PER_USER=1)
    ask(ada)
    return signed_in(ada)


def test_the_api_answers_429_with_the_quota_and_retry_after(client: Client) -> None:
    response = client.post(FORM, {"month": "5"}, headers=JSON)
    assert (response.status_code, response["Retry-After"]) == (429, "15")
    error = response.json()["error"]
    assert (error["code"], error["limit"]) == ("too_many_queued", 1)


def test_the_form_is_shown_again_with_the_reason_and_the_input(client: Client) -> None:
    response = client.post(FORM, {"month": "11", "note": "for Bob", "format": "xlsx"}, headers=HTML)
    page = response.content.decode()
    assert (response.status_code, response["Retry-After"]) == (429, "15")
    for text in ("You have 1 export waiting and may have no more.", 'value="11"', 'value="for Bob"'):
        assert text in page


def test_a_retry_counts_toward_the_quota(client: Client, ada: User) -> None:
    failed = rows.failed(ada, file_type="report", criteria="month=7")
    response = client.post(url_of("retry", failed), headers=HTML)
    assert response.status_code == 429
    assert "You have 1 export waiting" in response.content.decode()


@pytest.mark.aware_times
def test_the_end_of_a_daily_quota_is_told_in_the_active_time_zone() -> None:
    error = LimitReached("too_many_today", 3, seconds=HOUR)
    with timezone.override("Asia/Tokyo"), translation.override("de"):
        # The minute may end between the two.
        earliest = timezone.localtime() + timedelta(hours=1)
        sentence = limit_message(error)
    assert any(f"{earliest + timedelta(minutes=each):%H:%M}" in sentence for each in (0, 1))


def test_export_response_is_limited_and_stores_nothing(client: Client, ada: User) -> None:
    def answer(**headers: str) -> HttpResponse:
        request = RequestFactory().post("/report/", headers=headers)
        request.user = ada
        return export_response(request, [{"name": "Ada"}, {"name": "Bob"}], "people", "csv", threshold=1)

    told, shown = answer(**JSON), answer(**HTML)

    assert (told.status_code, shown.status_code) == (429, 429)
    assert b"too_many_queued" in told.content
    assert not Artifact.objects.exists()


# Concurrency


@pytest.fixture(params=["IMMEDIATE", "DEFERRED"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin SQLite's transactions as the app recommends, and as Django does by default."""
    if connection.vendor != "sqlite":
        return
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", request.param)


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_do_not_exceed_the_quota(settings: LazySettings, ada: User, mode: None) -> None:
    configure(settings, MAX_QUEUED_PER_USER=3)

    def try_to_ask(number: int) -> str:
        try:
            return ask(ada, number).status
        except LimitReached as error:
            return error.code

    outcomes = at_once(*(partial(try_to_ask, number) for number in range(8)))

    assert sorted(outcomes) == ["queued"] * 3 + ["too_many_queued"] * 5
    assert FileRequest.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_simultaneous_equal_requests_share_one_row(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1)
    outcomes = at_once(*[lambda: services.request_export(ada, "report", {"month": 4})] * 8)
    assert len({export.pk for export, _ in outcomes}) == 1
    assert [is_new for _, is_new in outcomes].count(True) == 1
    assert FileRequest.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_simultaneous_claims_do_not_exceed_the_running_quota(settings: LazySettings, ada: User, mode: None) -> None:
    configure(settings, MAX_RUNNING_PER_USER=2)
    requests = [ask(ada, number) for number in range(8)]
    claims = at_once(*(partial(claim, each) for each in requests))
    assert len([each for each in claims if each]) == 2
    assert FileRequest.objects.filter(status=Status.RUNNING).count() == 2
    assert Artifact.objects.count() == 2


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no row locks.")
@pytest.mark.django_db(transaction=True)
def test_a_claim_that_waits_for_the_owner_begins_after_the_wait(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_RUNNING_PER_USER=2)
    export, is_locked, released_at = ask(ada), threading.Event(), []

    def hold() -> None:
        with transaction.atomic():
            quotas.lock_owner(export)
            is_locked.set()
            with connection.cursor() as cursor:
                for _ in range(100):
                    cursor.execute(f"SELECT count(*) FROM pg_locks WHERE {WAITS_FOR_THIS}")
                    if cursor.fetchone()[0]:
                        break
                    time.sleep(0.05)
                cursor.execute("SELECT clock_timestamp()")
                released_at.extend(cursor.fetchone())

    def wait() -> None:
        assert is_locked.wait(WAIT_SECONDS)
        assert claim(export)

    at_once(hold, wait)

    export.refresh_from_db()
    assert export.started_at >= released_at[0]


def test_the_running_quota_is_counted_per_queue(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    large, small = (
        queued(requester=ada, queue_name=queue_name, counts_toward_quota=True) for queue_name in ("large", "small")
    )
    assert all(claim(each) for each in (large, small))


# Settings


@pytest.mark.parametrize("value", [0, -1, "5", True, 1.5])
@pytest.mark.parametrize("name", ["MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_USER_PER_DAY"])
def test_a_quota_must_be_a_positive_integer_or_none(settings: LazySettings, name: str, value: Any) -> None:
    configure(settings, **{name: value})
    assert [each.id for each in checks.check_settings()] == ["exports.E013"]
    configure(settings, **{name: None})
    assert list(checks.check_settings()) == []
