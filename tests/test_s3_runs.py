"""Requests whose files lie in a bucket, on a real S3 server: made, interrupted, killed, collected, downloaded."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from exports import housekeeping, storage
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.views import serve_file
from exports.exceptions import RunInterrupted
from exports.http.downloads import deliver
from exports.models import Artifact, Download, FileRequest, Status, transitions
from exports.models.result import ExportResult
from exports.state import error_of, serialize
from exports.worker import loop, runner
from tests.bucket import exports as big
from tests.bucket.server import Moto
from tests.office import people, processes, rows
from tests.office.browsers import HTML, signed_in, status_of, ticket_for, url_of
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTES = 40
QUICK = {"LEASE_SECONDS": 2.0, "HEARTBEAT_SECONDS": 0.2, "PROGRESS_INTERVAL_SECONDS": 0.05, "RETRY_DELAY_SECONDS": 0.0}


@pytest.fixture(autouse=True)
def bucket(s3: Moto, settings: LazySettings) -> Iterator[None]:
    settings.EXPORTS = {**settings.EXPORTS, **QUICK}
    with big.registered():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


def asked(owner: User, megabytes: int = MEGABYTES) -> FileRequest:
    return rows.queued(owner, file_type="big", criteria=f"megabytes={megabytes}", filename="")


def made(owner: User, megabytes: int = 1) -> FileRequest:
    request = asked(owner, megabytes)
    assert loop.dispatch(request.pk)
    request = rows.fresh(request)
    assert request.status == Status.READY, request.error_detail
    return request


# Stored


def test_a_file_of_200_megabytes_is_ready_in_the_bucket(s3: Moto, owner: User):
    request = made(owner, 200)
    assert request.size == 200 * big.MEBIBYTE
    assert s3.stored() == [request.filehandle.name]
    assert s3.unfinished() == []


def test_the_progress_of_storing_reaches_the_pages(owner: User):
    request, states = asked(owner), []
    big.at_each_part(lambda **event: has_shown.wait(10))
    has_shown = threading.Event()

    def show(changed: FileRequest) -> None:
        states.append((changed.phase, changed.bytes_done, changed.bytes_total))
        if changed.phase == "storing" and changed.bytes_done:
            has_shown.set()

    assert loop.claim_and_run(request, big.BigExport(), on_change=show)
    stored = [done for phase, done, _ in states if phase == "storing"]
    assert 0 < max(stored) <= MEGABYTES * big.MEBIBYTE
    assert stored == sorted(stored)
    assert {total for phase, _, total in states if phase == "storing"} == {MEGABYTES * big.MEBIBYTE}


# Interrupted in the middle


class Interrupted(big.BigExport):
    """Once one part is stored, `interrupt` is called, and the upload goes on when the run has noticed."""

    def __init__(self, interrupt: Callable[[], object]) -> None:
        self.interrupt = interrupt
        self.has_noticed = threading.Event()

    def produce(self, run: runner.Run) -> ExportResult:
        produced = super().produce(run)
        run.check = partial(self.check, run.check)
        big.at_each_part(self.stop_here)
        return produced

    def check(self, check: Callable[[], None]) -> None:
        try:
            check()
        except RunInterrupted:
            self.has_noticed.set()
            raise

    def stop_here(self, **event: object) -> None:
        self.interrupt()
        # This is a thread of the upload, whose connection nobody else closes.
        connection.close()
        assert self.has_noticed.wait(10)


@pytest.fixture
def one_by_one(s3: Moto, settings: LazySettings) -> None:
    """Parts are uploaded one after the other, so that after the first one there is still something to stop."""
    in_turn = s3.storage(transfer_config=TransferConfig(max_concurrency=1))
    settings.STORAGES = {**settings.STORAGES, "exports": in_turn}


@pytest.mark.usefixtures("one_by_one")
def test_a_cancel_in_the_middle_of_an_upload_leaves_no_part(s3: Moto, owner: User):
    request, told = asked(owner), []
    exporter = Interrupted(lambda: transitions.cancel(request))
    assert loop.claim_and_run(request, exporter, on_change=lambda changed: told.append(changed.status))
    assert rows.fresh(request).status == Status.CANCELLED
    assert Status.READY not in told
    assert (s3.stored(), s3.unfinished()) == ([], [])


@pytest.mark.usefixtures("one_by_one")
def test_a_worker_told_to_stop_aborts_its_upload_and_gives_the_request_back(s3: Moto, owner: User):
    request, stop = asked(owner), threading.Event()
    assert loop.claim_and_run(request, Interrupted(stop.set), on_change=lambda changed: None, stop=stop)
    given_back = rows.fresh(request)
    assert (given_back.status, given_back.attempts) == (Status.QUEUED, 0)
    assert (s3.stored(), s3.unfinished()) == ([], [])


# Killed


class Worker(processes.Worker):
    """A worker that knows the big export; with `dies` it is killed once it has stored the first part."""

    def __init__(self, *, dies: bool = False) -> None:
        super().__init__()
        self.own = {big.DIES: "1"} if dies else {}

    def options(self) -> dict[str, Any]:
        given = super().options()
        return {**given, "env": {**given["env"], "DJANGO_SETTINGS_MODULE": "tests.bucket.settings", **self.own}}


@pytest.mark.usefixtures("valkey")
def test_the_upload_of_a_killed_worker_is_aborted_and_the_next_worker_finishes(s3: Moto, owner: User):
    request = asked(owner)
    with Worker(dies=True) as doomed:
        wait_until(lambda: not doomed.is_running)
    assert s3.unfinished() == [Artifact.objects.get().key]
    assert rows.fresh(request).status == Status.RUNNING
    wait_until(lambda: housekeeping.rescue() == 1)
    housekeeping.sweep()
    assert (s3.stored(), s3.unfinished()) == ([], [])
    with Worker():
        wait_until(lambda: rows.fresh(request).status not in (Status.QUEUED, Status.RUNNING))
    request = rows.fresh(request)
    assert (request.status, request.crashes) == (Status.READY, 1)
    assert s3.stored() == [request.filehandle.name]
    with storage.open_file(request.filehandle.name) as file:
        assert file.read() == big.content(MEGABYTES)


# Collected


def test_bytes_that_nobody_refers_to_are_collected_by_their_artifact(s3: Moto, owner: User):
    kept = made(owner)
    request, claim = rows.claimed(owner)
    storage.exports_storage().save(claim.key, rows.ContentFile(b"what a zombie has written"))
    s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=claim.key)
    housekeeping.sweep()
    assert claim.key in s3.stored()
    transitions.cancel(request)
    assert housekeeping.sweep().deleted == 1
    assert (s3.stored(), s3.unfinished()) == ([kept.filehandle.name], [])


def test_what_a_zombie_writes_later_is_collected_by_the_second_pass(s3: Moto, owner: User):
    request, claim = rows.claimed(owner)
    transitions.cancel(request)
    housekeeping.sweep()
    s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=claim.key)
    Artifact.objects.update(deleted_at=timezone.now() - timedelta(seconds=10))
    housekeeping.sweep()
    assert s3.unfinished() == []
    assert not Artifact.objects.exists()


def test_an_expired_file_stays_for_the_leeway_and_goes_then(s3: Moto, owner: User, settings: LazySettings):
    request = made(owner)
    FileRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    housekeeping.sweep()
    assert rows.fresh(request).status == Status.EXPIRED
    assert s3.stored() == [request.filehandle.name]
    settings.EXPORTS = {**settings.EXPORTS, "FILE_DELETE_DELAY_SECONDS": 0}
    housekeeping.sweep()
    assert s3.stored() == []


def test_a_deleted_request_takes_its_file_along(s3: Moto, owner: User):
    made(owner).delete()
    assert s3.stored() == []


# What goes wrong


def test_a_server_that_is_away_is_tried_again_and_the_file_is_ready_later(
    s3: Moto, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    request = asked(owner, 1)
    s3.stop()
    assert loop.dispatch(request.pk)
    waiting = rows.fresh(request)
    assert (waiting.status, waiting.error_code) == (Status.QUEUED, "storage_failed")
    s3.start()
    wait_until(lambda: loop.dispatch(request.pk))
    assert rows.fresh(request).status == Status.READY


def test_a_sweep_without_the_server_goes_on_and_the_next_one_collects(
    s3: Moto, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    request, claim = rows.claimed(owner)
    transitions.cancel(request)
    s3.stop()
    housekeeping.sweep()
    s3.start()
    s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=claim.key)
    Artifact.objects.update(deleted_at=timezone.now() - timedelta(seconds=10))
    housekeeping.sweep()
    assert s3.unfinished() == []
    assert not Artifact.objects.exists()


def test_a_role_that_may_not_write_is_a_failure_that_says_so_at_once(
    s3: Moto, owner: User, settings: LazySettings, caplog: pytest.LogCaptureFixture
):
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    with s3.allowing({"Version": "2012-10-17", "Statement": [reading]}) as user, caplog.at_level(logging.INFO):
        settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(**user)}
        request = asked(owner, 1)
        assert loop.dispatch(request.pk)
    failed = rows.fresh(request)
    assert (failed.status, failed.attempts) == (Status.FAILED, 1)
    assert error_of(failed) == {
        "code": "storage_denied",
        "message": "The storage did not let the file in. Please tell your administrator.",
    }
    assert "The storage answered PutObject with AccessDenied. Check" in failed.error_detail
    assert "docs/s3.md" in failed.error_detail
    assert user["secret"] not in caplog.text + failed.error_detail
    assert "Signature" not in caplog.text


# Downloaded


@pytest.fixture
def client(owner: User) -> Client:
    return signed_in(owner)


def test_the_download_leads_over_the_ticket_to_an_address_that_gives_the_file(client: Client, owner: User):
    request = made(owner)
    ticket = client.get(url_of("download", request))["Location"]
    assert ticket.startswith("/exports/file/")
    response = client.get(ticket)
    assert response.status_code == 302
    assert (response["Cache-Control"], response["Referrer-Policy"]) == ("private, no-store", "no-referrer")
    answer = httpx.get(response["Location"])
    assert answer.content == big.content(1)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert unquote(answer.headers["content-disposition"]).endswith("filename*=UTF-8''größtes.csv")
    assert "X-Amz-Expires=60" in response["Location"]


def test_the_way_to_the_address_is_the_download_that_is_recorded(client: Client, owner: User):
    request = made(owner)
    assert client.head(ticket_for(request, owner)).status_code == 302
    assert not Download.objects.exists()
    client.get(ticket_for(request, owner))
    assert (Download.objects.get().user, Download.objects.get().byte_count) == (owner, request.size)
    assert (Download.objects.get().outcome, Download.objects.get().bytes_sent) == ("redirected", None)
    assert rows.fresh(request).seen_at is not None


def test_a_head_leads_to_an_address_for_a_head(client: Client, owner: User):
    request = made(owner)
    answer = httpx.head(client.head(ticket_for(request, owner))["Location"])
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(request.size))


def test_no_state_and_no_event_has_an_address_of_the_bucket_in_it(client: Client, owner: User, s3: Moto):
    request = made(owner)
    state = client.get(url_of("detail", request)).json()
    assert state["urls"]["ticket"].startswith("/exports/file/")
    for text in (
        json.dumps(state),
        json.dumps(serialize(request)),
        client.get(url_of("page", request)).content.decode(),
    ):
        assert str(s3.port) not in text
        assert "X-Amz" not in text


def test_nobody_else_is_led_to_the_bucket(client: Client, owner: User):
    request, other = made(owner), people.user("other")
    assert status_of(signed_in(other), url_of("download", request)) == 404
    assert status_of(signed_in(other), ticket_for(request, owner)) == 404
    assert status_of(signed_in(other), ticket_for(request, other)) == 404
    assert status_of(client, ticket_for(request, owner, seconds=-1)) == 404
    assert status_of(client, ticket_for(request, owner, epoch=request.epoch - 1)) == 404
    assert signed_in(other).get(url_of("detail", request)).status_code == 404
    assert Client().get(ticket_for(request, owner))["Location"].startswith("/accounts/login/")
    assert transitions.expire(request)
    assert status_of(client, ticket_for(request, owner)) == 404
    assert not Download.objects.exists()


def test_a_token_leads_to_an_address_too(owner: User):
    request = made(owner)
    browser = RequestFactory().get("/file/")
    browser.user = owner
    response = serve_file(browser, toolbox.create_token(request))
    assert httpx.get(response["Location"]).content == big.content(1)
    assert Download.objects.get().request == request


def test_a_form_never_leads_to_the_bucket_but_to_the_page_with_the_link(owner: User):
    request = made(owner)
    browser = RequestFactory().post("/form/", headers=HTML)
    browser.user = owner
    response = deliver(browser, request)
    assert (response.status_code, response["Location"]) == (303, url_of("page", request))
    assert not Download.objects.exists()


def test_where_nginx_sends_the_files_it_stays_the_one_to_do_so(client: Client, owner: User, settings: LazySettings):
    request = made(owner)
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    response = client.get(ticket_for(request, owner))
    assert (response.status_code, response["X-Accel-Redirect"]) == (200, f"/finished/{request.filehandle.name}")
