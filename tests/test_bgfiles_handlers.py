"""Handlers of all kinds, attached files, and the expiry and the mail of a pattern's file."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.core.management import call_command

from exports import housekeeping, toolbox
from exports.exceptions import TransitionNotAllowed
from exports.exporters import registry
from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.patterns import Dataset, WriterPattern
from exports.worker import loop
from tests.seed.exports import LoginEventExport
from tests.seed.files import content_of
from tests.shop.exports import registered
from tests.shop.requests import queued, row, user
from tests.shop.runs import configure, stored_files, use_folders
from tests.test_bgfiles_runs import Slow, log_in_events, make

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """The folder of the stored files; mails are due at once."""
    configure(settings, MAIL_DELAY_SECONDS=0)
    return use_folders(settings, tmp_path)


# Handlers


class Handler:
    """A handler with a static method."""

    file_type = "handled"

    @staticmethod
    def handle(request: FileRequest) -> None:
        toolbox.attach_file(request, ContentFile(b"by a handler"), "handled.txt", "text/plain")


def test_a_handler_that_attaches_a_file_makes_the_request_ready(folder: Path):
    request = make(Handler)
    assert (request.status, request.epoch, request.filename) == (Status.READY, 1, "handled.txt")
    assert content_of(request) == b"by a handler"
    assert not request.notifications.exists()
    assert len(stored_files(folder)) == Artifact.objects.count() == 1


class FailsAfterwards(Handler):
    """Attaches its file and fails then, as in a mail that it sends itself."""

    @staticmethod
    def handle(request: FileRequest) -> None:
        Handler.handle(request)
        raise RuntimeError("after the file")


def test_a_file_whose_handler_fails_afterwards_is_in_the_audit_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "exports.audit")
    assert make(FailsAfterwards).status == Status.READY
    events = [record.fields["event"] for record in caplog.records if record.name == "exports.audit"]
    assert events == ["export.request", "export.start", "export.publish"]


def test_a_logging_filter_that_raises_does_not_end_a_run(caplog: pytest.LogCaptureFixture):
    def fail(record: logging.LogRecord) -> bool:
        raise RuntimeError("a filter of the project")

    caplog.set_level(logging.INFO, "exports.audit")
    audit_log = logging.getLogger("exports.audit")
    audit_log.addFilter(fail)
    try:
        assert make(Handler).status == Status.READY
    finally:
        audit_log.removeFilter(fail)
    assert "the audit log was not written: RuntimeError" in caplog.text


def test_a_file_that_is_too_large_is_not_stored_and_a_pattern_stops_early(settings: Any, folder: Path):
    configure(settings, MAIL_DELAY_SECONDS=0, MAX_BYTES=len(b"by a handler") - 1)
    attached = make(Handler)
    assert (attached.status, attached.error_code) == (Status.FAILED, "too_many_bytes")
    configure(settings, MAX_BYTES=100)
    log_in_events(50)
    read: list[Any] = []

    class Counting(Slow):
        pace = 0

        def read(self, items: Any) -> Iterator[Any]:
            for item in items:
                read.append(item)
                yield item

    request = make(Counting)
    assert (request.status, request.error_code) == (Status.FAILED, "too_many_bytes")
    assert 0 < len(read) < 50
    assert stored_files(folder) == []


def test_a_handler_may_be_an_instance_and_attach_twice():
    class Twice:
        file_type = "twice"

        def handle(self, request: FileRequest) -> None:
            Handler.handle(request)
            toolbox.attach_file(request, ContentFile(b"again"))

    with registered(Handler):
        registry.register(Twice(), ["twice"])
        request = queued(file_type="twice")
        assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, content_of(request), request.filename) == (Status.READY, b"again", "handled.txt")


def test_a_handler_that_attaches_nothing_fails():
    request = make(type("Idle", (), {"file_type": "idle", "handle": staticmethod(lambda request: None)}))
    assert (request.status, request.error_code) == (Status.FAILED, "no_file")


def test_a_handler_that_calls_a_pattern_sends_the_mail_of_the_pattern(mailoutbox: list[Any]):
    class Choosing:
        file_type = "choosing"

        @staticmethod
        def handle(request: FileRequest) -> None:
            LoginEventExport("events.xlsx").create_file(request)

    request = make(Choosing, criteria="from_date=2016-01-01")
    assert (request.status, request.filename) == (Status.READY, "events.xlsx")
    assert [mail.subject for mail in mailoutbox] == ["File events.xlsx is ready!"]
    assert Notification.objects.get().state == Notification.State.SENT


def test_dispatch_of_an_unregistered_type_raises_a_key_error_unless_it_is_finished():
    request = queued(file_type="unregistered")
    with pytest.raises(KeyError, match="unregistered"):
        loop.dispatch(request.pk)
    assert row(request.pk)["epoch"] == 0
    toolbox.attach_file(request, ContentFile(b"x"))
    assert loop.dispatch(request.pk) is False


def test_process_goes_on_after_failing_and_unregistered_handlers(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    class Raising:
        file_type = "raising"

        @staticmethod
        def handle(request: FileRequest) -> None:
            raise ValueError("sesame")

    with registered(Raising), registered(Handler), caplog.at_level(logging.WARNING):
        requests = [queued(file_type=name) for name in ("unregistered", "raising", "handled")]
        call_command("exports", "process")
    statuses = [row(request.pk)["status"] for request in requests]
    assert statuses == [Status.QUEUED, Status.FAILED, Status.READY]
    told = capsys.readouterr()
    for shown in ("raising", "failed (export_failed)", "Handled 2 requests."):
        assert shown in told.out
    assert "No exporter is registered for 'unregistered': 1 waiting." in told.err
    assert "sesame" not in caplog.text + told.out + told.err


# Attached files


def test_housekeeping_does_not_delete_a_file_while_it_is_attached(folder: Path):
    deleted = []

    class Watched(BytesIO):
        """A file during whose upload housekeeping runs."""

        def read(self, size: int | None = -1) -> bytes:
            deleted.append(housekeeping.delete_files(0))
            return super().read(size)

    request = queued()
    toolbox.attach_file(request, Watched(b"first"))
    toolbox.attach_file(request, Watched(b"second"))
    assert len(deleted) >= 4
    assert not any(deleted)
    assert housekeeping.delete_files(0) == 1
    assert content_of(FileRequest.objects.get()) == b"second"
    assert len(stored_files(folder)) == 1


def test_a_file_attached_after_a_run_is_served_with_its_own_length(folder: Path):
    log_in_events(3)
    request = make(Slow)
    toolbox.attach_file(request, ContentFile(b"a shorter one"), "attached.txt")
    response = toolbox.serve(FileRequest.objects.get())
    assert (response.getvalue(), response["Content-Length"]) == (b"a shorter one", "13")
    response.close()


def test_a_cancel_while_a_file_is_attached_wins(folder: Path):
    class Cancelled(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            transitions.cancel(FileRequest.objects.get())
            return super().read(size)

    with pytest.raises(TransitionNotAllowed):
        toolbox.attach_file(queued(), Cancelled(b"x"))
    assert FileRequest.objects.get().status == Status.CANCELLED
    assert housekeeping.delete_files(0) == 1
    assert stored_files(folder) == []


# Expiry and mail


class Lasting(WriterPattern):
    file_type = "lasting"

    def get_items(self, criteria: Any) -> None:
        return None

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        buffer.write(b"x")


@pytest.mark.parametrize("max_age", [60, 10**7, None])
def test_the_file_of_a_pattern_expires_with_its_token(max_age: int | None):
    request = make(type("Aged", (Lasting,), {"signer": toolbox.Signer(max_age=max_age)}))
    housekeeping.send_mails()
    request.refresh_from_db()
    expected = max_age and request.finished_at + timedelta(seconds=max_age)
    assert request.expires_at == expected


def test_a_pattern_mail_that_raises_is_retried_and_stops_no_other(mailoutbox: list[Any]):
    class Broken(Lasting):
        file_type = "broken"

        @classmethod
        def restore(cls, file_request: FileRequest) -> Any:
            if file_request.status == Status.READY:
                raise ValueError("no mail today")
            return super().restore(file_request)

    with registered(Broken), registered(LoginEventExport):
        registry.register(Broken)
        for file_type in ("broken", "login_events"):
            assert loop.dispatch(queued(file_type=file_type, criteria="from_date=2016-01-01").pk)
        housekeeping.send_mails()
    states = dict(Notification.objects.values_list("request__file_type", "state"))
    assert states == {"broken": Notification.State.PENDING, "login_events": Notification.State.SENT}
    assert FileRequest.objects.get(file_type="broken").status == Status.READY
    assert len(mailoutbox) == 1


@pytest.mark.parametrize("permission", ["", "auth.view_user"])
def test_a_failed_pattern_can_be_retried_if_it_was_requested_with_a_permission(client: Any, permission: str):
    class Failing(Lasting):
        file_type = "failing"

        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            raise ValueError

    owner = user()
    owner.user_permissions.add(Permission.objects.get(codename="view_user"))
    with registered(Failing):
        columns = {"filename": "f.txt", "criteria": "a=1", "requester_language": "nl", "permission": permission}
        request = queued(file_type="failing", **columns)
        loop.dispatch(request.pk)
        client.force_login(owner)
        response = client.post(f"/exports/{request.pk}/retry/", headers={"accept": "application/json"})
    if not permission:
        assert (response.status_code, FileRequest.objects.count()) == (409, 1)
        return
    assert response.status_code == 201
    again = FileRequest.objects.get(pk=response.json()["id"])
    assert again.pk != request.pk
    assert (again.status, again.criteria, again.filename) == (Status.QUEUED, "a=1", "f.txt")
    assert (again.requester_language, again.requester, again.permission) == ("nl", owner, permission)
