"""Exports stored in an S3 bucket, on a real server: made, interrupted, killed, deleted, downloaded."""

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
from exports.http.actors import actor_of
from exports.http.downloads import download_response
from exports.models import Artifact, FileRequest, Status, transitions
from exports.models.result import ExportResult
from exports.state import serialize
from exports.worker import loop, runner
from tests.bucket import exports as big
from tests.bucket.server import Moto
from tests.office import people, processes, rows
from tests.office.browsers import HTML, signed_in, status_of, ticket_for, url_of
from tests.servers import wait_until
from tests.shop.exports import registered

pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTES = 40
QUICK = {"LEASE_SECONDS": 2.0, "HEARTBEAT_SECONDS": 0.2, "PROGRESS_INTERVAL_SECONDS": 0.05, "RETRY_DELAY_SECONDS": 0.0}


@pytest.fixture(autouse=True)
def bucket(s3: Moto, settings: LazySettings) -> Iterator[None]:
    settings.EXPORTS = {**settings.EXPORTS, **QUICK}
    with registered(big.BigExport):
        yield


def asked(owner: User, megabytes: int = MEGABYTES) -> FileRequest:
    return rows.queued(owner, file_type="big", criteria=f"megabytes={megabytes}", filename="")


def made(owner: User, megabytes: int = 1) -> FileRequest:
    export = asked(owner, megabytes)
    assert loop.dispatch(export.pk)
    export = rows.fresh(export)
    assert export.status == Status.READY, export.error_detail
    return export


# Stored


def test_the_progress_of_the_upload_is_published(owner: User):
    export, states = asked(owner), []
    big.at_each_part(lambda **event: has_shown.wait(10))
    has_shown = threading.Event()

    def show(changed: FileRequest) -> None:
        states.append((changed.phase, changed.bytes_done, changed.bytes_total))
        if changed.phase == "storing" and changed.bytes_done:
            has_shown.set()

    assert loop.claim_and_run(export, big.BigExport(), on_change=show)
    stored = [done for phase, done, _ in states if phase == "storing"]
    assert 0 < max(stored) <= MEGABYTES * big.MEBIBYTE
    assert stored == sorted(stored)
    assert {total for phase, _, total in states if phase == "storing"} == {MEGABYTES * big.MEBIBYTE}


# Interrupted


class Interrupted(big.BigExport):
    """Call `interrupt` after the first part, and continue the upload when the run has noticed."""

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
        # In a thread of the upload, whose database connection would stay open.
        connection.close()
        assert self.has_noticed.wait(10)


@pytest.fixture
def one_by_one(s3: Moto, settings: LazySettings) -> None:
    """Upload parts one after the other, so that something is left to stop after the first."""
    one_at_a_time = s3.storage(transfer_config=TransferConfig(max_concurrency=1))
    settings.STORAGES = {**settings.STORAGES, "exports": one_at_a_time}


@pytest.mark.usefixtures("one_by_one")
def test_a_cancel_during_the_upload_leaves_no_part(s3: Moto, owner: User):
    export, told = asked(owner), []
    exporter = Interrupted(lambda: transitions.cancel(export))
    assert loop.claim_and_run(export, exporter, on_change=lambda changed: told.append(changed.status))
    assert rows.fresh(export).status == Status.CANCELLED
    assert Status.READY not in told
    assert (s3.stored(), s3.unfinished()) == ([], [])


@pytest.mark.usefixtures("one_by_one")
def test_a_stopping_worker_aborts_its_upload_and_releases_the_claim(s3: Moto, owner: User):
    export, stop = asked(owner), threading.Event()
    assert loop.claim_and_run(export, Interrupted(stop.set), on_change=lambda changed: None, stop=stop)
    given_back = rows.fresh(export)
    assert (given_back.status, given_back.attempts) == (Status.QUEUED, 0)
    assert (s3.stored(), s3.unfinished()) == ([], [])


# Killed


class Worker(processes.Worker):
    """A worker with the big export. With `dies` it is killed when it has uploaded the first part."""

    def __init__(self, *, dies: bool = False) -> None:
        super().__init__()
        self.own = {big.DIES: "1"} if dies else {}

    def options(self) -> dict[str, Any]:
        given = super().options()
        return {**given, "env": {**given["env"], "DJANGO_SETTINGS_MODULE": "tests.bucket.settings", **self.own}}


@pytest.mark.usefixtures("valkey")
def test_the_next_worker_finishes_after_a_killed_upload(s3: Moto, owner: User):
    export = asked(owner)
    with Worker(dies=True) as doomed:
        wait_until(lambda: not doomed.is_running)
    assert s3.unfinished() == [Artifact.objects.get().key]
    assert rows.fresh(export).status == Status.RUNNING
    wait_until(lambda: housekeeping.rescue() == 1)
    housekeeping.sweep()
    assert (s3.stored(), s3.unfinished()) == ([], [])
    with Worker():
        wait_until(lambda: rows.fresh(export).status not in (Status.QUEUED, Status.RUNNING))
    export = rows.fresh(export)
    assert (export.status, export.crashes) == (Status.READY, 1)
    assert s3.stored() == [export.filehandle.name]
    with storage.open_file(export.filehandle.name) as file:
        assert file.read() == big.content(MEGABYTES)


# Deleted


def test_unneeded_files_are_deleted_by_their_artifact(s3: Moto, owner: User):
    kept = made(owner)
    export, claim = rows.claimed(owner)
    storage.exports_storage().save(claim.key, rows.ContentFile(b"written after the lease was lost"))
    s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=claim.key)
    housekeeping.sweep()
    assert claim.key in s3.stored()
    transitions.cancel(export)
    assert housekeeping.sweep().deleted == 1
    assert (s3.stored(), s3.unfinished()) == ([kept.filehandle.name], [])


@pytest.mark.parametrize("is_reachable", [True, False], ids=["server up", "server down at first"])
def test_a_late_upload_of_a_lost_worker_is_deleted_by_a_second_pass(
    s3: Moto, owner: User, monkeypatch: pytest.MonkeyPatch, is_reachable: bool
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    export, claim = rows.claimed(owner)
    transitions.cancel(export)
    if not is_reachable:
        s3.stop()
    housekeeping.sweep()
    s3.start()
    s3.client().create_multipart_upload(Bucket=s3.BUCKET, Key=claim.key)
    Artifact.objects.update(deleted_at=timezone.now() - timedelta(seconds=10))
    housekeeping.sweep()
    assert s3.unfinished() == []
    assert not Artifact.objects.exists()


# Errors


def test_an_unreachable_server_is_tried_again_later(s3: Moto, owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    export = asked(owner, 1)
    s3.stop()
    assert loop.dispatch(export.pk)
    waiting = rows.fresh(export)
    assert (waiting.status, waiting.error_code) == (Status.QUEUED, "storage_failed")
    s3.start()
    wait_until(lambda: loop.dispatch(export.pk))
    assert rows.fresh(export).status == Status.READY


def test_a_role_that_may_not_write_fails_the_export_at_once(s3: Moto, owner: User, caplog: pytest.LogCaptureFixture):
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    with s3.allowing({"Version": "2012-10-17", "Statement": [reading]}) as secret, caplog.at_level(logging.INFO):
        export = asked(owner, 1)
        assert loop.dispatch(export.pk)
    failed = rows.fresh(export)
    assert (failed.status, failed.attempts) == (Status.FAILED, 1)
    assert failed.error_code == "storage_denied"
    assert "The storage answered PutObject with AccessDenied. Check" in failed.error_detail
    assert secret not in caplog.text + failed.error_detail
    assert "Signature" not in caplog.text


# Downloaded


@pytest.mark.shows("S3")
def test_a_download_redirects_to_a_signed_url(browser: Client, owner: User):
    export = made(owner)
    ticket = browser.get(url_of("download", export))["Location"]
    assert ticket.startswith("/exports/file/")
    response = browser.get(ticket)
    assert response.status_code == 302
    assert (response["Cache-Control"], response["Referrer-Policy"]) == ("private, no-store", "no-referrer")
    answer = httpx.get(response["Location"])
    assert answer.content == big.content(1)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert unquote(answer.headers["content-disposition"]).endswith("filename*=UTF-8''größtes.csv")
    assert "X-Amz-Expires=3600" in response["Location"]


def test_the_life_of_a_signed_url_is_a_setting_apart_from_that_of_tickets(
    browser: Client, owner: User, settings: LazySettings
):
    settings.EXPORTS = {**settings.EXPORTS, "BUCKET_URL_MAX_AGE_SECONDS": 90, "TICKET_MAX_AGE_SECONDS": 30}
    url = browser.get(ticket_for(made(owner), owner))["Location"]
    assert "X-Amz-Expires=90" in url
    part = httpx.get(url, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, big.content(1)[100:])


def test_the_redirect_of_a_get_is_recorded_as_the_download_but_not_of_a_head(browser: Client, owner: User):
    export = made(owner)
    answer = httpx.head(browser.head(ticket_for(export, owner))["Location"])
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(export.size))
    assert not rows.downloads().exists()
    browser.get(ticket_for(export, owner))
    [record] = rows.downloads().values_list("user", "byte_count", "outcome", "bytes_sent")
    assert record == (owner.pk, export.size, "redirected", None)
    assert rows.fresh(export).seen_at is not None


def test_the_state_never_contains_a_url_of_the_bucket(browser: Client, owner: User, s3: Moto):
    export = made(owner)
    state = browser.get(url_of("detail", export)).json()
    assert state["urls"]["ticket"].startswith("/exports/file/")
    for text in (str(state), str(serialize(export)), browser.get(url_of("page", export)).content.decode()):
        assert s3.url not in text
        assert "X-Amz" not in text


def test_no_other_user_is_redirected_to_the_bucket(browser: Client, owner: User):
    export, other = made(owner), people.user("other")
    for ticket in (ticket_for(export, owner), ticket_for(export, other)):
        assert status_of(signed_in(other), ticket) == 404
    assert transitions.expire(export)
    assert status_of(browser, ticket_for(export, owner)) == 404
    assert not rows.downloads().exists()


def test_a_token_redirects_to_a_signed_url(owner: User):
    export, request = made(owner), RequestFactory().get("/file/")
    request.user = owner
    response = serve_file(request, toolbox.create_token(export))
    assert httpx.get(response["Location"]).content == big.content(1)
    assert rows.downloads().get().export == export


def test_a_form_redirects_to_the_page_and_not_to_the_bucket(owner: User):
    export, request = made(owner), RequestFactory().post("/form/", headers=HTML)
    request.user = owner
    response = download_response(request, export, actor_of(request))
    assert (response.status_code, response["Location"]) == (303, url_of("page", export))
    assert not rows.downloads().exists()


def test_accel_redirect_takes_precedence_over_the_bucket(browser: Client, owner: User, settings: LazySettings):
    export = made(owner)
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/finished/"}
    response = browser.get(ticket_for(export, owner))
    assert (response.status_code, response["X-Accel-Redirect"]) == (200, f"/finished/{export.filehandle.name}")
