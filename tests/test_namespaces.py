"""The URLs of the app in other namespaces, and below another prefix, than a project usually gives them."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import include, path

from exports import notifications, urls
from exports.checks.site import check_urls
from exports.conf import url_of
from tests.office import people, rows
from tests.office.browsers import JSON, signed_in
from tests.office.markup import check_page
from tests.urls import urlpatterns as others

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

NESTED = include(([path("files/", include("exports.urls"))], "shop"))
INCLUDES: dict[str, tuple[str, Any]] = {
    "another instance namespace": ("shop/", include("exports.urls", namespace="files")),
    "another application namespace": ("shop/", include((urls.urlpatterns, "files"))),
    "inside a namespace": ("shop/", NESTED),
    "no namespace": ("shop/", include(urls.urlpatterns)),
    "twice": ("shop/", include([path("a/", include("exports.urls")), path("b/", include("exports.urls", "b"))])),
}


@pytest.fixture(params=INCLUDES)
def prefix(request: pytest.FixtureRequest, settings: LazySettings) -> str:
    """Include the URLs of the app in one of these ways, and return the path that all of them begin with."""
    beginning, included = INCLUDES[request.param]
    settings.ROOT_URLCONF = (path(beginning, included), *others[:-1])
    return f"/{beginning}"


@pytest.mark.shows("another namespace")
@pytest.mark.shows("another URL prefix")
def test_pages_answers_and_mails_lead_to_each_other_in_any_namespace(prefix: str, browser: Client, owner: User):
    assert list(check_urls()) == []
    mailed = notifications.page_url(rows.ready(owner)).removeprefix("https://exports.example")
    page = check_page(browser.get(mailed).content.decode())
    all_exports, form = url_of("list"), url_of("form", "report")
    assert all_exports in [link["href"] for link in page.all("a")]
    assert {
        link.startswith(prefix) for link in (mailed, form, *filter(None, [each["action"] for each in page.all("form")]))
    } == {True}
    for shown in (all_exports, form):
        check_page(browser.get(shown).content.decode())

    asked = browser.post(form, {"month": "4", "format": "csv"}, headers=JSON)
    assert (asked.status_code, asked.headers["Location"]) == (202, asked.json()["urls"]["self"])
    assert browser.get(asked.json()["urls"]["self"]).json()["id"] == asked.json()["id"]
    cancelled = browser.post(asked.json()["urls"]["cancel"])
    assert (cancelled.status_code, cancelled.headers["Location"]) == (303, asked.json()["urls"]["page"])
    assert all_exports in signed_in(people.refuse(owner)).post(form, {"month": "4"}).content.decode()
