"""`manage.py exports doctor`, beside real servers."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django.utils import timezone

from exports import housekeeping
from exports.contrib.operations import doctor
from exports.contrib.operations.doctor import Finding, Level, findings, services
from exports.models import Artifact, FileRequest, Notification, Webhook
from exports.queue import huey as huey_queue
from exports.queue import presence
from exports.worker import registry as worker_registry
from project.environment import mail_settings
from tests.bucket.server import Moto
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.processes import ROOT, Worker, environment
from tests.servers import Smtp, Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# These tests must not fail on a busy machine.
TIMEOUT_SECONDS = 20.0
KEY, OTHER_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


@pytest.fixture(autouse=True)
def office(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Register the test exports, without a queue and with a work folder for each test."""
    change(settings, WORK_DIR=str(tmp_path / "work"), REDIS_URL="redis://127.0.0.1:1/0")
    with open_office():
        yield


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def change(settings: LazySettings, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def store_in(settings: LazySettings, folder: Path, **options: Any) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    exports = {"BACKEND": backend, "OPTIONS": {"location": str(folder), **options}}
    settings.STORAGES = {**settings.STORAGES, "exports": exports}


def found(name: str) -> list[Finding]:
    return [finding for finding in doctor.examine(seconds=TIMEOUT_SECONDS) if finding.name == name]


def level(name: str) -> Level:
    return doctor.worst(found(name))


def text(name: str) -> str:
    return " ".join(finding.text for finding in found(name))


def age_all_signs(server: Valkey, *, seconds: float) -> None:
    with server.client() as client:
        for sign in client.zrange(presence.key(), 0, -1):
            client.zincrby(presence.key(), -seconds, sign)


# The report


def test_everything_is_ok_beside_running_servers_and_processes(valkey: Valkey, smtp: Smtp, settings: LazySettings):
    change(settings, TICKET_KEYS=[KEY], QUEUE_KEYS=[OTHER_KEY])
    for queue_name in ("large", "small"):
        worker_registry.Presence(worker_registry.WORKER, queue_name).show()
    worker_registry.Presence(worker_registry.HOUSEKEEPER).show()
    report = list(doctor.examine(seconds=TIMEOUT_SECONDS))
    assert [str(finding) for finding in report if finding.level is not Level.OK] == []
    assert {finding.name for finding in report} == {
        "database", "clocks", "queue", "channels", "mail server", "worker large", "worker small", "queued large",
        "queued small", "housekeeper", "mails", "webhooks", "storage", "work dir", "settings", "base url", "secrets",
    }  # fmt: skip
    assert smtp.mails == []


def test_the_command_prints_text_or_json_and_fails_if_there_is_an_error(
    capsys: pytest.CaptureFixture[str], settings: LazySettings
):
    call_command("exports", "doctor")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok       database      SQLite 3.") or "PostgreSQL" in line for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("warning  mail server"))
    assert lines[at + 1].strip().startswith("Set EMAIL_BACKEND")
    change(settings, BASE_URL="exports.example")
    with pytest.raises(CommandError):
        call_command("exports", "doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["level"] == "error"
    wrong = [each for each in report["findings"] if each["level"] == "error"]
    assert [(each["name"], bool(each["advice"])) for each in wrong] == [("base url", True)]


def test_the_process_exits_with_1_and_no_traceback_if_nothing_works(tmp_path: Path):
    missing = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "no" / "such" / "folder.sqlite3")}
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    broken = {
        "DATABASES": {"default": missing},
        "CHANNEL_LAYERS": {"default": layer},
        "EXPORTS": {"REDIS_URL": "redis://127.0.0.1:1/0", "WORK_DIR": "/proc/nowhere", "UNKNOWN": 1},
        "STORAGES": {"exports": {"BACKEND": "nothing.Here"}},
        **mail_settings({"EMAIL_BACKEND": smtp, "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": 1}),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "exports", "doctor"],
        cwd=ROOT, env=environment(tmp_path, **broken), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("error")]
    assert {"database", "queue", "channels", "mail", "work", "settings", "base"} <= set(errors)


def test_a_probe_that_hangs_or_raises_is_reported_in_time_without_details(monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()

    def raising(name: str) -> None:
        raise ValueError("Port could not be cast to integer value as 'secret@host'")

    probes = findings.Probe("wrong", raising, "Correct."), findings.Probe("slow", lambda name: released.wait(), "Wait.")
    monkeypatch.setattr(doctor, "PROBES", probes)
    began = time.monotonic()
    report = {finding.name: finding for finding in doctor.examine(seconds=0.5)}
    assert report["slow"] == Finding("slow", Level.ERROR, "No answer in time.", "Wait.")
    # The message may contain a password.
    assert report["wrong"] == Finding("wrong", Level.ERROR, "ValueError.", "Correct.")
    assert time.monotonic() - began < TIMEOUT_SECONDS
    released.set()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.42, "0.4 s"), (45, "45 s"), (600, "10 min"), (7300, "2 h"), (200_000, "2 days")]
)
def test_durations_are_rounded_for_readers(seconds: float, expected: str):
    assert findings.duration(seconds) == expected


# Services


def test_a_missing_migration_is_named_and_other_lines_are_unknown():
    recorder = MigrationRecorder(connection)
    [(_app, newest)] = MigrationLoader(connection).graph.leaf_nodes("exports")
    recorder.record_unapplied("exports", newest)
    try:
        assert f"lacks exports.{newest}" in text("database")
        assert level("database") is Level.ERROR
        assert text("mails") == "Unknown while the database does not answer."
    finally:
        recorder.record_applied("exports", newest)


@pytest.mark.parametrize(("seconds", "expected"), [(0, Level.OK), (5, Level.WARNING), (-60, Level.ERROR)])
def test_clocks_that_differ_are_reported(seconds: float, expected: Level, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "_database_now", lambda: timezone.now() + timedelta(seconds=seconds))
    assert level("clocks") is expected


def test_a_queue_that_may_delete_messages_is_a_warning(valkey: Valkey):
    with valkey.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "may delete messages when its memory is full (allkeys-lru)" in text("queue")
        assert level("queue") is Level.WARNING
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")


# Workers and the housekeeper


def test_an_idle_worker_is_found_until_it_stops(valkey: Valkey):
    assert level("worker small") is Level.ERROR
    with Worker("small") as worker:
        wait_until(lambda: level("worker small") is Level.OK, describe=worker.words)
        assert f"1 running, 0 of them busy: {socket.gethostname()}:{worker.process.pid}." in text("worker small")
        assert level("worker large") is Level.ERROR
        worker.stop()
    assert level("worker small") is Level.ERROR


def test_a_busy_worker_is_found_by_its_lease_and_a_dead_one_forgotten(valkey: Valkey, owner: User):
    export = rows.running(owner)
    assert text("worker small") == "1 running, 1 of them busy: here:1."
    export.delete()
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    assert level("worker small") is Level.OK
    age_all_signs(valkey, seconds=worker_registry.FRESH_SECONDS)
    assert level("worker small") is Level.ERROR


def test_a_process_leaves_a_sign_every_few_seconds(valkey: Valkey):
    now = 100.0
    presence = worker_registry.Presence(worker_registry.WORKER, "small", clock=lambda: now)
    presence.show()
    valkey.flush()
    now += worker_registry.SHOW_SECONDS - 1
    presence.show()
    assert worker_registry.signs() == []
    now += 1
    presence.show()
    assert [sign.owner for sign in worker_registry.signs()] == [f"{socket.gethostname()}:{os.getpid()}"]


def test_a_sign_that_another_program_has_written_is_ignored(valkey: Valkey):
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    with valkey.client() as client:
        client.zadd(presence.key(), {b"\xff": 9e12, b"": 1, b"worker": 2, b"intruder small host:1": 9e12})
    assert [sign.queue_name for sign in worker_registry.signs()] == ["small"]
    assert level("queue") is Level.OK


def test_a_full_queue_server_is_an_error_of_its_own(valkey: Valkey):
    with valkey.client() as client:
        client.config_set("maxmemory", 1)
        try:
            assert level("queue") is Level.ERROR
            assert "refuses to store a message" in text("queue")
        finally:
            client.config_set("maxmemory", 0)


def test_workers_are_unknown_while_the_queue_is_down(valkey: Valkey):
    valkey.stop()
    assert level("worker small") is Level.WARNING
    assert level("queue") is level("channels") is Level.ERROR


@pytest.mark.parametrize(("debug", "expected"), [(True, Level.WARNING), (False, Level.ERROR)])
def test_a_queue_that_is_not_configured_is_only_for_development(settings: LazySettings, debug: bool, expected: Level):
    left = {name: value for name, value in settings.EXPORTS.items() if name not in ("QUEUE_BACKEND", "REDIS_URL")}
    settings.DEBUG, settings.EXPORTS = debug, left
    assert level("queue") is expected
    assert level("worker") is Level.OK


def test_without_a_queue_or_channel_layer_no_worker_is_expected_and_pages_poll(settings: LazySettings):
    settings.CHANNEL_LAYERS = {}
    assert level("queue") is level("worker") is level("housekeeper") is Level.OK
    assert found("channels") == [Finding("channels", Level.OK, "There is no channel layer: pages poll.")]


def test_housekeeping_must_have_run_recently(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    assert text("housekeeper") == "It has not run within a day."
    # A process shows its presence every few seconds, and another test may just have done that.
    monkeypatch.setattr(housekeeping, "_presence", worker_registry.Presence(worker_registry.HOUSEKEEPER))
    call_command("exports", "housekeep", "--once")
    assert level("housekeeper") is Level.OK
    age_all_signs(valkey, seconds=3600)
    assert text("housekeeper").startswith("Ran 60 min ago on ")
    assert level("housekeeper") is Level.ERROR


def test_overdue_housekeeping_is_an_error_even_without_a_queue(owner: User):
    rows.running(owner)
    FileRequest.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
    assert text("housekeeper").startswith("Overdue: rescue for 60 min.")
    assert level("housekeeper") is Level.ERROR


# Requests and mails that wait


@pytest.mark.parametrize(("hours", "expected"), [(0, Level.OK), (1, Level.WARNING), (13, Level.ERROR)])
def test_a_request_that_waits_for_long_is_reported_and_an_unregistered_type_named(
    owner: User, hours: int, expected: Level
):
    rows.queued(owner, requested_at=timezone.now() - timedelta(hours=hours))
    rows.queued(owner, file_type="gone")
    assert text("queued small").startswith("1 waiting, the oldest for ")
    assert level("queued small") is expected
    assert text("queued") == "1 waiting for 'gone', which is not registered."


def test_unread_messages_are_counted_and_one_signed_with_another_key_is_an_error(
    valkey: Valkey, settings: LazySettings
):
    for _ in range(1001):
        huey_queue.wake("small")
    assert "Unread messages pile up: large 0, small 1001." in text("queue")
    valkey.flush()
    with override_settings(
        EXPORTS={**settings.EXPORTS, "QUEUE_KEYS": ["a newer key, of another process", settings.SECRET_KEY]}
    ):
        huey_queue.wake("small")
    assert "not signed with a key of this process" in text("queue")
    assert level("queue") is Level.ERROR


def test_a_mail_server_that_is_down_is_an_error(smtp: Smtp):
    assert level("mail server") is Level.OK
    smtp.stop()
    assert level("mail server") is Level.ERROR
    smtp.start()


def test_failed_mails_and_those_given_up_are_counted(owner: User):
    mails = Notification.objects.filter(request=rows.ready(owner))
    assert level("mails") is Level.OK
    mails.update(attempts=1)
    assert "1 have failed at least once" in text("mails")
    mails.update(state="suppressed", reason="gave up: SMTPServerDisconnected", settled_at=timezone.now())
    assert "1 were given up" in text("mails")
    assert level("mails") is Level.ERROR


def test_webhooks_that_fail_and_those_disabled_are_counted(owner: User, settings: LazySettings):
    assert text("webhooks") == "None: EXPORTS['WEBHOOKS'] is off."
    change(settings, WEBHOOKS=True)
    webhook = Webhook.objects.create(owner=owner, url="https://hooks.example/")
    rows.ready(owner)
    assert level("webhooks") is Level.OK
    webhook.deliveries.update(attempts=1)
    assert "1 have failed at least once" in text("webhooks")
    webhook.deliveries.update(state="suppressed", reason="gave up: HTTP 500", settled_at=timezone.now())
    Webhook.objects.update(disabled_at=timezone.now())
    assert "1 were given up" in text("webhooks")
    assert "1 webhooks are disabled" in text("webhooks")
    assert level("webhooks") is Level.WARNING


# Files


def test_the_storage_is_tested_and_the_test_file_deleted(settings: LazySettings, tmp_path: Path):
    store_in(settings, tmp_path / "finished")
    expected = "FileSystemStorage: stored, read and deleted a file; an unsigned download was refused."
    assert text("storage") == expected
    assert [path for path in tmp_path.joinpath("finished").rglob("*") if path.is_file()] == []
    assert not Artifact.objects.exists()


def test_a_storage_that_cannot_be_written_is_an_error(settings: LazySettings, tmp_path: Path):
    tmp_path.joinpath("file").touch()
    store_in(settings, tmp_path / "file")
    assert level("storage") is Level.ERROR
    # Housekeeping deletes what may have been stored.
    assert Artifact.objects.filter(request=None).count() == 1


def test_a_folder_that_a_web_server_serves_is_an_error(settings: LazySettings, tmp_path: Path):
    with web_server(tmp_path) as url:
        store_in(settings, tmp_path / "shown", base_url="/shown/")
        change(settings, BASE_URL=url)
        assert "is public: anyone can download a file" in text("storage")
        assert level("storage") is Level.ERROR


def test_a_private_bucket_is_ok_and_a_public_or_missing_one_an_error(s3: Moto, settings: LazySettings):
    assert text("storage") == "S3Storage: stored, read and deleted a file; an unsigned download was refused."
    assert s3.stored() == []
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(object_parameters={"ACL": "public-read"})}
    assert "is public" in text("storage")
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(bucket_name="no-such-bucket")}
    assert "NoSuchBucket" in text("storage")


def test_a_work_dir_must_be_private_unpredictable_and_on_a_disk_with_space(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert level("work dir") is Level.OK
    tmp_path.joinpath("work").chmod(0o777)
    assert level("work dir") is Level.ERROR
    change(settings, WORK_DIR="")
    assert level("work dir") is Level.WARNING
    change(settings, MIN_FREE_DISK_BYTES=1 << 60)
    assert level("work dir") is Level.ERROR


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder to anyone; yield its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


# Configuration


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"BASE_URL": "https://exports.example"}, "base url", Level.OK),
        ({"BASE_URL": "http://127.0.0.1:8000"}, "base url", Level.WARNING),
        ({"BASE_URL": ""}, "base url", Level.ERROR),
        ({"TICKET_KEYS": [KEY]}, "secrets", Level.OK),
        ({"TICKET_KEYS": [KEY, " "]}, "secrets", Level.ERROR),
        ({"UNHEARD_OF": 1}, "settings", Level.ERROR),
    ],
)
def test_the_doctor_reports_what_the_system_checks_say(
    changes: dict[str, Any], name: str, expected: Level, settings: LazySettings
):
    change(settings, **changes)
    assert level(name) is expected
    assert KEY not in text(name)


def test_a_development_key_is_a_warning_and_a_silenced_check_is_not_reported(settings: LazySettings):
    change(settings, TICKET_KEYS=None)
    with override_settings(SECRET_KEY="django-insecure-only-for-development"):
        assert "SECRET_KEY is one for development." in text("secrets")
    assert level("secrets") is Level.WARNING
    settings.SILENCED_SYSTEM_CHECKS = ["exports.W039"]
    assert level("secrets") is Level.OK
