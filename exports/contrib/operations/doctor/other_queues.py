"""Probe the queues whose workers are of another library: Celery and django.tasks."""

from collections.abc import Iterator

from exports.conf import config
from exports.contrib.operations.doctor.findings import Finding, error, ok, warning
from exports.queue.base import backend, worker_command

ANSWER_SECONDS = 1.0


def broker(name: str) -> Iterator[Finding]:
    """Report whether the broker of Celery answers; of django.tasks, which backend takes the messages."""
    if config.QUEUE_BACKEND == "exports.queue.celery":
        from celery import current_app

        with current_app.connection_for_write(connect_timeout=ANSWER_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, timeout=ANSWER_SECONDS)
            # Without the password.
            yield ok(name, f"Celery's broker answers: {connection.as_uri()}.")
    elif config.QUEUE_BACKEND == "exports.queue.tasks":
        from exports.queue.tasks import look_for_exports

        taking = type(look_for_exports.get_backend())
        yield ok(name, f"django.tasks: {taking.__module__}.{taking.__qualname__} takes the messages.")
    else:
        yield ok(name, f"{config.QUEUE_BACKEND} starts its workers elsewhere; they are not known here.")


def workers(name: str) -> Iterator[Finding]:
    """Report the workers of Celery for each queue. Those of django.tasks cannot be asked."""
    if config.QUEUE_BACKEND != "exports.queue.celery":
        commands = " and ".join(worker_command(queue_name) for queue_name in config.QUEUES)
        yield ok(name, f"Not known here. Needed for each queue: {commands}.")
        return
    from celery import current_app

    inspection = current_app.control.inspect(timeout=ANSWER_SECONDS)
    queues, tasks = inspection.active_queues() or {}, inspection.registered() or {}
    task_name = backend().look_for_exports.name  # type: ignore[attr-defined] # of this backend alone
    for queue_name in config.QUEUES:
        line = f"{name} {queue_name}"
        reading = [each for each, read in queues.items() if f"exports.{queue_name}" in [one["name"] for one in read]]
        deaf = [each for each in reading if task_name not in [task.split(" ")[0] for task in tasks.get(each, ())]]
        if not reading:
            advice = f"Start one: {worker_command(queue_name)}. A busy one of the pool solo does not answer."
            yield warning(line, "No worker of Celery answers that reads this queue.", advice)
        elif deaf:
            advice = "Add CELERY_IMPORTS = ['exports.queue.celery'] to its settings (docs/task-queues.md)."
            yield error(line, f"{', '.join(sorted(deaf))} does not know the task of the exports.", advice)
        else:
            yield ok(line, f"{len(reading)} of Celery: {', '.join(sorted(reading))}.")
