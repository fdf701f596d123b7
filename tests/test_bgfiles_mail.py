"""The mail of a pattern, and the mixin that schedules a huey task."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext_lazy
from huey import MemoryHuey

from exports import housekeeping, toolbox
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.models import FileRequest, Notification, Status
from exports.patterns import EmailNotificationMixin, WriterPattern
from exports.worker import loop
from tests.shop.exports import registered
from tests.shop.requests import queued, user
from tests.shop.runs import configure, use_folders

pytestmark = pytest.mark.django_db(transaction=True)


class Mailed(EmailNotificationMixin, WriterPattern):
    file_type = "mailed"
    email_subject = gettext_lazy("%(filename)s is ready,\nat last")
    email_text_message = "%(file_type)s of %(rows_done)s rows: %(download_url)s"
    download_url = "https://seed.example/%(filename)s?%(token)s"

    def get_items(self, criteria: Any) -> list[int]:
        return [1, 2, 3]

    def write_bytes(self, dataset: Any, buffer: Any) -> None:
        for item in dataset.items:
            buffer.write(str(item).encode())


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    use_folders(settings, tmp_path)
    configure(settings, MAIL_DELAY_SECONDS=0)


def mailed(
    mailoutbox: list[EmailMultiAlternatives], pattern: type[WriterPattern] = Mailed, **columns: Any
) -> EmailMultiAlternatives:
    """Return the mail about a file that this pattern made."""
    with registered(pattern):
        request = queued(file_type=pattern.file_type, filename="m.txt", **columns)
        assert loop.dispatch(request.pk)
        assert mailoutbox == []
        assert housekeeping.send_mails() == 1
        assert housekeeping.send_mails() == 0
    (sent,) = mailoutbox
    return sent


def with_members(**members: Any) -> type[Mailed]:
    return type("Changed", (Mailed,), members)


def test_the_mail_is_filled_with_the_fields_and_the_download_url(mailoutbox: list[Any]):
    sent = mailed(mailoutbox)
    assert (sent.subject, sent.to) == ("m.txt is ready, at last", ["ada@shop.example"])
    assert (sent.from_email, sent.alternatives) == ("webmaster@localhost", [])
    assert sent.body.startswith("mailed of 3 rows: https://seed.example/m.txt?")
    token = sent.body.partition("?")[2]
    assert toolbox.decode(token)[0] == FileRequest.objects.get()


def test_html_and_sender_are_those_of_the_pattern(mailoutbox: list[Any]):
    html = "<a href='%(download_url)s'>m</a>"
    sent = mailed(mailoutbox, with_members(email_html_message=html, from_email="exports@seed.example"))
    ((content, kind),) = sent.alternatives
    assert (kind, content.startswith("<a href='https://seed.example/m.txt?")) == ("text/html", True)
    assert sent.from_email == "exports@seed.example"


def test_every_part_of_the_mail_has_a_hook(mailoutbox: list[Any]):
    hooked = with_members(
        get_email_subject=lambda self: "hooked %(filename)s",
        get_email_text_message=lambda self: "see %(download_url)s",
        get_email_html_message=lambda self: "<b>%(download_url)s</b>",
        get_from_email=lambda self: "hooked@seed.example",
        get_email_recipients=lambda self, file_request: ["boss@seed.example", file_request.requester.email],
        get_download_url=lambda self, file_request, token: f"https://hooked.example/{len(token) > 20}",
    )
    sent = mailed(mailoutbox, hooked)
    assert (sent.subject, sent.from_email) == ("hooked m.txt", "hooked@seed.example")
    assert (sent.body, sent.to) == ("see https://hooked.example/True", ["boss@seed.example", "ada@shop.example"])
    assert sent.alternatives[0][0] == "<b>https://hooked.example/True</b>"


def test_the_mail_is_in_the_language_of_the_requester_and_links_to_the_page(mailoutbox: list[Any]):
    local = with_members(get_email_subject=lambda self: translation.get_language(), download_url=None)
    sent = mailed(mailoutbox, local, requester_language="nl")
    assert sent.subject == "nl"
    assert sent.body.endswith(f"https://exports.example/exports/{FileRequest.objects.get().pk}/page/")


def test_texts_that_are_none_are_empty_in_the_mail(mailoutbox: list[Any]):
    sent = mailed(mailoutbox, with_members(email_subject=None, email_text_message=None, email_html_message=None))
    assert (sent.subject, sent.body, sent.alternatives) == ("", "", [])


def test_create_file_outside_a_run_sends_the_mail_at_once(mailoutbox: list[Any]):
    request = queued(file_type="unregistered", filename="m.txt")
    assert Mailed("m.txt").create_file(request)
    (sent,) = mailoutbox
    assert Notification.objects.get(state="sent").message_id == sent.extra_headers["Message-ID"]
    assert housekeeping.send_mails() == 0


# huey


class Project:
    """A project with its own huey, and a pattern that schedules a task there."""

    def __init__(self, **options: Any) -> None:
        self.huey = MemoryHuey("host", immediate=False)
        self.handled: list[Any] = []
        task = self.huey.task()(self.handled.append)

        class Scheduled(ScheduleWithHueyPattern):
            def get_huey_kwargs(self, *context: Any) -> dict[str, Any]:
                return options

        Scheduled.task = task
        self.pattern = Scheduled()

    def schedule(self, request: FileRequest) -> Any:
        return self.pattern.schedule(request, None, None)

    def work(self) -> None:
        self.huey.execute(self.huey.dequeue())


def test_the_huey_task_gets_the_id_of_the_request():
    project, request = Project(), queued()
    assert project.pattern.get_task(request, None, None) is project.pattern.task
    assert project.pattern.get_task_args(request, None, None) == [request.id]
    assert project.pattern.get_task_kwargs(request, None, None) == {}
    result = project.schedule(request)
    project.work()
    assert project.handled == [request.id]
    assert result.id


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_the_huey_task_is_enqueued_on_commit(is_rolled_back: bool):
    project = Project()
    with transaction.atomic():
        assert project.schedule(queued()) is None
        assert project.huey.pending_count() == 0
        transaction.set_rollback(is_rolled_back)
    assert project.huey.pending_count() == (not is_rolled_back)


@pytest.mark.parametrize("options", [{"delay": 3600}, {"eta": datetime.now() + timedelta(hours=1)}])
def test_options_for_schedule_reach_the_huey_task(options: dict[str, Any]):
    project = Project(priority=5, retries=2, **options)
    project.schedule(queued())
    task = project.huey.dequeue()
    assert (task.priority, task.retries) == (5, 2)
    assert not project.huey.ready_to_run(task)


def test_a_huey_queue_that_is_down_does_not_lose_the_request(caplog: pytest.LogCaptureFixture):
    class Down(ScheduleWithHueyPattern):
        class task:
            @staticmethod
            def schedule(**options: Any) -> None:
                raise ConnectionError

    request = queued()
    assert Down().schedule(request, None, None) is None
    assert FileRequest.objects.get().status == Status.QUEUED
    assert "on_commit" in caplog.text
    assert request.requester == user()
