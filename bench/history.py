"""The command bench/history: pages and sweeps beside 10,000 to 10,000,000 ended exports, on PostgreSQL."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import psycopg

from tests.servers import Postgres

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (10_000, 100_000)
USERS = 2_000
DUE = 300
"""The rows that each sweep finds due."""

PAGES = {
    "my exports": "/exports/",
    "my exports, page 10": "/exports/?page=10",
    "my exports, search": "/exports/?q=label",
    "form": "/exports/new/flights/",
    "admin": "/admin/exports/filerequest/",
    "admin, page 50": "/admin/exports/filerequest/?p=50",
    "admin, failed": "/admin/exports/filerequest/?status__exact=failed",
    "admin, type": "/admin/exports/filerequest/?file_type=flights",
    "admin, format without rows": "/admin/exports/filerequest/?format=parquet",
    "admin, search for a label": "/admin/exports/filerequest/?q=label+77",
    "admin, search for a user": "/admin/exports/filerequest/?q=user77",
    "admin, audit log": "/admin/exports/auditentry/",
    "admin, outbox": "/admin/exports/notification/",
}


class Measured(TypedDict):
    what: str
    rows: int
    queries: int
    slowest_query_ms: float
    total_ms: float


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        os.environ.update(
            BENCH_SOCKET=str(postgres.folder),
            BENCH_DATABASE="history",
            BENCH_ROOT=folder,
            DJANGO_SETTINGS_MODULE="bench.history_settings",
        )
        postgres.create_database("history")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        conninfo = f"host={postgres.folder} user=exports dbname=history"
        for rows in options.rows or (QUICK_SIZES if options.quick else SIZES):
            fill(conninfo, rows)
            for measured in [*pages(rows), *sweeps(rows)]:
                found.append(measured)
                print(line(measured), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def pages(rows: int) -> list[Measured]:
    """Measure each page: the best of five times, since other processes may have the processor meanwhile."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get(username="user1"))

    def get(address: str) -> Callable[[], None]:
        def run() -> None:
            response = client.get(address)
            if response.status_code != 200:
                raise RuntimeError(f"{address}: {response.status_code}")

        return run

    return [measure(what, rows, get(address), times=5) for what, address in PAGES.items()]


def sweeps(rows: int) -> list[Measured]:
    """Measure each step of housekeeping, which finds DUE rows or less."""
    from exports import housekeeping

    steps: list[Callable[[], object]] = [
        housekeeping.rescue,
        housekeeping.time_out,
        housekeeping.wake_again,
        housekeeping.expire,
        housekeeping.delete_files,
        housekeeping.erase,
        housekeeping.remove_old_rows,
        housekeeping.send_mails,
    ]
    return [measure(f"sweep: {step.__name__}", rows, step) for step in steps]


def measure(what: str, rows: int, run: Callable[[], object], *, times: int = 1) -> Measured:
    """Measure `run`: the best time of each query, the slowest of these, and the best time of all."""
    from django.db import connection

    runs: list[list[float]] = []
    totals: list[float] = []

    # Any: what Django gives a wrapper of `execute`.
    def watch(execute, sql, parameters, many, context):
        began = time.perf_counter()
        try:
            return execute(sql, parameters, many, context)
        finally:
            runs[-1].append(time.perf_counter() - began)

    for _ in range(times):
        runs.append([])
        began = time.perf_counter()
        with connection.execute_wrapper(watch):
            run()
        totals.append(time.perf_counter() - began)
    best = [min(each) for each in zip(*runs, strict=False)]
    return Measured(
        what=what,
        rows=rows,
        queries=len(runs[-1]),
        slowest_query_ms=round(1000 * max(best, default=0.0), 1),
        total_ms=round(1000 * min(totals), 1),
    )


def fill(conninfo: str, rows: int) -> None:
    """Fill the tables with ended exports of USERS users, their mails and audit entries, and DUE rows for each sweep."""
    from django.contrib.auth.models import User

    from exports.models import Artifact, AuditEntry, FileRequest, Notification

    tables = ", ".join(f'"{model._meta.db_table}"' for model in (Artifact, AuditEntry, Notification, FileRequest, User))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables} CASCADE")
        User.objects.bulk_create(
            User(username=f"user{number}", email=f"user{number}@bench.example", is_staff=True, is_superuser=True)
            for number in range(USERS)
        )
        first = User.objects.order_by("pk").values_list("pk", flat=True)[0]
        row = FileRequest(requester_id=first, file_type="flights", format="csv", counts_toward_quota=True)
        row.save()
        # Ended a second apart. Of ten, one is ready, three failed, one is cancelled and five have expired.
        ended = f"now() - n * interval '{90 * 86_400 / rows} seconds'"
        changed = {
            "id": "gen_random_uuid()",
            "requester_id": f"{first} + n % {USERS}",
            "label": "'label ' || n",
            "format": "(ARRAY['csv', 'xlsx'])[1 + n % 2]",
            "status": "(ARRAY['ready', 'failed', 'failed', 'failed', 'cancelled', 'expired', 'expired', 'expired', "
            "'expired', 'expired'])[1 + n / 2 % 10]",
            "requested_at": ended,
            "started_at": ended,
            "finished_at": ended,
            "erased_at": f"CASE WHEN n > {DUE} THEN now() END",
            "seen_at": "now()",
            "turn": f"1 + n / {USERS}",
            "expires_at": f"CASE WHEN n > {10 * DUE} THEN now() + interval '1 day' ELSE now() - interval '1 hour' END",
        }
        copy(connection, FileRequest, changed, f"generate_series(1, {rows}) AS n")
        connection.execute(
            f"INSERT INTO {Notification._meta.db_table} (request_id, kind, state, message_id, due_at, attempts, reason,"
            " settled_at) SELECT id, 'ready', CASE WHEN random() < %s THEN 'pending' ELSE 'sent' END, '', now(), 0, '',"
            f" now() FROM {FileRequest._meta.db_table} WHERE finished_at IS NOT NULL",
            [2 * DUE / rows],
        )
        connection.execute(
            f"INSERT INTO {Artifact._meta.db_table} (request_id, epoch, key, state, created_at) SELECT id, epoch,"
            f" id::text, 'published', now() FROM {FileRequest._meta.db_table} WHERE status = 'ready'"
        )
        entry = AuditEntry.objects.create(actor_kind="system", verb="start", file_type="flights")
        entries = {"id": "1000 + n", "at": ended, "user_id": f"{first} + n % {USERS}"}
        copy(connection, AuditEntry, entries, f"generate_series(1, {rows}) AS n", only=entry.pk)
        connection.execute("VACUUM ANALYZE")


def copy(connection, model, changed, series, only=None) -> None:
    """Copy the row of a model, or the one with this key, for each n of the series."""
    columns = [field.column for field in model._meta.concrete_fields]
    values = ", ".join(changed.get(column, f'"{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    table = f'"{model._meta.db_table}"'
    where = "" if only is None else f" WHERE id = {only}"
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, {series}{where}")


def line(measured: Measured) -> str:
    return (
        f"{measured['rows']:>10,} ended · {measured['what']:<28} {measured['queries']:>4} queries, the slowest "
        f"{measured['slowest_query_ms']:>7,.1f} ms, in all {measured['total_ms']:>8,.1f} ms"
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="bench/history", description=__doc__)
    options.add_argument("--quick", action="store_true", help="10,000 and 100,000 rows only")
    options.add_argument("--rows", nargs="+", type=int, metavar="N", help="other numbers of ended exports")
    options.add_argument("--json", type=Path, metavar="PATH", help="write the measurements as a JSON list")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
