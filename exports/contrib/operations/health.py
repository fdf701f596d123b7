"""The doors for machines: whether the process lives, whether it can serve, and what Prometheus scrapes.

Nobody signs in here. Strangers get names and "ok" or "not ok", and the metrics need the token. Needs the extra
`operations`: django-health-check and prometheus-client.

    path("health/live", operations.live_view), path("health/ready", operations.ready_view),
    path("metrics", operations.metrics_view)
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
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from health_check.base import HealthCheck, HealthCheckResult
from health_check.checks import Database
from health_check.views import HealthCheckView

from exports import storage
from exports.conf import config
from exports.queue import huey as huey_queue
from exports.realtime import events

log = logging.getLogger("exports.health")

GOOD_FOR_SECONDS = 1.0
ANSWER_SECONDS = 2.0
THREADS = 4

# Of its own, so that a service that hangs does not hold the threads that sockets and pages need.
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="exports-health")


class DatabaseAnswers(Database):
    """SELECT 1"""

    name: ClassVar[str] = "database"
    timeout = timedelta(seconds=ANSWER_SECONDS)


class QueueAnswers(HealthCheck):
    """PING; nothing to ask in cron mode."""

    name: ClassVar[str] = "queue"
    timeout = timedelta(seconds=ANSWER_SECONDS)

    def run(self) -> None:
        if config.QUEUE_BACKEND:
            huey_queue.server().ping()


class ChannelsAnswer(HealthCheck):
    """The channel layer takes a message."""

    name: ClassVar[str] = "channels"
    timeout = timedelta(seconds=ANSWER_SECONDS)

    def run(self) -> None:
        events.reach(ANSWER_SECONDS)


class StorageAnswers(HealthCheck):
    """The storage says that it does not have what nobody stored. Nothing is written: `exports doctor` does that."""

    name: ClassVar[str] = "storage"
    timeout = timedelta(seconds=ANSWER_SECONDS)

    def run(self) -> None:
        storage.check_available()


class LiveView(HealthCheckView):
    """The process answers. Asks nothing of any service: to start it again would not help there."""

    http_method_names = ("get", "head", "options")
    checks = ()

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        answers = {result.check.name: result.error is None for result in await self.ask()}
        is_ok = all(answers.values())
        names = {name: _word(answer) for name, answer in answers.items()}
        return JsonResponse({"status": _word(is_ok), "checks": names}, status=200 if is_ok else 503)

    async def ask(self) -> list[HealthCheckResult]:
        return await asyncio.gather(*(check.get_result(_threads) for check in self.get_checks()))

    def get_executor(self) -> AbstractContextManager[Executor | None]:
        return nullcontext(_threads)


class ReadyView(LiveView):
    """The process can serve: all that it needs answers. However many ask, the services are asked once a second."""

    checks = (DatabaseAnswers, QueueAnswers, ChannelsAnswer, StorageAnswers)
    _asking: ClassVar[WeakKeyDictionary[Any, tuple[float, asyncio.Task[Any]]]] = WeakKeyDictionary()
    _failing: ClassVar[tuple[str, ...]] = ()

    async def ask(self) -> list[HealthCheckResult]:
        loop = asyncio.get_running_loop()
        began, task = self._asking.get(loop, (0.0, None))
        if task is None or (task.done() and loop.time() - began > GOOD_FOR_SECONDS):
            task = loop.create_task(self._ask_now())
            self._asking[loop] = (loop.time(), task)
        return await asyncio.shield(task)

    async def _ask_now(self) -> list[HealthCheckResult]:
        results = await super().ask()
        self._log(tuple(result.check.name for result in results if result.error))
        return results

    @classmethod
    def _log(cls, failing: tuple[str, ...]) -> None:
        """One line when it changes, not one for each that asks."""
        if failing != cls._failing:
            ReadyView._failing = failing
            log.warning("not ready: %s", ", ".join(failing)) if failing else log.warning("ready again")


live_view, ready_view = LiveView.as_view(), ReadyView.as_view()


@require_safe
async def metrics_view(request: HttpRequest) -> HttpResponse:
    """For whoever sends EXPORTS["METRICS_TOKEN"] as a Bearer. Without that setting there is no such page."""
    if not config.METRICS_TOKEN:
        raise Http404("Metrics are off.")
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {config.METRICS_TOKEN}"):
        return HttpResponse("The metrics need a token.", status=401, headers={"WWW-Authenticate": "Bearer"})
    try:
        body, content_type = await sync_to_async(_scrape, thread_sensitive=False)(request.headers.get("Accept", ""))
    except DatabaseError as error:
        log.warning("no metrics: %s", type(error).__name__)
        return HttpResponse("The database does not answer.", status=503)
    response = HttpResponse(body, content_type=content_type)
    add_never_cache_headers(response)
    return response


def _scrape(accept: str) -> tuple[bytes, str]:
    from exports.contrib.operations import metrics

    try:
        return metrics.scrape(accept)
    finally:
        # A thread of a pool: nothing else ends its connections.
        connections.close_all()


def _word(is_ok: bool) -> str:
    return "ok" if is_ok else "not ok"
