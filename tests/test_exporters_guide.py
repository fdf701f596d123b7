"""docs/exports.md is tested: its exports are registered and run, its tables are compared with the code."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.models import Permission
from django.core.checks import run_checks

from exports import services, storage
from exports.exporters import Column, permissions, registry
from exports.exporters.sheets import COUNTS
from exports.models import FileRequest, Status
from exports.tabular import writers
from exports.worker import loop
from tests.shop.models import Customer, Order
from tests.shop.requests import NOON, user
from tests.shop.runs import use_folders
from tests.test_migration_guide import rows_of

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "exports.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
FILE_TYPES = re.findall(r'file_type = "(\w+)"', GUIDE)


@pytest.fixture(autouse=True)
def shop(settings: Any, tmp_path: Path) -> Iterator[None]:
    """The guide's exports, registered, and two orders of Ada's."""
    use_folders(settings, tmp_path)
    ada = Customer.objects.create(name="Ada", city="Oslo")
    for number in (1, 2):
        order = {"number": f"N{number}", "quantity": number, "price": "10.50", "placed_at": NOON, "customer": ada}
        Order.objects.create(**order, status="open" if number == 1 else "sent")
    before = dict(registry.handlers)
    registry.handlers.clear()
    exec("\n".join(BLOCKS).replace("from shop.", "from tests.shop."), {"__name__": "shop.exports"})
    yield
    registry.handlers.clear()
    registry.handlers.update(before)


def made(file_type: str, criteria: dict[str, Any] | None = None, *, format: str = "") -> FileRequest:
    ada = user()
    ada.user_permissions.set(Permission.objects.filter(codename="view_order"))
    request, _ = services.request_export(ada, file_type, criteria or {}, format=format)
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert request.status == Status.READY, request.error_detail
    return request


def book_of(request: FileRequest) -> openpyxl.Workbook:
    with storage.open_file(request.filehandle.name) as file:
        return openpyxl.load_workbook(BytesIO(file.read()))


@pytest.mark.parametrize("file_type", FILE_TYPES)
def test_every_export_of_the_guide_makes_its_file(file_type: str) -> None:
    assert run_checks(tags=["exports"]) == []
    for format, _ in registry.find_exporter(file_type).format_choices():
        request = made(file_type, format=format)
        assert request.rows_done >= 2
        assert request.format == format


def test_the_smallest_export_has_the_models_headers() -> None:
    [header, first, _] = book_of(made("orders")).active.values
    assert (header, first[:2]) == (("Order number", "Customer", "Price"), ("N1", "Ada"))


def test_the_filter_filters() -> None:
    assert made("filtered_orders", {"status": "sent"}).rows_done == 1


def test_columns_look_as_declared() -> None:
    sheet = book_of(made("detailed_orders")).active
    assert [cell.value for cell in sheet[3]] == ["N2", NOON.replace(tzinfo=None), 21, "Ada"]
    assert (sheet["A2"].font.color.rgb, sheet["B2"].number_format) == ("FF1F62D6", "dd/mm/yyyy hh:mm")
    assert (sheet["C2"].number_format, sheet["C1"].fill.fgColor.rgb) == ("#,##0.00", "FFE8ECF1")


def test_columns_with_permissions_are_withheld() -> None:
    request = made("confidential_orders")
    assert list(book_of(request).active.values) == [("Order number",), ("N1",), ("N2",)]
    assert request.receipt["columns_withheld"] == ["Customer", "Price"]


def test_the_shared_export_offers_links_for_twenty_minutes() -> None:
    assert permissions.public_link_seconds(made("shared_orders")) == 20 * 60
    assert permissions.public_link_seconds(made("orders")) is None


def test_sheets_and_design_are_in_the_workbook() -> None:
    book = book_of(made("shop"))
    assert book.sheetnames == ["Cities", "Customers", "Orders"]
    assert list(book["Cities"].values) == [("City", "Orders", "Spent"), ("Oslo", 2, 21)]
    designed = book_of(made("designed_orders")).active
    assert [table.ref for table in designed.tables.values()] == ["A1:C3"]
    assert designed.page_setup.orientation == "landscape"
    assert [str(each.sqref) for each in designed.conditional_formatting] == ["C2:C3"]


def test_the_tables_of_the_guide_are_complete() -> None:
    arguments = {name for cell, _ in rows_of(GUIDE, "Argument") for name in re.findall(r"\w+", cell)}
    assert arguments == set(Column.__dataclass_fields__)
    formats = {row[0]: (row[1], row[2] == "yes") for row in rows_of(GUIDE, "Format")}
    assert formats == {writer.format: (writer.label, writer.holds_tables) for writer in writers.formats()}
    assert [row[0].strip('"') for row in rows_of(GUIDE, "`count`")] == list(COUNTS)
    modules = Path(__file__).resolve().parent.parent.joinpath("exports", "checks").glob("*.py")
    checked = "".join(module.read_text() for module in modules)
    assert all(f'"{row[0]}"' in checked for row in rows_of(GUIDE, "Id"))
