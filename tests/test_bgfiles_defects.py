"""Regression tests for the defects of dj-bgfiles and of the blog's helper, where no other file tests them.

test_bgfiles_handlers has the aborted batch, test_bgfiles_toolbox local files, tokens and the caller's dict,
test_bgfiles_views control characters in headers.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.signing import BadSignature
from django.http import HttpRequest
from django.test import Client, RequestFactory

from exports import housekeeping, toolbox
from exports.models import FileRequest, Notification, Status
from exports.patterns import Dataset, FullPattern, registry
from exports.shortcuts import export_response
from exports.toolbox import Signer
from tests.seed.fake_time import FakeTime
from tests.seed.files import body_of
from tests.servers import Valkey
from tests.shop.exports import registered
from tests.shop.requests import NOON, after, queued, row, user
from tests.shop.runs import configure, stored_files, use_folders

pytestmark = [
    pytest.mark.both_databases,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.seed.urls"),
]

MEBIBYTE = 1 << 20
JSON = {"accept": "application/json"}


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


def attached(**columns: Any) -> FileRequest:
    request = queued(**columns)
    toolbox.attach_file(request, ContentFile(b"bytes"), "x.csv")
    return request


def signed_in(someone: User) -> Client:
    client = Client()
    client.force_login(someone)
    return client


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


# The filename was not stored with the request


def test_the_filename_is_stored_with_the_request():
    SomeExport("some.txt").respond_to(posted(user()))
    request = FileRequest.objects.get()
    assert request.filename == "some.txt"
    assert SomeExport(request.filename).create_file(request)
    assert FileRequest.objects.get().filename == "some.txt"


# The CSRF token was stored, the HTML part was "None", anonymous users raised ValueError


def test_the_csrf_token_is_not_stored():
    SomeExport("some.txt").respond_to(posted(user(), month="4", csrfmiddlewaretoken="secret"))
    assert FileRequest.objects.get().criteria == "month=4"


def test_a_mail_without_html_has_no_alternative(mailoutbox: list[Any]):
    assert SomeExport("some.txt").create_file(queued())
    assert mailoutbox[0].alternatives == []


def test_an_anonymous_user_may_request_a_file():
    assert SomeExport("some.txt").respond_to(posted(AnonymousUser()))[0]
    assert toolbox.add_request(requester=AnonymousUser()).requester is None
    assert list(FileRequest.objects.values_list("requester", flat=True)) == [None, None]


# Files outlived their rows, tokens without an id raised KeyError


@pytest.mark.parametrize("deleted", [User.objects, FileRequest.objects], ids=["cascade", "queryset"])
def test_files_are_deleted_after_a_cascade_or_a_queryset_delete(folder: Path, deleted: Any):
    attached()
    SomeExport("some.txt").create_file(queued())
    deleted.all().delete()
    assert housekeeping.delete_files() == 2
    assert stored_files(folder) == []


def test_a_token_without_an_id_is_a_bad_signature():
    with pytest.raises(BadSignature):
        toolbox.decode(Signer().dump({"requester": 1}))
    token = toolbox.get_default_signer().dump({"requester": 1})
    assert b"naughty" in Client().get(f"/downloads/{token}/").content


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
    working = settings.EMAIL_BACKEND
    with registered(SomeExport):
        request = queued(file_type="some", filename="some.txt")
        settings.EMAIL_BACKEND = "tests.seed.pages.BrokenMail"
        call_command("exports", "process")
        assert row(request.pk)["status"] == Status.READY
        settings.EMAIL_BACKEND = working
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


def test_a_file_made_in_the_request_is_streamed_from_disk():
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


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_big_exports_run_in_the_background_in_every_format(format: str):
    assert exported(format, 11).status_code == 202
    assert body_of(exported(format, 3))


@pytest.mark.parametrize(("asked", "extension"), [("excel", "xlsx"), ("xlsx", "xlsx"), ("csv", "csv")])
def test_excel_files_have_the_extension_xlsx(asked: str, extension: str):
    response = exported(asked, 3)
    assert f'filename="rows.{extension}"' in response["Content-Disposition"]
    assert body_of(response).startswith(b"PK") == (extension == "xlsx")


def test_no_rows_are_sent_through_the_queue(valkey: Valkey):
    assert exported("csv", 100).status_code == 202
    with valkey.client() as client:
        messages = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert messages
    assert b"sesame" not in messages


def test_another_user_cannot_poll_the_export():
    address = f"/exports/{exported('csv', 11).headers['Location'].split('/')[-2]}/"
    assert signed_in(user()).get(address, headers=JSON).status_code == 200
    other = signed_in(user("eve"))
    assert other.get(address, headers=JSON).status_code == 404
    assert other.get("/exports/00000000-0000-4000-8000-000000000000/", headers=JSON).status_code == 404
    assert Client().get(address, headers=JSON).status_code == 401


def test_the_requester_learns_about_a_failure(mailoutbox: list[Any]):
    with registered(RaisingExport):
        request = queued(file_type="raising", filename="some.txt", description="Some")
        call_command("exports", "process")
    state = signed_in(user()).get(f"/exports/{request.pk}/", headers=JSON).json()
    assert (state["status"], state["error"]["code"]) == ("failed", "export_failed")
    assert [(mail.to, "Some" in mail.subject) for mail in mailoutbox] == [(["ada@shop.example"], True)]
