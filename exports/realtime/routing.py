"""The WebSocket routes, and who may knock: pages of this very origin.

ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application})
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import path, re_path

from exports.conf import config
from exports.realtime.consumers import ExportsConsumer

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# A port as a number of its own: neither empty nor with a zero in front.
ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^/?#@:\[\]\\\s]+)(:[1-9][0-9]*)?", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}

websocket_urlpatterns = [
    path("ws/exports/", ExportsConsumer.as_asgi()),
    path("ws/exports/<uuid:pk>/", ExportsConsumer.as_asgi()),
]


class SameOrigin:
    """Refuses a handshake whose one Origin is not this site's scheme, host and port, nor in
    EXPORTS["SOCKET_ALLOWED_ORIGINS"]."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        admitted = _are_single(scope) and is_admitted(headers, is_secure=_is_secure(scope, headers))
        await (self.application if admitted else WebsocketDenier())(scope, receive, send)


def is_admitted(headers: dict[str, str], *, is_secure: bool) -> bool:
    origin, host = headers.get("origin", ""), _host_of(headers)
    if origin and origin in list(config.SOCKET_ALLOWED_ORIGINS):
        return True
    own = _origin_of(f"{'https' if is_secure else 'http'}://{host}")
    return own is not None and own == _origin_of(origin) and _is_allowed_host(host)


def _are_single(scope: Scope) -> bool:
    """Of several, the server in front and Django may each believe another one."""
    names = [name for name, _ in scope["headers"]]
    return names.count(b"origin") == 1 and names.count(b"host") <= 1


def _host_of(headers: dict[str, str]) -> str:
    """The site's own host and port, where Django looks for them."""
    if settings.USE_X_FORWARDED_HOST and "x-forwarded-host" in headers:
        return headers["x-forwarded-host"]
    return headers.get("host", "")


def _origin_of(address: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an origin as RFC 6454 writes one, or None for anything else."""
    if not ORIGIN.fullmatch(address):
        return None
    try:
        parts = urlsplit(address)
        port = PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _is_allowed_host(host: str) -> bool:
    allowed = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def _is_secure(scope: Scope, headers: dict[str, str]) -> bool:
    """Whether the page came by https, as SECURE_PROXY_SSL_HEADER says behind a proxy."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        given = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
        if given is not None:
            return given.split(",")[0].strip() == value
    return scope.get("scheme") == "wss"


# A browser that asks for another address gets a refusal, not a traceback.
_routes = URLRouter([*websocket_urlpatterns, re_path("", WebsocketDenier.as_asgi())])
websocket_application = SameOrigin(CookieMiddleware(_routes))
