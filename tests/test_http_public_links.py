"""Public links: where an export offers them, how long they work, and what ends them."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.checks import Error
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from exports import checks, services, signing
from exports.checks import exporters as exporter_checks
from exports.http import responses
from exports.models import FileRequest, transitions
from exports.models.audit import SYSTEM
from exports.signing import PublicLink, Ticket
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of
from tests.office.exports import ReportExport
from tests.office.worlds import SharedReport, open_worlds
from tests.shop.exports import registered
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

HOUR = 3600


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_worlds():
        yield


@pytest.fixture
def export(owner: User) -> FileRequest:
    return rows.ready(owner)


def share(request: FileRequest, client: Client | None = None) -> str:
    """Share an export as its owner does, and return the path of the link."""
    response = (client or signed_in(request.requester)).post(url_of("share", request), headers=JSON)
    assert response.status_code == 200, response.content
    return urlsplit(response.json()["public_link"]).path


def opens(address: str) -> bool:
    """Return True if the URL returns the file to an anonymous client."""
    return status_of(Client(), address) == 200


# Using a link


def test_a_public_link_works_for_anyone_any_number_of_times(export: FileRequest) -> None:
    address = share(export)
    for _ in range(3):
        response = Client().get(address)
        assert response.getvalue() == rows.CONTENT


def test_a_public_download_has_the_headers_of_a_ticket(owner: User, export: FileRequest) -> None:
    by_link, by_ticket = Client().get(share(export)), signed_in(owner).get(ticket_for(export, owner))
    for response in (by_link, by_ticket):
        response.getvalue()
    assert {name: by_link[name] for name in responses.HEADERS} == responses.HEADERS
    assert dict(by_link.items()) == {name: value for name, value in by_ticket.items() if name != "Vary"} | {
        name: value for name, value in by_link.items() if name == "Vary"
    }
    assert by_link["Content-Disposition"].startswith("attachment;")


def test_a_public_link_supports_ranges_and_head(export: FileRequest) -> None:
    address = share(export)
    part = Client().get(address, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.getvalue()) == (206, rows.CONTENT[2:6])
    head = Client().head(address)
    assert (head.status_code, head.content, head["Content-Length"]) == (200, b"", str(len(rows.CONTENT)))


@pytest.mark.parametrize(("columns", "seconds"), [({}, HOUR), ({"public_link_max_age_seconds": 90}, 90)])
def test_a_public_link_works_for_an_hour_or_what_the_export_says(
    export: FileRequest, columns: dict[str, Any], seconds: float
) -> None:
    with registered(type("Brief", (SharedReport,), columns)):
        share(export)
    shared = rows.fresh(export)
    assert seconds - 30 < (shared.public_until - timezone.now()).total_seconds() <= seconds
    assert shared.public_until < shared.expires_at


def test_a_public_link_expires_with_the_file(owner: User, settings: LazySettings) -> None:
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=30 * 24 * HOUR)
    export = rows.ready(owner)
    share(export)
    assert rows.fresh(export).public_until == rows.fresh(export).expires_at


def test_an_expired_public_link_is_404(export: FileRequest) -> None:
    address = share(export)
    over = timezone.now() - timedelta(seconds=1)
    FileRequest.objects.filter(pk=export.pk).update(public_until=over)
    until = int(over.timestamp())
    signed_for_then = PublicLink(export.pk, rows.fresh(export).epoch, until).sign()
    assert not opens(address)
    assert not opens(reverse("exports:public", args=[signed_for_then]))


def test_a_new_public_link_ends_the_one_before(export: FileRequest, settings: LazySettings) -> None:
    first = share(export)
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=HOUR / 2)
    second = share(export)
    assert (opens(first), opens(second)) == (False, True)


# Ending a link


def test_revoke_ends_public_links_and_tickets_but_keeps_the_file(owner: User, export: FileRequest) -> None:
    address, client = share(export), signed_in(owner)
    ticket = client.get(url_of("download", export))["Location"]
    assert client.post(url_of("revoke", export), headers=JSON).json()["file"]["public_until"] is None
    assert not opens(address)
    assert status_of(client, ticket) == 404
    assert status_of(client, url_of("download", export)) == 302
    assert opens(share(export))
    assert not opens(address)


@pytest.mark.parametrize("end", [transitions.revoke_links, transitions.expire, lambda request: request.delete()])
def test_revoke_expire_and_delete_end_a_public_link(export: FileRequest, end: Any) -> None:
    address = share(export)
    assert opens(address)
    end(rows.fresh(export))
    assert not opens(address)


def test_attaching_another_file_ends_a_public_link(export: FileRequest) -> None:
    address = share(export)
    rows.fresh(export).attach_file(ContentFile(b"another"), "other.csv")
    assert not opens(address)


@pytest.mark.parametrize("lose", [people.refuse, people.deactivate], ids=["demoted", "deactivated"])
def test_each_public_download_checks_the_owners_permission(owner: User, export: FileRequest, lose: Any) -> None:
    address = share(export)
    assert opens(address)
    lose(owner)
    assert not opens(address)


def test_public_links_stop_when_the_export_no_longer_offers_them(export: FileRequest) -> None:
    address = share(export)
    with registered(ReportExport):
        assert not opens(address)
    assert opens(address)


# Who may create one


def test_an_export_offers_no_public_links_by_default(owner: User) -> None:
    with registered(ReportExport):
        request = rows.ready(owner)
        response = signed_in(owner).post(url_of("share", request), headers=JSON)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "not_shareable")
        with pytest.raises(services.NotAllowed):
            services.share(request, SYSTEM)
    assert rows.fresh(request).public_until is None


def test_sharing_needs_a_post_with_the_csrf_token(owner: User, export: FileRequest) -> None:
    client = signed_in(owner, enforce_csrf_checks=True)
    assert client.get(url_of("share", export)).status_code == 405
    assert client.post(url_of("share", export)).status_code == 403
    assert rows.fresh(export).public_until is None
    client.get(url_of("page", export))
    token = client.cookies["csrftoken"].value
    assert client.post(url_of("share", export), {"csrfmiddlewaretoken": token}).status_code == 303
    assert rows.fresh(export).public_until is not None


def test_a_file_without_an_owner_cannot_be_shared(owner: User) -> None:
    steward = signed_in(people.staff("steward", people.VIEW, people.CHANGE, people.ANY))
    assert steward.post(url_of("share", rows.ready(None)), headers=JSON).status_code == 403


# Signatures


def test_tickets_and_public_links_are_not_interchangeable(owner: User, export: FileRequest) -> None:
    share(export)
    ticket = Ticket(export.pk, export.epoch, str(owner.pk), 2_000_000_000).sign()
    public = services.public_link_of(rows.fresh(export))
    assert not opens(reverse("exports:public", args=[ticket]))
    assert status_of(signed_in(owner), reverse("exports:file", args=[public])) == 404


def test_public_links_follow_the_rotation_of_ticket_keys(export: FileRequest, settings: LazySettings) -> None:
    configure(settings, TICKET_KEYS=["old"])
    address = share(export)
    configure(settings, TICKET_KEYS=["new", "old"])
    assert opens(address)
    configure(settings, TICKET_KEYS=["new"])
    assert not opens(address)


def test_a_public_link_of_another_end_or_epoch_is_404(export: FileRequest) -> None:
    share(export)
    request = rows.fresh(export)
    until = int(request.public_until.timestamp())
    for epoch, end in ((request.epoch + 1, until), (request.epoch - 1, until), (request.epoch, until + 60)):
        assert not opens(reverse("exports:public", args=[PublicLink(request.pk, epoch, end).sign()]))
    assert opens(reverse("exports:public", args=[PublicLink(request.pk, request.epoch, until).sign()]))


@pytest.mark.parametrize("headers", [HTML, JSON], ids=["html", "json"])
def test_every_invalid_public_link_gets_the_same_response(owner: User, headers: dict[str, str]) -> None:
    never, gone, refused = rows.ready(owner), rows.ready(owner), rows.ready(people.user("other"))
    shared = [share(request).split("/")[-2] for request in (gone, refused)]
    assert transitions.revoke_links(rows.fresh(gone))
    people.refuse(refused.requester)
    texts = [*shared, PublicLink(never.pk, never.epoch, 2_000_000_000).sign(), "nonsense", "%00", "a:b"]
    answers = [Client().get(reverse("exports:public", args=[text]), headers=headers) for text in texts]
    assert {(each.status_code, each.content, str(sorted(each.items()))) for each in answers} == {
        (404, answers[0].content, str(sorted(answers[0].items())))
    }


@pytest.mark.parametrize("payload", [None, 7, "text", [], [1, 2, 3], ["x" * 32, 1, 1], ["0" * 32, "x", 1], {"a": 1}])
def test_a_signed_value_that_is_not_a_link_is_404(payload: object, settings: LazySettings) -> None:
    signer = signing.signing.Signer(key=settings.SECRET_KEY, salt=signing.PUBLIC_SALT)
    assert not opens(reverse("exports:public", args=[signer.sign_object(payload)]))


# The record of downloads


def test_public_downloads_are_recorded_without_a_user_and_are_not_seen(owner: User, export: FileRequest) -> None:
    address = share(export)
    Client().head(address)
    assert not rows.downloads().exists()
    status_of(signed_in(owner), address)
    assert opens(address)
    assert rows.fresh(export).seen_at is None
    for download in rows.downloads():
        assert (download.user, download.actor_kind, download.export) == (None, "public_link", export)
        assert (download.byte_count, download.address) == (len(rows.CONTENT), "127.0.0.0")
    assert rows.downloads().count() == 2


# The page


class Shown(HTMLParser):
    """The section about public links: its text, its forms and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.posts, self.links, self._depth = "", [], [], 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if self._depth or given.get("class") == "export-sharing":
            self._depth += tag == "section"
            self.posts += [given["action"]] if tag == "form" else []
            self.links += [given["href"]] if tag == "a" else []

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "section" and self._depth > 0

    def handle_data(self, text: str) -> None:
        self.words += text if self._depth else ""


def shown(client: Client, request: FileRequest) -> Shown:
    return Shown(client.get(url_of("page", request), headers=HTML).content.decode())


def test_the_page_creates_and_ends_a_link_without_javascript(owner: User, export: FileRequest) -> None:
    client = signed_in(owner)
    before = shown(client, export)
    assert (before.posts, before.links) == ([url_of("share", export)], [])
    assert client.post(before.posts[0])["Location"] == url_of("page", export)
    after = shown(client, export)
    assert "Anyone with this link can download the file until" in after.words
    assert "without signing in" in after.words
    assert after.posts == [url_of("revoke", export), url_of("share", export)]
    [address] = after.links
    assert address.startswith("https://exports.example/exports/public/")
    assert opens(urlsplit(address).path)
    client.post(after.posts[0])
    assert shown(client, export).links == []


def test_the_page_offers_no_link_without_a_file_or_permission(owner: User, export: FileRequest) -> None:
    for status in ("failed", "cancelled", "expired"):
        assert shown(signed_in(owner), rows.IN_STATUS[status](owner)).posts == []
    share(export)
    for name in ("viewer", "changer", "downloader"):
        assert shown(signed_in(people.PEOPLE[name](owner)), export).posts == []


def test_the_state_says_until_when_the_public_link_works(owner: User, export: FileRequest) -> None:
    client = signed_in(owner)
    assert client.get(url_of("detail", export)).json()["file"]["public_until"] is None
    address = share(export, client)
    state = client.get(url_of("detail", export)).json()
    until = rows.fresh(export).public_until
    assert state["file"]["public_until"] == f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    assert address.split("/")[-2] not in str(state)


# Checks


@pytest.mark.parametrize("age", [0, -1, None, "3600", True])
def test_an_invalid_link_age_is_a_check_error(settings: LazySettings, age: object) -> None:
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=age)
    [error] = list(checks.check_settings())
    assert isinstance(error, Error)
    assert "PUBLIC_LINK_MAX_AGE_SECONDS" in error.msg
    assert error.hint


def test_an_invalid_link_age_of_an_export_is_a_check_error() -> None:
    with registered(type("Brief", (SharedReport,), {"public_link_max_age_seconds": 0})):
        assert [each.msg for each in exporter_checks.check_numbers()] == ["Brief.public_link_max_age_seconds is 0."]
