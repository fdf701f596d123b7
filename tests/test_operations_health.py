"""The health pages: liveness and readiness for load balancers."""

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
from tests.bucket.server import Moto
from tests.office.processes import ROOT, Daphne
from tests.servers import Valkey, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ALL_OK = {"database": "ok", "queue": "ok", "channels": "ok", "storage": "ok"}


@pytest.fixture(autouse=True)
def addresses(settings: LazySettings) -> Iterator[None]:
    settings.ROOT_URLCONF = "project.probes"
    settings.MIDDLEWARE = ["project.probes.Probes", *settings.MIDDLEWARE]
    ReadyView._failing = ()
    yield
    ReadyView._rounds.clear()


async def get(path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    answer = await AsyncClient().get(path, **options)
    return answer.status_code, answer.json()


def not_ready(*names: str) -> tuple[int, dict[str, Any]]:
    return 503, {"status": "not ok", "checks": ALL_OK | dict.fromkeys(names, "not ok")}


async def test_a_running_process_is_alive_and_ready_with_its_services(valkey: Valkey):
    assert await get("/health/live") == (200, {"status": "ok", "checks": {}})
    assert await get("/health/ready") == (200, {"status": "ok", "checks": ALL_OK})


async def test_a_queue_that_is_down_is_named_without_details(valkey: Valkey):
    valkey.stop()
    assert await get("/health/ready") == not_ready("queue", "channels")
    assert (await get("/health/live"))[0] == 200


async def test_a_storage_that_does_not_work_is_named(valkey: Valkey, settings: LazySettings, tmp_path: Path):
    tmp_path.joinpath("file").touch()
    backend = "django.core.files.storage.FileSystemStorage"
    broken = {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path / "file" / "exports")}}
    settings.STORAGES = {**settings.STORAGES, "exports": broken}
    assert await get("/health/ready") == not_ready("storage")


def test_a_bucket_is_available_while_it_answers(s3: Moto):
    storage.check_available()
    s3.stop()
    with pytest.raises(Exception, match="could not be asked"):
        storage.check_available()
    s3.start()


async def test_the_services_are_asked_at_most_once_per_second(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    calls: list[None] = []
    monkeypatch.setattr(storage, "check_available", lambda: calls.append(None))
    monkeypatch.setattr("exports.contrib.operations.health.CACHE_SECONDS", 60.0)
    for _ in range(5):
        assert (await get("/health/ready"))[0] == 200
    assert len(calls) == 1
    monkeypatch.setattr("exports.contrib.operations.health.CACHE_SECONDS", 0.0)
    await get("/health/ready")
    assert len(calls) == 2


async def test_a_service_that_hangs_is_not_ready(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()
    monkeypatch.setattr(storage, "check_available", released.wait)
    monkeypatch.setattr(StorageAnswers, "timeout", timedelta(seconds=-0.5))
    assert await get("/health/ready") == not_ready("storage")
    released.set()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_any_host_may_ask_by_http_without_a_session(path: str, settings: LazySettings):
    settings.ALLOWED_HOSTS = ["exports.example"]
    settings.SECURE_SSL_REDIRECT = True
    settings.MIDDLEWARE = [settings.MIDDLEWARE[0], "django.middleware.security.SecurityMiddleware"]
    answer = await AsyncClient().get(path, headers={"host": "10.1.2.3:8000"})
    assert answer.status_code == 200
    assert not answer.cookies
    assert "no-store" in answer["Cache-Control"]


async def test_the_answer_is_always_json_and_only_get_and_head_are_allowed():
    assert (await get("/health/ready", headers={"accept": "text/html"}))[0] == 200
    assert (await get("/health/ready", query_params={"format": "rss"}))[0] == 200
    assert (await AsyncClient().post("/health/ready")).status_code == 405
    assert (await AsyncClient().head("/health/live")).status_code == 200


async def test_the_log_has_one_line_for_each_change(
    valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.handler.addFilter(logs.NotProbes())
    monkeypatch.setattr("exports.contrib.operations.health.CACHE_SECONDS", 0.0)
    monkeypatch.setattr(logging.getLogger("health_check"), "disabled", True)
    for stop_or_start in (valkey.stop, valkey.start):
        stop_or_start()
        for _ in range(3):
            await get("/health/ready")
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["not ready: queue, channels", "ready again"]


def test_a_web_process_follows_its_services_as_they_stop_and_start(valkey: Valkey):
    def status_of(path: str) -> Callable[[], int]:
        return lambda: httpx.get(f"http://{daphne.host}{path}", timeout=10).status_code

    with Daphne(ROOT_URLCONF="project.probes", MIDDLEWARE=["project.probes.Probes"], ALLOWED_HOSTS=[]) as daphne:
        ready = status_of("/health/ready")
        wait_until(lambda: ready() == 200, describe=daphne.words)
        valkey.stop()
        wait_until(lambda: ready() == 503)
        assert status_of("/health/live")() == 200
        valkey.start()
        wait_until(lambda: ready() == 200)


class Site(Daphne):
    """The demo site as it is deployed: with its own settings, HTTPS, and one host."""

    def options(self) -> dict[str, object]:
        own = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "SECRET_KEY": "a-secret-key-that-is-long-enough-for-a-test",
            "VAR_DIR": str(self.folder),
            "HTTPS": "1",
            "ALLOWED_HOSTS": "exports.example",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "LOG_FORMAT": "json",
            "EXPORTS_METRICS_TOKEN": "a-secret-token",
            "PYTHONPATH": str(ROOT),
        }
        return {"cwd": ROOT, "env": {"PATH": os.environ["PATH"], **own}}


def test_the_site_answers_probes_without_https_and_its_own_host():
    with Site() as site:
        paths = ("health/live", "health/ready", "metrics", "login/")
        live, ready, metrics, page = (httpx.get(f"http://{site.host}/{path}") for path in paths)
        log = site.words()
    assert (live.status_code, ready.status_code, metrics.status_code, page.status_code) == (200, 503, 401, 400)
    assert ready.json()["checks"] == ALL_OK | {"queue": "not ok", "channels": "not ok"}
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines if line["logger"] == "exports.health"] == ["not ready: queue, channels"]
    assert "/health/" not in log
    assert "Traceback" not in log
