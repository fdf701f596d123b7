"""Security headers of every response that delivers a file, and of pages; no page contains inline code."""

import io
from collections.abc import Callable
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
from tests.office import rows
from tests.office.browsers import HTML, signed_in, ticket_for, url_of
from tests.office.markup import HtmlPage, check_no_inline_code

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

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


def headers_of(response: Any) -> dict[str, str]:
    response.close()
    return {name: response.headers.get(name) for name in SAFE}


# Files


def by_ticket(export: FileRequest, **headers: str) -> Any:
    return signed_in(export.requester).get(ticket_for(export, export.requester), headers=headers)


def by_head(export: FileRequest) -> Any:
    return signed_in(export.requester).head(ticket_for(export, export.requester))


def by_token(export: FileRequest) -> Any:
    request = RequestFactory().get("/token/")
    request.user = export.requester
    return serve_file(request, toolbox.create_token(export))


def by_export_response(export: FileRequest) -> Any:
    request = RequestFactory().post("/report/")
    request.user = export.requester
    return export_response(request, [{"name": "Ada"}], "report", "csv")


def by_buffer(export: FileRequest) -> Any:
    return responses.buffer_response(io.BytesIO(b"x"), filename="report.csv", content_type=rows.CSV)


WAYS: dict[str, Callable[[FileRequest], Any]] = {
    "ticket": by_ticket,
    "head": by_head,
    "range": lambda export: by_ticket(export, range="bytes=0-9"),
    "range outside": lambda export: by_ticket(export, range="bytes=999999999-"),
    "not modified": lambda export: by_ticket(export, if_none_match=responses.etag_of(export)),
    "token": by_token,
    "toolbox.serve": toolbox.serve,
    "export_response": by_export_response,
    "buffer": by_buffer,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_response_with_a_file_has_the_safe_headers(owner: User, way: str):
    assert headers_of(WAYS[way](rows.ready(owner))) == SAFE


def test_accel_redirect_has_the_safe_headers_and_nginx_adds_them_too(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    response = by_ticket(rows.ready(owner))
    assert response.headers["X-Accel-Redirect"].startswith("/finished/")
    assert headers_of(response) == SAFE
    guide = (ROOT / "docs" / "deploying.md").read_text()
    added = ("X-Content-Type-Options", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Referrer-Policy")
    assert [name for name in added if f"add_header {name} " not in guide] == []
    assert SAFE["Content-Security-Policy"] in guide


@pytest.mark.parametrize("stored", ["text/html", "image/svg+xml", "text/html; charset=utf-8", "application/xhtml+xml"])
def test_types_that_browsers_render_are_sandboxed_too(owner: User, stored: str):
    export = rows.ready(owner, content=b"<script>alert(1)</script>")
    FileRequest.objects.filter(pk=export.pk).update(content_type=stored, filename="page.html")
    expected = SAFE | {"Content-Type": stored, "Content-Disposition": 'attachment; filename="page.html"'}
    assert headers_of(by_ticket(rows.fresh(export))) == expected


# Pages


def test_pages_have_no_inline_code_and_a_same_origin_referrer(browser: Client, owner: User, settings: LazySettings):
    urls = ["/exports/", "/exports/?page=9", "/exports/new/report/"]
    urls += [url_of("page", make(owner)) for make in rows.IN_STATUS.values()]
    pages = [(browser.get(url, headers=HTML), 200) for url in urls]
    settings.EXPORTS = {**settings.EXPORTS, "MAX_QUEUED_PER_USER": 1}
    rows.queued(owner, counts_toward_quota=True)
    for posted, status in (({"month": "x"}, 400), ({"month": "4", "format": "csv"}, 429)):
        pages.append((browser.post("/exports/new/report/", posted, headers=HTML), status))
    for response, status in pages:
        assert response.status_code == status
        check_no_inline_code(HtmlPage(response.content.decode()))
        assert response.headers["Referrer-Policy"] == "same-origin"
        # A ready page has a ticket.
        assert response.headers["Cache-Control"] == "private, no-store"


def templates() -> list[Path]:
    folders = [ROOT / "exports" / "templates", ROOT / "project" / "templates", ROOT / "project" / "demo" / "templates"]
    return sorted(path for folder in folders for path in folder.rglob("*.html") if path.parent.name != "mail")


@pytest.mark.parametrize("path", templates(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_inline_code_in_any_branch(path: Path):
    lowered = path.read_text().lower()
    assert "<style" not in lowered
    assert "javascript:" not in lowered
    for tag in lowered.split("<")[1:]:
        inside = tag.partition(">")[0]
        assert " style=" not in inside, inside
        assert not [word for word in inside.split() if word.startswith("on") and "=" in word], inside
        if inside.startswith("script"):
            assert "src=" in inside or 'type="application/json"' in inside, inside


@pytest.mark.parametrize("path", sorted((ROOT / "frontend").glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_code_or_markup_from_text(path: Path):
    text = path.read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".cssText"):
        assert word not in text
