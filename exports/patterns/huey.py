"""Patterns whose delayed files are made by the host's own huey task, as dj-bgfiles had it for Celery.

They are for hosts that have such a task already. Other exports need none: the row is the job.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpRequest

from exports.models import FileRequest
from exports.patterns.base import FullPattern
from exports.patterns.dataset import Dataset


class ScheduleWithHueyMixin:
    """Enqueues `task`, a huey task that takes the id of a request, when the transaction commits."""

    task: ClassVar[Any] = None

    def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> None:
        context = (file_request, http_request, dataset)
        enqueue = partial(
            _enqueue,
            self.get_task(*context),
            self.get_task_args(*context),
            self.get_task_kwargs(*context),
            self.get_huey_kwargs(*context),
        )
        transaction.on_commit(enqueue, robust=True)

    def get_task(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        return self.task

    def get_task_args(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Sequence[Any]:
        """The id as text, so that any serializer can carry it."""
        return [str(file_request.pk)]

    def get_task_kwargs(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset
    ) -> Mapping[str, Any]:
        return {}

    def get_huey_kwargs(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset
    ) -> Mapping[str, Any]:
        """Arguments of huey's `schedule`: delay, eta, priority, retries, expires."""
        return {}


class ScheduleWithHueyPattern(ScheduleWithHueyMixin, FullPattern):
    """A FullPattern whose delayed files a huey task makes."""


def _enqueue(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], huey_kwargs: Mapping[str, Any]) -> None:
    task.schedule(args=tuple(args), kwargs=dict(kwargs), **{"delay": 0, **huey_kwargs})
