"""Regression tests for the defects of dj-bgfiles and of the blog's helper, where no other file tests them.

test_bgfiles_handlers has the aborted batch, test_bgfiles_toolbox local files, anonymous users and tokens,
test_bgfiles_patterns criteria and filenames, test_bgfiles_mail the HTML part, test_bgfiles_views control characters in
headers, test_privacy the files of deleted rows, test_http_access who may poll.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.http import HttpRequest
from django.test import RequestFactory

from exports import toolbox
from exports.models import FileRequest, Notification, Status
from exports.patterns import Dataset, FullPattern, registry
from exports.shortcuts import export_response
from tests.office.browsers import JSON, signed_in
from tests.seed.fake_time import FakeTime
from tests.seed.files import attached, body_of
from tests.servers import Valkey
from tests.shop.exports import registered
from tests.shop.requests import NOON, after, queued, row, user
from tests.shop.runs import configure, send_mails_by, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.seed.urls")]

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """The folder of the stored files; mails are due, and files and rows deleted, at once."""
    configure(settings, MAIL_DELAY_SECONDS=0, HISTORY_SECONDS=0, FILE_DELETE_DELAY_SECONDS=0)
    return use_folders(settings, tmp_path)


class SomeExport(FullPattern):
    file_type = "some"
    delayed_template_name = "reports/delayed_response.html"
    email_subject = email_text_message = "%(filename)s"
    megabytes = 0

    def get_items(self, criteria: Any) -> None:
        return None

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        dataset.delay = "now" not in http_request.POST

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        buffer.write(b"bytes")
        for _ in range(self.megabytes):
            buffer.write(b"\0" * MEBIBYTE)


class RaisingExport(SomeExport):
    file_type = "raising"

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        raise ValueError("of a row")


def posted(someone: Any, **given: str) -> HttpRequest:
    request = RequestFactory().post("/", given)
    request.user = someone
    return request


# clean swapped --sleep and --timeout


def test_clean_with_timeout_and_sleep_deletes_all_expired_files(
    capsys: pytest.CaptureFixture[str], fake_time: FakeTime
):
    for second in range(2):
        attached(expires_at=after(second))
    call_command("exports", "clean", "--timeout=60", "--sleep=1")
    assert "Removed 2 of 2 expired requests: all of them." in capsys.readouterr().out
    assert fake_time.slept == [1]
    assert not FileRequest.objects.exists()


# Requests that never finished were never deleted


def test_clean_fails_and_deletes_requests_that_never_finished(settings: Any):
    configure(settings, QUEUE_TIMEOUT_SECONDS=3600)
    with registered(SomeExport):
        queued(file_type="some", requested_at=NOON)
        configure(settings, HISTORY_SECONDS=86400)
        call_command("exports", "clean")
        assert FileRequest.objects.get().error_code == "expired_in_queue"
        configure(settings, HISTORY_SECONDS=0)
        call_command("exports", "clean")
    assert not FileRequest.objects.exists()


# The row lock, the file and the mail shared one transaction


def test_a_mail_that_fails_keeps_the_file_and_is_sent_later(settings: Any, mailoutbox: list[Any]):
    with registered(SomeExport):
        request = queued(file_type="some", filename="some.txt")
        send_mails_by(settings, "tests.seed.pages.BrokenMail")
        call_command("exports", "process")
        assert row(request.pk)["status"] == Status.READY
        send_mails_by(settings, "locmem")
        Notification.objects.update(due_at=NOON)
        for _ in range(2):
            call_command("exports", "process")
    assert [mail.subject for mail in mailoutbox] == ["some.txt"]
    assert Notification.objects.get().attempts == 2


def test_no_transaction_is_open_while_a_file_is_made():
    open_transactions = []

    class Looking(SomeExport):
        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            from django.db import connection

            open_transactions.append(connection.in_atomic_block)
            buffer.write(b"x")

    with registered(Looking):
        registry.dispatch(queued(file_type="some").pk)
    assert open_transactions == [False]


# The whole file was held in memory


class BigExport(SomeExport):
    megabytes = 64


def peak_memory(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def read(response: Any) -> None:
    assert sum(len(block) for block in response) == 64 * MEBIBYTE + 5
    response.close()


def test_writing_and_serving_do_not_hold_the_file_in_memory():
    with registered(BigExport):
        request = queued(file_type="some", filename="big.txt")
        assert peak_memory(lambda: registry.dispatch(request.pk)) < 16 * MEBIBYTE
    assert peak_memory(lambda: read(toolbox.serve(FileRequest.objects.get()))) < 16 * MEBIBYTE
    assert peak_memory(lambda: read(BigExport("big.txt").respond_to(posted(user(), now="1"))[1])) < 16 * MEBIBYTE


def test_an_attached_upload_is_stored_in_chunks():
    big = SimpleUploadedFile("big.bin", b"\0" * (32 * MEBIBYTE))
    assert peak_memory(lambda: toolbox.attach_file(queued(), big, "big.bin")) < 8 * MEBIBYTE


# The blog's helper


def exported(format: str, rows: int, someone: User | None = None) -> Any:
    http_request = RequestFactory().get("/", headers=JSON)
    http_request.user = someone or user()
    cells = [{"number": number, "note": "sesame"} for number in range(rows)]
    return export_response(http_request, cells, "rows", format=format, threshold=10)


@pytest.mark.parametrize(("asked", "extension"), [("excel", "xlsx"), ("xlsx", "xlsx"), ("csv", "csv")])
def test_big_exports_run_in_the_background_and_excel_files_end_in_xlsx(asked: str, extension: str):
    assert exported(asked, 11).status_code == 202
    response = exported(asked, 3)
    assert f'filename="rows.{extension}"' in response["Content-Disposition"]
    assert body_of(response).startswith(b"PK") == (extension == "xlsx")


def test_no_rows_are_sent_through_the_queue(valkey: Valkey):
    assert exported("csv", 100).status_code == 202
    with valkey.client() as client:
        messages = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert messages
    assert b"sesame" not in messages


def test_the_requester_learns_about_a_failure(mailoutbox: list[Any]):
    with registered(RaisingExport):
        request = queued(file_type="raising", filename="some.txt", description="Some")
        call_command("exports", "process")
    state = signed_in(user()).get(f"/exports/{request.pk}/", headers=JSON).json()
    assert (state["status"], state["error"]["code"]) == ("failed", "export_failed")
    assert [(mail.to, "Some" in mail.subject) for mail in mailoutbox] == [(["ada@shop.example"], True)]
