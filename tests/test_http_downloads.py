"""What counts as seen, and the way to the file: the download, its tickets, its trail."""

import random
import string
from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from exports import storage
from exports.http import responses
from exports.models import Download, FileRequest
from tests.office import people, rows
from tests.office.browsers import JSON, mutated, signed_in, status_of, ticket_for, url_of
from tests.office.exports import open_office

pytestmark = pytest.mark.django_db

ALPHABET = string.ascii_letters + string.digits + "-_:.=%é\0 "


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


@pytest.fixture
def client(owner: User) -> Client:
    """A browser in which the owner is signed in."""
    return signed_in(owner)


# Seen


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_the_page_of_the_owner_says_that_it_has_shown_the_end(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.post(url_of("seen", request), headers=JSON)
    assert (response.status_code, response.json()["id"]) == (200, str(request.pk))
    assert rows.fresh(request).seen_at is not None


def test_what_has_not_ended_cannot_be_seen_to_have_ended(client: Client, owner: User):
    request = rows.running(owner)
    assert client.post(url_of("seen", request), headers=JSON).status_code == 200
    assert rows.fresh(request).seen_at is None


def test_staff_who_look_do_not_count_as_the_owner(owner: User):
    request = rows.ready(owner)
    client = signed_in(people.staff("staff", people.VIEW, people.CHANGE, people.ANY))
    assert client.post(url_of("seen", request), headers=JSON).status_code == 200
    assert client.get(url_of("download", request), follow=True).getvalue() == rows.CONTENT
    assert rows.fresh(request).seen_at is None


def test_reading_a_page_or_a_state_does_not_count_as_having_seen_it(client: Client, owner: User):
    request = rows.ready(owner)
    for address in (url_of("page", request), url_of("detail", request), "/exports/", url_of("download", request)):
        client.get(address)
    client.head(ticket_for(request, owner))
    assert rows.fresh(request).seen_at is None


def test_a_download_counts_as_having_seen_it(client: Client, owner: User):
    request = rows.ready(owner)
    status_of(client, ticket_for(request, owner))
    assert rows.fresh(request).seen_at is not None


# Downloading


def test_the_download_leads_over_a_fresh_ticket_to_the_file(client: Client, owner: User):
    request = rows.ready(owner)
    response = client.get(url_of("download", request))
    assert response.status_code == 302
    assert response["Location"].startswith("/exports/file/")
    assert response["Referrer-Policy"] == "no-referrer"
    assert client.get(response["Location"]).getvalue() == rows.CONTENT


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled", "expired"])
def test_a_download_of_what_is_not_ready_leads_to_its_page(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    response = client.get(url_of("download", request))
    assert (response.status_code, response["Location"]) == (302, url_of("page", request))


def test_the_ticket_of_a_state_downloads_at_once_for_its_reader(client: Client, owner: User):
    state = client.get(url_of("detail", rows.ready(owner))).json()
    assert client.get(state["urls"]["ticket"]).getvalue() == rows.CONTENT


def test_staff_get_a_ticket_of_their_own(owner: User):
    request, downloader = rows.ready(owner), people.staff("downloader", people.VIEW, people.ANY)
    state = signed_in(downloader).get(url_of("detail", request)).json()
    assert status_of(signed_in(downloader), state["urls"]["ticket"]) == 200
    assert status_of(signed_in(owner), state["urls"]["ticket"]) == 404


def test_whoever_may_only_look_gets_no_ticket(owner: User):
    state = signed_in(people.staff("viewer", people.VIEW)).get(url_of("detail", rows.ready(owner))).json()
    assert state["urls"]["ticket"] is None


def test_a_ticket_is_good_for_its_user_its_minute_and_its_epoch_alone(client: Client, owner: User):
    request, other = rows.ready(owner), people.user("other")
    assert status_of(client, ticket_for(request, owner)) == 200
    assert status_of(client, ticket_for(request, other)) == 404
    assert status_of(signed_in(other), ticket_for(request, owner)) == 404
    assert status_of(signed_in(other), ticket_for(request, other)) == 404
    assert status_of(client, ticket_for(request, owner, seconds=-1)) == 404
    assert status_of(client, ticket_for(request, owner, seconds=3600)) == 404
    assert status_of(client, ticket_for(request, owner, epoch=request.epoch + 1)) == 404
    assert status_of(client, ticket_for(request, owner, epoch=request.epoch - 1)) == 404


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled", "expired"])
def test_a_ticket_for_what_is_not_ready_opens_nothing(client: Client, owner: User, status: str):
    assert status_of(client, ticket_for(rows.IN_STATUS[status](owner), owner)) == 404


def test_a_ticket_for_what_is_not_there_opens_nothing(client: Client, owner: User):
    assert client.get(ticket_for(FileRequest(pk=uuid4()), owner)).status_code == 404


def test_a_ticket_of_somebody_who_lost_the_permission_opens_nothing(client: Client, owner: User):
    request = rows.ready(owner)
    people.refuse(owner)
    assert status_of(client, ticket_for(request, owner)) == 404
    assert client.get(url_of("download", request)).status_code == 404


def test_no_altered_ticket_opens_the_file(client: Client, owner: User):
    good = ticket_for(rows.ready(owner), owner).removeprefix("/exports/file/").removesuffix("/")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for text in {mutated(good, chance, ALPHABET) for _ in range(200)} - {good}:
        assert client.get(f"/exports/file/{quote(text, safe='')}/").status_code == 404
    assert not Download.objects.exists()


@pytest.mark.parametrize(
    "text",
    ["%00", "%FF%FE", "..%2F..%2Fetc", "%E2%80%AE", "a:b:c", ":::", "%0D%0ASet-Cookie:x", "x" * 20_000, "%25", "{}"],
)
def test_no_garbage_in_place_of_a_ticket_is_more_than_not_found(client: Client, text: str):
    assert client.get(f"/exports/file/{text}/").status_code == 404


def test_a_file_that_has_vanished_is_not_found(client: Client, owner: User):
    request = rows.ready(owner)
    storage.delete(request.filehandle.name)
    for method in (client.get, client.head):
        assert method(ticket_for(request, owner)).status_code == 404
    assert not Download.objects.exists()
    assert rows.fresh(request).seen_at is None


def test_a_download_leaves_a_trail(client: Client, owner: User):
    request = rows.ready(owner)
    client.get(ticket_for(request, owner), REMOTE_ADDR="203.0.113.77").getvalue()
    client.get(ticket_for(request, owner), headers={"range": "bytes=100-199"}, REMOTE_ADDR="2001:db8:1:2::3").getvalue()
    whole, part = Download.objects.order_by("at")
    assert (whole.request, whole.user, whole.file_type) == (request, owner, "report")
    assert (whole.address, whole.first_byte, whole.byte_count) == ("203.0.113.0", 0, request.size)
    assert (part.address, part.first_byte, part.byte_count) == ("2001:db8:1::", 100, 100)


def test_what_hands_over_no_bytes_leaves_no_trail(client: Client, owner: User):
    request = rows.ready(owner)
    address = ticket_for(request, owner)
    client.head(address)
    client.get(address, headers={"if-none-match": f'"{request.sha256}"'})
    client.get(address, headers={"range": f"bytes={request.size}-"})
    assert not Download.objects.exists()


# How a download ended


def test_a_whole_file_is_recorded_as_completed_when_it_is_sent(client: Client, owner: User):
    request = rows.ready(owner)
    response = client.get(ticket_for(request, owner))
    assert Download.objects.get().outcome == "begun"
    response.getvalue()
    assert outcome() == ("completed", request.size)


def test_a_range_is_completed_with_its_own_bytes(client: Client, owner: User):
    request = rows.ready(owner)
    client.get(ticket_for(request, owner), headers={"range": "bytes=100-199"}).getvalue()
    assert outcome() == ("completed", 100)


# A response that is closed by hand closes the connection, too.
@pytest.mark.django_db(transaction=True)
def test_a_reader_who_leaves_is_recorded_with_what_was_sent(client: Client, owner: User):
    request = rows.ready(owner, content=b"x" * (3 * responses.BLOCK))
    response = client.get(ticket_for(request, owner))
    blocks = iter(response)
    assert len(next(blocks)) == len(next(blocks)) == responses.BLOCK
    response.close()
    assert outcome() == ("aborted", responses.BLOCK)


def test_a_download_is_told_once_how_it_ended(client: Client, owner: User):
    client.get(ticket_for(rows.ready(owner), owner)).getvalue()
    [download] = Download.objects.all()
    download.end(1)
    assert outcome()[0] == "completed"


def test_what_another_server_sends_is_not_claimed_to_be_sent(client: Client, owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    client.get(ticket_for(rows.ready(owner), owner))
    assert outcome() == ("handed_over", None)


def outcome() -> tuple[str, int | None]:
    download = Download.objects.get()
    return download.outcome, download.bytes_sent
