"""Clients of the queue's server. Their timeouts are short, since a request waits for them, and they do not retry.

EXPORTS["REDIS_URL"] is a URL of redis-py, or `redis+sentinel://host:port,host:port/service/db` for a server that Redis
Sentinel looks after. A connection to a server that has become a replica is closed, so that the next one is made to the
server that took over.
"""

from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from exports.conf import config

if TYPE_CHECKING:
    from redis import ConnectionPool

CONNECT_SECONDS = 1.0
SEND_SECONDS = 1.0
SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379


# `Any`: the type hints of redis-py 8.1 mix the answers of synchronous and asynchronous clients.
def client() -> Any:
    """Return a client of EXPORTS["REDIS_URL"]. Its calls raise redis' own errors, after SEND_SECONDS at the latest."""
    return _client(config.REDIS_URL)


def connection_pool(url: str, answer_seconds: float) -> "ConnectionPool":
    """Return a pool of connections that wait for an answer for up to `answer_seconds`."""
    from redis import ConnectionPool
    from redis.backoff import NoBackoff
    from redis.exceptions import ReadOnlyError
    from redis.retry import Retry
    from redis.sentinel import Sentinel, SentinelConnectionPool

    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        # redis-py 8.1 retries by default: 3 to 15 seconds for a server that is down.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 30,
    }
    if (host := sentinel_host(url)) is not None:
        # Connections of this pool close themselves when their server has become a replica.
        # redis-py has type hints for neither class.
        sentinel = Sentinel(host.pop("sentinels"), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        service: str = host.pop("master_name")
        return SentinelConnectionPool(service, sentinel, **host, **options)  # type: ignore[no-untyped-call]
    pool = ConnectionPool.from_url(url, **options)

    class Connection(pool.connection_class):  # type: ignore[misc,name-defined] # the class depends on the URL
        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().read_response(*args, **kwargs)
            except ReadOnlyError:
                self.disconnect()
                raise

    pool.connection_class = Connection
    return pool


def sentinel_host(url: str) -> dict[str, Any] | None:
    """Return a URL of Redis Sentinel as channels_redis takes it among its `hosts`, or None for any other URL."""
    parts = urlsplit(url)
    if parts.scheme != SENTINEL_SCHEME:
        return None
    login, _, addresses = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    hosts = [address.rpartition(":") if ":" in address else (address, "", "") for address in addresses.split(",")]
    service, _, database = parts.path.strip("/").partition("/")
    return {
        "sentinels": [(name, int(port or SENTINEL_PORT)) for name, _, port in hosts],
        "master_name": service,
        "db": int(database or 0),
        "username": unquote(username) or None,
        "password": unquote(password) or None,
    }


@cache
def _client(url: str) -> Any:
    from redis import Redis

    return Redis(connection_pool=connection_pool(url, SEND_SECONDS))
