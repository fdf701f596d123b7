"""Health pages and metrics, answered before all other middleware.

A probe uses http, has the address of a container as its Host, and no session. The other middleware would refuse or
redirect it.
"""

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from exports.contrib.operations import health

urlpatterns = [
    path("health/live", health.live_view, name="live"),
    path("health/ready", health.ready_view, name="ready"),
    path("metrics", health.metrics_view, name="metrics"),
]

VIEWS = {f"/{pattern.pattern}": pattern.callback for pattern in urlpatterns}


class Probes:
    """Answer the health pages and metrics. This must be the first middleware."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        view = VIEWS.get(request.path_info)
        if view is None:
            return await self.get_response(request)
        response = await view(request)
        # The middleware that sets these for pages is not reached.
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response
