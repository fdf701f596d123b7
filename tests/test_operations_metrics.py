"""The metrics, read by Prometheus' own parsers, and who may read them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exports.contrib.operations import metrics
from exports.models import FileRequest, Notification, Webhook, WebhookDelivery
from exports.queue import huey as huey_queue
from exports.realtime import connections
from exports.worker import loop
from exports.worker import registry as worker_registry
from tests.office import pages, people, rows
from tests.office.exports import open_office
from tests.office.processes import Daphne
from tests.servers import Valkey
from tests.shop.runs import configure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TOKEN = "a-secret-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}

Samples = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    settings.ROOT_URLCONF = "project.probes"
    settings.EXPORTS = {**settings.EXPORTS, "METRICS_TOKEN": TOKEN}
    with open_office():
        yield


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def scrape() -> Samples:
    body, _ = metrics.scrape("")
    return samples(body.decode())


def samples(text: str, parse: Any = parse_text) -> Samples:
    """Return {(name, *label values): value}."""
    return {(sample.name, *sample.labels.values()): sample.value for family in parse(text) for sample in family.samples}


def ago(**units: float) -> Any:
    return timezone.now() - timedelta(**units)


def seconds(expected: float) -> Any:
    return pytest.approx(expected, abs=5)


# Requests


def test_waiting_requests_are_counted_by_queue_with_the_oldest_age(owner: User):
    rows.queued(owner, requested_at=ago(minutes=5))
    rows.queued(owner)
    rows.queued(owner, file_type="gone")
    found = scrape()
    assert (found["exports_queued", "small"], found["exports_queued", "large"]) == (2, 0)
    assert found["exports_queued_oldest_seconds", "small"] == seconds(300)
    assert found["exports_queued_unregistered",] == 1
    # A retry waits from the time it is due.
    FileRequest.objects.update(not_before=timezone.now() + timedelta(minutes=1))
    assert scrape()["exports_queued", "small"] == 0
    FileRequest.objects.update(not_before=ago(seconds=30))
    assert scrape()["exports_queued_oldest_seconds", "small"] == seconds(30)


def test_requests_held_back_by_the_quota_do_not_count_as_oldest(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_RUNNING_PER_USER": 1}
    rows.running(owner, counts_toward_quota=True)
    rows.queued(owner, counts_toward_quota=True, requested_at=ago(hours=1))
    loop.WorkerLoop("small").run_due()
    found = scrape()
    assert found["exports_queued", "small"] == found["exports_queued_held_back", "small"] == 1
    assert found["exports_queued_oldest_seconds", "small"] == 0
    rows.queued(people.user("another"), requested_at=ago(minutes=1))
    assert scrape()["exports_queued_oldest_seconds", "small"] == seconds(60)


def test_running_requests_and_expired_leases_are_counted(owner: User):
    lost, _ = rows.running(owner), rows.running(owner)
    old = ago(minutes=10)
    FileRequest.objects.filter(pk=lost.pk).update(started_at=old, lease_expires_at=old, crashes=1)
    found = scrape()
    assert found["exports_running", "small"] == 2
    assert found["exports_running_longest_seconds", "small"] == seconds(600)
    assert found["exports_leases_abandoned", "small"] == found["exports_crashes", "small"] == 1


def test_ended_requests_are_counted_within_the_window(owner: User, settings: LazySettings):
    old, _, _ = rows.ready(owner), rows.failed(owner), rows.cancelled(owner)
    FileRequest.objects.filter(pk=old.pk).update(finished_at=ago(hours=2))
    found = scrape()
    assert found["exports_ended", "storage_full", "small", "failed"] == 1
    assert found["exports_ended", "", "small", "cancelled"] == 1
    assert ("exports_ended", "", "small", "ready") not in found
    settings.EXPORTS = {**settings.EXPORTS, "METRICS_WINDOW_SECONDS": 3 * 3600}
    assert scrape()["exports_ended", "", "small", "ready"] == 1


def test_durations_waits_and_speeds_are_histograms(owner: User):
    for waited, took, row_count in ((3, 0.3, 300), (0.2, 30, 600_000)):
        FileRequest.objects.filter(pk=rows.ready(owner).pk).update(
            requested_at=ago(seconds=waited + took),
            started_at=ago(seconds=took),
            finished_at=timezone.now(),
            rows_done=row_count,
        )
    found = scrape()
    runs = {bound: found["exports_run_seconds_bucket", bound, "small"] for bound in ("0.1", "0.5", "15", "60", "+Inf")}
    assert runs == {"0.1": 0, "0.5": 1, "15": 1, "60": 2, "+Inf": 2}
    assert found["exports_run_seconds_gsum", "small"] == pytest.approx(30.3, abs=0.1)
    assert found["exports_wait_seconds_bucket", "1", "small"] == 1
    assert found["exports_rows_per_second_bucket", "5000", "small"] == 1
    assert found["exports_rows_per_second_bucket", "25000", "small"] == 2
    assert found["exports_rows_per_second_gcount", "small"] == 2


# Mails, downloads, processes


def test_mails_are_counted_by_outcome_and_downloads_with_their_bytes(owner: User):
    for size in (5, 7, None):
        export = rows.ready(owner)
        if size:
            rows.downloaded(export, size)
    rows.downloads().filter(byte_count=5).update(at=ago(hours=2))
    late, sent, lost = Notification.objects.all()
    now = timezone.now()
    Notification.objects.filter(pk=late.pk).update(due_at=ago(minutes=7))
    Notification.objects.filter(pk=sent.pk).update(state="sent", settled_at=now)
    Notification.objects.filter(pk=lost.pk).update(state="suppressed", reason="gave up: OSError", settled_at=now)
    found = scrape()
    assert found["exports_mails_waiting", "pending"] == 1
    assert found["exports_mails_oldest_due_seconds",] == seconds(420)
    settled = {outcome: found["exports_mails_settled", outcome] for outcome in ("sent", "suppressed", "gave_up")}
    assert settled == {"sent": 1, "suppressed": 0, "gave_up": 1}
    assert (found["exports_downloads",], found["exports_downloaded_bytes",]) == (1, 7)
    assert ("exports_webhooks_waiting", "pending") not in found


def test_messages_of_webhooks_are_counted_on_a_site_that_sends_them(owner: User, settings: LazySettings):
    configure(settings, WEBHOOKS=True)
    webhook = Webhook.objects.create(owner=owner, url="https://hooks.example/")
    for _ in range(3):
        rows.ready(owner)
    failing, lost, _fresh = webhook.deliveries.order_by("pk")
    WebhookDelivery.objects.filter(pk=failing.pk).update(due_at=ago(minutes=7), attempts=1)
    WebhookDelivery.objects.filter(pk=lost.pk).update(
        state="suppressed", reason="gave up: HTTP 500", settled_at=timezone.now()
    )
    found = scrape()
    assert (found["exports_webhooks_waiting", "pending"], found["exports_webhooks_failing",]) == (2, 1)
    assert found["exports_webhooks_oldest_due_seconds",] == seconds(420)
    assert found["exports_webhooks_settled", "gave_up"] == 1


def test_processes_and_messages_are_read_from_the_queues_server(valkey: Valkey, owner: User):
    rows.running(owner, queue_name="large")
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    worker_registry.Presence(worker_registry.HOUSEKEEPER).show()
    huey_queue.wake("small")
    found = scrape()
    assert found["exports_queue_up",] == found["exports_workers", "small"] == found["exports_workers", "large"] == 1
    assert found["exports_queue_messages", "small"] == 1
    assert found["exports_housekeeping_age_seconds",] == seconds(0)
    valkey.stop()
    found = scrape()
    assert found["exports_queue_up",] == 0
    assert ("exports_workers", "small") not in found


async def test_open_sockets_of_the_process_are_counted(owner: User):
    before = connections.open_now()
    async with pages.opened(owner):
        assert connections.open_now() == before + 1
    assert connections.open_now() == before
    await pages.leave()


# The scrape


def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(owner: User):
    with CaptureQueriesContext(connection) as few:
        metrics.scrape("")
    for _ in range(5):
        rows.ready(owner)
        rows.queued(owner)
        rows.running(owner)
    with CaptureQueriesContext(connection) as many:
        metrics.scrape("")
    assert len(few) == len(many) < 20


async def test_the_metrics_need_the_token_and_without_one_there_are_none(owner: User, settings: LazySettings):
    client = AsyncClient()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer "}):
        answer = await client.get("/metrics", headers=headers)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert b"exports_" not in answer.content
    assert (await client.get(f"/metrics?token={TOKEN}")).status_code == 401
    assert (await client.get("/metrics", headers=BEARER)).status_code == 200
    assert (await client.post("/metrics", headers=BEARER)).status_code == 405
    for token in (None, ""):
        settings.EXPORTS = {**settings.EXPORTS, "METRICS_TOKEN": token}
        for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
            assert (await client.get("/metrics", headers=headers)).status_code == 404


def test_a_web_process_serves_both_formats(valkey: Valkey, owner: User):
    rows.ready(owner)
    with Daphne(ROOT_URLCONF="project.probes", MIDDLEWARE=["project.probes.Probes"], ALLOWED_HOSTS=[]) as daphne:
        url = f"http://{daphne.host}/metrics"
        plain = httpx.get(url, headers=BEARER)
        openmetrics = httpx.get(url, headers=BEARER | {"accept": "application/openmetrics-text;version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    for found in (samples(plain.text), samples(openmetrics.text, parse_openmetrics)):
        assert found["exports_ended", "", "small", "ready"] == 1
        assert found["exports_sockets",] == 0
        assert found["exports_run_seconds_gcount", "small"] == 1
        assert found["process_resident_memory_bytes",] > 0


def test_no_label_contains_criteria_or_names():
    owner = people.user("zacharias")
    rows.queued(owner, criteria="month=4&note=secret", description="Secret report")
    rows.ready(owner, content=b"secret cell")
    text = metrics.scrape("")[0].decode()
    assert "secret" not in text.lower()
    assert owner.username not in text
