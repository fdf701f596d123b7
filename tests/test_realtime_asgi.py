"""asgi.py as docs/quickstart.md shows it: the site's own pages and sockets beside those of the exports."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from tests.doc_blocks import ROOT, blocks_of
from tests.office import pages
from tests.office.browsers import signed_in

GUIDE = [block.code for block in blocks_of(ROOT / "docs" / "quickstart.md") if "get_asgi_application()" in block.code]
ALONE, WRAPPED, ROUTED = GUIDE

pytestmark = [pytest.mark.django_db(transaction=True)]


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.send(text_data="chat")


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets that the project of the guide has."""
    consumers = ModuleType("chat.consumers")
    consumers.ChatConsumer = ChatConsumer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chat", ModuleType("chat"))
    monkeypatch.setitem(sys.modules, "chat.consumers", consumers)


@pytest.fixture(autouse=True)
async def left() -> AsyncIterator[None]:
    yield
    await pages.leave()


def application_of(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(code, "asgi.py", "exec"), names)
    return names["application"]


def page_of(client: Client, application: Any, path: str) -> pages.Page:
    return pages.Page(application, path, headers=pages.page_of(client, path).scope["headers"])


async def answer(application: Any, path: str, *, method: str = "GET", body: bytes = b"") -> int:
    """Return the status of the response to a request."""
    headers = [(b"host", b"testserver"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    page = ApplicationCommunicator(application, scope)
    await page.send_input({"type": "http.request", "body": body})
    started = await page.receive_output(5)
    while (await page.receive_output(5)).get("more_body"):
        pass
    await page.wait()
    return started["status"]


@pytest.mark.parametrize("code", [WRAPPED, ROUTED], ids=["with_exports", "websocket_urlpatterns"])
async def test_sockets_of_the_project_and_of_the_exports_open(chat: None, owner: User, code: str):
    application = application_of(code)
    client = await sync_to_async(signed_in)(owner)
    for path in ("/ws/chat/", pages.ALL):
        page = page_of(client, application, path)
        is_open, _ = await page.connect(timeout=pages.IN_TIME)
        assert is_open, path
        if path == "/ws/chat/":
            assert await page.receive_from() == "chat"
        await page.disconnect()


async def test_without_sockets_of_the_project_an_unknown_one_is_refused(owner: User):
    client = await sync_to_async(signed_in)(owner)
    page = page_of(client, application_of(ALONE), "/ws/nowhere/")
    is_open, _ = await page.connect(timeout=pages.IN_TIME)
    assert not is_open


# Django's handler leaves the file of a body open if reading it raises.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_only_pages_of_the_exports_refuse_long_bodies(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_BODY_BYTES": 10}
    application = application_of(ALONE)
    assert await answer(application, "/exports/", method="POST", body=b"x" * 11) == 413
    assert await answer(application, "/nowhere/", method="POST", body=b"x" * 11) == 404


@pytest.mark.parametrize(("debug", "status"), [(True, 200), (False, 404)])
async def test_static_files_are_served_in_development_alone(settings: LazySettings, debug: bool, status: int):
    settings.DEBUG = debug
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    assert await answer(application_of(ALONE), "/static/exports/exports.js") == status
