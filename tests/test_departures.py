"""Whoever leaves is followed at once by their sockets; what is no leaving costs nobody a message."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import login, logout
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpRequest
from django.test import Client

from exports.realtime import events
from tests.office import people, rows
from tests.office.browsers import second_window, signed_in
from tests.office.exports import open_office
from tests.office.pages import leave, made, one
from tests.office.processes import Daphne, run
from tests.office.wires import close_code, next_state, opened, refusal
from tests.servers import Valkey

IN_TIME = 2.0
ANOTHER = "another correct horse"


# Whoever leaves


@pytest.fixture(scope="module")
def daphne(valkey_server: Valkey, django_db_setup: None) -> Iterator[Daphne]:
    """It would look again after a minute, so whatever closes a socket earlier was a message."""
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [valkey_server.url]}}
    changes = {"REDIS_URL": valkey_server.url, "SOCKET_RECHECK_SECONDS": 60.0}
    with Daphne(CHANNEL_LAYERS={"default": layer}, EXPORTS={**django_settings.EXPORTS, **changes}) as server:
        yield server


@pytest.fixture
async def office(valkey: Valkey) -> AsyncIterator[None]:
    with open_office():
        yield
    await leave()


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def log_out(user: User, client: Client) -> None:
    client.logout()


def log_out_inside_a_transaction(user: User, client: Client) -> None:
    with transaction.atomic():
        client.logout()


def change_password(user: User, client: Client) -> None:
    user.set_password(ANOTHER)
    user.save()


def change_password_by_form(user: User, client: Client) -> None:
    form = SetPasswordForm(user, {"new_password1": ANOTHER, "new_password2": ANOTHER})
    assert form.is_valid(), form.errors
    form.save()


def deactivate(user: User, client: Client) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete(user: User, client: Client) -> None:
    user.delete()


def end_session_by_hand(user: User, client: Client) -> None:
    SessionStore(client.cookies[django_settings.SESSION_COOKIE_NAME].value).delete()
    events.recheck_sockets(user.pk)


LEAVING = [
    log_out, log_out_inside_a_transaction, change_password, change_password_by_form, deactivate, delete,
    end_session_by_hand,
]  # fmt: skip


@pytest.mark.servers
@pytest.mark.usefixtures("office")
@pytest.mark.parametrize("depart", LEAVING)
async def test_both_sockets_of_whoever_leaves_close_within_two_seconds(
    daphne: Daphne, owner: User, depart: Callable[[User, Client], None]
) -> None:
    request = await made(rows.queued, owner)
    browser = await sync_to_async(signed_in)(owner)
    window = second_window(browser)
    async with opened(daphne, window) as all_of_mine, opened(daphne, window, one(request)) as single:
        assert (await next_state(all_of_mine))["id"] == (await next_state(single))["id"] == str(request.pk)
        await sync_to_async(depart)(owner, browser)
        began = time.monotonic()
        codes = await asyncio.gather(*(close_code(each, seconds=IN_TIME) for each in (all_of_mine, single)))
        print(f"{time.monotonic() - began:.2f} s")
        assert codes == [4401, 4401]
    assert await refusal(daphne, window) == 403


@pytest.mark.servers
@pytest.mark.usefixtures("office")
async def test_a_session_that_another_process_ends_closes_its_sockets_within_two_seconds(
    daphne: Daphne, owner: User, tmp_path: Path
) -> None:
    browser = await sync_to_async(signed_in)(owner)
    script = f"""
import time
from django.contrib.auth import logout, get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
request = HttpRequest()
request.session = SessionStore({browser.cookies[django_settings.SESSION_COOKIE_NAME].value!r})
request.user = get_user(request)
logout(request)
print(time.time())
"""
    async with opened(daphne, browser) as socket:
        closing = asyncio.create_task(close_code(socket, seconds=30))
        printed = await sync_to_async(run, thread_sensitive=False)(script, tmp_path)
        assert await closing == 4401
    assert time.time() - float(printed.split()[0]) < IN_TIME


@pytest.mark.servers
@pytest.mark.usefixtures("office")
async def test_whoever_stays_keeps_the_socket_while_others_leave_and_they_themselves_log_in_elsewhere(
    daphne: Daphne, owner: User
) -> None:
    other = await made(people.user, "other")
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(opened(daphne, await sync_to_async(signed_in)(owner)))
        for someone in (other, owner):
            browser = await sync_to_async(signed_in)(someone)
            await sync_to_async(browser.logout)()
        with pytest.raises(TimeoutError):
            await close_code(socket, seconds=IN_TIME)


# What is told


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids of those whose sockets were told to look again."""
    ids: list[Any] = []
    monkeypatch.setattr(events, "recheck_sockets", ids.append)
    return ids


@pytest.fixture
def ada(db: None) -> User:
    return people.user("ada")


@pytest.mark.parametrize(
    ("change", "is_told"),
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
    ids=["save", "password", "is_active", "last login", "nothing", "groups", "somebody new", "deletion"],
)
def test_only_what_may_end_a_right_is_told(
    ada: User,
    told: list[Any],
    change: Callable[[User], Any],
    is_told: bool,
    django_capture_on_commit_callbacks: Any,
) -> None:
    pk = ada.pk
    with django_capture_on_commit_callbacks(execute=True):
        change(ada)
    assert told == ([pk] if is_told else [])


def request_of(user: User) -> HttpRequest:
    request = HttpRequest()
    request.session, request.user = SessionStore(), user
    return request


def test_logging_in_tells_nobody_and_logging_out_tells_one(
    ada: User, told: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    request = request_of(ada)
    with django_capture_on_commit_callbacks(execute=True):
        login(request, ada, backend="django.contrib.auth.backends.ModelBackend")
    assert told == []
    with django_capture_on_commit_callbacks(execute=True):
        logout(request)
    assert told == [ada.pk]


def test_what_is_rolled_back_is_not_told(ada: User, told: list[Any]) -> None:
    with transaction.atomic():
        ada.save()
        transaction.set_rollback(True)
    assert told == []


def test_a_channel_layer_in_trouble_does_not_keep_anybody_from_leaving(
    ada: User, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    with django_capture_on_commit_callbacks(execute=True):
        ada.save()
    assert events.recheck_sockets(ada.pk) is None
