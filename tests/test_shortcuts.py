"""export_response: a small file in the response, a large one as an export."""

import csv
import io
import json
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from openpyxl import load_workbook

from exports import housekeeping, services, storage
from exports.exceptions import UnstorableQuerySet
from exports.models import Artifact, FileRequest
from exports.models.audit import SYSTEM
from exports.shortcuts import export_response
from exports.worker import loop
from tests.office import rows
from tests.shop.models import Order

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


def test_a_large_queryset_returns_202_with_the_state_to_a_program(ask):
    many(3)
    response = ask(Order.objects.all(), threshold=2, accept="application/json")
    state = json.loads(response.content)
    assert (response.status_code, state["status"]) == (202, "queued")
    assert response.headers["Location"] == state["urls"]["self"]
    assert int(response.headers["Retry-After"]) > 0


def test_only_a_large_queryset_must_be_storable(ask):
    many(3)
    sliced = Order.objects.order_by("number")[:3]
    assert len(table(ask(sliced, format="csv"))) == 4
    with pytest.raises(UnstorableQuerySet, match="QuerySetExport"):
        ask(sliced, format="csv", threshold=2)


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
