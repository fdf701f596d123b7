"""Hostile cells on every way into a file: each strategy, one process and two, every kind of text, sheets, headers, what
a host's own view answers. The cells are those that LibreOffice opens in tests/test_libreoffice.py."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
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
from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.columns import Alterations, Column
from exports.tabular.readers import explain
from exports.worker import loop
from tests import hostile
from tests.shop.exports import OrderExport, registered
from tests.shop.models import Customer, Order
from tests.shop.runs import use_folders

pytestmark = [pytest.mark.servers, pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

SEPARATORS = {"csv": ",", "csv;": ";", "csv\t": "\t", "tsv": "\t"}
# PostgreSQL keeps neither NUL nor half of a surrogate pair, SQLite no such half.
CELLS = [cell for cell in hostile.cells(1000) if not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in cell)]
# What a spreadsheet would run, in words of this test's own: at the beginning of a text, or behind a separator in it.
HIDDEN = r"[\s\"'`\u00ab\u00ad\u00bb\u061c\u180e\u200b-\u200f\u2018-\u201f\u202a-\u202e\u2060-\u206f\ufeff]*"
TRIGGER = f"[{re.escape(hostile.TRIGGERS)}]"
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
    """A hostile note and the name of a hostile customer in each."""
    Customer.objects.bulk_create(Customer(name=cell[:100]) for cell in CELLS)
    customers = Customer.objects.order_by("pk")
    Order.objects.bulk_create(
        Order(number="1", note=cell, customer=customer) for cell, customer in zip(CELLS, customers, strict=True)
    )


def guarded(cell: str, separator: str) -> str:
    """What the rule for text makes of this cell alone."""
    [text] = to_csv_cells(Column("any"), [cell], zone=UTC, alterations=Alterations(), delimiter=separator)
    return text


def opened(content: bytes, format: str) -> list[list[str]]:
    """All rows of a file as its reader has them, its header first."""
    if format == "xlsx":
        sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
        assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}
        return [[cell.value or "" for cell in row] for row in sheet.iter_rows()]
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = list(csv.reader(text, delimiter=SEPARATORS[format]))
    assert [cell for row in rows for cell in row if RUN.search(cell)] == []
    return rows


def expected(cells: Sequence[str], format: str) -> list[str]:
    if format == "xlsx":
        return [sheet_text(cell) for cell in cells]
    return [guarded(cell, SEPARATORS[format]) for cell in cells]


def sheet_text(cell: str) -> str:
    unified = cell.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(each for each in unified if each in "\t\n" or not (each < " " or each in "\x7f\ufffe\uffff"))


def options_of(format: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a key of SEPARATORS."""
    name, separator = format.rstrip(";\t"), format[3:]
    return name, {"delimiter": separator} if name == "csv" and separator else {}


# Strategies

STRATEGIES: Mapping[str, Callable[[], Sequence[Column]]] = {
    "fastest": lambda: (Column("note", HEADERS[0]), Column("customer__name", HEADERS[1])),
    "cursor": lambda: (
        Column("note", HEADERS[0]),
        Column("customer__name", HEADERS[1]),
        Column("preparation", HEADERS[2]),
    ),
    "instances": lambda: (
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


def made(request: FileRequest) -> bytes:
    loop.dispatch(request.pk)
    request.refresh_from_db()
    assert request.status == "ready", request.error_detail
    with storage.open_file(request.filehandle.name) as file:
        return file.read()


@pytest.mark.parametrize(
    ("strategy", "format", "processes"),
    [*product(STRATEGIES, [*SEPARATORS, "xlsx"], [1]), *product(["fastest"], ["csv", "tsv", "xlsx"], [2])],
)
@pytest.mark.usefixtures("orders")
def test_on_every_road_every_cell_and_header_is_harmless(ada: User, strategy: str, format: str, processes: int):
    columns, (name, options) = STRATEGIES[strategy](), options_of(format)
    if strategy != "fastest" or connection.vendor != "postgresql":
        assert explain.explain(Order.objects.all(), columns).strategy == (
            "instances" if strategy == "instances" else "cursor"
        )
    with exporting(columns, processes):
        request, _ = services.request_export(ada, "hostile", {}, format=name, options=options)
        header, *rows = opened(made(request), format)
    assert header == expected([column.label for column in columns], format)
    assert [row[0] for row in rows] == expected(CELLS, format)
    assert [row[1] for row in rows] == expected([cell[:100] for cell in CELLS], format)


# Without a declaration: export_response, now, stored as rows, and stored as a queryset


@pytest.mark.parametrize("format", [*SEPARATORS, "xlsx"])
@pytest.mark.parametrize("threshold", [10_000, 1], ids=["now", "later"])
@pytest.mark.parametrize("kind", ["rows", "queryset"])
def test_what_a_view_answers_is_harmless_too(ada: User, orders: None, kind: str, threshold: int, format: str):
    name, options = options_of(format)
    key = "note" if kind == "queryset" else HEADERS[0]
    rows = Order.objects.order_by("pk").values("note") if kind == "queryset" else [{key: cell} for cell in CELLS]
    asked = RequestFactory().get("/")
    asked.user = ada
    response = export_response(asked, rows, format=name, threshold=threshold, options=options)
    content = response.getvalue() if threshold > 1 else made(FileRequest.objects.get())
    response.close()
    header, *found = opened(content, format)
    assert header[0] == expected([key], format)[0] or kind == "queryset"
    assert [row[0] for row in found] == expected(CELLS, format)


# Modes


@pytest.mark.usefixtures("orders")
def test_an_export_that_rejects_ends_at_the_first_hostile_cell(ada: User):
    with exporting(STRATEGIES["fastest"](), 1):
        request, _ = services.request_export(ada, "hostile", {}, format="csv", options={"formulas": "reject"})
        loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "formula_rejected")


def test_nobody_gets_raw_text_of_an_export_that_is_not_declared_for_machines(ada: User):
    raw = {"format": "csv", "options": {"formulas": "raw"}}
    with pytest.raises(BadOption, match="for_machines"):
        services.request_export(ada, "orders", {}, **raw)
    Order.objects.create(number="=1+1")
    with registered(type("Plain", (OrderExport,), {"file_type": "plain", "for_machines": True})):
        assert b"\r\n=1+1," in made(services.request_export(ada, "plain", {}, **raw)[0])
