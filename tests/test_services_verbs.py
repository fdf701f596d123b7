"""The verbs for a request that is there: try again, cancel, expire, revoke, see; who may have its file."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from exports import services
from exports.exceptions import TransitionNotAllowed
from exports.exporters import registry
from exports.models import FileRequest, Status, transitions
from tests.shop.exports import order_rule
from tests.shop.requests import NOON, claimed, end, in_status, made, row, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ENDED = [Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@pytest.fixture
def ada() -> User:
    return user("ada")


def ask(by: Any, criteria: Any = (), **given: Any) -> FileRequest:
    return services.request_export(by, "orders", dict(criteria), **given)[0]


# Trying again, cancelling, letting go


@pytest.mark.parametrize("status", ENDED)
def test_trying_again_makes_a_new_row_and_leaves_the_old_one_alone(ada: User, status: str) -> None:
    request = ask(ada, {"status": "open"}, options={"delimiter": ";"}, time_zone="Asia/Tokyo")
    end(request, status)
    before = row(request.pk)

    again, is_new = services.retry(request)

    assert is_new
    assert again.pk != request.pk
    assert row(request.pk) == before
    same = ("criteria", "options", "format", "file_type", "requester_id", "requester_timezone", "dedupe_key")
    assert {name: row(again.pk)[name] for name in same} == {name: before[name] for name in same}


def test_trying_again_twice_makes_one_row(ada: User) -> None:
    request = ask(ada)
    end(request, Status.FAILED)

    assert services.retry(request)[0].pk == services.retry(request)[0].pk


def test_trying_again_asks_for_the_permission_of_today(ada: User) -> None:
    request = ask(ada)
    end(request, Status.FAILED)

    with order_rule(lambda user: False), pytest.raises(services.NotAllowed):
        services.retry(request)


def test_what_nobody_in_particular_asked_for_can_be_tried_again() -> None:
    request = ask(AnonymousUser())
    end(request, Status.FAILED)

    assert services.retry(request)[1]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.READY])
def test_there_is_nothing_to_try_again_before_the_end(status: str) -> None:
    with pytest.raises(TransitionNotAllowed):
        services.retry(in_status(status))


@pytest.mark.parametrize(
    ("verb", "possible"),
    [
        (services.cancel, [Status.QUEUED, Status.RUNNING]),
        (services.expire, [Status.READY]),
        (services.revoke, [Status.READY]),
    ],
)
@pytest.mark.parametrize("status", Status.values)
def test_a_verb_that_comes_too_late_says_so_and_knows_the_row_as_it_is(verb: Any, possible: Any, status: str) -> None:
    request = in_status(status)
    before = row(request.pk)

    if status in possible:
        verb(request)
        assert row(request.pk)["seq"] == before["seq"] + 1
        assert request.seq == before["seq"] + 1
    else:
        with pytest.raises(TransitionNotAllowed):
            verb(request)
        assert row(request.pk) == before


def test_a_cancel_that_loses_against_the_end_leaves_the_caller_with_the_end() -> None:
    page_has, claim = claimed()
    assert transitions.publish(claim, made(), now=NOON)

    with pytest.raises(TransitionNotAllowed):
        services.cancel(page_has)

    assert page_has.status == Status.READY


def test_seen_is_marked_once_and_never_an_error() -> None:
    request = in_status(Status.READY)

    services.mark_seen(request)
    first = row(request.pk)["seen_at"]
    services.mark_seen(request)

    assert first is not None
    assert row(request.pk)["seen_at"] == first


# Who may have the file


def test_the_owner_may_have_the_file_as_long_as_the_export_says_so(ada: User) -> None:
    request = in_status(Status.READY, requester=ada)

    assert services.may_download(ada, request)
    with order_rule(lambda user: False):
        assert not services.may_download(ada, request)
    assert not services.may_download(user("bob"), request)
    assert not services.may_download(AnonymousUser(), request)


def test_the_rule_of_the_export_is_about_the_owner_and_not_about_staff(ada: User) -> None:
    request = in_status(Status.READY, requester=ada)
    staff = User.objects.create_superuser("root")

    with order_rule(lambda user: False):
        assert services.may_download(staff, request)


def test_nobody_may_have_a_file_whose_export_is_gone(ada: User) -> None:
    request = in_status(Status.READY, requester=ada)
    handlers = dict(registry.handlers)

    registry.handlers.clear()
    try:
        assert not services.may_download(ada, request)
    finally:
        registry.handlers.update(handlers)
