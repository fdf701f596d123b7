"""The walk-through of dj-bgfiles' README, step by step, on an app written as in the README."""

import re
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.management import call_command
from django.db import connection
from django.test import Client
from huey import RedisHuey
from openpyxl import load_workbook

from exports import housekeeping, toolbox
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.models import FileRequest, Notification, Status
from exports.patterns import registry
from tests.office.browsers import signed_in
from tests.seed import tasks
from tests.seed.exports import GeneralExport, LoginEventExport, SignedByHookExport, SignedExport, my_signer
from tests.seed.models import LoginEvent
from tests.seed.pages import Pages
from tests.seed.spreadsheets import XLSX
from tests.servers import Valkey
from tests.shop.exports import registered
from tests.shop.requests import user
from tests.shop.runs import configure, until, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.seed.urls")]

LIMIT = 10_000
SINCE = {"from_date": "2016-01-01"}
LINK = re.compile(r"https://seed\.example(\S+)")


@pytest.fixture(autouse=True)
def seed(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Empty folders, an empty queue, and mails that are due at once."""
    use_folders(settings, tmp_path)
    configure(settings, MAIL_DELAY_SECONDS=0)
    tasks.huey.flush()
    yield
    tasks.huey.flush()


@pytest.fixture
def ada() -> User:
    return user("ada")


@pytest.fixture
def client(ada: User) -> Client:
    return signed_in(ada)


def log_in_events(count: int) -> None:
    LoginEvent.objects.bulk_create([LoginEvent(succeeded=number % 2 == 0) for number in range(count)], 2000)


def events_in(content: bytes) -> list[int]:
    """Return the ids in a spreadsheet."""
    sheet = load_workbook(BytesIO(content), read_only=True).active
    return [row[0] for row in sheet.iter_rows(min_row=2, values_only=True)]


def all_events() -> list[int]:
    return list(LoginEvent.objects.order_by("pk").values_list("pk", flat=True))


def the_mail() -> EmailMultiAlternatives:
    (sent,) = mail.outbox
    return sent


def link() -> str:
    """Return the path of the link in the mail."""
    return LINK.search(the_mail().body).group(1)


def delayed(client: Client, address: str = "/login-events/") -> FileRequest:
    """Request more events than the limit and return the FileRequest."""
    log_in_events(LIMIT + 1)
    response = client.post(address, SINCE)
    assert (response.status_code, response.templates[0].name) == (200, "reports/delayed_response.html")
    return FileRequest.objects.get()


def add(file_type: str, owner: User, **columns: Any) -> FileRequest:
    given = {"criteria": "from_date=2016-01-01", "filename": "login-events.xlsx", "content_type": XLSX}
    return toolbox.add_request(file_type=file_type, requester=owner, **given | columns)


# Manually


def test_the_filter_form_is_shown_with_its_errors(client: Client):
    for address in ("/by-hand/", "/login-events/"):
        assert b"from_date" in client.get(address).content
        assert b"This field is required" in client.post(address, {}).content
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize("address", ["/by-hand/", "/login-events/"])
def test_ten_thousand_events_are_served_in_the_response(client: Client, address: str):
    log_in_events(LIMIT)
    response = client.post(address, SINCE)
    assert response["Content-Type"] == XLSX
    assert events_in(response.getvalue()) == all_events()
    assert not FileRequest.objects.exists()


def test_a_manual_huey_task_makes_the_file_and_mails_the_link(client: Client, ada: User):
    log_in_events(LIMIT + 1)
    assert b"10001 events are more than 10000" in client.post("/by-hand/", SINCE).content
    request = FileRequest.objects.get()
    assert (request.file_type, request.requester, request.content_type) == ("login_events", ada, XLSX)
    assert (request.criteria, request.status, request.finished_at) == ("from_date=2016-01-01", Status.QUEUED, None)
    tasks.huey.execute(tasks.huey.dequeue())
    request.refresh_from_db()
    assert (request.status, request.filename) == (Status.READY, "login_events.xlsx")
    assert the_mail().to == [ada.email]
    response = client.get(link())
    assert response["Content-Disposition"] == 'attachment; filename="login_events.xlsx"'
    assert events_in(response.getvalue()) == all_events()


def test_a_manual_cron_job_makes_the_file_and_mails_the_link(client: Client):
    request = delayed(client, "/by-cron/")
    assert tasks.huey.pending_count() == 0
    call_command("process_file_requests")
    request.refresh_from_db()
    assert request.status == Status.READY
    assert events_in(client.get(link()).getvalue()) == all_events()
    call_command("process_file_requests")
    assert len(mail.outbox) == 1


def test_a_cron_job_that_calls_create_file_of_the_pattern(client: Client, ada: User):
    log_in_events(3)
    request = add("something_else", ada)
    assert request.file_type not in registry.handlers
    call_command("process_file_requests")
    request.refresh_from_db()
    assert (request.status, request.size, request.rows_done) == (Status.READY, request.filehandle.size, 3)
    assert the_mail().subject == "File login-events.xlsx is ready!"
    assert events_in(client.get(link()).getvalue()) == all_events()
    housekeeping.send_mails()
    assert len(mail.outbox) == 1


# The pattern


def test_the_pattern_stores_a_request_and_renders_the_delayed_template(client: Client, ada: User):
    log_in_events(LIMIT + 1)
    response = client.post("/login-events/", SINCE)
    request = FileRequest.objects.get()
    stored = (request.criteria, request.file_type, request.filename, request.content_type, request.requester)
    assert stored == ("from_date=2016-01-01", "login_events", "login-events.xlsx", XLSX, ada)
    assert (request.requester_language, request.requester_timezone) == ("en", "UTC")
    assert (response.context["file_request"], response.context["schedule"]) == (request, None)
    assert response.context["dataset"].items.count() == LIMIT + 1
    assert "back to you on login-events.xlsx" in response.content.decode()


def test_process_makes_the_file_of_a_registered_pattern_and_mails_it_once(
    client: Client, ada: User, capsys: pytest.CaptureFixture[str]
):
    request = delayed(client)
    call_command("exports", "process", "--sleep=1", "--timeout=600", "--items=20")
    request.refresh_from_db()
    assert f"login_events {request.pk}: ready\nHandled 1 requests.\n" in capsys.readouterr().out
    assert (request.status, request.rows_done, request.size) == (Status.READY, LIMIT + 1, request.filehandle.size)
    assert (the_mail().subject, the_mail().to) == ("File login-events.xlsx is ready!", [ada.email])
    assert the_mail().body.startswith("Come and get it: https://seed.example/downloads/")
    assert events_in(client.get(link()).getvalue()) == all_events()
    call_command("exports", "process")
    notification = Notification.objects.get(request=request)
    assert the_mail().extra_headers["Message-ID"] == notification.message_id
    assert (notification.state, notification.attempts) == (Notification.State.SENT, 1)


def test_criteria_that_became_invalid_fail_the_request(ada: User):
    request = add("login_events", ada, criteria="from_date=nonsense")
    call_command("exports", "process")
    request.refresh_from_db()
    assert (request.status, request.error_code) == (Status.FAILED, "invalid_criteria")


def test_the_live_page_follows_a_pattern_made_by_process(client: Client, settings: Any):
    settings.CHANNEL_LAYERS = Pages.LAYER
    pages = Pages()
    request = delayed(client)
    call_command("exports", "process")
    heard = pages.heard(request.pk)
    assert (heard[0]["status"], heard[-1]["status"]) == ("queued", "ready")
    assert heard[-1]["progress"]["rows_done"] == LIMIT + 1
    assert client.get(f"/exports/{request.pk}/").json()["status"] == "ready"


def test_the_huey_task_of_a_pattern_makes_the_file(client: Client):
    with registered(tasks.QueuedExport):
        request = delayed(client, "/queued/")
        task = tasks.huey.dequeue()
        assert task.args == (request.pk,)
        assert tasks.huey.execute(task)
    request.refresh_from_db()
    assert request.status == Status.READY


def test_a_real_huey_consumer_makes_the_file_of_a_pattern(ada: User, valkey: Valkey):
    queue = RedisHuey("seed-host", url=valkey.url, immediate=False)

    @queue.task()
    def handled(file_request_id: Any) -> None:
        registry.dispatch(file_request_id)
        connection.close()

    class ByConsumer(LoginEventExport, ScheduleWithHueyPattern):
        file_type = "by_consumer"
        task = handled

        def schedule(self, *context: Any) -> Any:
            return ScheduleWithHueyPattern.schedule(self, *context)

    log_in_events(3)
    with registered(ByConsumer), consuming(queue):
        request = add("by_consumer", ada)
        ByConsumer("x.xlsx").schedule(request, None, None)
        until(lambda: FileRequest.objects.get().status == Status.READY)


class consuming:
    """Run a consumer of this queue inside the block."""

    def __init__(self, queue: RedisHuey) -> None:
        self.consumer = queue.create_consumer(workers=1, worker_type="thread", periodic=False, initial_delay=0.05)

    def __enter__(self) -> None:
        self.before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        self.consumer.start()

    def __exit__(self, *error: object) -> None:
        self.consumer.stop(graceful=True)
        for signum, handler in self.before.items():
            signal.signal(signum, handler)


# Serving the file


@pytest.fixture
def ready(ada: User) -> FileRequest:
    log_in_events(3)
    request = add("login_events", ada)
    assert registry.dispatch(request.pk)
    request.refresh_from_db()
    return request


def test_the_wrapping_view_serves_the_file_or_one_of_three_error_pages(
    client: Client, ready: FileRequest, settings: Any
):
    def page(browser: Client, token: str) -> str:
        return browser.get(f"/downloads/{token}/").templates[0].name

    token = toolbox.create_token(ready)
    for browser, view in ((client, "downloads"), (Client(), "anyone")):
        assert events_in(browser.get(f"/{view}/{token}/").getvalue()) == all_events()
    assert [page(other, token) for other in (Client(), signed_in(user("eve")))] == ["errors/access_denied.html"] * 2
    naughty = [token[:-1], "a" + token, token[:20] + token[21:], toolbox.create_general_token(ready)]
    assert [page(client, each) for each in naughty] == ["errors/naughty.html"] * 4
    configure(settings, TOKEN_MAX_AGE_SECONDS=-1)
    assert page(client, token) == "errors/signature_expired.html"


def test_a_general_pattern_mails_a_token_that_serves_anyone(client: Client, ada: User):
    log_in_events(3)
    with registered(GeneralExport):
        add("general_events", ada)
        call_command("exports", "process")
    token = link().split("/")[2]
    assert "requester" not in toolbox.decode(token, require_requester=False)[1]
    for anyone in (client, Client(), signed_in(user("eve"))):
        assert events_in(anyone.get(f"/anyone/{token}/").getvalue()) == all_events()


@pytest.mark.parametrize("exporter", [SignedExport, SignedByHookExport])
def test_a_custom_signer_makes_and_accepts_the_token(client: Client, ada: User, exporter: type[LoginEventExport]):
    with registered(exporter):
        request = add(exporter.file_type, ada)
        call_command("exports", "process")
    address = link()
    assert events_in(client.get(address).getvalue()) == []
    token = address.split("/")[2]
    assert client.get(f"/downloads/{token}/").templates[0].name == "errors/naughty.html"
    request.refresh_from_db()
    lifetime = request.expires_at - request.finished_at
    assert lifetime.total_seconds() == pytest.approx(my_signer.max_age)


def test_evaluate_request_supports_a_preview_page(client: Client, ready: FileRequest):
    address = f"/preview/{toolbox.create_token(ready, {'extra': 1})}/"
    assert client.get(address).content.decode() == "login-events.xlsx: ['extra', 'id', 'requester']"
    assert signed_in(user("eve")).get(address).status_code == 403


def test_a_deleted_file_and_a_deleted_request_are_not_found(client: Client, ready: FileRequest):
    token = toolbox.create_token(ready)
    ready.filehandle.storage.delete(ready.filehandle.name)
    assert client.get(f"/downloads/{token}/").status_code == 404
    ready.delete()
    assert client.get(f"/downloads/{token}/").status_code == 404
