"""What whoever reaches the queue's server, or the network in front of it, could do: `manage.py check --deploy`."""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from exports.conf import config
from exports.exporters import registry


def check_queue(**kwargs: Any) -> Iterable[CheckMessage]:
    yield from _check_pickles()
    for name, address in _servers().items():
        yield from _check_server(name, urlsplit(address))


def _check_pickles() -> Iterator[CheckMessage]:
    """The app's own queues are signed JSON. A host's huey counts where an export has its files made by a task of it."""
    for handler in dict.fromkeys(registry.handlers.values()):
        serializer = getattr(getattr(getattr(handler, "task", None), "huey", None), "serializer", None)
        # Not those made from it: huey's SignedSerializer looks at the signature before it unpickles.
        if f"{type(serializer).__module__}.{type(serializer).__name__}" == "huey.serializer.Serializer":
            name = getattr(handler, "__name__", type(handler).__name__)
            hint = "Give that huey serializer=exports.queue.huey.SignedJSONSerializer(), and its tasks ids as text."
            message = f"The huey that makes the files of {name} unpickles: whoever writes to its server runs any code."
            yield checks.Warning(message, hint=hint, obj=handler, id="exports.W050")


def _check_server(name: str, address: SplitResult) -> Iterator[CheckMessage]:
    if address.scheme not in ("redis", "rediss") or _is_this_machine(address.hostname):
        return
    if address.scheme == "redis":
        hint = "Use rediss:// and a server that speaks TLS, or a Unix socket on the same machine."
        yield checks.Warning(f"{name} reaches {address.hostname} without TLS.", hint=hint, id="exports.W051")
    elif parse_qs(address.query).get("ssl_cert_reqs", ["required"])[-1].lower() not in ("required", "cert_required"):
        hint = "Leave ssl_cert_reqs out: the certificate of the server is checked then."
        yield checks.Warning(f"{name} trusts whoever answers as {address.hostname}.", hint=hint, id="exports.W051")
    if not address.password:
        hint = "Give the server an ACL user with a password, and name both: rediss://user:password@host:6379/0."
        yield checks.Warning(f"{name} reaches {address.hostname} without a password.", hint=hint, id="exports.W052")


def _servers() -> dict[str, str]:
    """The addresses of the queue's server and of the channel layer's, by where they are set."""
    given = {"EXPORTS['REDIS_URL']": config.REDIS_URL} if config.QUEUE_BACKEND else {}
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("CONFIG", {})
    for host in layer.get("hosts", ()) if isinstance(layer, dict) else ():
        address = _address_of(host)
        if address not in given.values():
            given[f"CHANNEL_LAYERS['default'], {urlsplit(address).hostname},"] = address
    return given


def _address_of(host: Any) -> str:
    """One of channels_redis' hosts as an URL: it is one, or a pair of host and port, or a dictionary with either."""
    if isinstance(host, dict):
        host = host.get("address") or (host.get("host", ""), host.get("port", 6379))
    return host if isinstance(host, str) else f"redis://{host[0]}:{host[1]}"


def _is_this_machine(host: str | None) -> bool:
    try:
        return host in (None, "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
