"""Files that are offered again: to whom, how old, how they are told from new ones, and how to have a new one."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client
from django.utils import timezone, translation

from exports import checks, services
from exports.models import FileRequest, Status
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered
from tests.shop.requests import at_once
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

FORM = "/exports/new/report/"
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
    """A file that was made so long ago."""
    request, _ = ask(by, **given)
    assert loop.dispatch(request.pk)
    FileRequest.objects.filter(pk=request.pk).update(finished_at=timezone.now() - timedelta(seconds=seconds_ago))
    return rows.fresh(request)


# The same again


def test_who_asks_for_the_same_again_is_offered_the_file_that_is_there(ada: User) -> None:
    made = finished(ada)

    assert ask(ada) == (made, False)
    assert FileRequest.objects.count() == 1


def test_the_newest_one_is_offered(ada: User) -> None:
    finished(ada, seconds_ago=300)
    newest = finished(ada, fresh=True)

    assert ask(ada)[0] == newest


def test_a_file_that_is_too_old_is_made_again(ada: User) -> None:
    finished(ada, seconds_ago=601)

    assert ask(ada)[1]


def test_by_default_a_file_is_always_made_again(settings: LazySettings, ada: User) -> None:
    configure(settings, REUSE_WITHIN_SECONDS=0)
    finished(ada, seconds_ago=0)

    assert ask(ada)[1]


@pytest.mark.parametrize(("own", "is_new"), [(0, True), (100, True), (1000, False), (None, False)])
def test_an_export_may_say_itself_how_old_is_too_old(ada: User, own: float | None, is_new: bool) -> None:
    with registered(type("Quick", (ReportExport,), {"reuse_within_seconds": own})):
        finished(ada)

        assert ask(ada)[1] is is_new


def test_whoever_wants_a_new_one_gets_it_and_joins_it_until_it_is_there(ada: User) -> None:
    made = finished(ada)

    request, is_new = ask(ada, fresh=True)

    assert (is_new, request == made) == (True, False)
    assert ask(ada, fresh=True) == (request, False)
    assert ask(ada) == (request, False)


@pytest.mark.parametrize(
    "other",
    [{"criteria": {"month": "5"}}, {"format": "xlsx"}, {"options": {"delimiter": ";"}}, {"time_zone": "Asia/Tokyo"}],
)
def test_other_choices_are_another_file(ada: User, other: dict[str, Any]) -> None:
    finished(ada)

    assert ask(ada, **other)[1]


def test_another_language_is_another_file(ada: User) -> None:
    finished(ada)

    with translation.override("de"):
        assert ask(ada)[1]


def test_a_file_is_never_offered_to_somebody_else(ada: User) -> None:
    finished(ada)

    assert ask(people.staff("bob", people.VIEW, people.ANY))[1]
    assert ask(AnonymousUser())[1]


def test_a_file_is_never_offered_to_nobody() -> None:
    request, _ = ask(AnonymousUser())
    assert loop.dispatch(request.pk)

    assert ask(AnonymousUser())[1]


def test_who_may_not_have_it_any_more_is_refused(ada: User) -> None:
    finished(ada)
    people.refuse(ada)

    with pytest.raises(services.NotAllowed):
        ask(ada)


@pytest.mark.parametrize("end", [services.expire, lambda request: expires_in(request, 60)])
def test_a_file_that_is_gone_or_soon_will_be_is_made_again(ada: User, end: Any) -> None:
    end(finished(ada))

    assert ask(ada)[1]


def expires_in(request: FileRequest, seconds: float) -> None:
    FileRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now() + timedelta(seconds=seconds))


def test_what_is_offered_counts_for_no_limit(settings: LazySettings, ada: User) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=1)
    made = finished(ada)

    assert ask(ada)[0] == made


# At the door


def test_the_door_answers_200_with_the_state_and_the_age(client: Client, ada: User) -> None:
    made = finished(ada)

    response = client.post(FORM, ASKED, headers=JSON)

    state = response.json()
    assert (response.status_code, state["id"], state["status"]) == (200, str(made.pk), "ready")
    assert state["reused"]["age_seconds"] == pytest.approx(180, abs=30)
    assert state["urls"]["ticket"] is not None
    assert "Retry-After" not in response.headers
    assert "reused" not in client.get(url_of("detail", made)).json()


def test_the_field_fresh_asks_for_a_new_one(client: Client, ada: User) -> None:
    made = finished(ada)

    response = client.post(FORM, {**ASKED, "fresh": "1"}, headers=JSON)

    assert response.status_code == 202
    assert response.json()["id"] != str(made.pk)
    assert "reused" not in response.json()


def test_without_javascript_the_page_says_how_old_it_is_and_makes_it_again(client: Client, ada: User) -> None:
    made = finished(ada)

    response = client.post(FORM, ASKED, headers=HTML)
    page = client.get(response["Location"]).content.decode()

    assert (response.status_code, response["Location"]) == (303, url_of("page", made))
    assert "Made 3\xa0minutes ago" in page
    assert "Make it again" in page

    again = client.post(url_of("retry", made), {"fresh": "1"}, headers=HTML)
    assert again.status_code == 303
    [newer] = FileRequest.objects.filter(status=Status.QUEUED)
    assert again["Location"] == url_of("page", newer)
    assert (newer.criteria, newer.format, newer.requester) == (made.criteria, made.format, ada)


def test_a_file_that_is_there_is_only_made_again_when_that_is_said(client: Client, ada: User) -> None:
    made = finished(ada)

    assert client.post(url_of("retry", made), headers=JSON).status_code == 409
    assert client.post(url_of("retry", made), {"fresh": "1"}, headers=JSON).status_code == 201


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.READY])
def test_what_has_no_file_is_not_made_again(client: Client, ada: User, status: str) -> None:
    request = rows.IN_STATUS[status](ada)

    assert client.post(url_of("retry", request), {"fresh": "1"}, headers=JSON).status_code == 409
    assert "Make it again" not in client.get(url_of("page", request)).content.decode()


def test_who_only_looks_at_somebody_elses_file_is_offered_no_new_one(ada: User) -> None:
    made = finished(ada)
    viewer = signed_in(people.staff("viewer", people.VIEW))

    assert "Make it again" not in viewer.get(url_of("page", made)).content.decode()
    assert viewer.post(url_of("retry", made), {"fresh": "1"}, headers=JSON).status_code == 403


# At the same moment


@pytest.mark.django_db(transaction=True)
def test_of_many_that_want_a_new_one_at_once_one_is_made_and_all_get_it(ada: User) -> None:
    made = finished(ada)

    outcomes = at_once(*[lambda: ask(ada, fresh=True)] * 8)

    assert len({request.pk for request, _ in outcomes} - {made.pk}) == 1
    assert [is_new for _, is_new in outcomes].count(True) == 1


@pytest.mark.parametrize("value", [-1, "600", None])
def test_an_age_is_a_number_from_0_on(settings: LazySettings, value: Any) -> None:
    configure(settings, REUSE_WITHIN_SECONDS=value)

    assert [each.id for each in checks.check_settings()] == ["exports.E014"]


def test_an_exports_own_age_is_a_number_from_0_on() -> None:
    with registered(type("Never", (ReportExport,), {"reuse_within_seconds": -1})):
        assert [each.id for each in checks.check_exports()] == ["exports.E015"]
