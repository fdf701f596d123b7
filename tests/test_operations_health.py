"""The health pages, for machines: whoever asks, from wherever, and whatever is away."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from django.test import AsyncClient

from exports import storage
from exports.contrib.operations.health import ReadyView, StorageAnswers
from project import logs
from tests.office.processes import ROOT, Daphne
from tests.servers import Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ("health/live", "health/ready", "metrics")
ALL_OK = {"database": "ok", "queue": "ok", "channels": "ok", "storage": "ok"}


@pytest.fixture(autouse=True)
def addresses(settings: LazySettings) -> Iterator[None]:
    settings.ROOT_URLCONF = "project.probes"
    settings.MIDDLEWARE = ["project.probes.Probes", *settings.MIDDLEWARE]
    ReadyView._failing = ()
    yield
    ReadyView._rounds.clear()


async def asked(address: str, **options: Any) -> tuple[int, dict[str, Any]]:
    answer = await AsyncClient().get(address, **options)
    return answer.status_code, answer.json()


async def test_a_process_that_answers_is_alive_and_nothing_else_is_asked():
    assert await asked("/health/live") == (200, {"status": "ok", "checks": {}})


async def test_a_process_whose_services_all_answer_is_ready(valkey: Valkey):
    assert await asked("/health/ready") == (200, {"status": "ok", "checks": ALL_OK})


async def test_in_cron_mode_no_queue_is_missed(settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "REDIS_URL": "redis://127.0.0.1:1/0"}
    assert (await asked("/health/ready"))[0] == 200


async def test_a_queue_that_is_away_is_named_without_any_detail(valkey: Valkey):
    valkey.stop()
    away = {"queue": "not ok", "channels": "not ok"}
    assert await asked("/health/ready") == (503, {"status": "not ok", "checks": ALL_OK | away})
    assert (await asked("/health/live"))[0] == 200


async def test_a_storage_that_is_away_is_named(valkey: Valkey, settings: LazySettings, tmp_path: Path):
    tmp_path.joinpath("file").touch()
    settings.STORAGES = {
        **settings.STORAGES,
        "exports": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "file" / "exports")},
        },
    }
    assert await asked("/health/ready") == (503, {"status": "not ok", "checks": ALL_OK | {"storage": "not ok"}})


def test_a_bucket_that_answers_is_ready_and_one_that_does_not_is_not(s3: Any):
    storage.check_available()
    s3.stop()
    with pytest.raises(Exception, match="could not be asked"):
        storage.check_available()
    s3.start()


async def test_the_services_are_asked_once_a_second_however_many_ask(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    asked_storage: list[None] = []
    monkeypatch.setattr(storage, "check_available", lambda: asked_storage.append(None))
    for _ in range(5):
        assert (await asked("/health/ready"))[0] == 200
    assert len(asked_storage) == 1
    monkeypatch.setattr("exports.contrib.operations.health.CACHE_SECONDS", 0.0)
    await asked("/health/ready")
    assert len(asked_storage) == 2


async def test_a_service_that_hangs_is_not_waited_for(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    hung = threading.Event()
    monkeypatch.setattr(storage, "check_available", hung.wait)
    monkeypatch.setattr(StorageAnswers, "timeout", timedelta(seconds=-0.5))
    assert await asked("/health/ready") == (503, {"status": "not ok", "checks": ALL_OK | {"storage": "not ok"}})
    hung.set()


@pytest.mark.parametrize("address", ["/health/live", "/health/ready"])
async def test_any_host_may_ask_by_http_without_a_session(address: str, settings: LazySettings):
    settings.ALLOWED_HOSTS = ["exports.example"]
    settings.SECURE_SSL_REDIRECT = True
    settings.MIDDLEWARE = [settings.MIDDLEWARE[0], "django.middleware.security.SecurityMiddleware"]
    answer = await AsyncClient().get(address, headers={"host": "10.1.2.3:8000"})
    assert answer.status_code == 200
    assert not answer.cookies
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("options", [{"headers": {"accept": "text/html"}}, {"query_params": {"format": "rss"}}])
async def test_the_answer_is_json_whatever_is_asked_for(options: dict[str, Any]):
    assert (await asked("/health/ready", **options))[0] == 200


async def test_only_reading_is_allowed():
    assert (await AsyncClient().post("/health/ready")).status_code == 405
    assert (await AsyncClient().head("/health/live")).status_code == 200


async def test_the_log_has_a_line_for_each_change_and_none_for_each_question(
    valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.handler.addFilter(logs.NotProbes())
    monkeypatch.setattr("exports.contrib.operations.health.CACHE_SECONDS", 0.0)
    logging.getLogger("health_check").setLevel(logging.CRITICAL)
    for stop_or_start in (valkey.stop, valkey.start):
        stop_or_start()
        for _ in range(3):
            await asked("/health/ready")
    logging.getLogger("health_check").setLevel(logging.NOTSET)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["not ready: queue, channels", "ready again"]


def test_a_web_process_answers_while_its_services_come_and_go(valkey: Valkey):
    with Daphne(ROOT_URLCONF="project.probes", MIDDLEWARE=["project.probes.Probes"], ALLOWED_HOSTS=[]) as daphne:
        ready = _status_of(f"http://{daphne.host}/health/ready")
        wait_until(lambda: ready() == 200, describe=daphne.words)
        valkey.stop()
        wait_until(lambda: ready() == 503)
        assert _status_of(f"http://{daphne.host}/health/live")() == 200
        valkey.start()
        wait_until(lambda: ready() == 200)


class Site(Daphne):
    """The demo site as it is deployed: its own settings, https, one host."""

    def options(self) -> dict[str, object]:
        own = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "SECRET_KEY": "a-secret-key-that-is-long-enough-for-a-test",
            "VAR_DIR": str(self.folder),
            "HTTPS": "1",
            "ALLOWED_HOSTS": "exports.example",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "LOG_FORMAT": "json",
            "EXPORTS_METRICS_TOKEN": "a-token-that-nobody-guesses",
            "PYTHONPATH": str(ROOT),
        }
        return {"cwd": ROOT, "env": {"PATH": os.environ["PATH"], **own}}


def test_the_site_answers_probes_before_it_asks_for_https_or_its_own_name():
    with Site() as site:
        live, ready, metrics = (httpx.get(f"http://{site.host}/{path}") for path in PAGES)
        page = httpx.get(f"http://{site.host}/login/")
        words = site.words()
    assert (live.status_code, ready.status_code, metrics.status_code, page.status_code) == (200, 503, 401, 400)
    assert ready.json()["checks"] == {"database": "ok", "queue": "not ok", "channels": "not ok", "storage": "ok"}
    lines = [json.loads(line) for line in words.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines if line["logger"] == "exports.health"] == ["not ready: queue, channels"]
    assert "/health/" not in words
    assert "Traceback" not in words


def _status_of(address: str) -> Callable[[], int]:
    return lambda: httpx.get(address, timeout=10).status_code
