"""Sockets on a real daphne: handshakes, close codes, and users who sign out.

This daphne re-checks users only once a minute, so whatever closes a socket earlier was a signal.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psutil
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from exports.access import tokens
from exports.http import responses
from exports.models import transitions
from exports.models.audit import SYSTEM
from exports.realtime import events
from tests.office import people, rows
from tests.office.browsers import JSON, second_window, signed_in, ticket_for
from tests.office.pages import ALL, IN_TIME, made, moved, one
from tests.office.processes import Daphne, run
from tests.office.wires import close_code, cookie_of, daphne_with, handshake_status, next_state, opened
from tests.servers import Valkey, wait_until

CLOSED_WITHIN = 2.0
PASSWORD = "another correct horse"

LogLines = Callable[[], list[str]]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


@pytest.fixture(scope="module")
def daphne(valkey_server: Valkey, django_db_setup: None) -> Iterator[Daphne]:
    with daphne_with(valkey_server, SOCKET_RECHECK_SECONDS=60.0) as server:
        yield server


@pytest.fixture
def logged(daphne: Daphne) -> LogLines:
    """Return the warnings and errors that the server has logged since the test began."""
    before = len(daphne.words())

    def lines() -> list[str]:
        lines = daphne.words()[before:].splitlines()
        return [line for line in lines if not line.startswith("127.0.0.1:") and " INFO " not in line]

    return lines


async def test_a_page_receives_a_change_and_its_ticket_downloads(daphne: Daphne, owner: User, browser: Client):
    export, claim = await made(rows.claimed, owner)
    async with opened(daphne, browser) as socket:
        assert (await next_state(socket))["status"] == "running"
        await moved(rows.publish, claim)
        state = await next_state(socket)
    assert (state["status"], state["phase"], state["progress"]["fraction"]) == ("ready", "done", 1.0)
    async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as client:
        answer = await client.get(f"http://{daphne.host}{state['urls']['ticket']}")
    assert (answer.status_code, answer.content) == (200, rows.CONTENT)
    assert (await made(rows.fresh, export)).seen_at is not None


async def test_handshakes_without_session_or_permission_are_refused_alike(daphne: Daphne, owner: User):
    export = await made(rows.running, owner)
    stranger = await sync_to_async(lambda: signed_in(people.user("stranger")))()
    unknown = f"{ALL}{uuid4()}/"
    for client, path in ((None, ALL), (None, one(export)), (stranger, one(export)), (stranger, unknown)):
        assert await handshake_status(daphne, client, path) == 403
    assert await handshake_status(daphne, stranger) == 101


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", None])
async def test_a_handshake_of_another_origin_is_refused(
    daphne: Daphne, browser: Client, origin: str | None, logged: LogLines
):
    assert await handshake_status(daphne, browser, origin=origin) == 403
    [line] = logged()
    assert "socket refused: the page is of" in line


async def test_an_unknown_path_is_refused_without_a_traceback(daphne: Daphne, browser: Client, logged: LogLines):
    for path in ("/ws/", "/ws/exports/x/", "/ws/exports/%00/", "/"):
        assert await handshake_status(daphne, browser, path) == 403
    assert logged() == []


@pytest.mark.parametrize(
    ("frame", "count", "line"),
    [
        (b"binary", 3, "4400: malformed frame"),
        (b"", 3, "4400: malformed frame"),
        ("", 3, "4400: malformed frame"),
        ("x" * 200_000, 3, "4400: malformed frame"),
        ('{"type": "ping"}', 50, "4429: too many frames"),
    ],
    ids=["binary", "no bytes", "no text", "very long", "too many"],
)
async def test_the_client_receives_the_close_code_and_the_log_one_line(
    daphne: Daphne, browser: Client, frame: str | bytes, count: int, line: str, logged: LogLines
):
    async with opened(daphne, browser) as socket:
        for _ in range(count):
            await socket.send(frame)
        assert await close_code(socket) == int(line[:4])
    [logged_line] = logged()
    assert logged_line.endswith(f"socket closed with {line}")


async def test_without_the_channel_layers_server_handshakes_fail_until_it_is_back(
    daphne: Daphne, owner: User, browser: Client, valkey: Valkey
):
    await sync_to_async(valkey.stop)()
    assert await handshake_status(daphne, browser) in (403, 500, 503)
    await sync_to_async(valkey.start)()
    export = await made(rows.running, owner)
    while await handshake_status(daphne, browser) != 101:
        await asyncio.sleep(0.25)
    async with opened(daphne, browser) as socket:
        assert (await next_state(socket))["id"] == str(export.pk)


async def test_a_client_that_leaves_during_a_download_leaves_no_file_open(
    daphne: Daphne, owner: User, browser: Client, logged: LogLines
):
    export = await made(rows.ready, owner, content=b"\0" * (64 * responses.BLOCK))
    url = f"http://{daphne.host}{await sync_to_async(ticket_for)(export, owner)}"
    async with (
        httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}) as client,
        client.stream("GET", url) as response,
    ):
        async for _ in response.aiter_bytes(1024):
            break

    def is_closed() -> bool:
        return not any(str(export.pk) in file.path for file in psutil.Process(daphne.process.pid).open_files())

    await sync_to_async(wait_until)(is_closed, seconds=IN_TIME)
    assert logged() == []


# Users who sign out


@transaction.atomic
def log_out_inside_a_transaction(user: User, client: Client) -> None:
    client.logout()


def change_password_by_form(user: User, client: Client) -> None:
    form = SetPasswordForm(user, {"new_password1": PASSWORD, "new_password2": PASSWORD})
    assert form.is_valid(), form.errors
    form.save()


def deactivate(user: User, client: Client) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete_session_and_ask_for_a_re_check(user: User, client: Client) -> None:
    SessionStore(client.cookies[django_settings.SESSION_COOKIE_NAME].value).delete()
    events.recheck_sockets(user.pk)


ENDINGS = {
    "logout": lambda user, client: client.logout(),
    "logout in a transaction": log_out_inside_a_transaction,
    "new password": change_password_by_form,
    "deactivation": deactivate,
    "deletion": lambda user, client: user.delete(),
    "re-check on request": delete_session_and_ask_for_a_re_check,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
async def test_the_sockets_of_a_user_who_signs_out_close_within_two_seconds(
    daphne: Daphne, owner: User, browser: Client, end: Callable[[User, Client], None]
) -> None:
    export, window = await made(rows.queued, owner), second_window(browser)
    async with opened(daphne, window) as all_exports, opened(daphne, window, one(export)) as single:
        assert (await next_state(all_exports))["id"] == (await next_state(single))["id"] == str(export.pk)
        await sync_to_async(end)(owner, browser)
        codes = await asyncio.gather(*(close_code(each, seconds=CLOSED_WITHIN) for each in (all_exports, single)))
        assert codes == [4401, 4401]
    assert await handshake_status(daphne, window) == 403


async def test_a_token_that_is_revoked_in_another_process_closes_its_sockets(
    daphne: Daphne, owner: User, browser: Client
):
    export = await made(rows.running, owner)
    token, text = await sync_to_async(tokens.create)(owner, "nightly", SYSTEM)
    headers, site = {"Authorization": f"Bearer {text}"}, f"ws://{daphne.host}"
    subprotocols: list[Any] = ["exports", f"authorization.{quote(headers['Authorization'], safe='')}"]
    async with (
        connect(f"{site}{ALL}", additional_headers=headers) as by_header,
        connect(f"{site}{one(export)}", subprotocols=subprotocols) as by_subprotocol,
        connect(f"{site}{ALL}?authenticate=message") as by_message,
        opened(daphne, browser) as of_session,
    ):
        await by_message.send(json.dumps({"type": "authenticate", "token": text}))
        sockets = (by_header, by_subprotocol, by_message)
        for each in (*sockets, of_session):
            assert (await next_state(each))["id"] == str(export.pk)
        answer = await sync_to_async(browser.post)(f"/exports/tokens/{token.pk}/revoke/", headers=JSON)
        assert answer.status_code == 200
        assert await asyncio.gather(*(close_code(each, seconds=CLOSED_WITHIN) for each in sockets)) == [4401] * 3
        await moved(transitions.cancel, export)
        assert (await next_state(of_session))["status"] == "cancelled"
    with pytest.raises(InvalidStatus):
        await connect(f"{site}{ALL}", additional_headers=headers)


async def test_a_logout_in_another_process_closes_the_socket_within_two_seconds(
    daphne: Daphne, browser: Client, tmp_path: Path
) -> None:
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
    assert time.time() - float(printed.split()[0]) < CLOSED_WITHIN


async def test_a_socket_stays_open_when_other_users_or_sessions_end(
    daphne: Daphne, owner: User, browser: Client
) -> None:
    async with opened(daphne, browser) as socket:
        for user in (await made(people.user, "other"), owner):
            other_browser = await sync_to_async(signed_in)(user)
            await sync_to_async(other_browser.logout)()
        with pytest.raises(TimeoutError):
            await close_code(socket, seconds=CLOSED_WITHIN)
