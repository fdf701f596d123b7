"""Fixtures of all tests: real servers, running and empty, with settings that point to them; users; a fake clock."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from bin.compile_translations import LOCALES, compile_translations
from tests.bucket.server import Moto
from tests.seed.fake_time import FakeTime
from tests.servers import NotInstalled, Postgres, Smtp, Valkey, postgres_program
from tests.wheel import build

# Hypothesis builds tables of Unicode at first, and a busy machine is slow: neither is a failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# A checkout has the sources of the translations only.
for folder in LOCALES:
    compile_translations(folder)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the wheel, built from this checkout."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: Valkey, settings: Any) -> Iterator[Valkey]:
    """Use Valkey as the channel layer and the queue. A test may stop, start and flush it."""
    valkey_server.start()
    valkey_server.flush()
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [valkey_server.url]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    settings.EXPORTS = {**settings.EXPORTS, "REDIS_URL": valkey_server.url, "QUEUE_BACKEND": "exports.queue.huey"}
    return valkey_server


@pytest.fixture
async def channel_layer(valkey: Valkey) -> AsyncIterator[None]:
    """Valkey as the channel layer of an async test, and the exports of the office; both are closed at its end."""
    from tests.office.exports import open_office
    from tests.office.pages import leave

    with open_office():
        yield
        await leave()


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return a function that lists what a logger of the app has logged so far."""
    caplog.set_level(logging.INFO, "exports")
    return lambda name: [record.getMessage() for record in caplog.records if record.name == name]


@pytest.fixture(scope="session")
def smtp_server() -> Iterator[Smtp]:
    with Smtp() as server:
        yield server


@pytest.fixture
def smtp(smtp_server: Smtp, settings: Any) -> Smtp:
    """Use a real SMTP server, with an empty mailbox, as Django's mail server."""
    smtp_server.start()
    smtp_server.clear()
    from tests.shop.runs import send_mails_by

    send_mails_by(settings, "smtp", EMAIL_HOST="127.0.0.1", EMAIL_PORT=smtp_server.port)
    return smtp_server


@pytest.fixture(scope="session")
def needs_postgres() -> None:
    """Skip the test if PostgreSQL is not installed, as it may be for `bin/test fast`."""
    try:
        postgres_program("initdb")
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres(needs_postgres: None) -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """Return the URL of an empty PostgreSQL database, also if the tests run on SQLite."""
    return postgres.create_database("scratch")


@pytest.fixture(autouse=True)
def reports_each_outage() -> None:
    """Let each test see the first line about an outage, which is said once a minute."""
    from exports import failures

    failures._reported.clear()


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """Return the empty folder of the stored files."""
    # Models can be imported only after pytest-django has set up Django.
    from tests.shop.runs import use_folders

    return use_folders(settings, tmp_path)


@pytest.fixture
def events() -> Any:
    """Return the list of events that runs of exports fill."""
    from tests.shop.runs import Events

    return Events()


@pytest.fixture
def woken(settings: Any) -> list[str]:
    """The names of the queues that this process wakes, in order. No worker hears them."""
    from tests.shop.exports import heard

    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": "tests.shop.exports.RecordingQueue"}
    heard.clear()
    return heard


@pytest.fixture
def office() -> Iterator[None]:
    """Register the exports of tests/office/exports.py in this process."""
    from tests.office.exports import open_office

    with open_office():
        yield


@pytest.fixture
def owner(db: None) -> Any:
    """Return the user who requests the exports."""
    from tests.office import people

    return people.user("owner")


@pytest.fixture
def browser(owner: Any) -> Any:
    """Return a test client in which the owner is signed in."""
    from tests.office.browsers import signed_in

    return signed_in(owner)


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Replace the clock of `exports process`, `exports clean` and `remove_expired`."""
    fake = FakeTime()
    for module in ("exports.housekeeping", "exports.management.commands.exports", "exports.models.request"):
        monkeypatch.setattr(f"{module}.time", fake)
    return fake


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Moto]:
    with Moto() as server:
        yield server


@pytest.fixture
def s3(s3_server: Moto, settings: Any) -> Moto:
    """Use S3, with an empty bucket, as the storage of the exports. Stopping and starting it empties it too."""
    s3_server.start()
    s3_server.reset()
    settings.STORAGES = {**settings.STORAGES, "exports": s3_server.storage()}
    return s3_server


# Modules whose tests start servers or processes, or compare thousands of cells, which takes seconds each.
WITH_SERVERS = {
    "test_asgi_limits",
    "test_bench",
    "test_connection_pool",
    "test_cron",
    "test_operations_doctor",
    "test_models_scheduling",
    "test_nginx",
    "test_operations_health",
    "test_security_budget",
    "test_storage_s3",
    "test_storage_s3_docs",
    "test_storage_s3_runs",
    "test_bgfiles_walkthrough",
    "test_realtime_consumers_daphne",
    "test_realtime_daphne_transport",
    "test_realtime_events",
    "test_realtime_fuzz",
    "test_queue_failover",
    "test_realtime_gevent",
    "test_slow_lines",
    "test_realtime_site_paths",
    "test_stacks_queues",
    "test_stacks_servers",
    "test_stacks_sites",
    "test_stacks_tokens",
    "test_writers_xlsx_display",
    "test_writers_xlsx_same",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in WITH_SERVERS:
            item.add_marker("servers")
