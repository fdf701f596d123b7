"""The queue on Celery: workers of Celery make the files. Messages for the queue `small` go to Celery's `exports.small`.

Set EXPORTS["QUEUE_BACKEND"] = "exports.queue.celery", and let Celery's workers import this module: docs/task-queues.md.
"""

from celery import current_app, shared_task

from exports.queue import base

WORKER_COMMAND = "celery --app YOUR_PROJECT worker --queues exports.{queue_name}"
SEND_SECONDS = 1.0


@shared_task(name="exports.look_for_exports", ignore_result=True)  # type: ignore[untyped-decorator] # Celery has no type hints
def look_for_exports(queue_name: str) -> None:
    """Run the due exports of a queue."""
    base.run_due(queue_name)


def wake(queue_name: str) -> None:
    """Send a message to Celery's workers. Raise kombu's OperationalError if the broker does not answer soon."""
    # A request waits for this. Transports ignore the options of others; socket_timeout is that of Redis.
    options = {"max_retries": 0, "socket_timeout": SEND_SECONDS, "read_timeout": SEND_SECONDS}
    with current_app.connection_for_write(connect_timeout=SEND_SECONDS, transport_options=options) as connection:
        look_for_exports.apply_async([queue_name], queue=f"exports.{queue_name}", connection=connection, retry=False)
