"""What Django says of the queue's server, of a huey that unpickles, and of lists that are none."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import Error
from huey import MemoryHuey
from huey.serializer import SignedSerializer

from exports import checks
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.exporters import registry
from exports.queue.huey import SignedJSONSerializer
from exports.worker import loop

RING = "exports.queue.huey.wake"


def change(settings: LazySettings, **changes: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, **changes}


def found() -> list[str]:
    return [each.id.removeprefix("exports.") for each in checks.check_queue()]


# The server


@pytest.mark.parametrize(
    ("address", "ids"),
    [
        ("redis://127.0.0.1:6379/0", []),
        ("redis://localhost/0", []),
        ("redis://[::1]:6379/0", []),
        ("redis://127.5.5.5/0", []),
        ("unix:///run/valkey.sock?db=0", []),
        ("rediss://exports:secret@valkey.example:6379/0", []),
        ("rediss://:secret@valkey.example", []),
        ("rediss://:secret@valkey.example?ssl_cert_reqs=required", []),
        ("redis://valkey:6379/0", ["W051", "W052"]),
        ("redis://:secret@10.0.0.7:6379/0", ["W051"]),
        ("redis://localhost.example/0", ["W051", "W052"]),
        ("rediss://valkey.example:6379/0", ["W052"]),
        ("rediss://user@valkey.example:6379/0", ["W052"]),
        ("rediss://:secret@valkey.example?ssl_cert_reqs=none", ["W051"]),
    ],
)
def test_a_server_elsewhere_wants_tls_and_a_password(settings: LazySettings, address: str, ids: list[str]):
    change(settings, QUEUE_BACKEND=RING, REDIS_URL=address)
    assert found() == ids
    for each in checks.check_queue():
        assert each.hint
        assert "secret" not in f"{each.msg} {each.hint}"


def test_without_a_doorbell_nobody_goes_to_the_queue(settings: LazySettings):
    change(settings, QUEUE_BACKEND=None, REDIS_URL="redis://valkey.example")
    assert found() == []


@pytest.mark.parametrize(
    "host", [("valkey", 6379), "redis://valkey:6379/1", {"address": "redis://valkey"}, {"host": "valkey"}]
)
def test_the_server_of_the_channel_layer_is_looked_at_too(settings: LazySettings, host: Any):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"hosts": [host]}}}
    assert found() == ["W051", "W052"]


def test_one_server_for_both_is_named_once(settings: LazySettings):
    change(settings, QUEUE_BACKEND=RING, REDIS_URL="redis://valkey:6379/0")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"hosts": ["redis://valkey:6379/0"]}}}
    assert found() == ["W051", "W052"]


# Pickles


@pytest.fixture
def scheduled() -> Any:
    """Registers an export whose files a task of this huey makes."""

    def register(huey: MemoryHuey) -> None:
        @huey.task()
        def make(pk: str) -> None:
            loop.dispatch(pk)

        pattern = type("Scheduled", (ScheduleWithHueyPattern,), {"file_type": "scheduled", "task": make})
        registry.register(pattern)

    yield register
    registry.handlers.pop("scheduled", None)


@pytest.mark.parametrize(
    ("serializer", "ids"),
    [(None, ["W050"]), (SignedSerializer("a secret of the host's"), []), (SignedJSONSerializer(), [])],
    ids=["pickle", "signed pickle", "signed JSON"],
)
def test_a_huey_of_the_host_that_unpickles_is_named_where_exports_use_it(
    scheduled: Any, serializer: Any, ids: list[str]
):
    assert found() == []
    scheduled(MemoryHuey(immediate=False, serializer=serializer))
    assert found() == ids


# Lists


@pytest.mark.parametrize("name", ["SOCKET_ALLOWED_ORIGINS", "TICKET_KEYS", "QUEUE_KEYS"])
def test_a_text_where_a_list_is_meant_is_an_error(settings: LazySettings, name: str):
    change(settings, **{name: "https://one.example"})
    [error] = checks.check_settings()
    assert (type(error), error.id) == (Error, "exports.E033")
    assert name in error.hint


@pytest.mark.parametrize("origin", ["", "null", "*"])
def test_an_origin_that_is_no_site_is_an_error(settings: LazySettings, origin: str):
    change(settings, SOCKET_ALLOWED_ORIGINS=("https://one.example", origin))
    assert [each.id for each in checks.check_settings()] == ["exports.E034"]


@pytest.mark.parametrize("most", [0, -1, 2.5, True, "5"])
def test_a_number_of_sockets_that_is_none_is_an_error(settings: LazySettings, most: Any):
    change(settings, MAX_SOCKETS_PER_USER=most)
    assert [each.id for each in checks.check_settings()] == ["exports.E013"]
    change(settings, MAX_SOCKETS_PER_USER=None)
    assert list(checks.check_settings()) == []
