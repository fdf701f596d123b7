"""The queue on django.tasks: its workers make the files. Messages for `small` go to the queue `exports.small`.

Set EXPORTS["QUEUE_BACKEND"] = "exports.queue.tasks". Before Django 6.0 the package django-tasks has the same API.
"""

from importlib.util import find_spec

from exports.queue import base

if find_spec("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]

WORKER_COMMAND = "manage.py db_worker --queue-name exports.{queue_name}"


@task
def look_for_exports(queue_name: str) -> None:
    """Run the due exports of a queue."""
    base.run_due(queue_name)


def wake(queue_name: str) -> None:
    """Enqueue a task for the workers of this queue."""
    look_for_exports.using(queue_name=f"exports.{queue_name}").enqueue(queue_name)
