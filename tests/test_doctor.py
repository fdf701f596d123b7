"""`manage.py exports doctor`, beside real servers: what is well, what is not, and what to do."""

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
from django.test import override_settings
from django.utils import timezone

from exports import housekeeping
from exports.contrib.operations import doctor
from exports.contrib.operations.doctor import Finding, Level, findings
from exports.models import Artifact, FileRequest, Notification
from exports.queue import huey as huey_queue
from exports.worker import registry as worker_registry
from tests.bucket.server import Moto
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.processes import ROOT, Worker, environment
from tests.servers import Smtp, Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# A busy machine is not what these tests are about.
PATIENCE = 20.0
LONG_KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = LONG_KEY[::-1]


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture(autouse=True)
def in_cron_mode(settings: LazySettings, tmp_path: Path) -> None:
    """Where no test says otherwise: no queue, and a folder of the test's own for files in the making."""
    settings.EXPORTS = {**settings.EXPORTS, "WORK_DIR": str(tmp_path / "work"), "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def choose(settings: LazySettings, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def found(name: str) -> list[Finding]:
    return [finding for finding in doctor.examine(seconds=PATIENCE) if finding.name == name]


def level(name: str) -> Level:
    return doctor.worst(found(name))


def text(name: str) -> str:
    return " ".join(finding.text for finding in found(name))


def listening(server: Valkey) -> None:
    """A worker of each queue and a housekeeper have been here."""
    for queue_name in ("large", "small"):
        worker_registry.Presence(worker_registry.WORKER, queue_name).show()
    worker_registry.Presence(worker_registry.HOUSEKEEPER).show()


def test_all_is_well_beside_a_queue_workers_a_housekeeper_and_a_mail_server(
    valkey: Valkey, smtp: Smtp, settings: LazySettings
):
    listening(valkey)
    choose(settings, TICKET_KEYS=[LONG_KEY], QUEUE_KEYS=[OTHER_KEY])
    seen = list(doctor.examine(seconds=PATIENCE))
    assert [str(finding) for finding in seen if finding.level is not Level.OK] == []
    assert {finding.name for finding in seen} == {
        "database", "clocks", "queue", "channels", "mail server", "worker large", "worker small", "queued large",
        "queued small", "housekeeper", "mails", "storage", "work dir", "settings", "base url", "secrets",
    }  # fmt: skip
    assert smtp.mails == []


def test_the_command_prints_a_line_for_each_finding_and_what_to_do(capsys: pytest.CaptureFixture[str]):
    call_command("exports", "doctor")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok       database      SQLite 3.") or "PostgreSQL" in line for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("warning  mail server"))
    assert lines[at + 1].strip().startswith("Set EMAIL_BACKEND")


def test_the_command_speaks_json_and_fails_where_there_is_an_error(
    capsys: pytest.CaptureFixture[str], settings: LazySettings
):
    choose(settings, BASE_URL="exports.example")
    with pytest.raises(CommandError):
        call_command("exports", "doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["level"] == "error"
    wrong = [each for each in report["findings"] if each["level"] == "error"]
    assert [(each["name"], bool(each["advice"])) for each in wrong] == [("base url", True)]


def test_the_process_exits_with_1_and_without_a_traceback_when_nothing_answers(tmp_path: Path):
    nowhere = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "no" / "such" / "folder.sqlite3")}
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    gone = {
        "DATABASES": {"default": nowhere},
        "CHANNEL_LAYERS": {"default": layer},
        "EXPORTS": {"REDIS_URL": "redis://127.0.0.1:1/0", "WORK_DIR": "/proc/nowhere", "UNKNOWN": 1},
        "STORAGES": {"exports": {"BACKEND": "nothing.Here"}},
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": 1,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "exports", "doctor"],
        cwd=ROOT, env=environment(tmp_path, **gone), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("error")]
    assert {"database", "queue", "channels", "mail", "work", "settings", "base"} <= set(errors)


# Who works


def test_an_idle_worker_is_seen_and_one_that_was_stopped_is_not(valkey: Valkey):
    assert level("worker small") is Level.ERROR
    with Worker("small") as worker:
        wait_until(lambda: level("worker small") is Level.OK, describe=worker.words)
        assert f"1 running, 0 of them busy: {socket.gethostname()}:{worker.process.pid}." in text("worker small")
        assert level("worker large") is Level.ERROR
        worker.stop()
    assert level("worker small") is Level.ERROR


def test_a_worker_that_makes_a_file_is_seen_by_its_lease(valkey: Valkey, owner: User):
    rows.running(owner)
    assert text("worker small") == "1 running, 1 of them busy: here:1."


def test_a_worker_that_died_is_not_seen_any_more_after_a_while(valkey: Valkey):
    worker_registry.Presence(worker_registry.WORKER, "small").show()
    [sign] = worker_registry.signs()
    assert sign.is_fresh
    with valkey.client() as client:
        client.zincrby("exports.present", -worker_registry.FRESH_SECONDS, client.zrange("exports.present", 0, 0)[0])
    assert not worker_registry.signs()[0].is_fresh
    assert level("worker small") is Level.ERROR


def test_a_process_leaves_a_sign_only_now_and_then(valkey: Valkey):
    now = 100.0
    here = worker_registry.Presence(worker_registry.WORKER, "small", clock=lambda: now)
    here.show()
    valkey.flush()
    now += worker_registry.SHOW_SECONDS - 1
    here.show()
    assert worker_registry.signs() == []
    now += 1
    here.show()
    assert [sign.owner for sign in worker_registry.signs()] == [f"{socket.gethostname()}:{os.getpid()}"]


def test_workers_are_unknown_while_the_queue_is_away(valkey: Valkey):
    valkey.stop()
    assert level("worker small") is Level.WARNING
    assert level("queue") is level("channels") is Level.ERROR


def test_in_cron_mode_neither_queue_nor_workers_are_missed():
    assert level("queue") is level("worker") is level("housekeeper") is Level.OK


def test_a_housekeeper_has_to_have_swept_lately(valkey: Valkey):
    assert text("housekeeper") == "It has not run within a day."
    housekeeping._presence._shown_at = None
    housekeeping.sweep()
    assert level("housekeeper") is Level.OK
    with valkey.client() as client:
        client.zincrby("exports.present", -3600, client.zrange("exports.present", 0, 0)[0])
    assert text("housekeeper").startswith("Ran 60 min ago on ")
    assert level("housekeeper") is Level.ERROR


def test_what_a_housekeeper_has_not_done_tells_on_it_without_a_queue(owner: User):
    request = rows.running(owner)
    FileRequest.objects.filter(pk=request.pk).update(lease_expires_at=timezone.now() - timedelta(hours=1))
    assert text("housekeeper").startswith("Overdue: rescue for 60 min.")
    assert level("housekeeper") is Level.ERROR


# What waits


def test_a_request_that_waits_for_long_is_a_warning_and_for_very_long_an_error(owner: User):
    request = rows.queued(owner)
    assert text("queued small").startswith("1 waiting, the oldest for 0.")
    for hours, bad in ((1, Level.WARNING), (13, Level.ERROR)):
        FileRequest.objects.filter(pk=request.pk).update(requested_at=timezone.now() - timedelta(hours=hours))
        assert level("queued small") is bad


def test_a_type_that_nobody_registered_is_named(owner: User):
    rows.queued(owner, file_type="gone")
    assert text("queued") == "1 waiting for 'gone', which is not registered."
    assert level("queued small") is Level.OK


def test_bells_that_pile_up_are_counted(valkey: Valkey):
    for _ in range(1001):
        huey_queue.wake("small")
    assert "Unread messages pile up: large 0, small 1001." in text("queue")


def test_a_bell_under_another_key_says_that_processes_differ(valkey: Valkey, settings: LazySettings):
    with override_settings(EXPORTS={**settings.EXPORTS, "QUEUE_KEYS": ["another key, of another process"]}):
        huey_queue.wake("small")
    assert "not signed with a key of this process" in text("queue")
    assert level("queue") is Level.ERROR


# Mail


def test_a_mail_server_that_is_away_is_an_error(smtp: Smtp):
    assert level("mail server") is Level.OK
    smtp.stop()
    assert level("mail server") is Level.ERROR
    smtp.start()


def test_mails_that_failed_and_mails_that_were_given_up_are_counted(owner: User):
    mails = Notification.objects.filter(request=rows.ready(owner))
    assert level("mails") is Level.OK
    mails.update(attempts=1)
    assert "1 have failed at least once" in text("mails")
    mails.update(state="suppressed", reason="gave up: SMTPServerDisconnected", settled_at=timezone.now())
    assert "1 were given up" in text("mails")
    assert level("mails") is Level.ERROR


# Files


def test_the_storage_is_tried_and_nothing_of_it_stays(settings: LazySettings, tmp_path: Path):
    settings.STORAGES = {**settings.STORAGES, "exports": _folder(tmp_path / "finished")}
    assert text("storage") == "FileSystemStorage: stored, read and deleted a file; an unsigned download was refused."
    assert [path for path in tmp_path.joinpath("finished").rglob("*") if path.is_file()] == []
    assert not Artifact.objects.exists()


def test_a_storage_that_cannot_be_written_is_an_error_and_what_may_lie_there_is_left_to_housekeeping(
    settings: LazySettings, tmp_path: Path
):
    tmp_path.joinpath("file").touch()
    settings.STORAGES = {**settings.STORAGES, "exports": _folder(tmp_path / "file")}
    assert level("storage") is Level.ERROR
    assert Artifact.objects.filter(request=None).count() == 1


def test_a_folder_that_a_web_server_shows_is_found_by_asking_for_a_file(settings: LazySettings, tmp_path: Path):
    with _web_server(tmp_path) as address:
        shown = _folder(tmp_path / "shown", base_url="/shown/")
        settings.STORAGES = {**settings.STORAGES, "exports": shown}
        choose(settings, BASE_URL=address)
        assert "is public: anyone can download a file" in text("storage")
        assert level("storage") is Level.ERROR


def test_a_bucket_is_tried(s3: Moto):
    assert text("storage") == "S3Storage: stored, read and deleted a file; an unsigned download was refused."
    assert s3.stored() == []


def test_a_public_bucket_is_an_error(s3: Moto, settings: LazySettings):
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(object_parameters={"ACL": "public-read"})}
    assert "is public" in text("storage")


def test_a_bucket_that_is_not_there_is_an_error_with_the_answer(s3: Moto, settings: LazySettings):
    settings.STORAGES = {**settings.STORAGES, "exports": s3.storage(bucket_name="no-such-bucket")}
    assert "NoSuchBucket" in text("storage")


def test_a_private_work_dir_is_ok_and_one_that_others_can_write_to_is_an_error(tmp_path: Path):
    assert level("work dir") is Level.OK
    tmp_path.joinpath("work").chmod(0o777)
    assert level("work dir") is Level.ERROR


def test_a_disk_with_less_room_than_a_run_needs_is_an_error(settings: LazySettings):
    choose(settings, MIN_FREE_DISK_BYTES=1 << 60)
    assert level("work dir") is Level.ERROR


def test_a_work_dir_that_anybody_can_foresee_is_a_warning(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    choose(settings, WORK_DIR="")
    assert "can predict" in text("work dir")


# Choices


@pytest.mark.parametrize(
    ("address", "bad"),
    [
        ("https://exports.example", Level.OK),
        ("http://exports.example", Level.WARNING),
        ("http://127.0.0.1:8000", Level.WARNING),
        ("", Level.ERROR),
        ("/exports/", Level.ERROR),
    ],
)
def test_the_address_in_mails_has_to_be_absolute(address: str, bad: Level, settings: LazySettings):
    choose(settings, BASE_URL=address)
    assert level("base url") is bad


@pytest.mark.parametrize(
    ("keys", "flaw"),
    [
        ([LONG_KEY, LONG_KEY], "contains a secret twice"),
        ([LONG_KEY, " "], "contains an empty secret"),
        ("short", "contains a secret of fewer than 20 characters"),
    ],
)
def test_keys_with_a_flaw_are_named_and_never_shown(keys: Any, flaw: str, settings: LazySettings):
    choose(settings, TICKET_KEYS=keys)
    said = text("secrets")
    assert f"EXPORTS['TICKET_KEYS'] {flaw}" in said
    assert LONG_KEY not in said
    assert "short." not in said


def test_what_the_system_checks_say_is_reported(settings: LazySettings):
    choose(settings, UNHEARD_OF=1)
    assert "exports.E001" in text("settings")


# The doctor itself


def test_a_probe_that_hangs_is_a_finding_in_time(monkeypatch: pytest.MonkeyPatch):
    hung = threading.Event()
    probe = findings.Probe("slow", lambda name: hung.wait(), "Wait.")
    monkeypatch.setattr(doctor, "PROBES", (probe,))
    began = time.monotonic()
    assert list(doctor.examine(seconds=0.5))[-1] == Finding("slow", Level.ERROR, "No answer in time.", "Wait.")
    assert time.monotonic() - began < 2
    hung.set()


def test_a_reason_that_may_hold_a_password_is_not_said():
    said = doctor._reason(ValueError("Port could not be cast to integer value as 'secret@host'"))
    assert said == "ValueError."


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.42, "0.4 s"), (45, "45 s"), (600, "10 min"), (7300, "2 h"), (200_000, "2 days")]
)
def test_durations_are_said_as_people_do(seconds: float, said: str):
    assert findings.duration(seconds) == said


def _folder(path: Path, **options: Any) -> dict[str, Any]:
    backend = "django.core.files.storage.FileSystemStorage"
    return {"BACKEND": backend, "OPTIONS": {"location": str(path), **options}}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        return


@contextmanager
def _web_server(folder: Path) -> Iterator[str]:
    """Shows a folder to everybody, at the address that it gives."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
