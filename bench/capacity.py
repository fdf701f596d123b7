"""What one poll, one report of progress and one message cost, in CPU time: `python -m bench.capacity`.

CPU time, unlike a rate, hardly depends on what else the machine does. PostgreSQL and Valkey are started for it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypedDict

import psutil

from tests.servers import Postgres, Valkey


class Cost(TypedDict):
    """The milliseconds of CPU time that one call costs each process, and its queries."""

    what: str
    python_ms: float
    postgresql_ms: float
    valkey_ms: float
    queries: int


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres, Valkey() as valkey:
        postgres.create_database("capacity")
        os.environ.update(
            BENCH_SOCKET=str(postgres.folder),
            BENCH_DATABASE="capacity",
            BENCH_ROOT=folder,
            DJANGO_SETTINGS_MODULE="bench.history_settings",
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        for what, call in calls(valkey).items():
            print(json.dumps(cost(what, call, valkey, options.times)), flush=True)
    return 0


def calls(valkey: Valkey) -> dict[str, Callable[[], object]]:
    """Return what is measured, about one running export of one user."""
    from django.contrib.auth.models import User
    from django.test import Client

    import bench.history_urls  # noqa: F401  # It registers the export.
    from exports import services
    from exports.models import FileRequest, transitions
    from exports.models.progress import Snapshot
    from exports.state import serialize

    user = User.objects.create(username="ada")
    export, _ = services.request_export(user, "flights", {})
    attempt = transitions.Attempt("csv", 600)
    claimed = transitions.claim_first(export.queue_name, ["flights"], owner="bench:1:1", attempt=lambda _: attempt)
    assert claimed is not None
    claim = claimed[1]
    page = Client(headers={"Accept": "application/json"})
    page.force_login(user)
    message = json.dumps(serialize(FileRequest.objects.timed().get(pk=export.pk)), default=str)
    publisher, page_of = valkey.client(), valkey.client().pubsub()
    page_of.subscribe("page")

    def poll() -> None:
        response = page.get(f"/exports/{export.pk}/")
        assert response.status_code == 200, response.content

    rows = count(1)
    seen = transitions.renew_lease(
        claim, Snapshot(phase="writing", rows_total=10**9), began_phase=True, progressed=True
    )

    def report() -> None:
        nonlocal seen
        assert seen is not None
        progress = Snapshot(phase="writing", rows_done=next(rows), rows_total=10**9)
        at = seen.progressed_at
        seen = transitions.renew_lease(claim, progress, began_phase=False, progressed=True, seen=seen, progressed_at=at)

    def send() -> None:
        assert publisher.publish("page", message) == 1
        page_of.get_message()

    return {"poll": poll, "progress": report, "message": send}


def cost(what: str, call: Callable[[], object], valkey: Valkey, times: int) -> Cost:
    """Call something many times, and return what one call costs. The first calls are not counted."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for _ in range(10):
        call()
    with CaptureQueriesContext(connection) as context:
        call()
    queries = len(context)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    watched: list[Callable[[], float]] = [
        time.process_time,
        lambda: sum(psutil.Process(backend).cpu_times()[:2]),
        lambda: sum(psutil.Process(valkey.process.pid).cpu_times()[:2]) if valkey.process else 0.0,
    ]
    before = [spent() for spent in watched]
    for _ in range(times):
        call()
    python, postgresql, of_valkey = (
        round(1000 * (spent() - began) / times, 3) for spent, began in zip(watched, before, strict=True)
    )
    return Cost(
        what=what,
        python_ms=python,
        postgresql_ms=postgresql,
        valkey_ms=of_valkey,
        queries=queries,
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    options.add_argument("--times", type=int, default=1_000, help="How often each is called (1,000).")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
