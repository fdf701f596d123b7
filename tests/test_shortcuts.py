"""export_response: a file now where it is small, live where it is not."""

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
from exports.models import Artifact, Download, FileRequest
from exports.shortcuts import export_response
from exports.worker import loop
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
    """Calls export_response as a view would, for a browser, a program or somebody else."""

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


def test_a_small_list_of_dicts_is_answered_at_once(ask):
    response = ask(ROWS, "people", "csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="people.csv"'
    assert table(response) == [
        ["name", "born", "sum", "note"],
        ["Ada", "1815-12-10T00:00:00+00:00", "1.20", ""],
        ["Bob", "", "", "'=1+1"],
    ]
    assert not FileRequest.objects.exists()


def test_excel_is_a_name_of_xlsx(ask):
    sheet = load_workbook(io.BytesIO(content(ask(ROWS, "people", "excel")))).active
    assert [cell.value for cell in sheet[1]] == ["name", "born", "sum", "note"]


def test_a_small_queryset_is_answered_at_once_even_to_nobody_known(ask):
    many(3)
    response = ask(Order.objects.values("number", "quantity"), format="csv", user=AnonymousUser())
    assert table(response) == [["Order number", "Quantity"], ["A0", "0"], ["A1", "1"], ["A2", "2"]]


def test_an_unknown_format_is_a_400_that_names_the_known_ones(ask):
    response = ask(ROWS, format="docx", accept="application/json")
    assert response.status_code == 400
    assert "csv" in json.loads(response.content)["error"]["message"]


def test_a_bad_option_is_a_400(ask):
    assert ask(ROWS, format="csv", options={"delimiter": "x"}, accept="application/json").status_code == 400


def test_no_rows_give_a_file_with_headers_or_the_answer_of_your_choice(ask):
    assert table(ask(Order.objects.values("number"), format="csv")) == [["Order number"]]
    assert ask(Order.objects.all(), format="csv", empty=HttpResponse("nothing", status=204)).status_code == 204
    assert content(ask([], format="csv")) == b"There is nothing to export."


def test_a_big_queryset_becomes_a_request_that_a_browser_can_follow(ask, ada):
    many(12)
    response = ask(Order.objects.filter(quantity__gte=2).order_by("-quantity"), "orders", "csv", threshold=5)
    request = FileRequest.objects.get()
    assert (response.status_code, response.headers["Location"]) == (303, f"/exports/{request.pk}/page/")
    assert (request.requester, request.filename) == (ada, "orders.csv")
    assert loop.dispatch(request.pk)
    lines = file_of(request).decode("utf-8-sig").splitlines()
    assert len(lines) == 11
    assert lines[1].startswith(f"{Order.objects.get(quantity=11).pk},A11")


def test_a_program_gets_202_with_the_state_and_where_to_look(ask):
    many(3)
    response = ask(Order.objects.all(), threshold=2, accept="application/json")
    state = json.loads(response.content)
    assert (response.status_code, state["status"]) == (202, "queued")
    assert response.headers["Location"] == state["urls"]["self"]
    assert int(response.headers["Retry-After"]) > 0


def test_a_big_queryset_that_cannot_be_stored_says_so_and_a_small_one_does_not_mind(ask):
    many(3)
    sliced = Order.objects.order_by("number")[:3]
    assert len(table(ask(sliced, format="csv"))) == 4
    with pytest.raises(UnstorableQuerySet, match="QuerySetExport"):
        ask(sliced, format="csv", threshold=2)


def test_a_big_file_is_not_made_for_nobody(ask):
    with pytest.raises(PermissionDenied):
        ask(ROWS, threshold=1, user=AnonymousUser())


def test_big_rows_are_stored_as_they_are_and_nothing_of_them_is_on_the_row(ask):
    response = ask(ROWS, "people", "csv", threshold=1)
    assert response.status_code == 303
    request = FileRequest.objects.get()
    assert "Ada" not in request.criteria
    assert loop.dispatch(request.pk)
    assert file_of(request) == content(ask(ROWS, "people", "csv"))
    assert request.receipt["rows_asked"] == 2


def test_stored_rows_go_once_the_file_is_there(ask):
    ask(ROWS, "people", "csv", threshold=1)
    request = FileRequest.objects.get()
    key = json.loads(request.criteria)["key"]
    housekeeping.delete_files()
    assert storage.exports_storage().exists(key)
    assert loop.dispatch(request.pk)
    housekeeping.delete_files()
    assert not storage.exports_storage().exists(key)
    assert Artifact.objects.get(state=Artifact.State.PUBLISHED).key == FileRequest.objects.get().filehandle.name


def test_cancelled_rows_can_be_tried_again(ask):
    ask(ROWS, "people", "csv", threshold=1)
    request = FileRequest.objects.get()
    services.cancel(request)
    again, is_new = services.retry(request)
    housekeeping.delete_files()
    assert is_new
    assert loop.dispatch(again.pk)
    assert b"Ada" in file_of(again)


def test_rows_that_are_gone_fail_with_their_reason(ask):
    ask(ROWS, "people", "csv", threshold=1)
    request = FileRequest.objects.get()
    storage.delete(json.loads(request.criteria)["key"])
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "input_gone")


def test_waiting_hands_over_the_file_when_a_worker_is_quick(ask):
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
    assert Download.objects.count() == 1


def test_waiting_leads_to_the_live_page_when_no_worker_is_quick(ask):
    many(3)
    assert ask(Order.objects.all(), wait=0.1).status_code == 303


@pytest.mark.django_db(transaction=False)
def test_nothing_is_waited_for_inside_a_transaction(ask):
    many(3)
    assert ask(Order.objects.all(), wait=3600).status_code == 303
