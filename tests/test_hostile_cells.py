"""Hostile texts in files made in every way: each strategy, format and number of processes; sheets, headers, views.

test_libreoffice.py opens the same texts in LibreOffice.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import RequestFactory

from exports import services, storage
from exports.exceptions import BadOption
from exports.models import FileRequest
from exports.shortcuts import export_response
from exports.tabular.columns import Column
from exports.tabular.readers import explain
from exports.worker import loop
from tests import hostile
from tests.cell_values import csv_cells
from tests.reference.cells import sheet_text
from tests.shop.exports import OrderExport, registered
from tests.shop.models import Customer, Order
from tests.shop.runs import use_folders

pytestmark = [pytest.mark.servers, pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

SEPARATORS = {"csv": ",", "csv;": ";", "csv\t": "\t", "tsv": "\t"}
# PostgreSQL stores neither NUL nor lone surrogates, SQLite no lone surrogates.
CELLS = [cell for cell in hostile.cells(1000) if not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in cell)]
# What a spreadsheet would run, written independently of the app: at the start of a text, or after a separator in it. A
# sign and digits alone are a number.
HIDDEN = r"[\s\"'`\u00ab\u00ad\u00bb\u061c\u180e\u200b-\u200f\u2018-\u201f\u202a-\u202e\u2060-\u206f\ufeff]*"
TRIGGER = rf"(?![+-]+\d*(?:[\r\n;\t,]|\Z))[{re.escape(hostile.TRIGGERS)}]"
RUN = re.compile(rf"\A(?!'){HIDDEN}{TRIGGER}|[\r\n;\t]{HIDDEN}(?<!'){TRIGGER}")
HEADERS = ("=1+1", "\uff1dA1", " @SUM(1)", 'a;"\t=1')


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    settings.EXPORTS = {**settings.EXPORTS, "BATCH_ROWS": 100}
    return use_folders(settings, tmp_path)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", is_superuser=True)


@pytest.fixture
def orders() -> None:
    """Create orders with hostile notes and hostile names of customers."""
    Customer.objects.bulk_create(Customer(name=cell[:100]) for cell in CELLS)
    customers = Customer.objects.order_by("pk")
    Order.objects.bulk_create(
        Order(number="1", note=cell, customer=customer) for cell, customer in zip(CELLS, customers, strict=True)
    )


def expected(cells: Sequence[str], format: str) -> list[str]:
    """Return what a reader of the file should find, given each text alone."""
    if format == "xlsx":
        return [sheet_text(cell)[0] or "" for cell in cells]
    return [csv_cells(cell, delimiter=SEPARATORS[format])[0] for cell in cells]


def opened(content: bytes, format: str) -> list[list[str]]:
    """Return all rows of a file, its header first. Fail if a cell is a formula."""
    if format == "xlsx":
        sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
        assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}
        return [[cell.value or "" for cell in row] for row in sheet.iter_rows()]
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = list(csv.reader(text, delimiter=SEPARATORS[format]))
    assert [cell for row in rows for cell in row if RUN.search(cell)] == []
    return rows


def options_of(format: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a format: a key of SEPARATORS or "xlsx"."""
    name, separator = format.rstrip(";\t"), format[3:]
    return name, {"delimiter": separator} if name == "csv" and separator else {}


TWO_COLUMNS = (Column("note", HEADERS[0]), Column("customer__name", HEADERS[1]))
# The columns that make the reader use each strategy.
STRATEGIES: Mapping[str, Sequence[Column]] = {
    "fastest": TWO_COLUMNS,
    "cursor": (*TWO_COLUMNS, Column("preparation", HEADERS[2])),
    "instances": (
        Column("note", HEADERS[0], source=lambda order: order.note),
        Column("customer__name", HEADERS[1]),
        Column("preparation", HEADERS[3]),
    ),
}


@contextmanager
def exporting(columns: Sequence[Column], processes: int) -> Iterator[None]:
    class Hostile(OrderExport):
        file_type = "hostile"
        formats = ("csv", "tsv", "xlsx")

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            return Order.objects.order_by("pk")

    Hostile.columns, Hostile.processes = tuple(columns), processes
    with registered(Hostile):
        yield


def file_of(export: FileRequest) -> bytes:
    """Run the export and return its file."""
    loop.dispatch(export.pk)
    export.refresh_from_db()
    assert export.status == "ready", export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return file.read()


@pytest.mark.parametrize(
    ("strategy", "format", "processes"),
    [*product(STRATEGIES, [*SEPARATORS, "xlsx"], [1]), *product(["fastest"], ["csv", "tsv", "xlsx"], [2])],
)
@pytest.mark.usefixtures("orders")
def test_no_cell_or_header_is_a_formula(ada: User, strategy: str, format: str, processes: int):
    columns, (name, options) = STRATEGIES[strategy], options_of(format)
    if strategy != "fastest" or connection.vendor != "postgresql":
        used = "instances" if strategy == "instances" else "cursor"
        assert explain.explain(Order.objects.all(), columns).strategy == used
    with exporting(columns, processes):
        export, _ = services.request_export(ada, "hostile", {}, format=name, options=options)
        header, *rows = opened(file_of(export), format)
    assert header == expected([column.label for column in columns], format)
    assert [row[0] for row in rows] == expected(CELLS, format)
    assert [row[1] for row in rows] == expected([cell[:100] for cell in CELLS], format)


@pytest.mark.parametrize("format", [*SEPARATORS, "xlsx"])
@pytest.mark.parametrize("threshold", [10_000, 1], ids=["now", "later"])
@pytest.mark.parametrize("kind", ["rows", "queryset"])
def test_no_cell_of_a_view_that_calls_export_response_is_a_formula(
    ada: User, orders: None, kind: str, threshold: int, format: str
):
    name, options = options_of(format)
    notes = Order.objects.order_by("pk").values("note")
    rows = notes if kind == "queryset" else [{HEADERS[0]: cell} for cell in CELLS]
    request = RequestFactory().get("/")
    request.user = ada
    response = export_response(request, rows, format=name, threshold=threshold, options=options)
    content = response.getvalue() if threshold > 1 else file_of(FileRequest.objects.get())
    response.close()
    header, *found = opened(content, format)
    if kind == "rows":
        assert header == expected(list(rows[0]), format)
    assert [row[0] for row in found] == expected(CELLS, format)


@pytest.mark.usefixtures("orders")
def test_an_export_that_rejects_formulas_fails_at_the_first_hostile_cell(ada: User):
    with exporting(TWO_COLUMNS, 1):
        export, _ = services.request_export(ada, "hostile", {}, format="csv", options={"formulas": "reject"})
        loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error_code) == ("failed", "formula_rejected")


def test_raw_text_is_only_allowed_in_an_export_declared_for_machines(ada: User):
    raw = {"format": "csv", "options": {"formulas": "raw"}}
    with pytest.raises(BadOption, match="for_machines"):
        services.request_export(ada, "orders", {}, **raw)
    Order.objects.create(number="=1+1")
    with registered(type("Plain", (OrderExport,), {"file_type": "plain", "for_machines": True})):
        assert b"\r\n=1+1," in file_of(services.request_export(ada, "plain", {}, **raw)[0])
