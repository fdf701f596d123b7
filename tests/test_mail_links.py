"""A mail contains one link, to a page behind login, and mail scanners that follow it change nothing."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from exports import housekeeping
from exports.models import FileRequest, Notification, Status, transitions
from exports.signing import Ticket
from tests.office import people, rows
from tests.office.browsers import status_of, url_of
from tests.office.exports import open_office
from tests.office.worlds import open_worlds, shared
from tests.shop.runs import configure

pytestmark = pytest.mark.django_db

POSTS = ("cancel", "retry", "expire", "revoke", "share", "seen")
GETS = ("detail", "page", "download")


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, MAIL_DELAY_SECONDS=0)
    with open_office():
        yield


@pytest.fixture
def owner(db: None) -> User:
    return people.user("owner")


def mailed(request: FileRequest, mailoutbox: list[Any]) -> list[str]:
    """Return the URLs in both parts of the mail about this export."""
    assert housekeeping.send_mails() == 1
    [mail] = mailoutbox
    [(html, _)] = mail.alternatives
    return re.findall(r"https?://[^\s\"<]+", mail.body + html)


@pytest.mark.parametrize("make", [rows.ready, rows.failed])
def test_a_mail_links_to_the_page_only(owner: User, mailoutbox: list[Any], make: Any) -> None:
    request = make(owner)
    assert set(mailed(request, mailoutbox)) == {f"https://exports.example{url_of('page', request)}"}


def test_a_mail_contains_no_ticket_and_no_public_link(owner: User, mailoutbox: list[Any]) -> None:
    request = rows.ready(owner)
    link = shared(request)
    mailed(request, mailoutbox)
    whole = mailoutbox[0].message().as_string() + mailoutbox[0].body + mailoutbox[0].alternatives[0][0]
    ticket = Ticket(request.pk, request.epoch, str(owner.pk), 2_000_000_000).sign()
    for text in ("/file/", "/public/", "/download/", link, ticket.partition(":")[0][:20], owner.password):
        assert text not in whole


# Mail scanners


class Forms(HTMLParser):
    """The forms of a page, with method, action and fields, and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, dict[str, str]]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.found.append((given.get("method", "get"), given.get("action", ""), {}))
        elif tag in ("input", "button") and self.found and given.get("name"):
            self.found[-1][2][given["name"]] = given.get("value") or "scanned"
        elif tag == "a" and given.get("href"):
            self.links.append(given["href"])


def scan(client: Client, address: str, depth: int = 2) -> None:
    """Do what mail scanners do with a URL: HEAD, GET, POST, follow its links and submit its forms."""
    path = urlsplit(address).path
    client.head(path)
    text = read(client.get(path, follow=True))
    client.post(path)
    page = Forms(text)
    for method, action, fields in page.found:
        read(getattr(client, method)(urljoin(path, action), fields))
    for link in page.links if depth else ():
        if link.startswith("/exports/"):
            scan(client, link, depth - 1)


def read(response: HttpResponse) -> str:
    return response.getvalue().decode("utf-8", "replace")


def kept() -> list[Any]:
    tables = (FileRequest, Notification)
    return [*[list(table.objects.order_by("pk").values()) for table in tables], list(rows.downloads())]


@pytest.mark.parametrize("status", Status.values)
def test_a_mail_scanner_that_tries_every_url_changes_nothing(owner: User, status: str) -> None:
    request = rows.IN_STATUS[status](owner)
    before, scanner = kept(), Client()
    for name in GETS + POSTS:
        scan(scanner, url_of(name, request))
    assert kept() == before


def test_after_a_scanner_the_reader_still_gets_the_file(owner: User, mailoutbox: list[Any]) -> None:
    request = rows.ready(owner)
    [address, *_] = mailed(request, mailoutbox)
    scan(Client(), address)
    scan(Client(enforce_csrf_checks=True), address)
    reader = Client()
    led = reader.get(urlsplit(address).path)
    assert led["Location"].startswith("/accounts/login/?next=")
    signed = reader.post(led["Location"], {"username": "owner", "password": people.PASSWORD})
    assert signed["Location"] == urlsplit(address).path
    page = reader.get(signed["Location"]).content.decode()
    assert url_of("download", request) in page
    ticket = reader.get(url_of("download", request))["Location"]
    assert reader.head(ticket).status_code == 200
    assert [status_of(reader, ticket) for _ in range(3)] == [200, 200, 200]


def test_a_public_link_survives_a_scanner(owner: User) -> None:
    with open_worlds():
        request = rows.ready(owner)
        address = reverse("exports:public", args=[shared(request)])
        row = FileRequest.objects.filter(pk=request.pk).values()
        before = row.get()
        scan(Client(), address)
        assert row.get() == before
        assert status_of(Client(), address) == 200
        assert transitions.revoke_links(rows.fresh(request))
        assert status_of(Client(), address) == 404
