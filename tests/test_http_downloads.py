"""Downloads by export and by ticket, the record of each, and what counts as seen."""

import random
import string
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from exports import services, storage
from exports.http import actors, responses
from exports.models import FileRequest
from exports.models.audit import SYSTEM
from tests.office import people, rows
from tests.office.browsers import JSON, mutated, signed_in, status_of, ticket_for, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

ALPHABET = string.ascii_letters + string.digits + "-_:.=%é\0 "
WITHOUT_FILE = ["queued", "running", "failed", "cancelled", "expired"]


# Seen


@pytest.mark.parametrize(("status", "counts"), [("ready", True), ("failed", True), ("running", False)])
def test_the_owners_page_marks_an_ended_export_as_seen(browser: Client, owner: User, status: str, counts: bool):
    export = rows.IN_STATUS[status](owner)
    response = browser.post(url_of("seen", export), headers=JSON)
    assert (response.status_code, response.json()["id"]) == (200, str(export.pk))
    assert (rows.fresh(export).seen_at is not None) == counts


def test_staff_do_not_mark_an_export_as_seen(owner: User):
    export = rows.ready(owner)
    client = signed_in(people.staff("staff", people.VIEW, people.CHANGE, people.ANY))
    assert client.post(url_of("seen", export), headers=JSON).status_code == 200
    assert client.get(url_of("download", export), follow=True).getvalue() == rows.CONTENT
    assert rows.fresh(export).seen_at is None


def test_a_download_marks_an_export_as_seen_but_reading_pages_does_not(browser: Client, owner: User):
    export = rows.ready(owner)
    for url in (url_of("page", export), url_of("detail", export), "/exports/", url_of("download", export)):
        browser.get(url)
    browser.head(ticket_for(export, owner))
    assert rows.fresh(export).seen_at is None
    status_of(browser, ticket_for(export, owner))
    assert rows.fresh(export).seen_at is not None


# Downloading


def test_download_redirects_to_a_fresh_ticket(browser: Client, owner: User):
    response = browser.get(url_of("download", rows.ready(owner)))
    assert response.status_code == 302
    assert response["Location"].startswith("/exports/file/")
    assert response["Referrer-Policy"] == "no-referrer"
    assert browser.get(response["Location"]).getvalue() == rows.CONTENT


@pytest.mark.parametrize("status", WITHOUT_FILE)
def test_without_a_file_download_redirects_to_the_page_and_tickets_are_404(browser: Client, owner: User, status: str):
    export = rows.IN_STATUS[status](owner)
    response = browser.get(url_of("download", export))
    assert (response.status_code, response["Location"]) == (302, url_of("page", export))
    assert status_of(browser, ticket_for(export, owner)) == 404


def test_each_reader_gets_a_ticket_of_their_own(browser: Client, owner: User):
    export, downloader = rows.ready(owner), signed_in(people.staff("downloader", people.VIEW, people.ANY))
    for own, other in ((browser, downloader), (downloader, browser)):
        ticket = own.get(url_of("detail", export)).json()["urls"]["ticket"]
        assert own.get(ticket).getvalue() == rows.CONTENT
        assert status_of(other, ticket) == 404
    viewer = signed_in(people.staff("viewer", people.VIEW))
    assert viewer.get(url_of("detail", export)).json()["urls"]["ticket"] is None


def test_a_ticket_is_for_one_user_and_one_epoch(browser: Client, owner: User):
    export, other = rows.ready(owner), people.user("other")
    assert status_of(browser, ticket_for(export, owner)) == 200
    assert status_of(browser, ticket_for(export, other)) == 404
    assert status_of(signed_in(other), ticket_for(export, owner)) == 404
    assert status_of(signed_in(other), ticket_for(export, other)) == 404
    for epoch in (export.epoch + 1, export.epoch - 1):
        assert status_of(browser, ticket_for(export, owner, epoch=epoch)) == 404
    assert status_of(browser, ticket_for(FileRequest(pk=uuid4()), owner)) == 404


def test_an_expired_ticket_leads_its_user_to_a_fresh_one(browser: Client, owner: User):
    response = browser.get(ticket_for(rows.ready(owner), owner, seconds=-3600), follow=True)
    assert (response.status_code, response.getvalue()) == (200, rows.CONTENT)
    assert [code for _url, code in response.redirect_chain] == [302]


def test_a_download_is_resumed_with_an_expired_ticket_without_a_redirect(browser: Client, owner: User):
    """Browsers give up a download whose rest is redirected."""
    export = rows.ready(owner)
    headers = {"range": "bytes=3-", "if-range": browser.head(ticket_for(export, owner))["ETag"]}
    resumed = browser.get(ticket_for(export, owner, seconds=-3600), headers=headers)
    assert (resumed.status_code, resumed.getvalue()) == (206, rows.CONTENT[3:])


def test_an_expired_ticket_is_404_for_others_and_once_it_is_revoked(browser: Client, owner: User):
    export = rows.ready(owner)
    ticket = ticket_for(export, owner, seconds=-1)
    assert status_of(signed_in(people.user("other")), ticket) == 404
    services.revoke(export, SYSTEM)
    assert status_of(browser, ticket) == 404


def test_a_ticket_works_on_a_host_whose_clock_is_an_hour_behind(browser: Client, owner: User):
    assert status_of(browser, ticket_for(rows.ready(owner), owner, seconds=3600)) == 200


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-2"}], ids=["whole", "range"])
def test_no_middleware_compresses_a_file(browser: Client, owner: User, settings: LazySettings, headers: dict[str, str]):
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    ticket = ticket_for(rows.ready(owner), owner)
    response = browser.get(ticket, headers={"accept-encoding": "gzip", **headers})
    assert response["Content-Encoding"] == "identity"
    assert int(response["Content-Length"]) == len(response.getvalue())


def test_an_owner_who_lost_the_permission_gets_no_file(browser: Client, owner: User):
    export = rows.ready(owner)
    people.refuse(owner)
    assert status_of(browser, ticket_for(export, owner)) == 404
    assert browser.get(url_of("download", export)).status_code == 404


def test_an_altered_ticket_is_404(browser: Client, owner: User):
    good = ticket_for(rows.ready(owner), owner).removeprefix("/exports/file/").removesuffix("/")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for text in {mutated(good, chance, ALPHABET) for _ in range(200)} - {good}:
        assert browser.get(f"/exports/file/{quote(text, safe='')}/").status_code == 404
    assert not rows.downloads().exists()


@pytest.mark.parametrize(
    "text",
    ["%00", "%FF%FE", "..%2F..%2Fetc", "%E2%80%AE", "a:b:c", ":::", "%0D%0ASet-Cookie:x", "x" * 20_000, "%25", "{}"],
)
def test_garbage_in_place_of_a_ticket_is_404(browser: Client, text: str):
    assert browser.get(f"/exports/file/{text}/").status_code == 404


def test_a_missing_file_is_404_and_not_recorded(browser: Client, owner: User):
    export = rows.ready(owner)
    storage.delete(export.filehandle.name)
    for method in (browser.get, browser.head):
        assert method(ticket_for(export, owner)).status_code == 404
    assert not rows.downloads().exists()
    assert rows.fresh(export).seen_at is None


# The record of downloads


def test_a_download_is_recorded_with_its_user_and_network(browser: Client, owner: User):
    export = rows.ready(owner)
    url = ticket_for(export, owner)
    browser.get(url, REMOTE_ADDR="203.0.113.77").getvalue()
    browser.get(url, headers={"range": "bytes=100-199"}, REMOTE_ADDR="2001:db8:1:2::3").getvalue()
    whole, part = rows.downloads()
    assert (whole.export, whole.user, whole.file_type) == (export, owner, "report")
    assert (whole.address, whole.byte_count) == ("203.0.113.0", export.size)
    assert (part.address, part.byte_count) == ("2001:db8:1::", 100)
    assert (part.outcome, part.bytes_sent, part.count) == ("sent", 100, 1)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("127.0.0.1", "127.0.0.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("unix:", ""),
        ("203.0.113.77:80", ""),
        ("1.2.3", ""),
    ],
)
def test_an_address_is_recorded_without_its_host_part(address: str, kept: str):
    assert actors.network_of(address) == kept


def test_responses_without_bytes_are_not_recorded(browser: Client, owner: User):
    export = rows.ready(owner)
    url = ticket_for(export, owner)
    browser.head(url)
    browser.get(url, headers={"if-none-match": f'"{export.sha256}"'})
    browser.get(url, headers={"range": f"bytes={export.size}-"})
    assert not rows.downloads().exists()


def outcome() -> tuple[str, int | None]:
    download = rows.downloads().get()
    return download.outcome, download.bytes_sent


def test_a_download_is_sent_once_the_server_took_the_whole_file(browser: Client, owner: User):
    export = rows.ready(owner)
    response = browser.get(ticket_for(export, owner))
    assert outcome() == ("begun", None)
    response.getvalue()
    assert outcome() == ("sent", export.size)


# Closing a response early closes the database connection, too.
@pytest.mark.django_db(transaction=True)
def test_a_download_that_the_client_aborts_is_recorded_with_what_was_sent(browser: Client, owner: User):
    export = rows.ready(owner, content=b"x" * (3 * responses.BLOCK))
    response = browser.get(ticket_for(export, owner))
    blocks = iter(response)
    assert len(next(blocks)) == len(next(blocks)) == responses.BLOCK
    response.close()
    assert outcome() == ("aborted", responses.BLOCK)


def test_bytes_that_another_server_sends_are_not_counted(browser: Client, owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    browser.get(ticket_for(rows.ready(owner), owner))
    assert outcome() == ("handed_over", None)
