"""Feeds: the lasting addresses for Excel and other programs, which make their file again when it is too old."""

import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openpyxl
import pandas
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone, translation

from exports import feeds, services, storage
from exports.exporters import Column
from exports.models import AuditEntry, Feed, FileRequest, Status, transitions
from exports.models.audit import SYSTEM
from exports.models.feed import revoke_feed
from exports.worker import loop
from tests.bucket.server import Moto
from tests.libreoffice import convert
from tests.office import people, rows
from tests.office.browsers import JSON, signed_in
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered
from tests.shop.requests import at_once
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("folder", "woken")]

FORM = "/exports/new/report/"
FEEDS = f"{FORM}feeds/"
CHOSEN = {"month": "4", "format": "csv", "feed_name": "Month end"}
OLD = 1000
"""More seconds than the usual 900 up to which a file is served without a new run."""


class FedReport(ReportExport):
    """The report, with feeds."""

    feeds = True


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, FEED_WAIT_SECONDS=0)
    with open_office(), registered(FedReport):
        yield


def made(owner: User, **fields: str) -> str:
    """Make a feed as its owner does, and return the path of its address."""
    response = signed_in(owner).post(FEEDS, CHOSEN | fields, headers=JSON)
    assert response.status_code == 201, response.content
    return urlsplit(response.json()["address"]).path


@pytest.fixture
def address(owner: User) -> str:
    return made(owner)


def get(address: str, **headers: str) -> HttpResponse:
    """Get an address as a program does that is not signed in; the body is in `content_read`."""
    response = Client().get(address, headers=headers)
    response.content_read = response.getvalue()
    return response


def finish() -> FileRequest:
    """Let a worker make the file of the newest request."""
    newest = FileRequest.objects.order_by("-requested_at").first()
    assert newest is not None
    assert loop.dispatch(newest.pk)
    return rows.fresh(newest)


def filled(address: str) -> FileRequest:
    """Let the first run of a feed make its file."""
    assert get(address).status_code == 503
    return finish()


def age(export: FileRequest, seconds: float = OLD) -> None:
    FileRequest.objects.filter(pk=export.pk).update(
        requested_at=timezone.now() - timedelta(seconds=seconds + 5),
        finished_at=timezone.now() - timedelta(seconds=seconds),
    )


def told(response: HttpResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return everything that a client sees of a response."""
    return response.status_code, response.content_read, sorted(response.items())


# Refreshing


def test_the_first_request_makes_a_run_and_says_so_until_there_is_a_file(address: str, owner: User) -> None:
    response = get(address)
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert response.content_read == b"The file is still being made. Please refresh again in a moment.\n"
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert get(address).status_code == 503
    export = finish()
    assert FileRequest.objects.count() == 1
    response = get(address)
    assert response.content_read.decode("utf-8-sig").split() == ["Name", "owner"]
    assert (response.status_code, response["Age"], export.requester) == (200, "0", owner)


def test_a_file_is_served_without_a_run_until_it_is_too_old(address: str) -> None:
    age(filled(address), 800)
    assert 800 <= int(get(address)["Age"]) < 810
    assert FileRequest.objects.count() == 1


def test_while_a_newer_file_is_made_the_last_good_one_is_served_with_its_age(address: str, owner: User) -> None:
    age(filled(address))
    people.user("zoe")
    older = get(address)
    assert (older.status_code, b"zoe" in older.content_read) == (200, False)
    assert OLD <= int(older["Age"]) < OLD + 10
    finish()
    newer = get(address)
    assert (newer["Age"], b"zoe" in newer.content_read) == ("0", True)
    assert FileRequest.objects.count() == 2


def test_a_run_under_way_of_the_same_choices_is_joined(address: str, owner: User) -> None:
    by_hand, _ = services.request_export(owner, "report", {"month": "4"}, format="csv")
    assert get(address).status_code == 503
    assert Feed.objects.get().export == by_hand
    assert FileRequest.objects.count() == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_after_a_run_without_a_file_the_last_good_one_is_served_and_a_minute_later_it_runs_again(
    address: str, end: str
) -> None:
    age(filled(address))
    get(address)
    newest = Feed.objects.get().export
    if end == "failed":
        claim = transitions.claim(newest, owner="here:1:1", extension="csv")
        assert claim is not None
        transitions.fail(claim, code="storage_full", detail="")
    else:
        transitions.cancel(newest)
    assert int(get(address)["Age"]) >= OLD
    assert FileRequest.objects.count() == 2
    age(newest, 61)
    get(address)
    assert FileRequest.objects.count() == 3


def test_without_any_file_the_reason_of_the_failure_is_told(address: str) -> None:
    get(address)
    claim = transitions.claim(Feed.objects.get().export, owner="here:1:1", extension="csv")
    assert claim is not None
    transitions.fail(claim, code="too_many_columns", detail="")
    response = get(address)
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert response.content_read.startswith(b"The file could not be made. This export has more columns than the format")


def test_the_texts_are_in_the_language_in_which_the_address_was_made(owner: User) -> None:
    with translation.override("de"):
        address = made(owner)
    assert "Datei" in get(address).content_read.decode()
    assert FileRequest.objects.get().requester_language == "de"


def test_a_file_that_its_owner_deletes_is_served_no_more(address: str) -> None:
    export = filled(address)
    get(address)
    services.remove(rows.fresh(export), SYSTEM)
    assert get(address).status_code == 503
    assert FileRequest.objects.count() == 2


def test_head_and_a_wrong_extension_make_no_run(address: str) -> None:
    assert Client().head(address).status_code == 503
    assert get(address.removesuffix("csv") + "xlsx").status_code == 404
    assert not FileRequest.objects.exists()
    export = filled(address)
    age(export)
    head = Client().head(address)
    assert (head.status_code, head.content, head["Content-Length"]) == (200, b"", str(export.size))
    assert FileRequest.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_request_waits_for_the_run_that_it_makes_also_with_atomic_requests(
    address: str, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    configure(settings, FEED_WAIT_SECONDS=20)
    with working():
        assert get(address).content_read.decode("utf-8-sig").split() == ["Name", "owner"]


@pytest.mark.django_db(transaction=True)
def test_a_hundred_refreshes_at_once_make_one_run(address: str, settings: LazySettings) -> None:
    age(filled(address))
    people.user("zoe")
    configure(settings, FEED_WAIT_SECONDS=20, MAX_DOWNLOADS_PER_USER=None)
    with working():
        answers = at_once(*[lambda: told(get(address))] * 100)
    assert FileRequest.objects.count() == 2
    assert {(status, b"zoe" in body) for status, body, _headers in answers} == {(200, True)}


class working:
    """Inside, a thread makes the files that are requested."""

    def __enter__(self) -> None:
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        self.thread.join()

    def work(self) -> None:
        while not self.is_over.wait(0.1):
            for export in FileRequest.objects.filter(status=Status.QUEUED):
                loop.dispatch(export.pk)
        connection.close()


# The response


def test_the_file_has_a_stable_name_and_is_neither_indexed_nor_shared_nor_leaked(address: str) -> None:
    filled(address)
    response = get(address)
    assert response["Content-Disposition"] == 'attachment; filename="Month end.csv"'
    assert response["Cache-Control"] == "private, no-cache"
    assert (response["Referrer-Policy"], response["X-Robots-Tag"]) == ("no-referrer", "noindex, nofollow")
    assert "Set-Cookie" not in response
    assert not response.cookies


def test_the_session_of_a_browser_that_opens_the_address_does_not_count(address: str) -> None:
    filled(address)
    client = signed_in(people.user("stranger"))
    response = client.get(address)
    assert (response.status_code, b"owner" in response.getvalue()) == (200, True)
    assert not response.cookies


def test_an_unchanged_file_is_a_304_with_its_age_and_a_range_a_206(address: str) -> None:
    export = filled(address)
    etag = get(address)["ETag"]
    assert etag == f'"{export.sha256}"'
    age(export, 100)
    unchanged = get(address, **{"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content_read, unchanged["ETag"]) == (304, b"", etag)
    assert int(unchanged["Age"]) >= 100
    part = get(address, Range="bytes=0-3")
    assert (part.status_code, part["Content-Range"]) == (206, f"bytes 0-3/{export.size}")
    assert get(address, Range="bytes=9999-").status_code == 416


def test_the_app_streams_the_file_even_from_s3_and_behind_nginx(address: str, s3: Moto, settings: LazySettings) -> None:
    export = filled(address)
    assert storage.presign(str(export.filehandle), seconds=60, content_type="", disposition="")
    for accel in (None, "/protected/"):
        configure(settings, ACCEL_REDIRECT=accel)
        response = get(address)
        assert (response.status_code, len(response.content_read)) == (200, export.size)
        assert "X-Accel-Redirect" not in response
        assert get(address, Range="bytes=3-6").content_read == response.content_read[3:7]
        assert Client().head(address)["Content-Length"] == str(export.size)


def test_a_workbook_has_its_own_extension_and_opens(owner: User) -> None:
    address = made(owner, format="xlsx")
    assert address.endswith(".xlsx")
    filled(address)
    sheet = openpyxl.load_workbook(io.BytesIO(get(address).content_read)).active
    assert [cell.value for cell in sheet["A"]] == ["Name", "owner"]


# Permission


def test_every_address_that_does_not_work_gets_the_same_response(owner: User) -> None:
    revoked, refused, gone = made(owner), made(people.user("refused")), made(people.user("gone"))
    for each in (refused, gone):
        filled(each)
        assert get(each).status_code == 200
    signed_in(owner).post(f"/exports/feeds/{Feed.objects.get(owner=owner).pk}/revoke/", headers=JSON)
    people.refuse(User.objects.get(username="refused"))
    people.deactivate(User.objects.get(username="gone"))
    working_one = made(people.user("other"))
    wrong = [
        working_one[:-5] + ".csv",
        working_one[:-4],
        "/exports/feed/nonsense",
        "/exports/feed/feed_.csv",
        "/exports/feed/%00",
    ]
    answers = [told(get(each)) for each in (revoked, refused, gone, *wrong)]
    assert answers == [answers[0]] * len(answers)
    assert answers[0][:2] == (404, b"There is no such address.\n")


def test_an_address_works_only_while_the_export_offers_feeds(address: str) -> None:
    filled(address)
    with registered(ReportExport):
        assert get(address).status_code == 404
        assert Client().head(address).status_code == 404
    assert get(address).status_code == 200
    denied = AuditEntry.objects.get(outcome="denied")
    assert (denied.verb, denied.actor_kind, denied.actor_name, denied.count) == ("download", "feed", "Month end", 2)


def test_a_run_stays_secret_from_who_has_the_address_of_a_refused_owner(address: str, owner: User) -> None:
    assert get(address).status_code == 503
    people.refuse(owner)
    assert get(address).status_code == 404


def test_a_column_that_its_owner_may_not_have_any_more_leaves_the_file_at_the_next_refresh(owner: User) -> None:
    columns = (Column("username", "Name"), Column("email", permission="exports.view_filerequest"))
    owner.user_permissions.add(Permission.objects.get(codename="view_filerequest"))
    with registered(type("Wide", (FedReport,), {"columns": columns})):
        address = made(owner)
        filled(address)
        assert b"owner@example.com" in get(address).content_read
        owner.user_permissions.clear()
        assert get(address).status_code == 503
        finish()
        assert get(address).content_read.decode("utf-8-sig").split() == ["Name", "owner"]


def test_an_address_works_for_its_own_tenant_alone(owner: User, settings: LazySettings) -> None:
    settings.MIDDLEWARE = ["exports.access.tenants.TenantMiddleware", *settings.MIDDLEWARE]
    configure(settings, TENANT_OF=lambda request: request.headers.get("X-Tenant", ""))
    response = signed_in(owner).post(FEEDS, CHOSEN, headers=JSON | {"X-Tenant": "oslo"})
    address = urlsplit(response.json()["address"]).path
    assert get(address, **{"X-Tenant": "rome"}).status_code == 404
    assert get(address, **{"X-Tenant": "oslo"}).status_code == 503
    assert FileRequest.objects.get().tenant == "oslo"


def test_choices_that_are_no_longer_valid_are_told(address: str) -> None:
    filled(address)
    Feed.objects.update(criteria="month=13")
    assert get(address).status_code == 410
    with registered(type("Other", (FedReport,), {"formats": ("xlsx",)})):
        assert get(address).status_code == 410


def test_the_quota_of_the_owner_applies_and_the_last_good_file_is_served(
    address: str, owner: User, settings: LazySettings
) -> None:
    configure(settings, MAX_PER_USER_PER_DAY=1)
    age(filled(address))
    assert int(get(address)["Age"]) >= OLD
    assert FileRequest.objects.count() == 1
    refused = get(made(owner, month="5"))
    assert (refused.status_code, int(refused["Retry-After"]) > 0) == (429, True)
    assert refused["Content-Type"].startswith("text/plain")


def test_too_many_downloads_at_once_are_refused_in_words(address: str, settings: LazySettings) -> None:
    filled(address)
    configure(settings, MAX_DOWNLOADS_PER_USER=1)
    open_one = Client().get(address)
    refused = get(address)
    assert (refused.status_code, refused["Content-Type"]) == (429, "text/plain; charset=utf-8")
    open_one.getvalue()
    assert get(address).status_code == 200


def test_a_revoked_address_ends_a_download_that_has_begun(address: str, owner: User) -> None:
    filled(address)
    part = Client().get(address).part
    assert part.may_go_on()
    signed_in(owner).post(f"/exports/feeds/{Feed.objects.get().pk}/revoke/", headers=JSON)
    assert not part.may_go_on()
    part.close()


@pytest.mark.parametrize("end", ["revoked", "inactive"])
def test_an_address_that_ends_while_its_refresh_waits_serves_nothing(
    address: str, owner: User, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    def waited_for(export: FileRequest) -> FileRequest:
        if end == "revoked":
            revoke_feed(Feed.objects.get(), SYSTEM)
        else:
            people.deactivate(owner)
        return finished

    get(address)
    finished = finish()
    Feed.objects.update(export=rows.queued(owner))
    monkeypatch.setattr(feeds, "_waited_for", waited_for)
    assert told(get(address)) == told(get("/exports/feed/nonsense"))
    assert not AuditEntry.objects.filter(verb="download", outcome="sent").exists()


def test_an_address_that_ends_just_before_its_refresh_makes_no_run(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_due = feeds._is_due

    def revoked(feed: Feed) -> bool:
        revoke_feed(feed, SYSTEM)
        return is_due(feed)

    monkeypatch.setattr(feeds, "_is_due", revoked)
    assert get(address).status_code == 404
    assert not FileRequest.objects.exists()


# Real programs


@pytest.mark.django_db(transaction=True)
def test_pandas_and_urllib_read_the_address(address: str, live_server: Any, settings: LazySettings) -> None:
    configure(settings, FEED_WAIT_SECONDS=20)
    url = live_server.url + address
    with working():
        assert pandas.read_csv(url)["Name"].tolist() == ["owner"]
    with urllib.request.urlopen(url) as response:
        assert (response.url, response.status, response.headers["Age"] is not None) == (url, 200, True)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url[:-5] + ".csv")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_libreoffice_opens_the_address(address: str, live_server: Any, tmp_path: Path) -> None:
    filled(address)
    folder = tmp_path / "converted"
    [document] = convert([live_server.url + address], folder, to="csv")
    assert document.read_text("utf-8-sig").split() == ["Name", "owner"]
