"""The WebSocket routes, for pages of the same origin only.

In asgi.py: ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application}).
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.core.handlers.asgi import get_script_prefix
from django.http.request import split_domain_port, validate_host
from django.urls import path, re_path

from exports.access import authentication
from exports.conf import config
from exports.http import development
from exports.realtime import SOCKET_PATH
from exports.realtime.consumers import ExportsConsumer

log = logging.getLogger("exports.realtime.routing")

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# The port has no leading zero and is not empty, as browsers write it.
ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^/?#@:\[\]\\\s]+)(:[1-9][0-9]*)?", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}

websocket_urlpatterns = [
    path(SOCKET_PATH.removeprefix("/"), ExportsConsumer.as_asgi()),
    path(f"{SOCKET_PATH.removeprefix('/')}<uuid:pk>/", ExportsConsumer.as_asgi()),
]


class SameOrigin:
    """Refuse a handshake unless it has one Origin header that `is_allowed_origin` accepts, or a token says who it is.

    channels' own validator ignores a wrong port, and with a leading dot in ALLOWED_HOSTS accepts every subdomain.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        names = [name for name, _ in scope["headers"]]
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        # Of two headers of one name, the server in front and Django may each trust a different one.
        are_unique = names.count(b"origin") == 1 and names.count(b"host") <= 1
        is_secure = scope.get("scheme") == "wss"
        if settings.SECURE_PROXY_SSL_HEADER:
            name, value = settings.SECURE_PROXY_SSL_HEADER
            given = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower())
            is_secure = is_secure if given is None else given.split(",")[0].strip() == value
        is_allowed = are_unique and is_allowed_origin(headers, is_secure=is_secure)
        # Only a page that knows the token can send it, and no cookie counts then.
        is_allowed = is_allowed or authentication.socket_carries_token(scope) or authentication.awaits_token(scope)
        if not is_allowed:
            log.warning(
                "socket refused: the page is of %r, this site is %s://%s. If both are yours, set "
                "EXPORTS['SOCKET_ALLOWED_ORIGINS'], ALLOWED_HOSTS, or SECURE_PROXY_SSL_HEADER behind a proxy",
                headers.get("origin", "")[:100],
                "https" if is_secure else "http",
                _host_of(headers)[:100],
            )
        await (self.application if is_allowed else WebsocketDenier())(scope, receive, send)


class SitePath:
    """Give the routes the path of the site as `root_path`, and full paths that begin with it, as ASGI defines them.

    It comes from FORCE_SCRIPT_NAME or the server; a proxy may have removed it from the path. Django's handler does the
    same for requests.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        development.start()
        root = get_script_prefix(scope).rstrip("/")
        below = scope["path"].removeprefix(root) if scope["path"].startswith(f"{root}/") else scope["path"]
        await self.application({**scope, "root_path": root, "path": root + below}, receive, send)


def is_allowed_origin(headers: dict[str, str], *, is_secure: bool) -> bool:
    """Return True if Origin is this site's scheme, host and port, or named in a setting.

    The settings are EXPORTS["SOCKET_ALLOWED_ORIGINS"] and CSRF_TRUSTED_ORIGINS, whose pages may send forms.
    """
    origin, host = headers.get("origin", ""), _host_of(headers)
    if origin and origin in [*config.SOCKET_ALLOWED_ORIGINS, *settings.CSRF_TRUSTED_ORIGINS]:
        return True
    own = _parse_origin(f"{'https' if is_secure else 'http'}://{host}")
    if own is None or own != _parse_origin(origin):
        return False
    # As in HttpRequest.get_host() of Django 5.2.
    allowed_hosts = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    domain, _port = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed_hosts)


def _host_of(headers: dict[str, str]) -> str:
    host = headers.get("host", "")
    return headers.get("x-forwarded-host", host) if settings.USE_X_FORWARDED_HOST else host


def _parse_origin(origin: str) -> tuple[str, str, int] | None:
    """Return the scheme, host and port of an origin as RFC 6454 defines it, or None for anything else."""
    if not ORIGIN.fullmatch(origin):
        return None
    try:
        parts = urlsplit(origin)
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


# URLRouter raises for an unknown path; the last route refuses the handshake instead.
_routes = URLRouter([*websocket_urlpatterns, re_path("", WebsocketDenier.as_asgi())])
websocket_application = SameOrigin(SitePath(CookieMiddleware(_routes)))
