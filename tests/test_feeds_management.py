"""Feeds are made, listed and revoked; what their runs leave behind."""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from exports import checks, housekeeping, services
from exports.access import tokens
from exports.models import AuditEntry, Feed, FileRequest, Notification, Status
from exports.models.audit import SYSTEM
from exports.signing import SIGNED
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of
from tests.office.exports import ReportExport, open_office
from tests.office.markup import HtmlPage
from tests.shop.exports import registered
from tests.shop.runs import configure
from tests.test_feeds import CHOSEN, FEEDS, FORM, FedReport, age, filled, finish, get, made

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("folder", "woken")]


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, FEED_WAIT_SECONDS=0)
    with open_office(), registered(FedReport):
        yield


@pytest.fixture
def address(owner: User) -> str:
    return made(owner)


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
