"""export_response: a small file in the response, a large one as an export."""

import csv
import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, NumericRange
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.safestring import SafeString
from openpyxl import load_workbook

from exports import housekeeping, services, storage
from exports.exceptions import DeclarationError, UnknownColumn
from exports.models import Artifact, FileRequest
from exports.models.audit import SYSTEM
from exports.shortcuts import export_response
from exports.worker import loop
from tests.office import rows
from tests.shop.models import Customer, EveryField, Order
from tests.shop.requests import stored

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = [
    {"name": "Ada", "born": datetime(1815, 12, 10, tzinfo=UTC), "sum": Decimal("1.20")},
    {"name": "Bob", "note": "=1+1"},
]


@pytest.fixture
def ada():
    return User.objects.create_user("ada", email="ada@shop.example")


@pytest.fixture
def ask(ada):
    """Call export_response as a view does, for a browser or a program."""

    def call(*args, user=ada, accept="text/html", **kwargs):
        request = RequestFactory().post("/report/", headers={"accept": accept})
        request.user = user
        return export_response(request, *args, **kwargs)

    return call


def content(response) -> bytes:
    try:
        return b"".join(response) if response.streaming else response.content
    finally:
        response.close()


def table(response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content(response).decode("utf-8-sig"))))


def file_of(request: FileRequest) -> bytes:
    request.refresh_from_db()
    with storage.open_file(request.filehandle.name) as file:
        return file.read()


def many(count: int) -> None:
    Order.objects.bulk_create(Order(number=f"A{i}", quantity=i) for i in range(count))


@pytest.mark.aware_times
def test_a_small_list_of_dicts_is_a_file_in_the_response(ask):
    response = ask(ROWS, "people", "csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="people.csv"'
    assert table(response) == [
        ["name", "born", "sum", "note"],
        ["Ada", "1815-12-10T00:00:00+00:00", "1.20", ""],
        ["Bob", "", "", "'=1+1"],
    ]
    assert not FileRequest.objects.exists()


def test_excel_is_an_alias_of_xlsx(ask):
    sheet = load_workbook(io.BytesIO(content(ask(ROWS, "people", "excel")))).active
    assert [cell.value for cell in sheet[1]] == ["name", "born", "sum", "note"]


def test_a_small_queryset_is_answered_to_anonymous_users_too(ask):
    many(3)
    response = ask(Order.objects.values("number", "quantity"), format="csv", user=AnonymousUser())
    assert table(response) == [["Order number", "Quantity"], ["A0", "0"], ["A1", "1"], ["A2", "2"]]


def test_an_unknown_format_or_option_is_400(ask):
    response = ask(ROWS, format="docx", accept="application/json")
    assert response.status_code == 400
    assert "csv" in json.loads(response.content)["error"]["message"]
    assert ask(ROWS, format="csv", options={"delimiter": "x"}, accept="application/json").status_code == 400


def test_no_rows_give_a_file_with_headers_or_the_given_response(ask):
    assert table(ask(Order.objects.values("number"), format="csv")) == [["Order number"]]
    assert ask(Order.objects.all(), format="csv", empty=HttpResponse("nothing", status=204)).status_code == 204
    assert content(ask([], format="csv")) == b"There is nothing to export."


def test_a_large_queryset_redirects_a_browser_to_its_live_page(ask, ada):
    many(12)
    response = ask(Order.objects.filter(quantity__gte=2).order_by("-quantity"), "orders", "csv", threshold=5)
    request = FileRequest.objects.get()
    assert (response.status_code, response.headers["Location"]) == (303, f"/exports/{request.pk}/page/")
    assert (request.requester, request.filename) == (ada, "orders.csv")
    assert loop.dispatch(request.pk)
    lines = file_of(request).decode("utf-8-sig").splitlines()
    assert len(lines) == 11
    assert lines[1].startswith(f"{Order.objects.get(quantity=11).pk},A11")


@pytest.mark.parametrize("threshold", [1, 100])
def test_a_column_that_does_not_exist_is_an_error_at_every_size(ask, threshold):
    many(3)
    with pytest.raises(UnknownColumn, match="Did you mean 'number'"):
        ask(Order.objects.all(), threshold=threshold, columns=["nmber"])
    assert not FileRequest.objects.exists()


def test_a_large_queryset_returns_202_with_the_state_to_a_program(ask):
    many(3)
    response = ask(Order.objects.all(), threshold=2, accept="application/json")
    state = json.loads(response.content)
    assert (response.status_code, state["status"]) == (202, "queued")
    assert response.headers["Location"] == state["urls"]["self"]
    assert int(response.headers["Retry-After"]) > 0


QUERYSETS: dict[str, Callable[[], QuerySet]] = {
    "select_related": lambda: Order.objects.select_related("customer"),
    "only": lambda: Order.objects.only("number"),
    "defer": lambda: Order.objects.defer("number"),
    "prefetch_related": lambda: Customer.objects.prefetch_related("orders"),
    "annotate": lambda: Customer.objects.annotate(count=Count("orders"), latest=Max("orders__placed_at")),
    "values and annotate": lambda: Order.objects.values("note").annotate(sum=Sum("price"), n=Count("pk")),
    "values_list": lambda: Order.objects.order_by("number").values_list("number", flat=True),
    "reverse relation": lambda: Customer.objects.filter(orders__status="open"),
    "relations one after the other": lambda: (
        Customer.objects.filter(orders__status="open").filter(orders__quantity=1).distinct()
    ),
    "exclude a reverse relation": lambda: Customer.objects.exclude(orders__quantity=1),
    "Q with F": lambda: Order.objects.filter(Q(quantity__gte=F("units")) | Q(note="")),
    "ordered by F": lambda: Order.objects.order_by(F("quantity").desc(nulls_last=True)),
    "ordered by a function": lambda: Order.objects.order_by(Lower("note"), "pk"),
    "values of many": lambda: Customer.objects.values("name", "orders__number").order_by("name", "orders__number"),
    "key of JSON": lambda: Order.objects.filter(details__n__0__gte=1),
    "subquery": lambda: Order.objects.filter(customer__in=Customer.objects.filter(city="Oslo")),
    "Exists": lambda: Customer.objects.filter(Exists(Order.objects.filter(customer=OuterRef("pk")))),
    "slice": lambda: Order.objects.order_by("-number")[1:5],
    "extra": lambda: Order.objects.extra(select={"twice": "quantity * 2"}, where=["quantity > 0"]),
    "union": lambda: Order.objects.filter(quantity=1).union(Order.objects.filter(quantity=2)).order_by("number"),
    "slice of a union": lambda: Order.objects.all().union(Order.objects.filter(quantity=1)).order_by("number")[1:4],
    "union of values": lambda: Order.objects.values("number").union(Order.objects.values("note")).order_by("number"),
    "dates": lambda: Order.objects.datetimes("placed_at", "month"),
    "manager": lambda: Order.objects,
}


@pytest.mark.both_databases
@pytest.mark.parametrize("format", ["csv", "jsonl"])
@pytest.mark.parametrize("name", QUERYSETS)
def test_a_queryset_has_the_same_file_at_every_size(ask, name, format):
    Order.objects.bulk_create(
        Order(
            number=f"A{number}", customer=Customer.objects.create(name=f"C{number}", city="Oslo"), quantity=number % 3,
            units=1, note="=1+1" if number % 2 else "", price=Decimal(number) / 4, details={"n": [number]},
            placed_at=stored(datetime(2026, 1 + number, 2, 3, 4, 5, 600_000, tzinfo=UTC)),
            preparation=timedelta(number),
        )
        for number in range(6)
    )  # fmt: skip
    small = content(ask(QUERYSETS[name](), format=format))
    assert ask(QUERYSETS[name](), format=format, threshold=1).status_code == 303
    export = FileRequest.objects.get()
    assert loop.dispatch(export.pk)
    assert file_of(export) == small
    assert len(small.splitlines()) >= 2


@pytest.mark.both_databases
@pytest.mark.parametrize("format", ["csv", "xlsx"])
@pytest.mark.aware_times
def test_stored_rows_have_the_cells_of_every_kind_of_value(ask, format):
    EveryField.objects.create(
        name="x", price="1.20", share="0.1", weight=1e22, flag=True, day="2026-01-02", moment="2026-01-02T03:04:05Z",
        clock="03:04:05.6", text="=1", reference=UUID(int=1), details={"a": [1.5, None]}, took=timedelta(1),
        content=b"\x00x", shouted="é", small=2,
    )  # fmt: skip
    EveryField.objects.create(name="empty")
    queryset = EveryField.objects.filter(Exists(EveryField.objects.all()))
    small = content(ask(queryset, format=format))
    ask(queryset, format=format, threshold=1)
    export = FileRequest.objects.get()
    assert loop.dispatch(export.pk)
    assert (export.file_type, cells(file_of(export), format)) == ("exports.rows", cells(small, format))


@pytest.mark.parametrize("format", ["csv", "xlsx", "jsonl"])
def test_stored_rows_have_the_cells_of_any_python_value(ask, format):
    moment = stored(datetime(2026, 1, 2, 3, tzinfo=UTC))
    values = [
        Customer.Tier.GOLD, SafeString("=1"), Fraction(1, 2), {1}, {(1, 2): Decimal("1.20")},
        {1: moment, None: [moment]}, 1j, User(username="ada"), memoryview(b"x"),
        [Decimal("1.0"), (timedelta(1), float("nan"))],
        NumericRange(1, 5), NumericRange(empty=True), [DateTimeTZRange(moment, None, "(]")], "\ud800", True, 2**70,
    ]  # fmt: skip
    rows = [{"value": value} for value in values]
    small = content(ask(rows, format=format))
    ask(rows, format=format, threshold=1)
    export = FileRequest.objects.get()
    assert loop.dispatch(export.pk)
    assert cells(file_of(export), format) == cells(small, format)


def cells(file: bytes, format: str) -> Any:
    return list(load_workbook(io.BytesIO(file)).active.values) if format == "xlsx" else file


def test_too_many_rows_of_a_queryset_that_cannot_be_stored_are_refused_with_the_reason(ask, settings, caplog):
    settings.EXPORTS = settings.EXPORTS | {"STORED_MAX_ROWS": 2}
    many(3)
    queryset = Order.objects.annotate(twice=F("quantity") * 2)
    response = ask(queryset, threshold=2, accept="application/json")
    error = json.loads(response.content)["error"]
    assert (response.status_code, error["code"]) == (400, "too_many_rows")
    assert "narrow the filter" in error["message"]
    assert "it is annotated, and it has more than EXPORTS['STORED_MAX_ROWS'] (2) rows. Declare a" in caplog.text
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize("debug", [True, False])
def test_a_developer_hears_of_that_limit_while_there_are_few_rows(ask, settings, caplog, debug):
    settings.DEBUG = debug
    many(3)
    assert content(ask(Order.objects.all(), format="csv"))
    assert not caplog.text
    assert content(ask(Order.objects.annotate(twice=F("quantity") * 2), format="csv"))
    assert ("more than 100000 rows will be refused" in caplog.text) is debug


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ((row for row in ROWS), "generator"), (Order.objects.raw("SELECT 1"), "RawQuerySet"),
        ([Order()], "list with a Order"), ([ROWS[0], (1, 2)], "list with a tuple"),
    ],
)  # fmt: skip
def test_rows_of_another_kind_are_an_error_that_names_get_rows(ask, rows, kind):
    with pytest.raises(DeclarationError, match=rf"not a {kind}\..*get_rows"):
        ask(rows)


def test_a_large_file_needs_a_signed_in_user(ask):
    with pytest.raises(PermissionDenied):
        ask(ROWS, threshold=1, user=AnonymousUser())


def test_many_dicts_are_stored_outside_the_database(ask):
    response = ask(ROWS, "people", "csv", threshold=1)
    assert response.status_code == 303
    request = FileRequest.objects.get()
    assert "Ada" not in request.criteria
    assert loop.dispatch(request.pk)
    assert file_of(request) == content(ask(ROWS, "people", "csv"))
    assert request.receipt["rows_asked"] == 2


def test_stored_rows_are_deleted_once_the_file_is_ready(ask):
    ask(ROWS, "people", "csv", threshold=1)
    request = FileRequest.objects.get()
    key = json.loads(request.criteria)["key"]
    housekeeping.delete_files()
    assert storage.exports_storage().exists(key)
    assert loop.dispatch(request.pk)
    housekeeping.delete_files()
    assert not storage.exports_storage().exists(key)
    assert Artifact.objects.get(state=Artifact.State.PUBLISHED).key == FileRequest.objects.get().filehandle.name


def anyone(user) -> bool:
    return True


def test_an_export_of_stored_rows_can_be_retried(ask):
    ask(ROWS, "people", "csv", threshold=1, permission=anyone)
    request = FileRequest.objects.get()
    services.cancel(request, SYSTEM)
    again, is_new = services.retry(request, SYSTEM)
    housekeeping.delete_files()
    assert is_new
    assert loop.dispatch(again.pk)
    assert b"Ada" in file_of(again)


def test_missing_stored_rows_fail_the_export_with_a_reason(ask):
    ask(ROWS, "people", "csv", threshold=1)
    request = FileRequest.objects.get()
    storage.delete(json.loads(request.criteria)["key"])
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "input_gone")


def test_wait_returns_the_file_if_it_is_ready_in_time(ask):
    many(3)

    def work():
        while not FileRequest.objects.exists():
            pass
        loop.dispatch(FileRequest.objects.get().pk)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    response = ask(Order.objects.values("number"), format="csv", wait=20)
    worker.join()
    assert table(response)[1:] == [["A0"], ["A1"], ["A2"]]
    assert rows.downloads().count() == 1


def test_wait_redirects_to_the_live_page_if_it_is_not_ready(ask):
    many(3)
    assert ask(Order.objects.all(), wait=0.1).status_code == 303


@pytest.mark.django_db(transaction=False)
def test_wait_does_not_wait_in_a_transaction(ask):
    many(3)
    assert ask(Order.objects.all(), wait=3600).status_code == 303
