"""The page of one export: its first rows while it runs, its receipt in words, its times and its link."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from exports import services
from exports.exporters import Column, preview
from exports.http import estimates, words
from exports.models import FileRequest
from exports.state import serialize
from exports.tabular.readers import querysets
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.office.exports import ReportExport
from tests.shop.databases import needs_sqlite
from tests.shop.exports import OrderExport, order_rule, registered
from tests.shop.models import Customer, Order

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("folder", "office", "woken")]


@pytest.fixture(autouse=True)
def asked_for_nothing() -> Iterator[None]:
    estimates._asked.clear()
    yield
    estimates._asked.clear()


@pytest.fixture
def export(owner: User) -> FileRequest:
    ada = Customer.objects.create(name="Ada", city="Oslo")
    for number in range(25):
        Order.objects.create(number=f"=N{number}", quantity=number, customer=ada)
    return services.request_export(owner, "orders", {}, columns=[("number", "No."), ("quantity", "")])[0]


def first_rows(browser: Client, export: FileRequest) -> Any:
    return browser.get(reverse("exports:rows", args=[export.pk]), headers=JSON)


def test_an_export_that_waits_says_without_javascript_when_it_is_expected_to_start(export: FileRequest) -> None:
    state = serialize(export)
    state["progress"] |= {"queue_position": 2, "wait_seconds": 40.0, "unserved_queue": None}
    assert words.detail_text(state) == "Starts in about 40 seconds"
    state["progress"]["unserved_queue"] = "small"
    assert words.detail_text(state) == ""


# The first rows


def test_the_first_twenty_rows_are_shown_with_the_chosen_columns(browser: Client, export: FileRequest) -> None:
    found = first_rows(browser, export).json()
    assert found["columns"] == ["No.", "Quantity"]
    assert (len(found["rows"]), found["rows"][0]) == (20, ["=N0", "0"])


def test_without_javascript_a_link_shows_the_first_rows(browser: Client, export: FileRequest) -> None:
    page = url_of("page", export)
    assert f'<a href="{page}?rows=1#rows">Show the first rows</a>' in browser.get(page).content.decode()
    assert "<td>=N19</td>" in browser.get(f"{page}?rows=1").content.decode()
    assert browser.get(reverse("exports:rows", args=[export.pk]), headers=HTML)["Location"] == f"{page}?rows=1#rows"


def test_the_first_rows_leave_out_columns_that_the_owner_may_not_have(browser: Client, export: FileRequest) -> None:
    columns = (Column("number"), Column("quantity", permission="shop.view_order"))
    with registered(type("Guarded", (OrderExport,), {"columns": columns})):
        assert first_rows(browser, export).json()["columns"] == ["No."]


@pytest.mark.parametrize("what", ["a lost permission", "a sensitive column", "another user", "rows of a worker"])
def test_the_first_rows_are_refused_with(browser: Client, export: FileRequest, what: str) -> None:
    with refusing(what, export):
        staff = people.user("staff")
        staff.user_permissions.set(Permission.objects.filter(codename="view_filerequest"))
        reader = signed_in(staff) if what == "another user" else browser
        assert first_rows(reader, export).status_code == (404 if what == "another user" else 204)
        assert "=N0" not in reader.get(f"{url_of('page', export)}?rows=1").content.decode()


def test_an_export_whose_choices_are_deleted_shows_no_first_rows(browser: Client, export: FileRequest) -> None:
    FileRequest.objects.filter(pk=export.pk).update(status="failed", criteria="", columns=[], erased_at=timezone.now())
    assert first_rows(browser, export).status_code == 404


@contextmanager
def refusing(what: str, export: FileRequest) -> Iterator[None]:
    hooks: dict[str, Any] = {
        "a sensitive column": {"get_columns": lambda *args: [Column("number", source="customer__user__password")]},
        "rows of a worker": {"get_rows": lambda *args: [{"number": "=N0"}]},
    }
    with registered(type("Changed", (OrderExport,), hooks.get(what, {}))), order_rule(lambda _: "lost" not in what):
        yield


@needs_sqlite
def test_first_rows_that_take_too_long_are_left_out(
    browser: Client, export: FileRequest, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(querysets, "SQLITE_STEPS", 1)
    settings.EXPORTS = {**settings.EXPORTS, "ESTIMATE_SECONDS": 0.0}
    assert first_rows(browser, export).status_code == 204


def test_first_rows_are_bounded(browser: Client, export: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_CELL_LENGTH", 2)
    assert first_rows(browser, export).json()["rows"][10] == ["=N", "10"]


# Receipt and times


def test_the_receipt_is_in_words_with_formatted_numbers(browser: Client, owner: User) -> None:
    export = rows.ready(owner)
    FileRequest.objects.filter(pk=export.pk).update(
        started_at="2026-01-02T10:00:00Z", finished_at="2026-01-02T10:00:01.2Z"
    )
    page = browser.get(url_of("page", export)).content.decode()
    assert "2,000 rows asked for, and everything written. That took 2 seconds." in page
    assert "<dt>Language</dt><dd>English</dd>" in page


def test_the_page_has_one_clock_whose_zone_is_named(browser: Client, owner: User) -> None:
    export = rows.ready(owner, requester_timezone="Asia/Tokyo")
    FileRequest.objects.filter(pk=export.pk).update(finished_at="2026-01-02T10:00:00Z", started_at=None)
    page = browser.get(url_of("page", export)).content.decode()
    assert "made Jan. 2, 2026, 7 p.m." in page
    shown = '<time class="export-time" datetime="2026-01-02T19:00:00+09:00">Jan. 2, 2026, 7 p.m.</time>'
    assert f"<dt>Made</dt><dd>{shown}</dd>" in page
    assert "<span data-time-zone>Asia/Tokyo</span>" in page


def test_the_receipt_tells_where_the_first_altered_cells_are(browser: Client, export: FileRequest) -> None:
    assert loop.dispatch(export.pk)
    export.refresh_from_db()
    page = browser.get(url_of("page", export)).content.decode()
    assert "Cells: 25. The first: A2, A3, A4, A5, A6." in page


def test_the_card_links_from_the_number_of_altered_cells_to_what_it_means(browser: Client, owner: User) -> None:
    export = rows.ready(owner)
    address = url_of("page", export)
    page = browser.get(address).content.decode()
    assert f'data-part="altered" href="{address}#receipt">2 cells altered</a>' in page
    assert '<section class="export-receipt" id="receipt">' in page
    assert 'data-part="altered"' in (waiting := browser.get(url_of("page", rows.queued(owner))).content.decode())
    assert '#receipt" hidden></a>' in waiting


# The link for anyone


def test_the_link_for_anyone_tells_its_real_duration_and_can_be_copied(browser: Client, owner: User) -> None:
    shared = {"public_links": True, "public_link_max_age_seconds": 1200}
    with registered(type("Shared", (ReportExport,), shared)):
        export = rows.ready(owner)
        before = browser.get(url_of("page", export)).content.decode()
        browser.post(reverse("exports:share", args=[export.pk]), headers=HTML)
        after = browser.get(url_of("page", export)).content.decode()
    assert "for 20 minutes or until the file expires" in before
    assert 'data-copy="export-sharing-address"' in after
    assert 'id="export-sharing-address"' in after
