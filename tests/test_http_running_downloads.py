"""Downloads that have begun: what ends them, what does not, and how many one user may have."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from exports.http import downloads, responses
from exports.models import FileRequest, transitions
from exports.models.audit import SYSTEM
from tests.office import people, rows
from tests.office.browsers import JSON, signed_in, status_of, ticket_for, url_of
from tests.office.worlds import open_worlds

pytestmark = pytest.mark.django_db

CONTENT = b"x" * (3 * responses.BLOCK)


@pytest.fixture(autouse=True)
def checked_at_each_block(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(responses, "RECHECK_SECONDS", 0.0)
    with open_worlds():
        yield


@pytest.fixture
def export(owner: User) -> FileRequest:
    return rows.ready(owner, CONTENT)


def link_of(export: FileRequest) -> str:
    return signed_in(export.requester).post(url_of("share", export), headers=JSON).json()["public_link"]


@contextmanager
def begun(address: str, client: Client) -> Iterator[Iterator[bytes]]:
    """Begin a download, read one block of it, and provide the others."""
    with closing(client.get(address)) as response:
        blocks = iter(response)
        next(blocks)
        yield blocks


ENDINGS: dict[str, Callable[[FileRequest], Any]] = {
    "revoked": lambda export: transitions.revoke_links(export, SYSTEM),
    "expired": lambda export: transitions.expire(export, SYSTEM),
    "deleted": lambda export: export.delete(),
    "another file attached": lambda export: export.attach_file(ContentFile(b"another"), "other.csv"),
    "owner may not export it": lambda export: people.refuse(export.requester),
    "owner deactivated": lambda export: people.deactivate(export.requester),
}


@pytest.mark.parametrize("is_public", [False, True], ids=["by ticket", "by public link"])
@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_ends_a_link_ends_a_running_download(
    export: FileRequest, owner: User, end: Callable[[FileRequest], Any], is_public: bool
):
    address, client = (link_of(export), Client()) if is_public else (ticket_for(export, owner), signed_in(owner))
    with begun(address, client) as blocks:
        end(rows.fresh(export))
        with pytest.raises(responses.DownloadStopped):
            next(blocks)


def test_a_newer_public_link_ends_a_running_download_by_the_older(export: FileRequest, settings: LazySettings):
    with begun(link_of(export), Client()) as blocks:
        settings.EXPORTS = {**settings.EXPORTS, "PUBLIC_LINK_MAX_AGE_SECONDS": 60}
        link_of(export)
        with pytest.raises(responses.DownloadStopped):
            next(blocks)


def test_a_download_outlasts_its_ticket_and_the_time_of_the_file(export: FileRequest, owner: User):
    FileRequest.objects.filter(pk=export.pk).update(expires_at=timezone.now())
    with begun(ticket_for(rows.fresh(export), owner), signed_in(owner)) as blocks:
        assert transitions.expire(rows.fresh(export), SYSTEM)
        assert len(list(blocks)) == 2


# Closing a response early closes the database connection, too.
@pytest.mark.django_db(transaction=True)
def test_a_user_has_so_many_downloads_at_once_and_then_gets_429(
    export: FileRequest, owner: User, settings: LazySettings
):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_DOWNLOADS_PER_USER": 2}
    client, address = signed_in(owner), ticket_for(export, owner)
    with begun(address, client):
        with begun(address, client):
            third = client.get(address, headers=JSON)
            assert (third.status_code, third["Retry-After"], third.json()["error"]["limit"]) == (429, "10", 2)
            assert client.get(address).status_code == 429
            assert client.head(address).status_code == 200
            assert status_of(client, link_of(export)) == 200
        assert status_of(client, address) == 200
    settings.EXPORTS = {**settings.EXPORTS, "MAX_DOWNLOADS_PER_USER": 0}
    assert (status_of(client, address), downloads._reading) == (429, {})


def test_a_download_that_begins_meanwhile_counts(
    export: FileRequest, owner: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_DOWNLOADS_PER_USER": 1}
    client, address, second = signed_in(owner), ticket_for(export, owner), []

    def record_download(*args: Any) -> Callable[[int], None]:
        monkeypatch.setattr(downloads, "record_download", recorded)
        second.append(client.get(address).status_code)
        return recorded(*args)

    recorded = downloads.record_download
    monkeypatch.setattr(downloads, "record_download", record_download)
    with begun(address, client):
        assert second == [429]
    assert not downloads._reading


class Broken(io.BytesIO):
    def read(self, *args: int) -> bytes:
        raise BlockingIOError


async def test_a_download_whose_file_cannot_be_read_gives_its_place_back():
    closed: list[int] = []
    part = responses.FilePart(Broken(), responses.ByteRange(0, 10))
    part.on_close = closed.append
    with pytest.raises(BlockingIOError):
        async for _ in responses.FileStream(part):
            pass
    assert closed == [0]


# Logs


@pytest.mark.parametrize("method", ["options", "post", "put", "delete"])
def test_a_refused_request_for_a_link_is_logged_without_the_link(
    export: FileRequest, owner: User, method: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    addresses = [link_of(export), ticket_for(export, owner)]
    transitions.revoke_links(export, SYSTEM)
    for address in addresses:
        getattr(Client(), method)(address)
        getattr(Client(enforce_csrf_checks=True), method)(address)
        Client().get(address)
    assert not any(signature_of(address) in caplog.text for address in addresses)
    assert "/exports/public/(signed)/" in caplog.text


def signature_of(address: str) -> str:
    """Return the signature of a link."""
    return address.rstrip("/").rpartition(":")[2]
