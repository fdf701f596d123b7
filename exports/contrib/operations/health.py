"""Views for machines: liveness, readiness, and the metrics that Prometheus scrapes.

None of them needs a login. The health pages tell anyone the names of the services and "ok" or "not ok"; the metrics
need a token. They need the extra `operations`: django-health-check and prometheus-client.

    path("health/live", health.live_view), path("health/ready", health.ready_view),
    path("metrics", health.metrics_view)
"""

import asyncio
import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from health_check.base import HealthCheck, HealthCheckResult
from health_check.checks import Database
from health_check.views import HealthCheckView

from exports import storage
from exports.conf import config
from exports.queue import base as queue
from exports.queue import redis
from exports.realtime import events

log = logging.getLogger("exports.health")

CACHE_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0
TIMEOUT = timedelta(seconds=TIMEOUT_SECONDS)
THREADS = 4

# django-health-check has no type information, which explains each `type: ignore[misc]` below.

# A pool only for these checks, so that a service that hangs does not occupy the threads that sockets and pages need.
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="exports-health")


class DatabaseAnswers(Database):  # type: ignore[misc]
    """Run SELECT 1."""

    name: ClassVar[str] = "database"
    timeout = TIMEOUT


class QueueAnswers(HealthCheck):  # type: ignore[misc]
    """Send PING to the queue's server, if there is one."""

    name: ClassVar[str] = "queue"
    timeout = TIMEOUT

    def run(self) -> None:
        if queue.has_own_workers():
            redis.client().ping()


class ChannelsAnswer(HealthCheck):  # type: ignore[misc]
    """Send a message through the channel layer."""

    name: ClassVar[str] = "channels"
    timeout = TIMEOUT

    def run(self) -> None:
        events.ping_channel_layer(TIMEOUT_SECONDS)


class StorageAnswers(HealthCheck):  # type: ignore[misc]
    """Ask the storage for a file that does not exist. Nothing is written; `exports doctor` does that."""

    name: ClassVar[str] = "storage"
    timeout = TIMEOUT

    def run(self) -> None:
        storage.check_available()


class LiveView(HealthCheckView):  # type: ignore[misc]
    """Answer that the process runs. No service is asked, since restarting the process would not repair one."""

    http_method_names = ("get", "head", "options")
    checks: tuple[type[HealthCheck], ...] = ()

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        answers = {result.check.name: result.error is None for result in await self.results()}
        is_ok = all(answers.values())
        words = {name: "ok" if answer else "not ok" for name, answer in answers.items()}
        body = {"status": "ok" if is_ok else "not ok", "checks": words}
        return JsonResponse(body, status=200 if is_ok else 503)

    async def results(self) -> list[HealthCheckResult]:
        return await asyncio.gather(*(check.get_result(_threads) for check in self.get_checks()))

    def get_executor(self) -> AbstractContextManager[Executor | None]:
        return nullcontext(_threads)


class ReadyView(LiveView):
    """Answer whether the process can serve. All requests together ask the services at most once per second."""

    checks = (DatabaseAnswers, QueueAnswers, ChannelsAnswer, StorageAnswers)
    # By event loop: when the last round of checks began, and its task.
    _rounds: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[float, asyncio.Task[Any]]]] = (
        WeakKeyDictionary()
    )
    _failing: ClassVar[tuple[str, ...]] = ()

    async def results(self) -> list[HealthCheckResult]:
        loop = asyncio.get_running_loop()
        began, task = self._rounds.get(loop, (0.0, None))
        if task is None or (task.done() and loop.time() - began > CACHE_SECONDS):
            task = loop.create_task(self._run_checks())
            self._rounds[loop] = (loop.time(), task)
        return await asyncio.shield(task)

    async def _run_checks(self) -> list[HealthCheckResult]:
        """Run the checks, and log a line if other ones fail than last time."""
        results = await super().results()
        failing = tuple(result.check.name for result in results if result.error)
        if failing != ReadyView._failing:
            ReadyView._failing = failing
            log.warning("not ready: %s", ", ".join(failing)) if failing else log.warning("ready again")
        return results


live_view, ready_view = LiveView.as_view(), ReadyView.as_view()


@require_safe
async def metrics_view(request: HttpRequest) -> HttpResponse:
    """Return the metrics if the client sends EXPORTS["METRICS_TOKEN"] as a Bearer token. Without the setting: 404."""
    if not config.METRICS_TOKEN:
        return HttpResponse("There are no metrics.", status=404, content_type="text/plain")
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {config.METRICS_TOKEN}"):
        headers = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("The metrics need a token.", status=401, headers=headers, content_type="text/plain")
    try:
        body, content_type = await sync_to_async(_scrape, thread_sensitive=False)(request.headers.get("Accept", ""))
    except DatabaseError as error:
        log.warning("no metrics: %s", type(error).__name__)
        return HttpResponse("The database does not answer.", status=503)
    response = HttpResponse(body, content_type=content_type)
    add_never_cache_headers(response)
    return response


def _scrape(accept: str) -> tuple[bytes, str]:
    # Here, so that a site without prometheus-client can use the health pages.
    from exports.contrib.operations import metrics

    try:
        return metrics.scrape(accept)
    finally:
        # Django does not close the connections of a pool's thread.
        connections.close_all()
