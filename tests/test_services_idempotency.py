"""Idempotency keys: a repeated request gets the export of the first one, whatever became of it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.utils import timezone

from exports import housekeeping, services
from exports.exceptions import InvalidForm, KeyReused
from exports.models import Actor, FileRequest, IdempotencyKey
from exports.models.idempotency import KEPT_SECONDS, Repeatable
from exports.worker import loop
from tests.office import people
from tests.office.exports import open_office
from tests.shop.requests import at_once
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings)
    with open_office():
        yield


@pytest.fixture
def ada() -> User:
    return people.user("ada")


def ask(by: User, key: str = "first", *, month: str = "4", content: str | None = None) -> tuple[FileRequest, bool]:
    repeatable = Repeatable(key, month if content is None else content)
    return services.request_export(by, "report", {"month": month}, format="csv", repeatable=repeatable)


def test_a_repeated_request_gets_the_same_export_after_it_has_ended(ada: User):
    export, is_new = ask(ada)
    services.cancel(export, Actor.of(ada))
    assert is_new
    assert ask(ada) == (export, False)
    assert services.request_export(ada, "report", {"month": "4"}, format="csv")[0] != export


def test_another_key_user_or_content_is_another_request(ada: User):
    first, _ = ask(ada)
    services.cancel(first, Actor.of(ada))
    assert ask(ada, "second") != (first, False)
    assert ask(people.user("grace"))[0].requester.username == "grace"
    with pytest.raises(KeyReused):
        ask(ada, content="something else")


def test_a_refused_request_uses_no_key(ada: User):
    with pytest.raises(InvalidForm):
        ask(ada, month="13")
    assert ask(ada)[1]


def test_a_reused_file_is_the_one_of_the_key(ada: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "REUSE_WITHIN_SECONDS": 600}
    ready, _ = ask(ada)
    assert loop.dispatch(ready.pk)
    assert ask(ada, "second")[0] == ready
    assert IdempotencyKey.objects.filter(export=ready).count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_same_key_at_the_same_moment_makes_one_export(ada: User):
    # Different months are different exports: only the key makes them one.
    answers = at_once(*(lambda month=month: ask(ada, month=str(month), content="same")[0].pk for month in range(1, 5)))
    assert len({*answers}) == FileRequest.objects.count() == IdempotencyKey.objects.count() == 1


def test_housekeeping_forgets_old_keys(ada: User):
    ask(ada)
    old, _ = ask(ada, "second", month="5")
    long_ago = timezone.now() - timedelta(seconds=KEPT_SECONDS + 1)
    IdempotencyKey.objects.filter(export=old).update(used_at=long_ago)
    assert housekeeping.forget_keys() == 1
    assert ask(ada, "second", month="6")[1]
