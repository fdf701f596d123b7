"""The form of an export: columns, presets, an estimate before the click, and opening it again as it was."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.template import RequestContext, Template
from django.test import Client
from django.urls import reverse

from exports import services, storage
from exports.exceptions import BadOption, InvalidForm
from exports.exporters import Column
from exports.http import estimates
from exports.models import AuditEntry, FileRequest, Preset, Status
from exports.state import error_of
from exports.tabular.readers import querysets
from exports.worker import loop
from tests.office import people
from tests.office.browsers import HTML, JSON
from tests.office.markup import HtmlPage
from tests.shop.databases import needs_sqlite
from tests.shop.exports import OrderExport, order_rule, registered
from tests.shop.models import Customer, Order

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("folder", "woken")]

FORM = "/exports/new/orders/"
ESTIMATE = f"{FORM}estimate/"
PRESETS = f"{FORM}presets/"


@pytest.fixture(autouse=True)
def orders() -> None:
    ada = Customer.objects.create(name="Ada", city="Oslo")
    for number in range(3):
        Order.objects.create(number=f"N{number}", quantity=number, customer=ada, status="open")


def finished(export: FileRequest) -> FileRequest:
    assert loop.dispatch(export.pk)
    export.refresh_from_db()
    return export


def lines_of(export: FileRequest) -> list[str]:
    assert export.status == Status.READY, export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return file.read().decode("utf-8-sig").splitlines()


def requested(browser: Client, **fields: Any) -> FileRequest:
    answer = browser.post(FORM, {"format": "csv", **fields}, headers=JSON)
    assert answer.status_code == 202, answer.json()
    return FileRequest.objects.get(pk=answer.json()["id"])


# Columns


def test_columns_are_chosen_ordered_and_renamed(browser: Client) -> None:
    chosen = {"columns": ["number", "quantity"], "position.number": "2", "position.quantity": "1"}
    export = finished(requested(browser, **chosen, **{"header.quantity": "How many"}))
    assert export.columns == [["quantity", "How many"], ["number", ""]]
    assert lines_of(export)[:2] == ["How many,Order number", "0,N0"]


@pytest.mark.both_databases
def test_control_characters_leave_headers_and_names_of_presets(browser: Client) -> None:
    chosen = {"columns": "number", "header.number": "a\0b", "format": "csv"}
    assert requested(browser, **chosen).columns == [["number", "a b"]]
    assert browser.post(PRESETS, {**chosen, "preset_name": "Month\0end"}, headers=JSON).json()["name"] == "Month end"
    preset = Preset.objects.get()
    assert (preset.name, preset.columns) == ("Month end", [["number", "a b"]])
    assert AuditEntry.objects.get(verb="preset").reason == "saved: Month end"


def test_a_new_header_is_the_name_where_formats_have_names(owner: User) -> None:
    class Named(OrderExport):
        file_type = "named"
        formats = ("jsonl",)

    with registered(Named):
        columns = [("customer__name", "buyer"), ("number", "")]
        export, _ = services.request_export(owner, "named", {}, columns=columns)
        assert json.loads(lines_of(finished(export))[0]) == {"buyer": "Ada", "number": "N0"}


def test_without_a_choice_a_file_has_the_default_columns(owner: User) -> None:
    class Brief(OrderExport):
        file_type = "brief"
        default_columns = ("number", "quantity")

    with registered(Brief):
        export, _ = services.request_export(owner, "brief", {})
        same, is_new = services.request_export(owner, "brief", {}, columns=[("number", ""), ("quantity", "")])
        assert (same, is_new, export.columns) == (export, False, [])
        assert lines_of(finished(export))[0] == "Order number,Quantity"


def test_no_chosen_column_is_an_error_beside_the_columns(browser: Client) -> None:
    answer = browser.post(FORM, {"format": "csv", "columns_offered": "1"}, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == {"columns": ["Choose at least one column."]}
    page = HtmlPage(browser.post(FORM, {"format": "csv", "columns_offered": "1"}, headers=HTML).content.decode())
    assert {"class": "export-field-error", "id": "export-columns-error", "role": "alert"} in page.all("p")


@pytest.mark.parametrize("columns", [[("password", "")], [("number", ""), ("number", "")], [("number", "x" * 101)]])
def test_columns_that_are_not_offered_are_refused(owner: User, columns: list[tuple[str, str]]) -> None:
    with pytest.raises(BadOption):
        services.request_export(owner, "orders", {}, columns=columns)


def test_a_withheld_column_can_be_neither_seen_nor_chosen(owner: User, browser: Client) -> None:
    class Guarded(OrderExport):
        columns = (Column("number"), Column("quantity", permission="shop.view_order"))

    with registered(Guarded):
        names = [each.get("value") for each in HtmlPage(browser.get(FORM).content.decode()).all("input")]
        assert "number" in names
        assert "quantity" not in names
        with pytest.raises(BadOption):
            services.request_export(owner, "orders", {}, columns=[("quantity", "")])


def test_the_columns_of_a_page_are_chosen_at_first(owner: User, rf: Any) -> None:
    request = rf.get("/")
    request.user = owner
    text = '{% load exports %}{% export_form "orders" columns="quantity, number" %}'
    page = HtmlPage(Template(text).render(RequestContext(request)))
    boxes = [each for each in page.all("input") if each.get("name") == "columns"]
    assert [each["value"] for each in boxes if "checked" in each] == ["quantity", "number"]


# Opening the form again


def test_edit_and_run_again_opens_the_form_as_it_was(browser: Client) -> None:
    fields = {"status": "open", "format": "xlsx", "columns": ["quantity"], "header.quantity": "Q"}
    export = requested(browser, **fields)
    url = browser.get(f"/exports/{export.pk}/").json()["urls"]["edit"]
    page = HtmlPage(browser.get(url).content.decode())
    assert [each["value"] for each in page.all("option") if "selected" in each][:2] == ["open", "xlsx"]
    boxes = [each for each in page.all("input") if each.get("name") == "columns"]
    assert [each["value"] for each in boxes if "checked" in each] == ["quantity"]
    assert "Q" in [each.get("value") for each in page.all("input")]


@pytest.mark.parametrize("query", ["from={export}", "from=nonsense", "preset=0", "preset=x"])
def test_what_is_not_the_users_own_does_not_open(browser: Client, query: str) -> None:
    other, _ = services.request_export(people.user("other"), "orders", {})
    assert browser.get(f"{FORM}?{query.format(export=other.pk)}").status_code == 404


def test_the_form_remembers_the_format(browser: Client) -> None:
    requested(browser, format="xlsx")
    page = HtmlPage(browser.get(FORM).content.decode())
    assert "xlsx" in [each["value"] for each in page.all("option") if "selected" in each]


# Presets


def save(browser: Client, **fields: str) -> Any:
    return browser.post(
        PRESETS, {"format": "csv", "status": "open", "preset_name": "Month end", **fields}, headers=HTML
    )


def test_a_preset_is_saved_opened_replaced_and_deleted_with_an_audit_entry(browser: Client, owner: User) -> None:
    answer = save(browser, **{"option_csv.profile": "spreadsheet"})
    preset = Preset.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"{FORM}?preset={preset.pk}")
    page = HtmlPage(browser.get(answer["Location"]).content.decode())
    chosen = [each["value"] for each in page.all("option") if "selected" in each]
    assert chosen == ["open", "csv", "spreadsheet"]
    save(browser, status="sent")
    assert (
        Preset.objects.get().criteria == "at_least=&city=&status=sent" or "status=sent" in Preset.objects.get().criteria
    )
    assert browser.post(f"/exports/presets/{preset.pk}/delete/", headers=HTML)["Location"] == FORM
    entries = AuditEntry.objects.filter(verb="preset", user=owner.pk).order_by("pk")
    assert [each.reason for each in entries] == ["saved: Month end", "saved: Month end", "deleted: Month end"]


def test_sharing_a_preset_needs_a_permission(browser: Client, owner: User) -> None:
    assert save(browser, preset_shared="1").status_code == 403
    assert not Preset.objects.exists()
    owner.user_permissions.add(Permission.objects.get(codename="share_preset"))
    save(browser, preset_shared="1")
    other = Client()
    other.force_login(people.user("other"))
    preset = Preset.objects.get()
    assert f"{FORM}?preset={preset.pk}" in other.get(FORM).content.decode()
    assert other.post(f"/exports/presets/{preset.pk}/delete/", headers=JSON).status_code == 404


def test_a_private_preset_is_not_shown_to_others(browser: Client) -> None:
    save(browser)
    other = Client()
    other.force_login(people.user("other"))
    assert "Month end" not in other.get(FORM).content.decode()
    assert other.get(f"{FORM}?preset={Preset.objects.get().pk}").status_code == 404


def test_a_preset_needs_a_name_and_valid_choices(browser: Client) -> None:
    for name in (" ", "\0\1"):
        nameless = save(browser, preset_name=name)
        assert (nameless.status_code, "Give the preset a name." in nameless.content.decode()) == (400, True)
    assert save(browser, city="Nowhere").status_code == 400
    assert not Preset.objects.exists()


# Estimates


def test_the_rows_size_and_time_are_told_before_the_click(browser: Client) -> None:
    export = finished(requested(browser))
    FileRequest.objects.filter(pk=export.pk).update(
        size=30_000, started_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T00:00:02Z"
    )
    answer = browser.post(ESTIMATE, {"format": "csv"}, headers=JSON).json()
    assert (answer["rows"], answer["bytes"], answer["seconds"]) == (3, 30_000, 2.0)
    assert answer["text"].replace("\xa0", " ") == "3 rows, about 29.3 KB, about 2 seconds"


def test_an_estimate_says_that_nothing_matches_and_what_is_too_much(browser: Client) -> None:
    assert browser.post(ESTIMATE, {"at_least": "9"}, headers=JSON).json()["text"] == "Nothing matches."
    with registered(type("Small", (OrderExport,), {"max_rows": 2})):
        assert browser.post(ESTIMATE, {}, headers=JSON).json()["text"] == "3 rows, 2 allowed"


def test_an_estimate_tells_how_many_sheets_there_will_be(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "ROWS_OF_SHEET", 2)
    text = browser.post(ESTIMATE, {"format": "xlsx"}, headers=JSON).json()["text"]
    assert text == "3 rows, 2 sheets, since one holds 2 rows"


def test_an_estimate_asks_for_the_same_permission(browser: Client) -> None:
    with order_rule(lambda user: False):
        assert browser.post(ESTIMATE, {}, headers=JSON).status_code == 403
        assert save(browser).status_code == 403
    assert browser.post(ESTIMATE, {"city": "Nowhere"}, headers=JSON).status_code == 400


def test_estimates_are_limited_for_each_user(browser: Client, settings: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "MAX_ESTIMATES_PER_MINUTE": 2}
    estimates._asked.clear()
    statuses = [browser.post(ESTIMATE, {}, headers=JSON).status_code for _ in range(3)]
    estimates._asked.clear()
    assert statuses == [200, 200, 429]


def test_without_javascript_the_form_comes_back_with_the_estimate(browser: Client) -> None:
    page = browser.post(FORM, {"format": "csv", "status": "open", "estimate": "1"}, headers=HTML).content.decode()
    assert "3 rows" in page
    assert 'value="open" selected' in page
    assert not FileRequest.objects.exists()


@needs_sqlite
def test_rows_that_take_too_long_to_count_are_left_to_the_worker(
    browser: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(querysets, "SQLITE_STEPS", 1)
    monkeypatch.setattr(estimates, "MIN_COUNT_SECONDS", 0)
    settings.EXPORTS = {**settings.EXPORTS, "ESTIMATE_SECONDS": 0}
    answer = browser.post(ESTIMATE, {}, headers=JSON).json()
    assert (answer["rows"], answer["text"]) == (None, "The rows are counted while the file is made.")


# Ends


def test_an_empty_result_says_that_nothing_matched(browser: Client) -> None:
    export = finished(requested(browser, at_least="9"))
    page = browser.get(reverse("exports:page", args=[export.pk])).content.decode()
    assert "Nothing matched: the file has no rows" in page


def test_an_error_of_a_limit_names_both_numbers(owner: User) -> None:
    with registered(type("Small", (OrderExport,), {"max_rows": 2})):
        export, _ = services.request_export(owner, "orders", {})
        finished(export)
    assert export.error_numbers == {"rows": 3, "limit": 2}
    assert error_of(export)["message"].startswith("3 rows, 2 allowed.")


def test_the_criteria_are_checked_before_the_columns(owner: User) -> None:
    with pytest.raises(InvalidForm):
        services.request_export(owner, "orders", {"at_least": "many"}, columns=[("nothing", "")])
