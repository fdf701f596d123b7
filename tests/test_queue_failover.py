"""A queue whose server becomes a replica, by a command or by Redis Sentinel."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.conf import LazySettings
from redis import Redis
from redis.exceptions import RedisError

from exports.queue import huey as huey_queue
from exports.queue.redis import sentinel_host
from tests.servers import TcpValkey, wait_until


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def use(settings: LazySettings, url: str) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "REDIS_URL": url, "QUEUE_BACKEND": "exports.queue.huey"}


def follows(replica: TcpValkey) -> bool:
    try:
        with replica.client() as client:
            return client.info("replication").get("master_link_status") == "up"
    except RedisError:
        # A server that changes its role closes its connections.
        return False


def test_a_connection_to_a_replica_is_closed(servers: ExitStack, settings: LazySettings) -> None:
    first, second = servers.enter_context(TcpValkey()), servers.enter_context(TcpValkey())
    use(settings, first.url)
    assert huey_queue.wake("small")
    with first.client() as client:
        before = client.info("stats")["total_connections_received"]
        client.replicaof("127.0.0.1", second.port)
        assert not huey_queue.wake("small")
        assert client.info("stats")["total_connections_received"] > before


def test_after_a_failover_by_sentinel_the_first_request_wakes_a_worker(
    servers: ExitStack, settings: LazySettings
) -> None:
    first = servers.enter_context(TcpValkey())
    second = servers.enter_context(TcpValkey(first))
    wait_until(lambda: follows(second), seconds=20)
    sentinel = servers.enter_context(TcpValkey(watched=first))
    use(settings, f"redis+sentinel://127.0.0.1:{sentinel.port}/{TcpValkey.SERVICE}/0")
    assert huey_queue.wake("small")

    with Redis(port=sentinel.port) as client:

        def fail_over() -> bool:
            try:
                client.execute_command("SENTINEL", "FAILOVER", TcpValkey.SERVICE)
            except RedisError:
                # Sentinel finds the replica within ten seconds.
                return False
            return True

        wait_until(fail_over, seconds=30)
    wait_until(lambda: follows(first), seconds=60)
    assert huey_queue.wake("small")
    with second.client() as client:
        assert client.llen(huey_queue.open_queue("small").storage.queue_key) >= 1


def test_the_url_of_sentinel_is_understood() -> None:
    assert sentinel_host("redis+sentinel://user:p%40ss@one:26380,two/exports/3") == {
        "sentinels": [("one", 26380), ("two", 26379)],
        "master_name": "exports",
        "db": 3,
        "username": "user",
        "password": "p@ss",
    }
    assert sentinel_host("redis://127.0.0.1:6379/0") is None
