"""What Prometheus scrapes, read by its own parsers, and who may."""

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
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from exports.contrib.operations import metrics
from exports.models import Download, FileRequest, Notification
from exports.queue import huey as huey_queue
from exports.realtime import connections
from exports.worker import registry as worker_registry
from tests.office import pages, people, rows
from tests.office.exports import open_office
from tests.office.processes import Daphne
from tests.servers import Valkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TOKEN = "a-token-that-nobody-guesses"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture(autouse=True)
def token(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = "project.probes"
    settings.EXPORTS = {**settings.EXPORTS, "METRICS_TOKEN": TOKEN}


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


Values = dict[tuple[str, ...], float]


def scraped() -> Values:
    """Every sample of a scrape: {(name, *label values): value}."""
    body, _ = metrics.scrape("")
    return samples(body.decode())


def samples(text: str, parse: Any = text_string_to_metric_families) -> Values:
    return {(sample.name, *sample.labels.values()): sample.value for family in parse(text) for sample in family.samples}


def took(request: FileRequest, *, waited: float, ran: float, rows_done: int) -> None:
    """As if it had waited and run for so many seconds, and ended now."""
    now = timezone.now()
    started = now - timedelta(seconds=ran)
    FileRequest.objects.filter(pk=request.pk).update(
        requested_at=started - timedelta(seconds=waited), started_at=started, finished_at=now, rows_done=rows_done
    )


def test_what_waits_is_counted_by_lane_with_the_age_of_the_oldest(owner: User):
    rows.queued(owner, requested_at=timezone.now() - timedelta(minutes=5))
    rows.queued(owner)
    rows.queued(owner, file_type="gone")
    values = scraped()
    assert values["exports_queued", "small"] == 2
    assert values["exports_queued", "large"] == 0
    assert values["exports_queued_oldest_seconds", "small"] == pytest.approx(300, abs=5)
    assert values["exports_queued_unregistered",] == 1


def test_a_request_that_waits_for_its_next_attempt_is_not_late_yet(owner: User):
    long_ago, soon = timezone.now() - timedelta(hours=3), timezone.now() + timedelta(minutes=1)
    rows.queued(owner, requested_at=long_ago, not_before=soon)
    assert scraped()["exports_queued", "small"] == 0
    FileRequest.objects.update(not_before=timezone.now() - timedelta(seconds=30))
    assert scraped()["exports_queued_oldest_seconds", "small"] == pytest.approx(30, abs=5)


def test_what_waits_for_other_files_of_its_owner_does_not_make_the_queue_look_old(owner: User, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "MAX_RUNNING_PER_USER": 1}
    rows.running(owner, counts_toward_quota=True)
    rows.queued(owner, counts_toward_quota=True, requested_at=timezone.now() - timedelta(hours=1))
    values = scraped()
    assert values["exports_queued", "small"] == values["exports_queued_held_back", "small"] == 1
    assert values["exports_queued_oldest_seconds", "small"] == 0
    rows.queued(people.user("another"), requested_at=timezone.now() - timedelta(minutes=1))
    assert scraped()["exports_queued_oldest_seconds", "small"] == pytest.approx(60, abs=5)


def test_what_runs_is_counted_and_a_lease_that_ran_out_stands_out(owner: User):
    lost, _ = rows.running(owner), rows.running(owner)
    long_ago = timezone.now() - timedelta(minutes=10)
    FileRequest.objects.filter(pk=lost.pk).update(started_at=long_ago, lease_expires_at=long_ago, crashes=1)
    values = scraped()
    assert values["exports_running", "small"] == 2
    assert values["exports_running_longest_seconds", "small"] == pytest.approx(600, abs=5)
    assert values["exports_leases_abandoned", "small"] == values["exports_crashes", "small"] == 1


def test_what_ended_within_the_window_is_counted_by_status_and_code(owner: User, settings: LazySettings):
    old, _, _ = rows.ready(owner), rows.failed(owner), rows.cancelled(owner)
    FileRequest.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(hours=2))
    values = scraped()
    assert values["exports_ended", "storage_full", "small", "failed"] == 1
    assert values["exports_ended", "", "small", "cancelled"] == 1
    assert ("exports_ended", "", "small", "ready") not in values
    settings.EXPORTS = {**settings.EXPORTS, "METRICS_WINDOW_SECONDS": 3 * 3600}
    assert scraped()["exports_ended", "", "small", "ready"] == 1


def test_durations_waits_and_speeds_are_distributions(owner: User):
    took(rows.ready(owner), waited=3, ran=0.3, rows_done=300)
    took(rows.ready(owner), waited=0.2, ran=30, rows_done=600_000)
    values = scraped()
    runs = {bound: values["exports_run_seconds_bucket", bound, "small"] for bound in ("0.1", "0.5", "15", "60", "+Inf")}
    assert runs == {"0.1": 0, "0.5": 1, "15": 1, "60": 2, "+Inf": 2}
    assert values["exports_run_seconds_gsum", "small"] == pytest.approx(30.3, abs=0.1)
    assert values["exports_wait_seconds_bucket", "1", "small"] == 1
    assert values["exports_rows_per_second_bucket", "5000", "small"] == 1
    assert values["exports_rows_per_second_bucket", "25000", "small"] == 2
    assert values["exports_rows_per_second_gcount", "small"] == 2


def test_mails_are_counted_by_state_and_outcome(owner: User):
    for _ in range(3):
        rows.ready(owner)
    late, sent, lost = Notification.objects.all()
    minutes_ago, now = timezone.now() - timedelta(minutes=7), timezone.now()
    Notification.objects.filter(pk=late.pk).update(due_at=minutes_ago)
    Notification.objects.filter(pk=sent.pk).update(state="sent", settled_at=now)
    Notification.objects.filter(pk=lost.pk).update(state="suppressed", reason="gave up: OSError", settled_at=now)
    values = scraped()
    assert values["exports_mails_waiting", "pending"] == 1
    assert values["exports_mails_oldest_due_seconds",] == pytest.approx(420, abs=5)
    settled = {outcome: values["exports_mails_settled", outcome] for outcome in ("sent", "suppressed", "gave_up")}
    assert settled == {"sent": 1, "suppressed": 0, "gave_up": 1}


def test_downloads_are_counted_with_their_bytes(owner: User):
    for size in (5, 7):
        Download.objects.create(request=rows.ready(owner), user=owner, file_type="report", byte_count=size)
    Download.objects.filter(byte_count=5).update(at=timezone.now() - timedelta(hours=2))
    values = scraped()
    assert (values["exports_downloads",], values["exports_downloaded_bytes",]) == (1, 7)


def test_who_is_here_is_read_from_the_queue(valkey: Valkey, owner: User):
    rows.running(owner, queue_name="large")
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    worker_registry.Presence(worker_registry.HOUSEKEEPER).show()
    huey_queue.wake("small")
    values = scraped()
    assert values["exports_queue_up",] == values["exports_workers", "small"] == values["exports_workers", "large"] == 1
    assert values["exports_queue_messages", "small"] == 1
    assert values["exports_housekeeping_age_seconds",] < 5


def test_a_queue_that_is_away_is_a_number_too(valkey: Valkey):
    valkey.stop()
    values = scraped()
    assert values["exports_queue_up",] == 0
    assert ("exports_workers", "small") not in values


def test_a_scrape_asks_few_questions_however_many_rows_there_are(owner: User):
    with CaptureQueriesContext(
        connection,
    ) as few:
        metrics.scrape("")
    for _ in range(5):
        rows.ready(owner)
        rows.queued(owner)
        rows.running(owner)
    with CaptureQueriesContext(connection) as many:
        metrics.scrape("")
    assert len(few) == len(many) < 20


async def test_open_sockets_of_the_process_are_counted(owner: User):
    before = connections.open_now()
    async with pages.opened(owner):
        assert connections.open_now() == before + 1
    assert connections.open_now() == before
    await pages.leave()


async def test_the_metrics_need_the_token(owner: User):
    client = AsyncClient()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer "}):
        answer = await client.get("/metrics", headers=headers)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert b"exports_" not in answer.content
    assert (await client.get(f"/metrics?token={TOKEN}")).status_code == 401
    assert (await client.get("/metrics", headers=BEARER)).status_code == 200
    assert (await client.post("/metrics", headers=BEARER)).status_code == 405


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_in_the_settings_there_are_no_metrics(token: str | None, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "METRICS_TOKEN": token}
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
        assert (await AsyncClient().get("/metrics", headers=headers)).status_code == 404


def test_a_real_scrape_of_a_web_process_is_read_by_both_parsers(valkey: Valkey, owner: User):
    rows.ready(owner)
    with Daphne(ROOT_URLCONF="project.probes", MIDDLEWARE=["project.probes.Probes"], ALLOWED_HOSTS=[]) as daphne:
        address = f"http://{daphne.host}/metrics"
        plain = httpx.get(address, headers=BEARER)
        opened = httpx.get(address, headers=BEARER | {"accept": "application/openmetrics-text;version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    for values in (samples(plain.text), samples(opened.text, open_metrics)):
        assert values["exports_ended", "", "small", "ready"] == 1
        assert values["exports_sockets",] == 0
        assert values["exports_run_seconds_gcount", "small"] == 1
        assert values["process_resident_memory_bytes",] > 0


def test_no_label_says_who_asked_for_what():
    owner = people.user("zacharias")
    rows.queued(owner, criteria="month=4&note=secret", description="Secret report")
    rows.ready(owner, content=b"secret cell")
    text = metrics.scrape("")[0].decode()
    assert "secret" not in text.lower()
    assert owner.username not in text
