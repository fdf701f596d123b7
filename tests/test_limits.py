"""Limits per person at the doors: which one was reached, when it ends, what does not count, and that they hold."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone, translation

from exports import checks, services
from exports.contrib.bgfiles import toolbox
from exports.exceptions import LimitReached
from exports.models import Artifact, FileRequest, Status, transitions
from exports.shortcuts import export_response
from exports.state import limit_message
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.office.exports import open_office
from tests.shop.requests import at_once, queued
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

FORM = "/exports/new/report/"
HOUR = 3600


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def ada() -> User:
    return people.user("ada")


def ask(by: Any, number: int = 0) -> FileRequest:
    return services.request_export(by, "report", {"month": 4, "note": f"number {number}"})[0]


def asked_ago(by: User, number: int, **ago: float) -> FileRequest:
    request = ask(by, number)
    FileRequest.objects.filter(pk=request.pk).update(requested_at=timezone.now() - timedelta(**ago))
    return request


def granted(someone: User) -> User:
    someone.user_permissions.add(Permission.objects.get(codename="exceed_limits"))
    return User.objects.get(pk=someone.pk)


def reached(by: Any, number: int = 99) -> LimitReached:
    with pytest.raises(LimitReached) as refused:
        ask(by, number)
    return refused.value


# How many wait


def test_so_many_may_wait_and_no_more(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=2)
    ask(ada, 1), ask(ada, 2)

    assert (reached(ada).code, reached(ada).limit) == ("too_many_queued", 2)
    assert FileRequest.objects.count() == 2
    assert ask(people.user("bob")).status == Status.QUEUED


@pytest.mark.parametrize(
    "leave", [transitions.cancel, lambda each: transitions.claim(each, owner="a:1:1", extension="csv")]
)
def test_one_that_begins_or_is_cancelled_makes_room(settings: LazySettings, ada: User, leave: Any) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1)
    first = ask(ada, 1)

    assert leave(first)

    assert ask(ada, 2).status == Status.QUEUED
    assert reached(ada, 3).code == "too_many_queued"


def test_who_asks_for_the_same_again_joins_however_much_waits(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1, MAX_PER_USER_PER_DAY=1)
    first = ask(ada, 1)

    assert services.request_export(ada, "report", {"month": 4, "note": "number 1"}) == (first, False)


def test_without_limits_nobody_is_held_back(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=None, MAX_PER_USER_PER_DAY=None, MAX_RUNNING_PER_USER=None)

    assert len({ask(ada, number).pk for number in range(30)}) == 30


# A day


def test_so_many_may_be_asked_for_in_a_day_whatever_became_of_them(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=3)
    asked_ago(ada, 1, hours=25)
    transitions.cancel(asked_ago(ada, 2, hours=20))
    asked_ago(ada, 3, hours=2)
    ask(ada, 4)

    limit = reached(ada)

    assert (limit.code, limit.limit) == ("too_many_today", 3)
    assert limit.seconds == pytest.approx(4 * HOUR, abs=60)


def test_a_limit_that_was_lowered_ends_when_enough_are_a_day_old(settings: LazySettings, ada: User) -> None:
    for number, hours in enumerate((23, 20, 10)):
        asked_ago(ada, number, hours=hours)
    configure(settings, MAX_PER_USER_PER_DAY=2)

    assert reached(ada).seconds == pytest.approx(4 * HOUR, abs=60)


# Who is not limited


def test_add_request_is_never_limited_never_joined_and_takes_nobodys_room(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1, MAX_PER_USER_PER_DAY=1, MAX_RUNNING_PER_USER=1)

    added = [toolbox.add_request("month=4", "report", requester=ada) for _ in range(3)]
    asked = ask(ada)

    assert len({each.pk for each in (*added, asked)}) == 4
    assert reached(ada).code == "too_many_queued"
    assert toolbox.add_request("month=4", "report", requester=ada).pk
    assert all(transitions.claim(each, owner="a:1:1", extension="csv") for each in (*added, asked))


def test_who_may_exceed_the_limits_does(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1, MAX_PER_USER_PER_DAY=1, MAX_RUNNING_PER_USER=1)
    trusted = granted(ada)

    requests = [ask(trusted, number) for number in range(3)]

    assert all(transitions.claim(each, owner="a:1:1", extension="csv") for each in requests)


def test_nobody_in_particular_has_no_limit(settings: LazySettings) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1, MAX_PER_USER_PER_DAY=1)

    assert ask(AnonymousUser()).pk != ask(AnonymousUser()).pk


# At the doors


@pytest.fixture
def client(settings: LazySettings, ada: User) -> Client:
    """A browser of somebody who may have one waiting, and has."""
    configure(settings, MAX_QUEUED_PER_USER=1)
    ask(ada)
    return signed_in(ada)


def test_a_program_is_told_which_limit_and_when_to_come_again(client: Client) -> None:
    response = client.post(FORM, {"month": "5"}, headers=JSON)

    assert (response.status_code, response["Retry-After"]) == (429, "15")
    error = response.json()["error"]
    assert (error["code"], error["limit"]) == ("too_many_queued", 1)
    assert error["message"].startswith("You have 1 export waiting and may have no more.")


def test_a_person_gets_the_form_back_with_the_reason_and_what_they_chose(client: Client) -> None:
    response = client.post(FORM, {"month": "11", "note": "for Bob", "format": "xlsx"}, headers=HTML)

    page = response.content.decode()
    assert (response.status_code, response["Retry-After"]) == (429, "15")
    assert "You have 1 export waiting and may have no more." in page
    assert 'value="11"' in page
    assert 'value="for Bob"' in page


def test_trying_again_is_limited_like_asking(client: Client, ada: User) -> None:
    failed = rows.failed(ada, file_type="report", criteria="month=7")

    response = client.post(url_of("retry", failed), headers=HTML)

    assert response.status_code == 429
    assert "You have 1 export waiting" in response.content.decode()


def test_the_end_of_a_days_limit_is_told_in_the_zone_and_language_that_are_active(ada: User) -> None:
    error = LimitReached("too_many_today", 3, seconds=HOUR)

    with timezone.override("Asia/Tokyo"), translation.override("de"):
        sentence = limit_message(error)
        ends = timezone.localtime(timezone.now() + timedelta(hours=1))

    assert ends.strftime("%H:%M") in sentence


def test_export_response_is_limited_too_and_stores_nothing(client: Client, ada: User) -> None:
    def answer(**headers: str) -> HttpResponse:
        request = RequestFactory().post("/report/", headers=headers)
        request.user = ada
        return export_response(request, [{"name": "Ada"}, {"name": "Bob"}], "people", "csv", threshold=1)

    told, shown = answer(**JSON), answer(**HTML)

    assert (told.status_code, shown.status_code) == (429, 429)
    assert b"too_many_queued" in told.content
    assert not Artifact.objects.exists()


# At the same moment


@pytest.fixture(params=["IMMEDIATE", "DEFERRED"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How SQLite begins transactions: as the app advises, and as Django does by itself."""
    if connection.vendor != "sqlite":
        return
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", request.param)


@pytest.mark.django_db(transaction=True)
def test_of_many_that_ask_at_once_no_more_come_in_than_may(settings: LazySettings, ada: User, mode: None) -> None:
    configure(settings, MAX_QUEUED_PER_USER=3)

    def asking(number: int) -> Any:
        def verb() -> str:
            try:
                return ask(ada, number).status
            except LimitReached as error:
                return error.code

        return verb

    outcomes = at_once(*map(asking, range(8)))

    assert sorted(outcomes) == ["queued"] * 3 + ["too_many_queued"] * 5
    assert FileRequest.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_many_that_ask_for_the_same_at_once_one_comes_in_and_all_get_it(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_QUEUED_PER_USER=1)

    outcomes = at_once(*[lambda: services.request_export(ada, "report", {"month": 4})] * 8)

    assert len({request.pk for request, _ in outcomes}) == 1
    assert [is_new for _, is_new in outcomes].count(True) == 1
    assert FileRequest.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_that_claim_at_once_no_more_run_than_may(settings: LazySettings, ada: User, mode: None) -> None:
    configure(settings, MAX_RUNNING_PER_USER=2)
    requests = [ask(ada, number) for number in range(8)]

    def claiming(request: FileRequest) -> Any:
        return lambda: transitions.claim(request, owner="a:1:1", extension="csv")

    claims = at_once(*map(claiming, requests))

    assert len([claim for claim in claims if claim]) == 2
    assert FileRequest.objects.filter(status=Status.RUNNING).count() == 2
    assert Artifact.objects.count() == 2


def test_what_runs_in_another_lane_is_in_nobodys_way(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_RUNNING_PER_USER=1)
    large, small = (
        queued(requester=ada, queue_name=queue_name, counts_toward_quota=True) for queue_name in ("large", "small")
    )

    assert all(transitions.claim(each, owner="a:1:1", extension="csv") for each in (large, small))


# Settings that make no sense


@pytest.mark.parametrize("value", [0, -1, "5", True, 1.5])
@pytest.mark.parametrize("name", ["MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_USER_PER_DAY"])
def test_a_limit_is_a_whole_number_from_1_on_or_none(settings: LazySettings, name: str, value: Any) -> None:
    configure(settings, **{name: value})
    assert [each.id for each in checks.check_settings()] == ["exports.E013"]

    configure(settings, **{name: None})
    assert list(checks.check_settings()) == []
