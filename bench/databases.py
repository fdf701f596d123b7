"""The databases of the benchmark: SQLite files and a PostgreSQL cluster, in a folder that is kept between runs.

The folder is BENCH_DIR, by default below /var/tmp, where PostgreSQL can reach it, which does not run as root. A table
is created again if the recipe of its rows has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg

from bench.cases import POSTGRESQL, SQLITE
from tests.servers import Postgres

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ("bench/recipe.py", "bench/fill.py", "bench/rows/models.py", "exports/migrations")


def home() -> Path:
    """Return the folder of all that a run writes except the results.

    Raises PermissionError if it belongs to another user.
    """
    folder = Path(os.environ.get("BENCH_DIR") or f"/var/tmp/live-exports-bench-{os.getuid()}").absolute()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user. Name another folder in BENCH_DIR.")
    return folder


class KeptPostgres(Postgres):
    """PostgreSQL with a cluster that is kept. Its socket is in another folder, since paths of sockets must be short."""

    SETTINGS = ("max_wal_size=8GB", "autovacuum=off")

    @property
    def data(self) -> Path:
        return home() / "postgresql" / "data"

    def start(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.data.parent, "postgres")
            shutil.chown(self.folder, "postgres")
        super().start()

    def command(self) -> list[str]:
        return [*super().command(), *(word for setting in self.SETTINGS for word in ("-c", setting))]

    def need_database(self, name: str) -> None:
        """Create an empty database unless one of this name exists."""
        with psycopg.connect(self._conninfo(), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not found:
                self.create_database(name)


def environment(database: str, rows: int, socket: Path | None = None, *, with_exports: bool = True) -> dict[str, str]:
    """Return the environment of a process that uses this table, with or without the app `exports` installed."""
    return {
        **os.environ,
        "BENCH_DIR": str(home()),
        "BENCH_DATABASE": database,
        "BENCH_ROWS": str(rows),
        "BENCH_SOCKET": str(socket or ""),
        "BENCH_WITH_EXPORTS": "1" if with_exports else "",
        "DJANGO_SETTINGS_MODULE": "bench.settings",
        "PYTHONPATH": str(ROOT),
    }


def need_rows(database: str, rows: int, postgres: KeptPostgres | None) -> bool:
    """Create the table unless it exists with the current recipe. Return True if it was created."""
    stamp = home() / database / f"rows_{rows}.recipe"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    if postgres is not None and database == POSTGRESQL:
        postgres.need_database(f"rows_{rows}")
    if stamp.exists() and stamp.read_text() == recipe():
        return False
    stamp.unlink(missing_ok=True)
    _empty(database, rows, postgres)
    _run(environment(database, rows, postgres and postgres.folder))
    stamp.write_text(recipe())
    return True


def recipe() -> str:
    """Return a hash of all files that determine the content of the tables."""
    paths = [path for name in RECIPE for path in _files(ROOT / name)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.py")) if path.is_dir() else [path]


def _empty(database: str, rows: int, postgres: KeptPostgres | None) -> None:
    if postgres is not None and database == POSTGRESQL:
        postgres.create_database(f"rows_{rows}")
    for path in (home() / SQLITE).glob(f"rows_{rows}.sqlite3*") if database == SQLITE else ():
        path.unlink()


def _run(environment: Mapping[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "bench.fill"], check=True, env=dict(environment), cwd=ROOT)


def scratch() -> Path:
    """Create a folder for the files of a run."""
    return Path(tempfile.mkdtemp(prefix="files-", dir=home()))
