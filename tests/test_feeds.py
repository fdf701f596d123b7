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
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.utils import timezone, translation

from exports import checks, feeds, housekeeping, services, storage
from exports.access import tokens
from exports.exporters import Column
from exports.models import AuditEntry, Feed, FileRequest, Notification, Status, transitions
from exports.models.audit import SYSTEM
from exports.models.feed import revoke_feed
from exports.signing import SIGNED
from exports.worker import loop
from tests.bucket.server import Moto
from tests.libreoffice import convert
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of
from tests.office.exports import ReportExport, open_office
from tests.office.markup import HtmlPage
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


# The record, the list, and how long files are kept


def test_runs_and_downloads_name_the_owner_and_the_feed_in_the_audit_log(address: str, owner: User) -> None:
    export = filled(address)
    get(address)
    entries = AuditEntry.objects.filter(verb__in=["feed", "request", "download"]).order_by("pk")
    assert [(each.verb, each.actor_kind, each.user, each.actor_name, each.reason) for each in entries] == [
        ("feed", "user", owner, "", "made: Month end"),
        ("request", "feed", owner, "Month end", ""),
        ("download", "feed", owner, "Month end", ""),
    ]
    assert rows.fresh(export).seen_at is None


def test_a_run_of_a_feed_is_labelled_in_the_list_and_sends_no_mail(
    address: str, owner: User, settings: LazySettings
) -> None:
    configure(settings, MAIL_DELAY_SECONDS=0)
    export = filled(address)
    assert export.label == "Month end (address)"
    assert "Month end (address)" in signed_in(owner).get("/exports/", headers=HTML).content.decode()
    assert not export.sends_mail
    housekeeping.send_mails()
    assert not Notification.objects.filter(state="sent").exists()


def test_a_newer_file_replaces_all_runs_but_the_one_before_in_the_list(address: str, owner: User) -> None:
    first = newest = filled(address)
    by_hand, _ = services.request_export(owner, "report", {"month": "5"}, format="csv")
    for _ in range(2):
        before = newest
        age(newest)
        get(address)
        newest = finish()
        get(address)
    assert set(FileRequest.objects.owned_by(owner)) == {newest, before, by_hand}
    assert rows.fresh(first).status == Status.EXPIRED


def test_a_newer_file_does_not_end_downloads_of_the_one_before(address: str) -> None:
    age(filled(address))
    part = Client().get(address).part
    finish()
    get(address)
    assert part.may_go_on()
    part.close()


def test_a_run_that_its_owner_asks_for_too_is_their_own_and_stays_in_the_list(address: str, browser: Client) -> None:
    get(address)
    asked = browser.post(FORM, {"month": "4", "format": "csv"}, headers=JSON).json()
    mine = FileRequest.objects.get(pk=asked["id"])
    assert (mine.feed, mine.label, mine.sends_mail) == (None, "Month: 4", True)
    for _ in range(3):
        finish()
        get(address)
        age(Feed.objects.get().export)
        get(address)
    assert rows.fresh(mine).status == Status.READY


def test_the_last_good_file_is_kept_as_long_after_its_last_use_as_others_after_their_run(address: str) -> None:
    export = filled(address)
    almost = timezone.now() + timedelta(seconds=30)
    FileRequest.objects.filter(pk=export.pk).update(expires_at=almost)
    get(address)
    kept = rows.fresh(export).expires_at - timezone.now()
    assert kept.total_seconds() == pytest.approx(2 * 24 * 3600, abs=30)
    FileRequest.objects.filter(pk=export.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    housekeeping.expire()
    assert get(address).status_code == 503


def test_a_file_whose_export_keeps_it_for_ever_stays_so(owner: User) -> None:
    with registered(type("Kept", (FedReport,), {"retention_seconds": float("inf")})):
        address = made(owner)
        export = filled(address)
        assert get(address).status_code == 200
        assert rows.fresh(export).expires_at is None


def test_a_feed_survives_the_deletion_of_its_exports_and_ends_with_its_owner(address: str, owner: User) -> None:
    filled(address).delete()
    assert get(address).status_code == 503
    owner.delete()
    assert (get(address).status_code, Feed.objects.count()) == (404, 0)


# Making and revoking


def test_the_form_makes_shows_once_and_ends_an_address_without_javascript(browser: Client, owner: User) -> None:
    response = browser.post(FEEDS, CHOSEN | {"feed_max_age": "3600"}, headers=HTML)
    page = HtmlPage(response.content.decode())
    [shown] = [each for each in page.all("code") if each.get("id") == "export-feed-address"]
    feed = Feed.objects.get()
    assert (response.status_code, feed.max_age_seconds, feed.owner) == (201, 3600, owner)
    text = response.content.decode()
    start = text.index("https://exports.example/exports/feed/feed_")
    path = urlsplit(text[start : text.index("</code>", start)]).path
    assert (shown["class"], response["Cache-Control"]) == ("export-feed-address", "private, no-store")
    assert status_of(Client(), path) == 503
    later = browser.get(FORM, headers=HTML).content.decode()
    assert ("feed_" in later.replace("feed_name", "").replace("feed_max_age", ""), "Month end" in later) == (
        False,
        True,
    )
    assert path.split("/")[-1] not in str(list(Feed.objects.values()))
    ended = browser.post(f"/exports/feeds/{feed.pk}/revoke/", headers=HTML)
    assert (ended.status_code, ended["Location"]) == (302, FORM)
    assert get(path).status_code == 404
    assert "End the address" not in browser.get(FORM, headers=HTML).content.decode()
    assert Feed.objects.get().criteria == ""


def owner_by_header(request: HttpRequest) -> User | None:
    """A function for EXPORTS["AUTHENTICATE"]: who a token of the site stands for."""
    return User.objects.get(username="owner") if request.headers.get("Authorization") == "Bearer theirs" else None


def test_no_token_lists_makes_or_ends_addresses(address: str, owner: User, settings: LazySettings) -> None:
    configure(settings, AUTHENTICATE=owner_by_header)
    _token, text = tokens.create(owner, "nightly", SYSTEM, can_create=True)
    revoke = f"/exports/feeds/{Feed.objects.get().pk}/revoke/"
    for carried in (text, "theirs"):
        program = Client(headers={"authorization": f"Bearer {carried}"})
        answers = [program.get(FEEDS), program.post(FEEDS, CHOSEN), program.post(revoke)]
        assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [(403, "bad_feed")] * 3
    assert Feed.objects.get().revoked_at is None


def test_programs_list_make_and_end_feeds(browser: Client) -> None:
    created = browser.post(FEEDS, {"month": 4, "format": "csv"}, content_type="application/json", headers=JSON).json()
    assert (created["name"], created["max_age_seconds"]) == ("Month: 4", 900)
    [listed] = browser.get(FEEDS, headers=JSON).json()["feeds"]
    assert listed == {name: value for name, value in created.items() if name != "address"}
    assert browser.post(f"/exports/feeds/{listed['id']}/revoke/", headers=JSON).status_code == 204
    assert browser.get(FEEDS, headers=JSON).json() == {"feeds": []}
    assert browser.get(FEEDS, headers=HTML)["Location"] == FORM


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"month": "13"}, "invalid_criteria"), ({"feed_max_age": "1"}, "bad_feed"), ({"format": "x"}, "unknown_format")],
)
def test_a_feed_needs_valid_choices_and_one_of_the_ages(browser: Client, fields: dict[str, str], code: str) -> None:
    response = browser.post(FEEDS, CHOSEN | fields, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert browser.post(FEEDS, CHOSEN | fields, headers=HTML).status_code == 400
    assert not Feed.objects.exists()


def test_control_characters_leave_the_name_and_an_unknown_time_zone_is_the_active_one(owner: User) -> None:
    made(owner, feed_name="Month\0end", time_zone="a\0b")
    feed = Feed.objects.get()
    assert (feed.name, feed.time_zone) == ("Month end", timezone.get_current_timezone_name())
    made(owner, feed_name="\0", time_zone="Asia/Tokyo")
    assert Feed.objects.get(name="Month: 4").time_zone == "Asia/Tokyo"


def test_an_export_offers_no_feeds_by_default(browser: Client) -> None:
    with registered(ReportExport):
        assert "feed_max_age" not in browser.get(FORM, headers=HTML).content.decode()
        assert browser.post(FEEDS, CHOSEN, headers=JSON).status_code == 404


def test_a_user_has_at_most_a_hundred_addresses(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exports.http.feeds.MAX_FEEDS", 1)
    codes = [browser.post(FEEDS, CHOSEN, headers=JSON).status_code for _ in range(2)]
    assert codes == [201, 400]


def test_the_logs_do_not_show_the_token(address: str) -> None:
    assert SIGNED.sub("(signed)", f"GET {address} 200") == "GET /exports/feed/(signed).csv 200"


@pytest.mark.parametrize("seconds", [-1, None, "20"])
def test_an_invalid_time_to_wait_is_a_check_error(settings: LazySettings, seconds: object) -> None:
    configure(settings, FEED_WAIT_SECONDS=seconds)
    assert "FEED_WAIT_SECONDS" in str(list(checks.check_settings()))


def test_staff_end_addresses_in_the_admin(address: str) -> None:
    admin = signed_in(people.staff("steward", "view_feed", people.CHANGE))
    page = admin.get("/admin/exports/feed/")
    assert (page.status_code, b"Month end" in page.content) == (200, True)
    action = {"action": "revoke_feeds", "_selected_action": [Feed.objects.get().pk]}
    admin.post("/admin/exports/feed/", action)
    assert get(address).status_code == 404
    assert AuditEntry.objects.get(reason="revoked: Month end").user.username == "steward"


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
