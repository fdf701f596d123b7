"""Two Valkeys, one a replica of the other, and the Sentinel that decides which of them is the primary."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import redis

from tests.servers import TcpValkey, wait_until


class ValkeyPair:
    """The servers as one: `stop` ends the present primary alone, so that Sentinel may promote the other."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._first = TcpValkey(address=address)
        self._second = TcpValkey(self._first, address=address)
        self._sentinel = TcpValkey(watched=self._first, address=address)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for server in (self._first, self._second, self._sentinel):
                opened.enter_context(server)
            with self._client_of_sentinel() as sentinel:
                sentinel.sentinel_set(TcpValkey.SERVICE, "down-after-milliseconds", 1000)
                sentinel.sentinel_set(TcpValkey.SERVICE, "failover-timeout", 5000)
            # Sentinel learns of the replica from the primary, about every ten seconds.
            wait_until(self._knows_the_replica)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self._sentinel.address}:{self._sentinel.port}/{TcpValkey.SERVICE}/0"

    @property
    def primary(self) -> TcpValkey:
        with self._client_of_sentinel() as sentinel:
            port = sentinel.sentinel_master(TcpValkey.SERVICE)["port"]
        return self._first if port == self._first.port else self._second

    @property
    def both(self) -> tuple[TcpValkey, TcpValkey]:
        return self._first, self._second

    def start(self) -> None:
        for server in self.both:
            server.start()

    def stop(self, signum: int = signal.SIGTERM) -> None:
        self.primary.stop(signum)

    def flush(self) -> None:
        self.primary.flush()

    def fail_over(self) -> None:
        """Let Sentinel promote the replica. Raise redis' ResponseError if it cannot at present."""
        with self._client_of_sentinel() as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", TcpValkey.SERVICE)

    def _knows_the_replica(self) -> bool:
        with self._client_of_sentinel() as sentinel:
            return any(not each["is_sdown"] for each in sentinel.sentinel_slaves(TcpValkey.SERVICE))

    @contextmanager
    def _client_of_sentinel(self) -> Iterator[redis.Redis]:
        with redis.Redis(self._sentinel.address, self._sentinel.port, decode_responses=True) as client:
            yield client
