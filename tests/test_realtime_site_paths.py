"""Sites below a path of their host, or with a language in each path: states on sockets have the URLs of the page."""

from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.models import User
from django.test import Client
from django.urls import include, path
from django.utils import translation

from tests.office import rows
from tests.office.markup import HtmlPage
from tests.office.pages import ALL, made, moved
from tests.office.pages import opened as opened_here
from tests.office.processes import Daphne, Uvicorn
from tests.office.wires import cookie_of, daphne_with, next_state, opened
from tests.servers import Valkey
from tests.test_templates import render

ROOT = "/files"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("channel_layer")]


def check_urls(states: list[dict[str, Any]], beginning: str) -> None:
    """Fail unless all URLs of these states begin so: four while an export is running, seven once it is ready."""
    urls = [url for state in states for name, url in state["urls"].items() if url and name != "ticket_expires_at"]
    assert len(urls) == 11
    assert [url for url in urls if not url.startswith(beginning)] == []


@pytest.mark.shows("FORCE_SCRIPT_NAME")
@pytest.mark.parametrize(
    ("server", "is_forced", "removed"),
    [(Daphne, False, ""), (Daphne, False, ROOT), (Uvicorn, False, ROOT), (Daphne, True, "")],
    ids=["daphne", "daphne behind a proxy that removes the path", "uvicorn", "FORCE_SCRIPT_NAME"],
)
async def test_below_a_path_pages_sockets_and_states_lead_to_each_other(
    valkey: Valkey, owner: User, browser: Client, server: type[Daphne], is_forced: bool, removed: str
):
    export, claim = await made(rows.claimed, owner)
    site = daphne_with(valkey, server)
    if is_forced:
        site.changes["FORCE_SCRIPT_NAME"] = ROOT
    else:
        site.root = ROOT
    with site:
        async with httpx.AsyncClient(headers={"Cookie": cookie_of(browser)}, base_url=f"http://{site.host}") as client:
            page = await client.get(f"{ROOT}/exports/{export.pk}/page/".removeprefix(removed))
            socket = HtmlPage(page.text).config["socket"]
            assert socket == ROOT + ALL
            async with opened(site, browser, socket.removeprefix(removed)) as socket:
                first = await next_state(socket)
                await moved(rows.publish, claim)
                last = await next_state(socket)
            check_urls([first, last], f"{ROOT}/exports/")
            answer = await client.get(last["urls"]["ticket"].removeprefix(removed))
            assert (answer.status_code, answer.content) == (200, rows.CONTENT)


@pytest.mark.shows("i18n_patterns")
async def test_states_have_the_language_of_the_page_in_their_paths(settings: LazySettings, owner: User):
    settings.ROOT_URLCONF = tuple(i18n_patterns(path("exports/", include("exports.urls"))))
    with translation.override("de"):
        socket = render("{% export_assets %}", owner).config["socket"]
    _, claim = await made(rows.claimed, owner)
    async with opened_here(owner, socket) as page:
        first = await page.next_state()
        await moved(rows.publish, claim)
        last = await page.next_state()
    check_urls([first, last], "/de/exports/")
