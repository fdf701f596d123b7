"""Patterns whose delayed files are made by the project's own huey task, as dj-bgfiles did with Celery.

Use them only if you have such a task already. Workers find every other export by its row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpRequest

from exports.contrib.bgfiles.dataset import Dataset
from exports.contrib.bgfiles.patterns import FullPattern
from exports.models import FileRequest


class ScheduleWithHueyMixin:
    """Enqueue `task`, a huey task that takes the id of a FileRequest, when the transaction commits."""

    # Any: huey has no type annotations.
    task: ClassVar[Any] = None

    def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        """Return huey's result handle, or None inside a transaction or if the queue cannot be reached."""
        context = (file_request, http_request, dataset)
        task = self.get_task(*context)
        options: dict[str, Any] = dict(self.get_huey_kwargs(*context))
        if "eta" not in options:
            options.setdefault("delay", 0)
        options["args"], options["kwargs"] = tuple(self.get_task_args(*context)), dict(self.get_task_kwargs(*context))
        results: list[Any] = []
        transaction.on_commit(lambda: results.append(task.schedule(**options)), robust=True)
        return results[0] if results else None

    def get_task(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Any:
        return self.task

    def get_task_args(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> Sequence[Any]:
        """Return [id]. Override it to return the id as text if your huey does not pickle its messages."""
        return [file_request.pk]

    def get_task_kwargs(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset
    ) -> Mapping[str, Any]:
        return {}

    def get_huey_kwargs(
        self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset
    ) -> Mapping[str, Any]:
        """Return arguments for huey's `schedule`: delay, eta, priority, retries, expires."""
        return {}


class ScheduleWithHueyPattern(ScheduleWithHueyMixin, FullPattern):
    """A FullPattern whose delayed files are made by a huey task."""
