"""Exports of several sheets: one snapshot, one progress, and only formats that can hold several tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.db.models import Count
from django.forms import BooleanField, Form
from django.utils import translation
from django.utils.translation import gettext as _

from exports import checks, services, storage
from exports.exceptions import BadOption, NoFile, UnknownFormat
from exports.exporters import Column, QuerySetExport, Sheet
from exports.exporters.json_schema import schema_of_columns
from exports.models import Actor, FileRequest, Status
from exports.models.progress import Snapshot
from exports.worker import loop, runner
from tests.office.browsers import HTML, JSON, signed_in
from tests.office.markup import HtmlPage
from tests.shop.exports import registered
from tests.shop.models import Customer, Order
from tests.shop.requests import at_once, queued, user
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

Cells = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    use_folders(settings, tmp_path)


@pytest.fixture(autouse=True)
def shop() -> None:
    ada, bob = Customer.objects.create(name="Ada", city="Oslo"), Customer.objects.create(name="Bob", city="Rome")
    for number, customer in enumerate([ada, ada, bob]):
        Order.objects.create(number=f"N{number}", quantity=number, customer=customer)


class ShopExport(QuerySetExport):
    """The customers, their orders, and a summary."""

    file_type = "shop"
    title = "The shop"
    formats = ("xlsx",)

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        summary = Customer.objects.values("city").annotate(count=Count("orders"))
        return [
            Sheet("Customers", Customer.objects.order_by("pk"), [Column("name"), Column("city")]),
            Sheet("Orders", Order.objects.order_by("pk"), [Column("number"), Column("customer__name", "Customer")]),
            Sheet("Cities", summary, [Column("city"), Column("count", "Orders")]),
        ]


def made(export: type[QuerySetExport], **columns: Any) -> FileRequest:
    """The row of this export after its run."""
    with registered(export):
        request = queued(file_type=export.file_type, **{"format": "xlsx"} | columns)
        assert loop.dispatch(request.pk)
    return FileRequest.objects.get(pk=request.pk)


def sheets_of(request: FileRequest) -> dict[str, Cells]:
    with storage.open_file(request.filehandle.name) as file:
        book = openpyxl.load_workbook(BytesIO(file.read()))
    return {sheet.title: list(sheet.values) for sheet in book.worksheets}


# Files


def test_each_sheet_has_its_own_rows_and_columns() -> None:
    request = made(ShopExport)

    assert request.status == Status.READY
    assert sheets_of(request) == {
        "Customers": [("Full name", "City"), ("Ada", "Oslo"), ("Bob", "Rome")],
        "Orders": [("Order number", "Customer"), ("N0", "Ada"), ("N1", "Ada"), ("N2", "Bob")],
        "Cities": [("City", "Orders"), ("Oslo", 2), ("Rome", 1)],
    }
    assert (request.receipt["rows_asked"], request.receipt["rows"]) == (7, 7)
    assert (request.rows_done, request.rows_total) == (7, 7)


def test_a_sheet_without_rows_has_its_header() -> None:
    Order.objects.all().delete()

    assert sheets_of(made(ShopExport))["Orders"] == [("Order number", "Customer")]


class WatchedExport(ShopExport):
    """Orders and customers. `look` is called with the title of the sheet for each row that is read."""

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        watched = {"Orders": Order.objects.order_by("pk"), "Customers": Customer.objects.order_by("pk")}
        return [Sheet(title, rows, [Column("x", source=self.looking(title))]) for title, rows in watched.items()]

    def looking(self, title: str) -> Any:
        return lambda row: self.look(title) or str(row)

    def look(self, title: str) -> None:
        raise NotImplementedError


def test_sheets_are_read_one_after_the_other_with_one_progress(settings: Any) -> None:
    configure(settings, BATCH_ROWS=1)
    seen: list[tuple[str, Snapshot]] = []

    class Export(WatchedExport):
        def look(self, title: str) -> None:
            seen.append((title, runner.current(FileRequest.objects.get()).progress.now))

    assert made(Export).status == Status.READY
    assert [title for title, _ in seen] == ["Orders"] * 3 + ["Customers"] * 2
    assert [now.rows_done for _, now in seen] == [0, 1, 2, 3, 4]
    assert {now.rows_total for _, now in seen} == {5}


def test_all_sheets_are_read_from_one_snapshot() -> None:
    class Export(WatchedExport):
        def look(self, title: str) -> None:
            if title == "Orders":
                at_once(lambda: Customer.objects.create(name="Late"))

    request = made(Export)

    assert len(sheets_of(request)["Customers"]) == 3
    assert (request.receipt["rows_asked"], request.receipt["rows"]) == (5, 5)
    assert Customer.objects.count() == 5


# Columns


class ChosenExport(ShopExport):
    """The orders can be left out; the title of the customers is translated."""

    file_type = "chosen"
    form_class = type("Filter", (Form,), {"has_orders": BooleanField(required=False)})

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        customers, orders, cities = super().get_sheets(user, criteria)
        customers = replace(customers, title=str(_("Columns")), key="people")
        return [customers, orders, cities] if criteria["has_orders"] else [customers, cities]


COLUMNS = [("Orders.customer__name", "Who"), ("Orders.number", ""), ("people.city", "")]


def finished(export: FileRequest) -> FileRequest:
    assert loop.dispatch(export.pk)
    return FileRequest.objects.get(pk=export.pk)


def test_the_columns_of_each_sheet_are_chosen_ordered_and_renamed() -> None:
    with registered(ChosenExport):
        export, _new = services.request_export(user(), "chosen", {"has_orders": "on"}, columns=COLUMNS)
        assert export.columns == [["people.city", ""], ["Orders.customer__name", "Who"], ["Orders.number", ""]]
        sheets = sheets_of(finished(export))
        again, _new = services.regenerate(FileRequest.objects.get(pk=export.pk), Actor.of(user()))
    assert {title: rows[0] for title, rows in sheets.items()} == {
        "Columns": ("City",),
        "Orders": ("Who", "Order number"),
        # None of its columns was chosen.
        "Cities": ("City", "Orders"),
    }
    assert sheets["Orders"][1] == ("Ada", "N0")
    assert again.columns == export.columns


def test_a_key_names_columns_of_a_sheet_whose_title_is_translated() -> None:
    with registered(ChosenExport):
        with translation.override("de"):
            export, _new = services.request_export(user(), "chosen", {}, columns=[("people.city", "")])
        assert {title: rows[0] for title, rows in sheets_of(finished(export)).items()} == {
            "Spalten": ("City",),
            "Cities": ("City", "Orders"),
        }


def test_columns_that_the_form_offered_for_a_sheet_that_is_not_made_are_left_out() -> None:
    class Inverted(ChosenExport):
        def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
            return super().get_sheets(user, {"has_orders": not criteria["has_orders"]})

    with registered(Inverted):
        export, _new = services.request_export(user(), "chosen", {"has_orders": "on"}, columns=COLUMNS)
        assert export.columns == [["people.city", ""]]
        with pytest.raises(BadOption, match=r"there is no column 'city'\. Columns: people\.name, people\.city, "):
            services.request_export(user(), "chosen", {"has_orders": "on"}, columns=[("city", "")])


def test_the_form_offers_the_columns_by_sheet_and_a_preset_keeps_them() -> None:
    with registered(ShopExport):
        browser = signed_in(user())
        page = HtmlPage(browser.get("/exports/new/shop/", headers=HTML).content.decode())
        assert "<legend>Cities</legend>" in page.text
        names = [each["value"] for each in page.all("input") if each.get("name") == "columns"]
        assert names == [
            f"{sheet.title}.{column.name}" for sheet in ShopExport().get_sheets(None, {}) for column in sheet.columns
        ]
        fields = {"columns": ["Orders.number", "Cities.count"], "header.Cities.count": "How many"}
        saved = browser.post("/exports/new/shop/presets/", {**fields, "preset_name": "Brief"}, headers=HTML)
        page = HtmlPage(browser.get(saved["Location"], headers=HTML).content.decode())
        chosen = [each["value"] for each in page.all("input") if "checked" in each and each["name"] == "columns"]
        assert chosen == ["Customers.name", "Customers.city", "Orders.number", "Cities.count"]
        asked = {**fields, "position.Orders.number": "2"}
        state = browser.post("/exports/new/shop/", asked, headers=JSON).json()
        export = FileRequest.objects.get(pk=state["id"])
        assert export.columns == [["Orders.number", ""], ["Cities.count", "How many"]]
        assert sheets_of(finished(export))["Cities"] == [("How many",), (2,), (1,)]


def test_programs_are_told_the_columns_of_all_sheets() -> None:
    schema = schema_of_columns(user(), ShopExport())
    assert schema["default"][:3] == ["Customers.name", "Customers.city", "Orders.number"]
    assert {"const": "Orders.customer__name", "title": "Customer"} in schema["items"]["anyOf"][0]["oneOf"]


# Formats


class WideExport(ShopExport):
    formats = ("csv", "xlsx")


def test_only_formats_that_hold_several_tables_are_offered() -> None:
    assert WideExport().format_choices() == [("xlsx", "Excel")]
    assert [message.id for message in checks.check_exports()] == []
    with registered(WideExport):
        [found] = checks.check_exports()
    assert (found.id, found.msg) == ("exports.E011", "WideExport: 'csv' holds one table.")
    assert "xlsx" in found.hint


def test_requesting_a_format_of_one_table_is_refused_with_the_reason() -> None:
    with registered(WideExport):
        with pytest.raises(UnknownFormat, match=r"^The shop has several sheets, which 'csv' cannot hold\."):
            services.request_export(user(), "shop", {}, format="csv")
        request, _ = services.request_export(user(), "shop", {})
    with (
        registered(type("NoFormats", (ShopExport,), {"formats": ("csv",)})),
        pytest.raises(UnknownFormat, match="Known formats: none"),
    ):
        services.request_export(user(), "shop", {})
    assert (request.format, request.filename.rpartition(".")[2]) == ("xlsx", "xlsx")


def test_a_stored_export_in_a_format_of_one_table_fails_when_it_begins() -> None:
    request = made(ShopExport, format="csv")

    assert (request.status, request.error_code, request.attempts) == (Status.FAILED, "unknown_format", 1)


# No sheets


class EmptyExport(ShopExport):
    queue_name = "small"

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        return []


def test_get_sheets_without_a_sheet_is_an_error_that_names_the_class() -> None:
    request = made(EmptyExport)

    assert (request.status, request.error_code) == (Status.FAILED, "no_file")
    assert "EmptyExport.get_sheets() gave no sheet" in request.error_detail
    with pytest.raises(NoFile, match="gave no sheet"):
        type("Lost", (EmptyExport,), {"queue_name": None})().get_queue_name(user(), {})


# Queues


@pytest.mark.parametrize(("limit", "queue_name"), [(6, "large"), (7, "small")])
def test_the_queue_depends_on_the_rows_of_all_sheets(settings: Any, limit: int, queue_name: str) -> None:
    configure(settings, SMALL_QUEUE_MAX_ROWS=limit)

    assert ShopExport().get_queue_name(user(), {}) == queue_name


def test_the_queue_of_a_sliced_queryset_depends_on_its_rows(settings: Any) -> None:
    configure(settings, SMALL_QUEUE_MAX_ROWS=2)

    class Newest(QuerySetExport):
        file_type = "newest"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
            return Order.objects.order_by("-pk")[: self.rows]

    assert type("Two", (Newest,), {"rows": 2})().get_queue_name(user(), {}) == "small"
    assert type("Three", (Newest,), {"rows": 3})().get_queue_name(user(), {}) == "large"


class Counted(list[Any]):
    """Rows that note how often their number is asked for, as a search service would be."""

    asked = 0

    def __len__(self) -> int:
        self.asked += 1
        return super().__len__()


def test_rows_from_python_are_counted_once(settings: Any) -> None:
    rows = Counted([{"city": "Oslo"}])

    class Searched(QuerySetExport):
        file_type = "searched"
        formats = ("xlsx",)

        def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
            return [Sheet("Cities", rows, [Column("city")])]

    configure(settings, SMALL_QUEUE_MAX_ROWS=1)
    assert (Searched().get_queue_name(user(), {}), rows.asked) == ("small", 1)
