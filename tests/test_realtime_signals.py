"""Which changes of a user let their open sockets be re-checked."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpRequest

from exports.realtime import events
from tests.office import people


@pytest.fixture
def rechecked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids of the users whose sockets were re-checked."""
    ids: list[Any] = []
    monkeypatch.setattr(events, "recheck_sockets", ids.append)
    return ids


@pytest.mark.parametrize(
    ("change", "is_rechecked"),
    [
        (lambda user: user.save(), True),
        (lambda user: user.save(update_fields=["password"]), True),
        (lambda user: user.save(update_fields=["last_name", "is_active"]), True),
        (lambda user: user.save(update_fields=["last_login"]), False),
        (lambda user: user.save(update_fields=[]), False),
        (lambda user: user.groups.clear(), False),
        (lambda user: people.user("bob"), False),
        (lambda user: user.delete(), True),
    ],
    ids=["save", "password", "is_active", "last login", "no field", "groups", "new user", "deletion"],
)
def test_sockets_are_re_checked_only_when_the_user_may_have_lost_access(
    owner: User,
    rechecked: list[Any],
    change: Callable[[User], Any],
    is_rechecked: bool,
    django_capture_on_commit_callbacks: Any,
) -> None:
    pk = owner.pk
    with django_capture_on_commit_callbacks(execute=True):
        change(owner)
    assert rechecked == ([pk] if is_rechecked else [])


def test_a_logout_re_checks_the_sockets_and_a_login_does_not(
    owner: User, rechecked: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    request = HttpRequest()
    request.session, request.user = SessionStore(), owner
    with django_capture_on_commit_callbacks(execute=True):
        login(request, owner, backend="django.contrib.auth.backends.ModelBackend")
    assert rechecked == []
    with django_capture_on_commit_callbacks(execute=True):
        logout(request)
    assert rechecked == [owner.pk]


def test_a_change_that_is_rolled_back_re_checks_nothing(owner: User, rechecked: list[Any]) -> None:
    with transaction.atomic():
        owner.save()
        transaction.set_rollback(True)
    assert rechecked == []


def test_a_broken_channel_layer_does_not_keep_a_user_from_being_saved(
    owner: User, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    with django_capture_on_commit_callbacks(execute=True):
        owner.save()
    assert events.recheck_sockets(owner.pk) is None
