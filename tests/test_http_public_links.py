"""Links for anyone: only where an export offers them, for a while, marked as such, asked of the row, ended at once."""

from collections.abc import Iterator
from datetime import timedelta
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
from exports.http import responses
from exports.models import Download, FileRequest, transitions
from exports.signing import PublicLink, Ticket
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of
from tests.office.exports import ReportExport, open_office
from tests.office.worlds import SharedReport
from tests.shop.exports import registered
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

HOUR = 3600


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office(), registered(SharedReport):
        yield


@pytest.fixture
def owner(db: None) -> User:
    return people.user("owner")


@pytest.fixture
def request_(owner: User) -> FileRequest:
    return rows.ready(owner)


def share(request: FileRequest, client: Client | None = None) -> str:
    """Make a link by its owner's POST. Returns its path."""
    response = (client or signed_in(request.requester)).post(url_of("share", request), headers=JSON)
    assert response.status_code == 200, response.content
    return urlsplit(response.json()["public_link"]).path


def opens(address: str) -> bool:
    """Whether it gives the file to somebody who never signed in."""
    return status_of(Client(), address) == 200


# Made, and used


def test_anyone_who_has_the_link_gets_the_file_as_often_as_they_like(request_: FileRequest) -> None:
    address = share(request_)
    for _ in range(3):
        response = Client().get(address)
        assert response.getvalue() == rows.CONTENT


def test_the_answer_is_as_safe_as_that_to_a_ticket(owner: User, request_: FileRequest) -> None:
    by_link, by_ticket = Client().get(share(request_)), signed_in(owner).get(ticket_for(request_, owner))
    for response in (by_link, by_ticket):
        response.getvalue()
    assert {name: by_link[name] for name in responses.HEADERS} == responses.HEADERS
    assert dict(by_link.items()) == {name: value for name, value in by_ticket.items() if name != "Vary"} | {
        name: value for name, value in by_link.items() if name == "Vary"
    }
    assert by_link["Content-Disposition"].startswith("attachment;")


def test_ranges_work_and_head_gives_no_bytes(request_: FileRequest) -> None:
    address = share(request_)
    part = Client().get(address, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.getvalue()) == (206, rows.CONTENT[2:6])
    head = Client().head(address)
    assert (head.status_code, head.content, head["Content-Length"]) == (200, b"", str(len(rows.CONTENT)))


def test_it_is_good_for_an_hour_by_default_which_is_less_than_the_file_is_kept(request_: FileRequest) -> None:
    share(request_)
    request = rows.fresh(request_)
    left = (request.public_until - timezone.now()).total_seconds()
    assert HOUR - 30 < left <= HOUR
    assert request.public_until < request.expires_at


def test_it_never_outlives_the_file(owner: User, settings: LazySettings) -> None:
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=30 * 24 * HOUR)
    request = rows.ready(owner)
    share(request)
    assert rows.fresh(request).public_until == rows.fresh(request).expires_at


def test_an_export_may_say_how_long_its_links_are_good(request_: FileRequest) -> None:
    with registered(type("Brief", (SharedReport,), {"public_link_max_age_seconds": 90})):
        share(request_)
    left = (rows.fresh(request_).public_until - timezone.now()).total_seconds()
    assert 60 < left <= 90


def test_a_link_that_has_run_out_opens_nothing(request_: FileRequest) -> None:
    address = share(request_)
    over = timezone.now() - timedelta(seconds=1)
    FileRequest.objects.filter(pk=request_.pk).update(public_until=over)
    until = int(over.timestamp())
    signed_for_then = PublicLink(request_.pk, rows.fresh(request_).epoch, until).sign()
    assert not opens(address)
    assert not opens(reverse("exports:public", args=[signed_for_then]))


def test_a_new_link_ends_the_one_before(request_: FileRequest, settings: LazySettings) -> None:
    first = share(request_)
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=HOUR / 2)
    second = share(request_)
    assert (opens(first), opens(second)) == (False, True)


# Ended


def test_revoking_ends_it_and_every_ticket_at_once_and_the_file_stays(owner: User, request_: FileRequest) -> None:
    address, client = share(request_), signed_in(owner)
    ticket = client.get(url_of("download", request_))["Location"]
    assert client.post(url_of("revoke", request_), headers=JSON).json()["file"]["public_until"] is None
    assert not opens(address)
    assert status_of(client, ticket) == 404
    assert status_of(client, url_of("download", request_)) == 302
    assert opens(share(request_))
    assert not opens(address)


@pytest.mark.parametrize("end", [transitions.revoke_links, transitions.expire, lambda request: request.delete()])
def test_whatever_ends_the_file_ends_the_link(request_: FileRequest, end: Any) -> None:
    address = share(request_)
    assert opens(address)
    end(rows.fresh(request_))
    assert not opens(address)


def test_another_file_attached_by_hand_is_not_given_away_by_the_link_to_the_one_before(request_: FileRequest) -> None:
    address = share(request_)
    rows.fresh(request_).attach_file(ContentFile(b"another"), "other.csv")
    assert not opens(address)


@pytest.mark.parametrize("lose", [people.refuse, people.deactivate], ids=["demoted", "deactivated"])
def test_the_export_is_asked_about_its_owner_at_each_download(owner: User, request_: FileRequest, lose: Any) -> None:
    address = share(request_)
    assert opens(address)
    lose(owner)
    assert not opens(address)


def test_an_export_that_offers_no_links_any_more_honours_none(request_: FileRequest) -> None:
    address = share(request_)
    with registered(ReportExport):
        assert not opens(address)
    assert opens(address)


# Who makes one


def test_an_export_offers_none_unless_it_says_so(owner: User) -> None:
    with registered(ReportExport):
        request = rows.ready(owner)
        response = signed_in(owner).post(url_of("share", request), headers=JSON)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "not_shareable")
        with pytest.raises(services.NotAllowed):
            services.share(request)
    assert rows.fresh(request).public_until is None


def test_it_takes_a_post_with_the_token_of_the_page(owner: User, request_: FileRequest) -> None:
    client = signed_in(owner, enforce_csrf_checks=True)
    assert client.get(url_of("share", request_)).status_code == 405
    assert client.post(url_of("share", request_)).status_code == 403
    assert rows.fresh(request_).public_until is None
    client.get(url_of("page", request_))
    token = client.cookies["csrftoken"].value
    assert client.post(url_of("share", request_), {"csrfmiddlewaretoken": token}).status_code == 303
    assert rows.fresh(request_).public_until is not None


def test_a_file_of_nobody_is_given_to_nobody(owner: User) -> None:
    request = rows.ready(None)
    steward = signed_in(people.staff("steward", people.VIEW, people.CHANGE, people.ANY))
    assert steward.post(url_of("share", request), headers=JSON).status_code == 403


def test_staff_who_may_change_a_request_but_not_have_its_file_cannot_help_themselves_by_a_link(
    request_: FileRequest,
) -> None:
    changer = signed_in(people.staff("changer", people.VIEW, people.CHANGE))
    assert changer.post(url_of("share", request_), headers=JSON).status_code == 403
    assert rows.fresh(request_).public_until is None


# What the link is


def test_no_other_signature_is_taken_for_it(owner: User, request_: FileRequest) -> None:
    share(request_)
    ticket = Ticket(request_.pk, request_.epoch, str(owner.pk), 2_000_000_000).sign()
    public = services.public_link_of(rows.fresh(request_))
    assert not opens(reverse("exports:public", args=[ticket]))
    assert status_of(signed_in(owner), reverse("exports:file", args=[public])) == 404


def test_its_keys_change_like_those_of_tickets(request_: FileRequest, settings: LazySettings) -> None:
    configure(settings, TICKET_KEYS=["old"])
    address = share(request_)
    configure(settings, TICKET_KEYS=["new", "old"])
    assert opens(address)
    configure(settings, TICKET_KEYS=["new"])
    assert not opens(address)


def test_a_link_with_another_end_or_epoch_opens_nothing(request_: FileRequest) -> None:
    share(request_)
    request = rows.fresh(request_)
    until = int(request.public_until.timestamp())
    for epoch, end in ((request.epoch + 1, until), (request.epoch - 1, until), (request.epoch, until + 60)):
        assert not opens(reverse("exports:public", args=[PublicLink(request.pk, epoch, end).sign()]))
    assert opens(reverse("exports:public", args=[PublicLink(request.pk, request.epoch, until).sign()]))


@pytest.mark.parametrize("headers", [HTML, JSON], ids=["html", "json"])
def test_every_link_that_does_not_open_is_the_same_answer(owner: User, headers: dict[str, str]) -> None:
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
def test_a_signed_value_that_is_no_link_is_refused(payload: object, settings: LazySettings) -> None:
    signer = signing.signing.Signer(key=settings.SECRET_KEY, salt=signing.PUBLIC_SALT)
    assert not opens(reverse("exports:public", args=[signer.sign_object(payload)]))


# The trail


def test_each_download_is_recorded_as_one_by_a_link_of_nobody_in_particular(owner: User, request_: FileRequest) -> None:
    address = share(request_)
    status_of(signed_in(owner), address)
    assert opens(address)
    for download in Download.objects.all():
        assert (download.user, download.is_public, download.request) == (None, True, request_)
        assert (download.byte_count, download.address) == (len(rows.CONTENT), "127.0.0.0")
    assert Download.objects.count() == 2


def test_nobodys_look_at_it_counts_as_its_owners(request_: FileRequest) -> None:
    address = share(request_)
    Client().head(address)
    assert not Download.objects.exists()
    assert opens(address)
    assert rows.fresh(request_).seen_at is None


# What people see


class Shown(HTMLParser):
    """The section about the link: its text, its forms and its addresses."""

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


def test_the_page_makes_it_marks_it_and_ends_it_without_javascript(owner: User, request_: FileRequest) -> None:
    client = signed_in(owner)
    before = shown(client, request_)
    assert (before.posts, before.links) == ([url_of("share", request_)], [])
    assert client.post(before.posts[0])["Location"] == url_of("page", request_)
    after = shown(client, request_)
    assert "Anyone with this link can download the file until" in after.words
    assert "without signing in" in after.words
    assert after.posts == [url_of("revoke", request_), url_of("share", request_)]
    [address] = after.links
    assert address.startswith("https://exports.example/exports/public/")
    assert opens(urlsplit(address).path)
    client.post(after.posts[0])
    assert shown(client, request_).links == []


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_the_page_offers_none_where_there_will_be_no_file(owner: User, status: str) -> None:
    assert shown(signed_in(owner), rows.IN_STATUS[status](owner)).posts == []


def test_the_page_offers_none_to_those_who_may_not_make_one(owner: User, request_: FileRequest) -> None:
    share(request_)
    for name in ("viewer", "changer", "downloader"):
        assert shown(signed_in(people.PEOPLE[name](owner)), request_).posts == []


def test_the_state_says_until_when_anyone_may_have_the_file(owner: User, request_: FileRequest) -> None:
    client = signed_in(owner)
    assert client.get(url_of("detail", request_)).json()["file"]["public_until"] is None
    address = share(request_, client)
    state = client.get(url_of("detail", request_)).json()
    until = rows.fresh(request_).public_until
    assert state["file"]["public_until"] == until.isoformat().replace("+00:00", "Z")
    assert address.split("/")[-2] not in str(state)


# The settings


@pytest.mark.parametrize("age", [0, -1, None, "3600", True])
def test_a_setting_that_makes_no_sense_is_an_error(settings: LazySettings, age: object) -> None:
    configure(settings, PUBLIC_LINK_MAX_AGE_SECONDS=age)
    [error] = list(checks.check_settings())
    assert isinstance(error, Error)
    assert "PUBLIC_LINK_MAX_AGE_SECONDS" in error.msg
    assert error.hint


def test_an_age_of_an_export_that_makes_no_sense_is_an_error() -> None:
    with registered(type("Brief", (SharedReport,), {"public_link_max_age_seconds": 0})):
        assert [each.msg for each in checks.check_exports()] == ["Brief.public_link_max_age_seconds is 0."]
