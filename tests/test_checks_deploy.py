"""What `manage.py check --deploy` says of the app: each unsafe setting with what to do, and of safe ones nothing."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import CheckMessage, Error, run_checks
from django.core.files.storage import FileSystemStorage
from django.db import connection

from exports import checks
from exports.checks.folders import is_open_to_others
from tests.shop.exports import OrderExport, registered

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
SAFE = {"TICKET_KEYS": [KEY], "QUEUE_KEYS": [OTHER], "QUEUE_BACKEND": "exports.queue.huey.wake"}
REDIS = "rediss://exports:secret@queue.example:6380/0"


@pytest.fixture(autouse=True)
def safe(settings: LazySettings, tmp_path: Path) -> LazySettings:
    """Settings that a deployment should have."""
    tmp_path.chmod(0o700)
    settings.EXPORTS = {**settings.EXPORTS, **SAFE, "WORK_DIR": str(tmp_path / "work"), "REDIS_URL": REDIS}
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    folder = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path / "files")},
    }
    settings.STORAGES = {**settings.STORAGES, "exports": folder}
    return settings


def found() -> list[CheckMessage]:
    return run_checks(tags=["exports"], include_deployment_checks=True)


def ids() -> list[str]:
    return [each.id for each in found()]


def test_of_safe_settings_nothing_is_said():
    assert found() == []


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ({"BASE_URL": "http://exports.example"}, "exports.W002"),
        ({"MAX_QUEUED_PER_USER": None}, "exports.W030"),
        ({"MAX_RUNNING_PER_USER": None}, "exports.W030"),
        ({"MAX_PER_USER_PER_DAY": None}, "exports.W030"),
        ({"MAX_ROWS": None}, "exports.W030"),
        ({"MAX_RUNTIME_SECONDS": None}, "exports.W030"),
        ({"MAX_BYTES": None}, "exports.W030"),
        ({"MAX_BYTES": math.inf}, "exports.W030"),
        ({"RETENTION_SECONDS": None}, "exports.W032"),
        ({"TICKET_MAX_AGE_SECONDS": 3600}, "exports.W033"),
        ({"TOKEN_MAX_AGE_SECONDS": None}, "exports.W034"),
        ({"TOKEN_MAX_AGE_SECONDS": 90 * 24 * 3600}, "exports.W034"),
        ({"SOCKET_ALLOWED_ORIGINS": ("http://other.example",)}, "exports.W038"),
        ({"TICKET_KEYS": None}, "exports.W039"),
        ({"QUEUE_KEYS": None}, "exports.W039"),
        ({"TICKET_KEYS": ["short"]}, "exports.E030"),
        ({"QUEUE_KEYS": [OTHER, ""]}, "exports.E030"),
        ({"TICKET_KEYS": [KEY, KEY]}, "exports.E030"),
        ({"METRICS_TOKEN": "short"}, "exports.E030"),
        ({"QUEUE_KEYS": [OTHER, KEY]}, "exports.E031"),
        ({"METRICS_TOKEN": KEY}, "exports.E031"),
        ({"TOKEN_KEY": KEY}, "exports.E031"),
        ({"WORK_DIR": ""}, "exports.W040"),
    ],
)
def test_each_unsafe_setting_is_said_with_what_to_do(safe: LazySettings, given: Mapping[str, Any], id: str):
    safe.EXPORTS = {**safe.EXPORTS, **given}
    [message] = found()
    assert (message.id, bool(message.hint)) == (id, True)
    assert isinstance(message, Error) is (".E" in id)
    assert not [secret for secret in (KEY, OTHER, "short") if secret in f"{message.msg}{message.hint}"]


def test_a_secret_key_that_signs_links_by_name_is_no_key_of_its_own(safe: LazySettings):
    safe.SECRET_KEY = KEY
    assert ids() == ["exports.E031"]


def test_where_cron_makes_the_files_no_queue_needs_keys(safe: LazySettings):
    safe.EXPORTS = {**safe.EXPORTS, "QUEUE_BACKEND": None, "QUEUE_KEYS": None}
    assert found() == []


@pytest.mark.parametrize("backend", ["console", "locmem", "dummy", "filebased"])
def test_mails_that_nobody_gets_are_said(safe: LazySettings, backend: str):
    safe.EMAIL_BACKEND = f"django.core.mail.backends.{backend}.EmailBackend"
    assert ids() == ["exports.W036"]


def test_a_channel_layer_of_one_process_is_said(safe: LazySettings):
    safe.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ids() == ["exports.W037"]
    safe.CHANNEL_LAYERS = {}
    assert found() == []


@pytest.mark.both_databases
def test_statements_without_an_end_are_said_of_postgresql(safe: LazySettings):
    safe.EXPORTS = {**safe.EXPORTS, "STATEMENT_TIMEOUT_SECONDS": None}
    assert ids() == (["exports.W031"] if connection.vendor == "postgresql" else [])


@pytest.mark.parametrize(
    ("declared", "id"), [({"for_machines": True}, "exports.W035"), ({"retention_seconds": math.inf}, "exports.W032")]
)
def test_an_export_that_is_declared_unsafe_is_named(declared: Mapping[str, Any], id: str):
    with registered(type("Careless", (OrderExport,), {"file_type": "careless", **declared})):
        [message] = found()
    assert (message.id, "Careless" in message.msg, bool(message.hint)) == (id, True, True)


# Folders


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user of this host gets into. pytest's own are closed, so it lies beside them."""
    folder = Path("/var/tmp") / f"live-exports-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    folder.rmdir()


def test_a_work_folder_that_others_can_look_into_is_said(safe: LazySettings, open_folder: Path):
    safe.EXPORTS = {**safe.EXPORTS, "WORK_DIR": str(open_folder)}
    assert ids() == ["exports.W041"]
    open_folder.chmod(0o700)
    assert found() == []


def test_a_work_folder_that_is_a_link_is_refused(safe: LazySettings, tmp_path: Path, open_folder: Path):
    (tmp_path / "work").symlink_to(open_folder)
    assert ids() == ["exports.E032"]


def test_files_that_others_can_read_are_said(safe: LazySettings, open_folder: Path):
    safe.EXPORTS = {**safe.EXPORTS, "STORAGE": FileSystemStorage(location=open_folder)}
    assert ids() == ["exports.W042"]
    open_folder.chmod(0o750)
    assert found() == []


def test_a_folder_is_as_open_as_the_most_closed_one_above_it(tmp_path: Path, open_folder: Path):
    assert is_open_to_others(open_folder)
    assert is_open_to_others(open_folder / "to be made")
    tmp_path.chmod(0o700)
    assert not is_open_to_others(tmp_path / "to be made")


def test_every_check_of_a_deployment_is_registered():
    named = {name for name in checks.__all__ if name.startswith("check_")}
    assert named == {check.__name__ for check in (*checks.ALWAYS, *checks.IN_DEPLOYMENTS)}
