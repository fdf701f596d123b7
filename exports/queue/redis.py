"""Clients of the queue's server. Their timeouts are short, since a request waits for them, and they do not retry."""

from functools import cache
from typing import TYPE_CHECKING, Any

from exports.conf import config

if TYPE_CHECKING:
    from redis import ConnectionPool

CONNECT_SECONDS = 1.0
SEND_SECONDS = 1.0


# `Any`: the type hints of redis-py 8.1 mix the answers of synchronous and asynchronous clients.
def client() -> Any:
    """Return a client of EXPORTS["REDIS_URL"]. Its calls raise redis' own errors, after SEND_SECONDS at the latest."""
    return _client(config.REDIS_URL)


def connection_pool(url: str, answer_seconds: float) -> "ConnectionPool":
    """Return a pool of connections that wait for an answer for up to `answer_seconds`."""
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return ConnectionPool.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        # redis-py 8.1 retries by default: 3 to 15 seconds for a server that is down.
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )


@cache
def _client(url: str) -> Any:
    from redis import Redis

    return Redis(connection_pool=connection_pool(url, SEND_SECONDS))
