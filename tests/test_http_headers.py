"""What every response that carries a file says to browsers, whichever way it goes out; and what no page contains."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.views import serve_file
from exports.http import responses
from exports.models import FileRequest
from exports.shortcuts import export_response
from tests.office import people, rows
from tests.office.browsers import HTML, signed_in, ticket_for, url_of
from tests.office.exports import open_office
from tests.test_templates import Page, check_no_inline_code

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parent.parent
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Type": rows.CSV,
    "Content-Disposition": 'attachment; filename="report.csv"',
}


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


def headers_of(response: Any) -> dict[str, str]:
    response.close()
    return {name: response.headers.get(name) for name in SAFE}


# Files


def by_ticket(request: FileRequest, **headers: str) -> Any:
    return signed_in(request.requester).get(ticket_for(request, request.requester), headers=headers)


def by_head(request: FileRequest) -> Any:
    return signed_in(request.requester).head(ticket_for(request, request.requester))


def by_token(request: FileRequest) -> Any:
    asked = RequestFactory().get("/token/")
    asked.user = request.requester
    return serve_file(asked, toolbox.create_token(request))


def by_hand(request: FileRequest) -> Any:
    return toolbox.serve(request)


def at_once(request: FileRequest) -> Any:
    asked = RequestFactory().post("/report/")
    asked.user = request.requester
    return export_response(asked, [{"name": "Ada"}], "report", "csv")


def from_a_buffer(request: FileRequest) -> Any:
    return responses.buffer_response(io.BytesIO(b"x"), filename="report.csv", content_type=rows.CSV)


WAYS: dict[str, Callable[[FileRequest], Any]] = {
    "ticket": by_ticket,
    "head": by_head,
    "range": lambda request: by_ticket(request, range="bytes=0-9"),
    "range outside": lambda request: by_ticket(request, range="bytes=999999999-"),
    "not modified": lambda request: by_ticket(request, if_none_match=responses.etag_of(request)),
    "token": by_token,
    "by hand": by_hand,
    "at once": at_once,
    "buffer": from_a_buffer,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_is_an_attachment_of_its_very_type_that_runs_nothing_and_is_kept_by_nobody(owner: User, way: str):
    assert headers_of(WAYS[way](rows.ready(owner))) == SAFE


def test_so_it_is_where_the_web_server_in_front_sends_it(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    response = by_ticket(rows.ready(owner))
    assert response.headers["X-Accel-Redirect"].startswith("/finished/")
    assert headers_of(response) == SAFE


def test_nginx_is_shown_how_to_say_what_it_would_forget():
    text = (ROOT / "docs" / "deploying.md").read_text()
    for name in (
        "X-Content-Type-Options",
        "Content-Security-Policy",
        "Cross-Origin-Resource-Policy",
        "Referrer-Policy",
    ):
        assert f"add_header {name} " in text
    assert SAFE["Content-Security-Policy"] in text


@pytest.mark.parametrize("stored", ["text/html", "image/svg+xml", "text/html; charset=utf-8", "application/xhtml+xml"])
def test_a_type_that_browsers_would_render_is_shut_in_all_the_same(owner: User, stored: str):
    request = rows.ready(owner, content=b"<script>alert(1)</script>")
    FileRequest.objects.filter(pk=request.pk).update(content_type=stored, filename="page.html")
    expected = SAFE | {"Content-Type": stored, "Content-Disposition": 'attachment; filename="page.html"'}
    assert headers_of(by_ticket(rows.fresh(request))) == expected


# Pages


def pages_of(owner: User) -> list[str]:
    requests = [make(owner) for make in rows.IN_STATUS.values()]
    return ["/exports/", "/exports/?page=9", "/exports/new/report/", *(url_of("page", each) for each in requests)]


def test_no_page_runs_code_of_its_own_nor_tells_other_sites_where_its_reader_was(owner: User):
    client = signed_in(owner)
    for address in pages_of(owner):
        response = client.get(address, headers=HTML)
        assert response.status_code == 200, address
        check_no_inline_code(Page(response.content.decode()))
        assert response.headers["Referrer-Policy"] == "same-origin", address


def test_nor_does_the_answer_to_a_form_that_was_refused(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_QUEUED_PER_USER": 1}
    client = signed_in(owner)
    rows.queued(owner, counts_toward_quota=True)
    for posted, status in (({"month": "x"}, 400), ({"month": "4", "format": "csv"}, 429)):
        response = client.post("/exports/new/report/", posted, headers=HTML)
        assert response.status_code == status
        check_no_inline_code(Page(response.content.decode()))
        assert response.headers["Referrer-Policy"] == "same-origin"


def test_a_redirect_to_the_file_tells_nobody_where_it_came_from(owner: User):
    response = signed_in(owner).get(url_of("download", rows.ready(owner)))
    assert (response.status_code, response.headers["Referrer-Policy"]) == (302, "no-referrer")


def templates() -> list[Path]:
    folders = [ROOT / "exports" / "templates", ROOT / "project" / "templates", ROOT / "project" / "demo" / "templates"]
    return sorted(path for folder in folders for path in folder.rglob("*.html") if path.parent.name != "mail")


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_an_inline_script_style_or_handler_in_any_branch(path: Path):
    text = path.read_text()
    lowered = text.lower()
    assert "<style" not in lowered
    assert "javascript:" not in lowered
    for tag in lowered.split("<")[1:]:
        inside = tag.partition(">")[0]
        assert " style=" not in inside, inside
        assert not [word for word in inside.split() if word.startswith("on") and "=" in word], inside
        if inside.startswith("script"):
            assert "src=" in inside or 'type="application/json"' in inside, inside


@pytest.mark.parametrize("path", sorted((ROOT / "frontend").glob("*.js")), ids=lambda path: path.name)
def test_no_module_makes_code_or_markup_of_text(path: Path):
    text = path.read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".cssText"):
        assert word not in text


def test_what_a_person_typed_is_text_on_every_page(owner: User):
    hostile = "</script><img src=x onerror=alert(1)>\"'"
    client: Client = signed_in(owner)
    request = rows.ready(owner, description=hostile, filename=f"{hostile}.csv")
    for address in ("/exports/", url_of("page", request)):
        page = Page(client.get(address, headers=HTML).content.decode())
        check_no_inline_code(page)
        assert not [image for image in page.all("img") if image.get("src") == "x"]
        assert any(hostile in json.dumps(state, ensure_ascii=False).replace('\\"', '"') for state in page.states)
