"""Create the table of one database: python -m bench.fill, in the environment of `bench.databases`."""

import csv
import io
import os

import django
from django.core.management import call_command
from django.db import connection, transaction

from bench import recipe


def main(rows: int) -> None:
    """Create all tables, and fill the one of the benchmark."""
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    with transaction.atomic(), connection.cursor() as cursor:
        _copy(cursor, rows) if connection.vendor == "postgresql" else _insert(rows)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copy(cursor: object, rows: int) -> None:
    with cursor.copy(f"COPY bench_row ({_names()}) FROM STDIN (FORMAT csv)") as copy:
        for block in recipe.blocks(rows):
            lines = io.StringIO(newline="")
            csv.writer(lines).writerows(block)
            copy.write(lines.getvalue())


def _insert(rows: int) -> None:
    # Without Django, which would convert each value.
    for block in recipe.blocks(rows):
        connection.connection.executemany(f"INSERT INTO bench_row ({_names()}) VALUES (?{', ?' * 9})", block)


def _names() -> str:
    from bench.rows.models import COLUMNS

    return ", ".join(COLUMNS)


if __name__ == "__main__":
    main(int(os.environ["BENCH_ROWS"]))
