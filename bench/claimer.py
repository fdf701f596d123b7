"""One worker of bench/queue: python -m bench.claimer TOOL SECONDS CLAIMS. Claims and ends what waits, one by one.

It prints "ready", begins when a line arrives, and ends after that time or number of claims. Then it prints {"claims",
"tries", "seconds"}. A try without a claim is lost: another worker was quicker. `fill` creates the rows of a tool.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TypedDict
from uuid import uuid4

import psycopg

OWNERS = 2000


class Counted(TypedDict):
    claims: int
    tries: int
    seconds: float


@dataclass
class Shift:
    """How long a worker works, and what it has done."""

    seconds: float
    most_claims: int
    claims: int = 0
    tries: int = 0

    def begin(self) -> None:
        print("ready", flush=True)
        sys.stdin.readline()
        self._began = time.monotonic()

    @property
    def goes_on(self) -> bool:
        return self.claims < self.most_claims and time.monotonic() - self._began < self.seconds

    def counted(self) -> Counted:
        return {"claims": self.claims, "tries": self.tries, "seconds": time.monotonic() - self._began}


def main(tool: str, shift: Shift) -> Counted:
    if tool == "procrastinate":
        asyncio.run(_procrastinate(shift))
    else:
        import django

        django.setup()
        from django.db import connection

        connection.ensure_connection()
        {"ours": _ours, "django-tasks-db": _django_tasks_db}[tool](shift)
    return shift.counted()


def _ours(shift: Shift) -> None:
    from exports.models import FileRequest, transitions

    def attempt(export: FileRequest) -> transitions.Attempt:
        shift.tries += 1
        return transitions.Attempt("csv", None)

    shift.begin()
    while shift.goes_on:
        claimed = transitions.claim_first("large", ["flights"], owner=f"bench:{os.getpid()}:1", attempt=attempt)
        assert claimed is not None
        shift.claims += transitions.fail(claimed[1], code="export_failed", detail="")


def _django_tasks_db(shift: Shift) -> None:
    from django.utils import timezone
    from django_tasks_db.models import DBTaskResult
    from django_tasks_db.utils import exclusive_transaction

    worker_id = str(uuid4())
    ready = DBTaskResult.objects.filter(backend_name="default", queue_name="default")
    shift.begin()
    while shift.goes_on:
        shift.tries += 1
        with exclusive_transaction():
            result = ready.ready().get_locked()
            if result is not None:
                result.claim(worker_id)
        if result is not None:
            result.status, result.finished_at = "SUCCESSFUL", timezone.now()
            result.save(update_fields=["status", "finished_at"])
            shift.claims += 1


async def _procrastinate(shift: Shift) -> None:
    from procrastinate import App, PsycopgConnector
    from procrastinate.jobs import Status

    app = App(connector=PsycopgConnector(conninfo=conninfo(), min_size=1, max_size=1))
    async with app.open_async():
        manager = app.job_manager
        worker_id = await manager.register_worker()
        shift.begin()
        while shift.goes_on:
            shift.tries += 1
            job = await manager.fetch_job(queues=None, worker_id=worker_id)
            if job is not None:
                await manager.finish_job(job, status=Status.SUCCEEDED, delete_job=False)
                shift.claims += 1


def conninfo() -> str:
    return f"host={os.environ['BENCH_SOCKET']} user=exports dbname={os.environ['BENCH_DATABASE']}"


def fill(tool: str, waiting: int) -> None:
    """Create the tables of a tool in an empty database, with this number of waiting rows."""
    if tool == "procrastinate":
        from procrastinate import App, PsycopgConnector

        async def create() -> None:
            async with App(connector=PsycopgConnector(conninfo=conninfo())).open_async() as app:
                await app.schema_manager.apply_schema_async()

        asyncio.run(create())
        insert = "INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'default', 'empty' FROM {series}"
    else:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        insert = _copies_of_a_row(tool)
    with psycopg.connect(conninfo(), autocommit=True) as connection:
        connection.execute(insert.format(series=f"generate_series(1, {waiting - (tool != 'procrastinate')}) AS n"))
        connection.execute("ANALYZE")


def _copies_of_a_row(tool: str) -> str:
    """Insert one waiting row and return the statement that copies it; ours belong to OWNERS users in turn."""
    if tool == "ours":
        from django.contrib.auth.models import User

        from exports.models import FileRequest

        User.objects.bulk_create(User(username=f"user{number}") for number in range(OWNERS))
        first = User.objects.order_by("pk").values_list("pk", flat=True)[0]
        row = FileRequest(requester_id=first, file_type="flights", format="csv", counts_toward_quota=True)
        row.save()
        changed = {
            "id": "gen_random_uuid()",
            "requester_id": f"{first} + n % {OWNERS}",
            "turn": f"1 + n / {OWNERS}",
            "requested_at": "requested_at + n * interval '1 millisecond'",
        }
    else:
        from django_tasks_db.models import DBTaskResult, get_date_max

        row = DBTaskResult.objects.create(
            args_kwargs={"args": [], "kwargs": {}}, task_path="empty", backend_name="default", run_after=get_date_max()
        )
        changed = {"id": "gen_random_uuid()", "enqueued_at": "enqueued_at + n * interval '1 millisecond'"}
    columns = [field.column for field in row._meta.concrete_fields]
    values = ", ".join(changed.get(column, f'"{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    return f'INSERT INTO "{row._meta.db_table}" ({names}) SELECT {values} FROM "{row._meta.db_table}", {{series}}'


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(os.environ["BENCH_TOOL"], int(sys.argv[2]))
    else:
        print(json.dumps(main(sys.argv[1], Shift(float(sys.argv[2]), int(sys.argv[3])))))
