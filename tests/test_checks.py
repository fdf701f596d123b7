"""System checks: `manage.py check` and `manage.py check --deploy`."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import CheckMessage, Error, Info, run_checks
from django.db import connection, connections
from django.db.models import Model
from django.urls import include, path
from huey import MemoryHuey
from huey.serializer import SignedSerializer

from exports.checks.site import SQLITE_OPTIONS
from exports.conf import DEFAULTS
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.exceptions import UnknownFormat
from exports.exporters import Column, registry
from exports.queue.huey import SignedJSONSerializer
from exports.tabular import writers
from exports.worker import loop
from tests.shop.exports import OrderExport, registered
from tests.shop.runs import send_mails_by

FOLDER = "django.core.files.storage.FileSystemStorage"
S3 = "storages.backends.s3.S3Storage"
WAKE = "exports.queue.huey"
REDIS = "rediss://exports:secret@queue.example:6380/0"
ID = re.compile(r"exports\.[EWI][0-9]{3}")
KEY, OTHER_KEY = "0123456789abcdef" * 4, "fedcba9876543210" * 4


@pytest.fixture(autouse=True)
def safe(settings: LazySettings, tmp_path: Path) -> None:
    use_safe_settings(settings, tmp_path)


def use_safe_settings(settings: LazySettings, tmp_path: Path) -> None:
    """Use settings about which no check has anything to say."""
    tmp_path.chmod(0o700)
    settings.MEDIA_ROOT, settings.STATIC_ROOT = tmp_path / "media", tmp_path / "static"
    keys = {"TICKET_KEYS": [KEY], "QUEUE_KEYS": [OTHER_KEY]}
    change(settings, QUEUE_BACKEND=WAKE, REDIS_URL=REDIS, WORK_DIR=str(tmp_path / "work"), **keys)
    send_mails_by(settings, "smtp")
    settings.LOGIN_URL = "https://login.example/"
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    store_in(settings, FOLDER, location=str(tmp_path / "files"))


def change(settings: LazySettings, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def store_in(settings: LazySettings, backend: str, **options: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, "exports": {"BACKEND": backend, "OPTIONS": options}}


def basic_checks() -> list[CheckMessage]:
    """Return what `manage.py check` reports about the app."""
    return run_checks(tags=["exports"])


def deploy_checks() -> list[CheckMessage]:
    """Return what `manage.py check --deploy` reports about the app."""
    return run_checks(tags=["exports"], include_deployment_checks=True)


def ids(messages: Iterable[CheckMessage] | None = None) -> list[str]:
    """Return the ids of these messages, or of those of `check --deploy`."""
    messages = deploy_checks() if messages is None else messages
    return [each.id.removeprefix("exports.") for each in messages if each.id]


def test_safe_settings_pass_all_checks():
    assert ids() == []


# Settings


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ({"LAESE": 60}, "E001"),
        ({"LEASE_SECONDS": 10, "HEARTBEAT_SECONDS": 6}, "E002"),
        ({"QUEUE_BACKEND": "exports.nowhere.wake"}, "E003"),
        *(({"MAX_PROCESSES": count}, "E007") for count in (0, "2")),
        *(({"DEFLATE_ENGINE": name, "DEFLATE_LEVEL": level}, "E008") for name, level in (("steam", 1), ("zlib", 10))),
        *(({"MAX_SOCKETS_PER_USER": limit}, "E013") for limit in (0, -1, 2.5, True, "5")),
        *(
            (each, "E014")
            for each in ({"MAX_ROWS": 0}, {"PUBLIC_LINK_MAX_AGE_SECONDS": None}, {"MIN_FREE_DISK_BYTES": -1})
        ),
        *((each, "E016") for each in ({"LEASE_SECONDS": "60"}, {"HISTORY_SECONDS": None}, {"BATCH_ROWS": 2.5})),
        *(({name: 5}, "E023") for name in ("QUEUE_PREFIX", "ACCEL_REDIRECT", "LOG_EXCEPTIONS")),
        *(({"QUEUES": queues}, id) for queues, id in (("large", "E033"), ([1], "E023"), (None, "E023"))),
        *(
            ({name: "https://one.example"}, "E033")
            for name in ("SOCKET_ALLOWED_ORIGINS", "TICKET_KEYS", "QUEUE_KEYS", "AUDIT_KEYS", "TRUSTED_PROXIES")
        ),
        ({"TRUSTED_PROXIES": ["10.0.0.1/8"]}, "E036"),
        ({"WEBHOOK_ALLOWED_NETWORKS": ["intranet"]}, "E036"),
        ({"WEBHOOK_TIMEOUT_SECONDS": 0}, "E014"),
        *(({"SOCKET_ALLOWED_ORIGINS": ("https://one.example", origin)}, "E034") for origin in ("", "null", "*")),
    ],
)
def test_settings_that_cannot_work_are_errors(settings: LazySettings, given: Mapping[str, Any], id: str):
    change(settings, **given)
    [message] = basic_checks()
    assert ids([message]) == [id]
    assert isinstance(message, Error)
    assert message.hint


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"RETENTION": "7d"}, "Did you mean 'RETENTION_SECONDS'?"),
        ({"SIZE": 1}, "Known settings: "),
        ({"RETENTION_SECONDS": "7d"}, "Set a number of seconds from 0 on, or None for no limit."),
        ({"RETENTION_SECONDS": timedelta(days=7)}, "datetime.timedelta(days=7) is 604800."),
        ({"MAX_BYTES": "1G"}, "Set a number of bytes from 1 on, or None for no limit."),
        ({"QUEUES": (1,)}, "Set a list of texts."),
        ({"WORK_DIR": 1}, "Set text or a path."),
    ],
)
def test_a_hint_shows_the_right_form(settings: LazySettings, given: Mapping[str, Any], hint: str):
    change(settings, **given)
    assert any(hint in message.hint for message in basic_checks())


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_no_value_of_any_setting_breaks_the_checks(settings: LazySettings, name: str):
    for value in (5, "x", object(), ["x", 5], timedelta(1), None, {}):
        change(settings, **{name: value})
        assert all(isinstance(message, CheckMessage) for message in deploy_checks())


def test_settings_that_are_no_dictionary_are_an_error(settings: LazySettings):
    settings.EXPORTS = ["LEASE_SECONDS"]
    assert "E001" in ids(basic_checks())


def test_a_queue_without_its_libraries_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exports.checks.settings.find_spec", {"redis": True}.get)
    [message] = basic_checks()
    assert ids([message]) == ["E026"]
    assert "needs huey, which" in message.msg


def test_webhooks_without_their_library_are_an_error(monkeypatch: pytest.MonkeyPatch, settings: LazySettings):
    change(settings, WEBHOOKS=True)
    assert basic_checks() == []
    monkeypatch.setattr("exports.checks.settings.find_spec", lambda name: None if name == "httpcore" else True)
    assert ids(basic_checks()) == ["E060"]


@pytest.mark.parametrize(
    "given",
    [
        {"STATEMENT_TIMEOUT_SECONDS": None, "RETENTION_SECONDS": math.inf, "TICKET_MAX_AGE_SECONDS": 0.5},
        {"MAX_PROCESSES": 2},
        {"MAX_SOCKETS_PER_USER": None},
        {"DEFLATE_ENGINE": "zlib", "DEFLATE_LEVEL": 9},
        # Without a queue, its server and keys are not checked.
        {"QUEUE_BACKEND": None, "QUEUE_KEYS": None, "REDIS_URL": "redis://valkey.example"},
    ],
)
def test_settings_that_work_pass(settings: LazySettings, given: Mapping[str, Any]):
    change(settings, **given)
    assert set(ids()) <= {"W031", "W032"}
    assert ids(basic_checks()) == []


@pytest.mark.parametrize(
    ("given", "id"),
    [
        *(({"BASE_URL": url}, "W002") for url in ("http://exports.example", "https://localhost:8000")),
        *(({"BASE_URL": url}, "E035") for url in ("", "/exports/", "exports.example")),
        *(({f"MAX_{name}_PER_USER": None}, "W030") for name in ("QUEUED", "RUNNING")),
        *(({f"MAX_{name}": None}, "W030") for name in ("PER_USER_PER_DAY", "ROWS", "RUNTIME_SECONDS", "BYTES")),
        ({"MAX_BYTES": math.inf}, "W030"),
        ({"RETENTION_SECONDS": None}, "W032"),
        ({"TICKET_MAX_AGE_SECONDS": 3600}, "W033"),
        *(({"TOKEN_MAX_AGE_SECONDS": seconds}, "W034") for seconds in (None, 90 * 24 * 3600)),
        ({"SOCKET_ALLOWED_ORIGINS": ("http://other.example",)}, "W038"),
        *(({name: None}, "W039") for name in ("TICKET_KEYS", "QUEUE_KEYS")),
        ({"WEBHOOKS": True}, "W039"),
        ({"WEBHOOK_KEYS": [KEY]}, "E031"),
        *(({"TICKET_KEYS": keys}, "E030") for keys in (["short"], [KEY, KEY])),
        *(({"QUEUE_KEYS": [OTHER_KEY, key]}, id) for key, id in (("", "E030"), (KEY, "E031"))),
        *(({"METRICS_TOKEN": token}, id) for token, id in (("short", "E030"), (KEY, "E031"))),
        ({"TOKEN_KEY": KEY}, "E031"),
        ({"WORK_DIR": ""}, "W040"),
    ],
)
def test_unsafe_settings_are_reported_with_a_hint(settings: LazySettings, given: Mapping[str, Any], id: str):
    change(settings, **given)
    [message] = deploy_checks()
    assert ids([message]) == [id]
    assert isinstance(message, Error) is id.startswith("E")
    assert message.hint
    assert not [secret for secret in (KEY, OTHER_KEY, "short") if secret in f"{message.msg}{message.hint}"]


def test_a_secret_key_that_also_signs_links_is_an_error(settings: LazySettings):
    settings.SECRET_KEY = KEY
    assert ids() == ["E031"]


@pytest.mark.parametrize("backend", ["console", "locmem", "dummy", "filebased"])
def test_mail_backends_that_deliver_nothing_are_reported(settings: LazySettings, backend: str):
    send_mails_by(settings, backend)
    assert ids() == ["W036"]


def test_an_in_memory_channel_layer_is_reported_and_none_is_fine(settings: LazySettings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ids() == ["W037"]
    settings.CHANNEL_LAYERS = {}
    assert ids() == []


@pytest.mark.parametrize(
    ("installed", "hosts", "expected"),
    [
        ("8.1.0", [REDIS], ["W058"]),
        ("8.0.0", None, ["W058"]),
        ("8.1.0", [{"address": REDIS, "socket_timeout": None}], []),
        ("7.4.1", [REDIS], []),
        ("5.0.0", [REDIS], []),
    ],
)
def test_the_core_layer_with_redis_8_is_reported(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch, installed: str, hosts: Any, expected: list[str]
):
    monkeypatch.setattr("exports.checks.deployment.version", {"redis": installed}.__getitem__)
    config = {} if hosts is None else {"hosts": hosts}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}}
    assert ids() == expected


@pytest.mark.both_databases
def test_unlimited_statements_are_reported_on_postgresql(settings: LazySettings):
    change(settings, STATEMENT_TIMEOUT_SECONDS=None)
    assert ids() == (["W031"] if connection.vendor == "postgresql" else [])


# Exporters


@pytest.mark.parametrize(
    ("declared", "id"),
    [
        *(({"processes": count}, "E009") for count in (0, True, None)),
        *(({"formats": formats}, "E010") for formats in (("xslx",), ())),
        ({"formats": ("csv",), "get_sheets": lambda self, user, criteria: []}, "E011"),
        ({"count": "guess"}, "E012"),
        ({"default_options": {"csv": {"profile": "people"}}}, "E017"),
        ({"default_options": {"csv": {"decimal": ",", "delimiter": ","}}}, "E017"),
        ({"form_options": {"csv": ["colour"]}}, "E017"),
        ({"form_options": {"cvs": ["profile"]}}, "E017"),
        ({"for_machines": True}, "W035"),
        ({"columns": [Column("number", formulas="raw")]}, "W035"),
        ({"retention_seconds": math.inf}, "W032"),
    ],
)
def test_exporters_with_wrong_attributes_are_named(declared: Mapping[str, Any], id: str):
    with registered(type("Wrong", (OrderExport,), {"file_type": "wrong", **declared})):
        [message] = deploy_checks()
    assert ids([message]) == [id]
    assert "Wrong" in message.msg
    assert message.hint


def test_a_format_whose_library_is_missing_is_not_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(writers._writers, "parquet")
    export = type("Wide", (OrderExport,), {"file_type": "wide", "formats": ("csv", "parquet")})
    with registered(export):
        [message] = basic_checks()
    assert ids([message]) == ["I001"]
    assert isinstance(message, Info)
    assert "pyarrow" in message.hint
    assert export().format_choices() == [("csv", "CSV")]
    with pytest.raises(UnknownFormat, match="pyarrow"):
        export().writer_of("parquet")


def test_exporters_with_sheets_and_handlers_without_attributes_pass():
    several = {"formats": ("xlsx",), "get_sheets": lambda self, user, criteria: [], "processes": 2, "count": "none"}
    with registered(type("Several", (OrderExport,), {"file_type": "several", **several})):
        assert ids() == []
    with registered(type("Handler", (), {"file_type": "own", "processes": 0})):
        assert ids() == []


# The site


@pytest.mark.parametrize("name", ["AUTHENTICATE", "TENANT_CONTEXT"])
@pytest.mark.parametrize("value", ["nowhere.function", "exports.checks.settings.NUMBERS", 3])
def test_a_setting_that_names_no_function_is_an_error(settings: LazySettings, name: str, value: Any):
    settings.EXPORTS = {**settings.EXPORTS, name: value}
    assert ids([message for message in basic_checks() if name in message.msg]) == ["E047"]


@pytest.mark.shows("MariaDB and MySQL")
def test_the_tables_of_the_app_must_be_in_a_database_that_is_supported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "vendor", "mysql")
    [message] = basic_checks()
    assert ids([message]) == ["E024"]


class WritesElsewhere:
    """A router that keeps the tables of the app out of the default database."""

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "exports" else None

    db_for_read = db_for_write


def test_the_tables_of_the_app_must_be_in_the_default_database(settings: LazySettings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(connections.settings, "other", connection.settings_dict)
    settings.DATABASE_ROUTERS = [WritesElsewhere()]
    [message] = basic_checks()
    assert ids([message]) == ["E061"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["W023"]),
        ({"init_command": "PRAGMA journal_mode=WAL"}, ["W023"]),
        ({"transaction_mode": "IMMEDIATE"}, ["W023"]),
        ({"transaction_mode": "immediate", "init_command": "pragma journal_mode = wal"}, []),
    ],
)
def test_sqlite_with_djangos_own_options_is_a_warning_with_the_right_ones(
    monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any], expected: list[str]
):
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    messages = basic_checks()
    assert ids(messages) == expected
    assert all(repr(SQLITE_OPTIONS) in message.hint for message in messages)


OWN = path("files/", include("exports.urls", namespace="files"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(path("x/", basic_checks), ["E025"]), (path("<slug:x>/", include([OWN])), ["E025"]), (OWN, [])],
)
def test_urls_that_are_missing_or_below_a_parameter_are_an_error(
    settings: LazySettings, pattern: Any, expected: list[str]
):
    settings.ROOT_URLCONF = (pattern,)
    assert ids(basic_checks()) == expected


@pytest.mark.parametrize(("zone", "expected"), [("Europe/Berlin", ["W021"]), ("UTC", []), ("Asia/Tokyo", [])])
def test_times_without_a_zone_are_a_warning_where_the_clock_repeats_an_hour(
    settings: LazySettings, zone: str, expected: list[str]
):
    settings.TIME_ZONE = zone
    assert ids(basic_checks()) == []
    settings.USE_TZ = False
    assert ids(basic_checks()) == expected


@pytest.mark.parametrize("name", ["/nowhere/", "nowhere:login"])
def test_a_login_page_that_does_not_exist_is_a_warning(settings: LazySettings, name: str):
    settings.LOGIN_URL = name
    assert ids(basic_checks()) == ["W044"]


@pytest.mark.parametrize("name", ["/admin/login/", "https://login.example/", "admin:login"])
def test_a_login_page_of_this_site_or_another_is_fine(settings: LazySettings, name: str):
    settings.LOGIN_URL = name
    assert ids(basic_checks()) == []


@pytest.mark.parametrize(("debug", "expected"), [(False, ["E038"]), (True, ["W043"])])
def test_without_a_queue_exports_are_made_in_development_alone(
    settings: LazySettings, debug: bool, expected: list[str]
):
    del settings.EXPORTS["QUEUE_BACKEND"], settings.EXPORTS["REDIS_URL"]
    settings.DEBUG = debug
    assert ids(basic_checks()) == []
    assert ids() == expected


def test_an_asgi_application_without_sockets_is_noted(settings: LazySettings, tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain_asgi.py").write_text("application = get_asgi_application()")
    settings.ASGI_APPLICATION = "plain_asgi.application"
    assert ids() == ["I003"]
    (tmp_path / "plain_asgi.py").write_text("application = with_exports(get_asgi_application())")
    assert ids() == []


# The list of checks


def test_every_check_is_in_the_documentation():
    folder = Path(__file__).parent.parent
    used = {each for source in (folder / "exports").rglob("*.py") for each in ID.findall(source.read_text())}
    documented = ID.findall((folder / "docs" / "checks.md").read_text())
    assert sorted(documented) == sorted(used)


# The queue's server


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *((f"redis://{host}/0", []) for host in ("127.0.0.1:6379", "localhost", "[::1]:6379", "127.5.5.5")),
        ("unix:///run/valkey.sock?db=0", []),
        ("rediss://exports:secret@valkey.example:6379/0", []),
        ("rediss://:secret@valkey.example?ssl_cert_reqs=required", []),
        *((f"redis://{host}/0", ["W051", "W052"]) for host in ("valkey:6379", "localhost.example")),
        ("redis://:secret@10.0.0.7:6379/0", ["W051"]),
        *((f"rediss://{host}:6379/0", ["W052"]) for host in ("valkey.example", "user@valkey.example")),
        ("rediss://:secret@valkey.example?ssl_cert_reqs=none", ["W051"]),
    ],
)
def test_a_remote_server_needs_tls_and_a_password(settings: LazySettings, url: str, expected: list[str]):
    change(settings, REDIS_URL=url)
    messages = deploy_checks()
    assert ids(messages) == expected
    assert not [message for message in messages if "secret" in f"{message.msg} {message.hint}"]


@pytest.mark.parametrize(
    "host", [("valkey", 6379), "redis://valkey:6379/1", {"address": "redis://valkey"}, {"host": "valkey"}]
)
def test_the_channel_layers_server_is_checked_too(settings: LazySettings, host: Any):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"hosts": [host]}}}
    assert ids() == ["W051", "W052"]
    # One server for both is reported once.
    change(settings, REDIS_URL="redis://valkey:6379/0")
    settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"] = ["redis://valkey:6379/0"]
    assert ids() == ["W051", "W052"]


@pytest.fixture
def schedule() -> Iterator[Callable[[MemoryHuey], None]]:
    """Yield a function that registers an export whose files are made by a task of the given huey."""

    def register(huey: MemoryHuey) -> None:
        @huey.task()
        def make(pk: str) -> None:
            loop.dispatch(pk)

        registry.register(type("Scheduled", (ScheduleWithHueyPattern,), {"file_type": "scheduled", "task": make}))

    yield register
    registry.handlers.pop("scheduled", None)


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [(None, ["W050"]), (SignedSerializer("a secret of the host"), []), (SignedJSONSerializer(), [])],
    ids=["pickle", "signed pickle", "signed JSON"],
)
def test_a_huey_that_unpickles_is_reported_if_exports_use_it(
    schedule: Callable[[MemoryHuey], None], serializer: Any, expected: list[str]
):
    schedule(MemoryHuey(immediate=False, serializer=serializer))
    assert ids() == expected
