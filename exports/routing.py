"""The WebSocket routes, and who may knock: pages of this very origin.

ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application})
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import path

from exports.conf import config
from exports.consumers import ExportsConsumer

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

websocket_urlpatterns = [
    path("ws/exports/", ExportsConsumer.as_asgi()),
    path("ws/exports/<uuid:pk>/", ExportsConsumer.as_asgi()),
]


class SameOrigin:
    """Refuses a handshake whose Origin is not this site's scheme, host and port, nor listed in EXPORTS["ORIGINS"]."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        admitted = is_admitted(headers, is_secure=_is_secure(scope, headers))
        await (self.application if admitted else WebsocketDenier())(scope, receive, send)


def is_admitted(headers: dict[str, str], *, is_secure: bool) -> bool:
    origin = headers.get("origin", "")
    if origin in config.ORIGINS:
        return True
    own = _origin_of(f"{'https' if is_secure else 'http'}://{headers.get('host', '')}")
    return own is not None and own == _origin_of(origin) and _is_allowed_host(headers["host"])


def _origin_of(address: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an origin as RFC 6454 writes one, or None for anything else."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    return None if more or port is None or not parts.hostname else (parts.scheme, parts.hostname, port)


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


websocket_application = SameOrigin(CookieMiddleware(URLRouter(websocket_urlpatterns)))
