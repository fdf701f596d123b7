"""The addresses for machines, answered before anything else is asked.

A probe comes by http, with the address of a container as its Host, and without a session. None of that may be an error,
and none of it is used: these answers lead nowhere.
"""

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from exports.contrib.operations import health as operations

urlpatterns = [
    path("health/live", operations.live_view, name="live"),
    path("health/ready", operations.ready_view, name="ready"),
    path("metrics", operations.metrics_view, name="metrics"),
]

VIEWS = {f"/{pattern.pattern}": pattern.callback for pattern in urlpatterns}


class Probes:
    """Middleware, the first of all."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        view = VIEWS.get(request.path_info, self.get_response)
        return await view(request)
