"""One POST to a foreign address: to the address that was checked, within a deadline, without redirects or a proxy.

httpcore is used without httpx on top, which would read settings for proxies from the environment.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from exports.webhooks import addresses


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float) -> int:
    """Send a body and return the status of the response, whose own body is not read.

    Raises:
        AddressRefused: The name of the host now stands for an address that may not get a webhook.
        httpcore.TimeoutException: There was no response within `seconds`.
        httpcore.NetworkError, httpcore.ProtocolError: There was no valid response.

    """
    scheme = url.partition(":")[0].lower()
    backend = _CheckedBackend(scheme, ends_at=time.monotonic() + seconds)
    # The certificates that the system trusts, which may contain those of an intranet.
    context = ssl.create_default_context()
    given = [(name, value) for name, value in headers.items()]
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    with (
        httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
        pool.stream("POST", url, headers=given, content=body, extensions={"timeout": timeout}) as response,
    ):
        return response.status


class _CheckedBackend(httpcore.SyncBackend):
    """Connects to the addresses of a name only if all are allowed, and to no address that it was not given then.

    A second look-up could give others: that is DNS rebinding.
    """

    def __init__(self, scheme: str, *, ends_at: float) -> None:
        self._scheme = scheme
        self._ends_at = ends_at

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = addresses.resolve(host, port, scheme=self._scheme)
        except OSError as error:
            raise httpcore.ConnectError("The name cannot be looked up.") from error
        failure: Exception = httpcore.ConnectError("The name has no address.")
        for address in found:
            try:
                stream = super().connect_tcp(address, port, _remaining(self._ends_at), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream, self._ends_at)
        raise failure

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise addresses.AddressRefused("Webhooks are sent over the network.")


class _BoundedStream(httpcore.NetworkStream):
    """A stream that ends at a deadline, however slowly the other side sends."""

    def __init__(self, stream: httpcore.NetworkStream, ends_at: float) -> None:
        self._stream = stream
        self._ends_at = ends_at

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(self._ends_at))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(self._ends_at))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        encrypted = self._stream.start_tls(ssl_context, server_hostname, _remaining(self._ends_at))
        return _BoundedStream(encrypted, self._ends_at)

    # Any: an object of any kind, by the name of the information.
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining(ends_at: float) -> float:
    """Return the seconds until a deadline. Raise httpcore.ReadTimeout if there are none."""
    remaining = ends_at - time.monotonic()
    if remaining <= 0:
        raise httpcore.ReadTimeout("The time is up.")
    return remaining
