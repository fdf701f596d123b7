"""The ASGI application of a site with live exports: `application = with_exports(get_asgi_application())`.

asgi.py may import this module at its top: it needs Django only once `with_exports` is called.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.urls import NoReverseMatch

from exports.asgi import RequestLimits
from exports.conf import url_of
from exports.realtime import SOCKET_PATH

# Any: ASGI's scopes and callables.
Application = Callable[[Any, Any, Any], Awaitable[None]]


def with_exports(application: Application) -> Application:
    """Return `application` with the sockets of the exports, and with limits on requests to their pages.

    `application` is what asgi.py had before: Django's, or a router that also has sockets of the project. With DEBUG,
    static files are served too, as runserver does.
    """
    # Models can only be imported once Django is set up, which get_asgi_application() does.
    from exports.realtime.routing import websocket_application

    is_django = isinstance(application, ASGIHandler)
    if settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        # It passes on whatever is no static file to any application, not only to Django's.
        application = ASGIStaticFilesHandler(application)  # type: ignore[arg-type]
    limited = RequestLimits(application)

    async def application_with_exports(scope: Any, receive: Any, send: Any) -> None:
        chosen: Application = application
        if scope["type"] == "websocket" and (is_django or _below_site(scope).startswith(SOCKET_PATH)):
            # Django itself raises for any socket; this refuses those of unknown paths.
            chosen = websocket_application
        elif scope["type"] == "http" and _is_page_of_exports(scope):
            # Other pages of the project may accept long bodies, such as files.
            chosen = limited
        await chosen(scope, receive, send)

    return application_with_exports


def _below_site(scope: Any) -> str:
    """Return the path below that of the site, which a proxy may have removed already."""
    root = get_script_prefix(scope).rstrip("/")
    path: str = scope["path"]
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _is_page_of_exports(scope: Any) -> bool:
    try:
        return _below_site(scope).startswith(url_of("list"))
    except NoReverseMatch:
        # Check exports.E025 reports it.
        return False
