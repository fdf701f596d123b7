"""Patterns whose delayed files are made by the host's own huey task, as dj-bgfiles had it for Celery.

They are for hosts that have such a task already. Other exports need none: the row is the job.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpRequest

from exports.contrib.bgfiles.dataset import Dataset
from exports.contrib.bgfiles.patterns import FullPattern
from exports.models import FileRequest


class ScheduleWithHueyMixin:
    """Enqueues `task`, a huey task that takes the id of a request, when the transaction commits."""

    task: ClassVar[Any] = None

    def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        """What huey says of the task; None in a transaction, which has to end first, and where the queue is down."""
        context = (file_request, http_request, dataset)
        task, options = self.get_task(*context), dict(self.get_huey_kwargs(*context))
        args, kwargs = tuple(self.get_task_args(*context)), dict(self.get_task_kwargs(*context))
        when = {} if "eta" in options else {"delay": 0}
        results: list[Any] = []

        def enqueue() -> None:
            results.append(task.schedule(args=args, kwargs=kwargs, **when | options))

        transaction.on_commit(enqueue, robust=True)
        return results[0] if results else None

    def get_task(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        return self.task

    def get_task_args(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Sequence[Any]:
        """The id. A queue that does not pickle its messages wants it as text: override this then."""
        return [file_request.pk]

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
