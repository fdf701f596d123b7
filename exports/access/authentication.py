"""The user of a request: of its session or its token. Sockets ask here as well.

Tokens of this app (`exports.access.tokens`) count without any setting. For others there is EXPORTS["AUTHENTICATE"]: a
function, or the dotted path of one, that takes an HttpRequest and returns a user, or None. It is asked for each
request, when a socket opens, and whenever its user is checked again. The request of a socket is the one that opened it;
there the header may be missing, because browsers let scripts set none. Such a script offers the subprotocols "exports"
and "authorization." with the header's value, encoded as by JavaScript's encodeURIComponent; or it adds
"?authenticate=message" to the address and sends the token, which stands in no address, as its first message.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from exports.access import tokens
from exports.conf import function_of

SUBPROTOCOL = "exports"
HEADER_IN_SUBPROTOCOL = "authorization."
BROWSER_SCHEMES = ("basic", "digest", "negotiate", "ntlm")
"""Schemes of Authorization that browsers send by themselves, also for a page of another site."""


def carries_token(request: HttpRequest) -> bool:
    """Return True if a header that no page of another site can send says whose request this is.

    Such a request needs no check against forgery (CSRF, Origin), and its cookies do not count.
    """
    header = request.META.get("HTTP_AUTHORIZATION", "")
    if not header or tokens.is_carried_by(request):
        return bool(header)
    scheme, _, credentials = header.partition(" ")
    return bool(function_of("AUTHENTICATE") and scheme and credentials) and scheme.lower() not in BROWSER_SCHEMES


def user_of(request: HttpRequest, session_user: Callable[[], Any]) -> AbstractUser | AnonymousUser:
    """Return the user of a request as the database has them now; AnonymousUser if there is none, or an inactive one.

    A token alone decides if the request carries one, even if it is not valid. Otherwise the session does, whose user
    `session_user` returns, and for a session without a user EXPORTS["AUTHENTICATE"] is asked.
    """
    has_token = carries_token(request)
    if has_token and tokens.is_carried_by(request):
        token = tokens.token_of(request)
        return AnonymousUser() if token is None else token.user()
    authenticate = function_of("AUTHENTICATE")
    if authenticate is None or not has_token:
        user: AbstractUser | AnonymousUser = session_user()
        if user.is_authenticated or authenticate is None:
            return user
    found = authenticate(request)
    # Some libraries return an object that only resembles a user.
    if found is not None and not isinstance(found, get_user_model()):
        found = get_user_model()._default_manager.filter(pk=found.pk).first()
    return found if found is not None and found.is_active else AnonymousUser()


def socket_carries_token(scope: dict[str, Any]) -> bool:
    """Return what `carries_token` does for the request that opened a socket."""
    return carries_token(request_of(scope))


def request_of(scope: dict[str, Any]) -> HttpRequest:
    """Return the request that opened a socket: its headers, and its cookies unless it carries a token or awaits one.

    No middleware has seen it.
    """
    request = ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())
    for offered in scope.get("subprotocols", ()):
        if offered.startswith(HEADER_IN_SUBPROTOCOL):
            request.META.setdefault("HTTP_AUTHORIZATION", unquote(offered.removeprefix(HEADER_IN_SUBPROTOCOL)))
    # A page of another site can offer any subprotocol, and browsers send the cookies along.
    if carries_token(request) or _asks_to_wait(request):
        request.META.pop("HTTP_COOKIE", None)
    return request


def awaits_token(scope: dict[str, Any]) -> bool:
    """Return True if the client of this socket sends the token as its first message, since it can set no header."""
    request = request_of(scope)
    return _asks_to_wait(request) and not carries_token(request)


def with_token(scope: dict[str, Any], token: str) -> dict[str, Any]:
    """Return the scope of a socket as if it had been opened with this token in its header, and without cookies."""
    header = (b"authorization", f"Bearer {token}".encode("latin1", "replace"))
    kept = {name: value for name, value in scope.items() if name not in ("user", "session")}
    # A proxy may have added another one, such as Basic's.
    others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**kept, "headers": [*others, header], "cookies": {}}


def _asks_to_wait(request: HttpRequest) -> bool:
    return request.GET.get("authenticate") == "message"
