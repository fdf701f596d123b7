"""Reusing a recent file of the same request: when, for whom, and how to request a new one."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client
from django.utils import timezone, translation

from exports import checks, services
from exports.checks import exporters as exporter_checks
from exports.models import FileRequest, Status
from exports.models.audit import SYSTEM
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered
from tests.shop.requests import at_once
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

FORM = "/exports/new/report/"
AGAIN = 'class="export-again"'
CHOSEN = {"month": "4", "note": ""}
ASKED = {**CHOSEN, "format": "csv"}


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, REUSE_WITHIN_SECONDS=600)
    with open_office():
        yield


@pytest.fixture
def ada() -> User:
    return people.user("ada")


@pytest.fixture
def client(ada: User) -> Client:
    return signed_in(ada)


def ask(by: Any, criteria: Mapping[str, Any] = CHOSEN, **given: Any) -> tuple[FileRequest, bool]:
    return services.request_export(by, "report", {"note": "", **criteria}, **{"format": "csv", **given})


def finished(by: User, *, seconds_ago: float = 180, **given: Any) -> FileRequest:
    """Make a file, and let it be `seconds_ago` old."""
    request, _ = ask(by, **given)
    assert loop.dispatch(request.pk)
    FileRequest.objects.filter(pk=request.pk).update(finished_at=timezone.now() - timedelta(seconds=seconds_ago))
    return rows.fresh(request)


# Requests


def test_the_same_request_returns_the_recent_file(ada: User) -> None:
    made = finished(ada)
    assert ask(ada) == (made, False)
    assert FileRequest.objects.count() == 1


def test_the_newest_file_is_returned(ada: User) -> None:
    finished(ada, seconds_ago=300)
    newest = finished(ada, fresh=True)
    assert ask(ada)[0] == newest


def test_an_older_file_is_not_reused(ada: User) -> None:
    finished(ada, seconds_ago=601)
    assert ask(ada)[1]


def test_files_are_not_reused_by_default(settings: LazySettings, ada: User) -> None:
    configure(settings, REUSE_WITHIN_SECONDS=0)
    finished(ada, seconds_ago=0)
    assert ask(ada)[1]


@pytest.mark.parametrize(("own", "is_new"), [(0, True), (100, True), (1000, False), (None, False)])
def test_an_export_may_set_its_own_maximum_age(ada: User, own: float | None, is_new: bool) -> None:
    with registered(type("Quick", (ReportExport,), {"reuse_within_seconds": own})):
        finished(ada)
        assert ask(ada)[1] is is_new


def test_fresh_makes_a_new_export_that_later_requests_join(ada: User) -> None:
    made = finished(ada)
    request, is_new = ask(ada, fresh=True)
    assert (is_new, request == made) == (True, False)
    assert ask(ada, fresh=True) == (request, False)
    assert ask(ada) == (request, False)


@pytest.mark.parametrize(
    "other",
    [
        {"criteria": {"month": "5"}},
        {"format": "xlsx"},
        {"options": {"delimiter": ";"}},
        {"time_zone": "Asia/Tokyo"},
        {"language": "de"},
    ],
)
def test_a_request_that_differs_is_new(ada: User, other: dict[str, Any]) -> None:
    finished(ada)
    with translation.override(other.pop("language", "en")):
        assert ask(ada, **other)[1]


def test_a_file_is_never_reused_for_another_user(ada: User) -> None:
    finished(ada)
    assert ask(people.staff("bob", people.VIEW, people.ANY))[1]
    for _ in range(2):
        export, is_new = ask(AnonymousUser())
        assert is_new
        assert loop.dispatch(export.pk)


def test_an_owner_who_lost_the_permission_is_refused(ada: User) -> None:
    finished(ada)
    people.refuse(ada)
    with pytest.raises(services.NotAllowed):
        ask(ada)


@pytest.mark.parametrize(
    "end", [lambda request: services.expire(request, SYSTEM), lambda request: expires_in(request, 60)]
)
def test_a_file_that_has_expired_or_soon_will_is_not_reused(ada: User, end: Any) -> None:
    end(finished(ada))
    assert ask(ada)[1]


def expires_in(request: FileRequest, seconds: float) -> None:
    FileRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now() + timedelta(seconds=seconds))


def test_a_reused_file_does_not_count_toward_the_quota(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=1)
    made = finished(ada)
    assert ask(ada)[0] == made


# Over HTTP


def test_the_response_is_200_with_the_state_and_its_age(client: Client, ada: User) -> None:
    made = finished(ada)
    response = client.post(FORM, ASKED, headers=JSON)
    state = response.json()
    assert (response.status_code, state["id"], state["status"]) == (200, str(made.pk), "ready")
    assert state["reused"]["age_seconds"] == pytest.approx(180, abs=30)
    assert state["urls"]["ticket"] is not None
    assert "Retry-After" not in response.headers
    assert "reused" not in client.get(url_of("detail", made)).json()


def test_the_field_fresh_requests_a_new_file(client: Client, ada: User) -> None:
    made = finished(ada)
    response = client.post(FORM, {**ASKED, "fresh": "1"}, headers=JSON)
    assert response.status_code == 202
    assert response.json()["id"] != str(made.pk)
    assert "reused" not in response.json()


def test_the_page_shows_when_it_was_made_and_a_button_for_a_new_file(client: Client, ada: User) -> None:
    made = finished(ada)

    response = client.post(FORM, ASKED, headers=HTML)
    page = client.get(response["Location"]).content.decode()

    assert (response.status_code, response["Location"]) == (303, url_of("page", made))
    assert 'class="export-time"' in page
    assert AGAIN in page

    again = client.post(url_of("retry", made), {"fresh": "1"}, headers=HTML)
    assert again.status_code == 303
    [newer] = FileRequest.objects.filter(status=Status.QUEUED)
    assert again["Location"] == url_of("page", newer)
    assert (newer.criteria, newer.format, newer.requester) == (made.criteria, made.format, ada)


def test_retry_of_a_ready_export_needs_fresh(client: Client, ada: User) -> None:
    made = finished(ada)
    assert client.post(url_of("retry", made), headers=JSON).status_code == 409
    assert client.post(url_of("retry", made), {"fresh": "1"}, headers=JSON).status_code == 201


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.READY])
def test_only_a_ready_export_can_be_made_again(client: Client, ada: User, status: str) -> None:
    request = rows.IN_STATUS[status](ada)
    assert client.post(url_of("retry", request), {"fresh": "1"}, headers=JSON).status_code == 409
    assert AGAIN not in client.get(url_of("page", request)).content.decode()


def test_only_the_owner_can_make_a_file_again(ada: User) -> None:
    made = finished(ada)
    viewer = signed_in(people.staff("viewer", people.VIEW))
    assert AGAIN not in viewer.get(url_of("page", made)).content.decode()
    assert viewer.post(url_of("retry", made), {"fresh": "1"}, headers=JSON).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_simultaneous_fresh_requests_make_one_export(ada: User) -> None:
    made = finished(ada)
    outcomes = at_once(*[lambda: ask(ada, fresh=True)] * 8)
    assert len({request.pk for request, _ in outcomes} - {made.pk}) == 1
    assert [is_new for _, is_new in outcomes].count(True) == 1


@pytest.mark.parametrize("value", [-1, "600", None])
def test_a_negative_or_missing_maximum_age_is_a_check_error(settings: LazySettings, value: Any) -> None:
    configure(settings, REUSE_WITHIN_SECONDS=value)
    assert [each.id for each in checks.check_settings()] == ["exports.E014"]


def test_a_negative_maximum_age_of_an_export_is_a_check_error() -> None:
    with registered(type("Never", (ReportExport,), {"reuse_within_seconds": -1})):
        assert [each.id for each in exporter_checks.check_numbers()] == ["exports.E015"]
