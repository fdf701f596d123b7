"""A complete site of real processes: PostgreSQL, Valkey, SMTP, optionally S3, daphne, workers and housekeepers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
import psycopg

from exports import faults
from exports.queue.redis import sentinel_host
from tests.servers import Postgres, Server, Valkey, free_port, wait_until
from tests.storm.failover import ValkeyPair
from tests.storm.mailbox import Mailbox
from tests.storm.programs import ROOT, Program, SmallPartMoto

ROWS, USERS = 20_000, 8
TOKEN = "s" * 32
ENDED = ("ready", "failed", "cancelled", "expired")

# Leases, retries and housekeeping take seconds, so that tests need not wait for minutes.
PROFILE: Mapping[str, Any] = {
    "LEASE_SECONDS": 2.0,
    "HEARTBEAT_SECONDS": 0.5,
    "HOUSEKEEPING_INTERVAL_SECONDS": 0.5,
    "PROGRESS_INTERVAL_SECONDS": 0.1,
    "WAKE_AGAIN_SECONDS": 1.0,
    "MAIL_DELAY_SECONDS": 0.5,
    "RETRY_DELAY_SECONDS": 0.3,
    "BATCH_ROWS": 500,
    "UPLOAD_TO": "generated",
    "SHUTDOWN_GRACE_SECONDS": 1.0,
    # A few users request all exports.
    "MAX_QUEUED_PER_USER": 100_000,
    "MAX_RUNNING_PER_USER": 100_000,
    "MAX_PER_USER_PER_DAY": 100_000,
    "MAX_SOCKETS_PER_USER": None,
    "REUSE_WITHIN_SECONDS": 0,
    "MIN_FREE_DISK_BYTES": 0,
}
# Exports whose workers are killed on purpose must not fail after a few crashes.
PATIENT: Mapping[str, Any] = {"MAX_CRASHES": 1000, "MAX_ATTEMPTS": 1000}

REQUEST_MANY = """
import json, sys
from django.contrib.auth.models import User
from exports import services

count, rows, users = map(int, sys.argv[1:])
owners = [User.objects.get(username=f"user{number}") for number in range(users)]
criteria = ({"first": n + 1, "rows": rows} for n in range(count))
exports = [
    services.request_export(owners[n % users], "parcels", each, format="csv")[0] for n, each in enumerate(criteria)
]
print(json.dumps([str(export.pk) for export in exports]))
"""


@dataclass(frozen=True)
class Requested:
    """A request that the site accepted: a file with these parcels."""

    id: str
    user: int
    format: str
    first: int
    rows: int


class Site:
    """The servers, and the processes of the app by name.

    `bucket` stores files in S3 instead of a folder. `sentinel` runs two Valkeys and a Sentinel. With `gevent` every
    other user is served by a second web process, whose threads are greenlets. `workers` has the queue of each worker.
    `exports` changes the setting EXPORTS. `endpoint` gets the URL of the S3 server and returns the one that the app
    uses (a proxy's). `address` is where servers listen.
    """

    code = ROOT
    """The folder of the code that prepares the database and runs scripts."""

    def __init__(
        self,
        folder: Path,
        *,
        bucket: bool = False,
        sentinel: bool = False,
        gevent: bool = False,
        workers: Sequence[str] = ("large", "large", "small"),
        housekeepers: int = 1,
        exports: Mapping[str, Any] | None = None,
        rows: int = ROWS,
        endpoint: Callable[[str], str] = lambda url: url,
        address: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.files, self.work = folder / "files", folder / "work"
        self.rows = rows
        self.address, self.port = address, free_port(address)
        self.ports = [self.port]
        self.postgres, self.mailbox = Postgres(), Mailbox(address)
        self.valkey: Valkey | ValkeyPair = ValkeyPair(address) if sentinel else Valkey()
        self.moto = SmallPartMoto(address) if bucket else None
        self.programs: dict[str, Program] = {}
        self.sessions: list[str] = []
        self.requested: list[Requested] = []
        self._endpoint = endpoint
        self._exports = {**PROFILE, "WORK_DIR": str(self.work), **(exports or {})}
        manage = [sys.executable, "manage.py", "exports"]
        daphne = [
            sys.executable,
            "-m",
            "exports.asgi.daphne",
            "-b",
            "127.0.0.1",
            "-p",
            str(self.port),
            "project.asgi:application",
        ]
        self._commands = {"web": (daphne, "Listening on TCP")}
        if gevent:
            self.ports.append(free_port())
            gunicorn = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", f"127.0.0.1:{self.ports[1]}"]
            self._commands["web2"] = ([*gunicorn, "django.core.wsgi:get_wsgi_application()"], "Listening at")
        for number, queue_name in enumerate(workers, start=1):
            self._commands[f"worker{number}"] = ([*manage, "work", queue_name], "ready")
        for number in range(1, housekeepers + 1):
            self._commands[f"housekeeper{number}"] = ([*manage, "housekeep"], "ready")
        self._open = ExitStack()
        self._database: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for server in self.servers:
                opened.enter_context(server)
            self._prepare()
            for role, (command, ready) in self._commands.items():
                self.programs[role] = self._program(role, command, ready)
                opened.callback(self.programs[role].close)
            for program in self.programs.values():
                program.launch()
            self._open = opened.pop_all()
        for program in self.programs.values():
            program.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._database is not None:
            self._database.close()
        self._open.close()

    @property
    def servers(self) -> list[Server | ValkeyPair]:
        return [self.postgres, self.valkey, self.mailbox, *([self.moto] if self.moto else [])]

    def of(self, role: str) -> list[Program]:
        """Return the processes of a role: "worker", "housekeeper" or "web"."""
        return [program for name, program in self.programs.items() if name.startswith(role)]

    def _program(self, role: str, command: Sequence[str], ready: str) -> Program:
        environment = self.environment | {faults.VARIABLE: f"@{self.faults_of(role)}"}
        return Program(role, command, ready, environment)

    def _prepare(self) -> None:
        self.postgres.create_database("storm")
        command = [sys.executable, "-m", "tests.storm.prepare", str(self.rows), str(USERS)]
        done = subprocess.run(command, cwd=self.code, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.sessions = json.loads(done.stdout)

    @property
    def database_url(self) -> str:
        """Return where the processes of the app connect to."""
        return self.postgres.url("storm")

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        given = {
            "database": self.database_url,
            "address": self.address,
            "smtp_port": self.mailbox.port,
            "redis": sentinel_host(self.valkey.url) or self.valkey.url,
            "files": str(self.files),
            "bucket": self.moto and self.moto.storage(endpoint_url=self._endpoint(self.moto.url)),
            "exports": {
                **self._exports,
                "REDIS_URL": self.valkey.url,
                "BASE_URL": f"http://{self.address}:{self.port}",
            },
        }
        own = {"DJANGO_SETTINGS_MODULE": "tests.storm.settings", "STORM_SETTINGS": json.dumps(given)}
        return inherited | own | {"PYTHONPATH": str(self.code), "PYTHONUNBUFFERED": "1", "AWS_MAX_ATTEMPTS": "3"}

    # Failures

    def faults_of(self, role: str) -> Path:
        """Return the file that arms the fault points of a role; all its processes share it."""
        return self.folder / f"faults-{role.rstrip('0123456789')}"

    def arm(self, role: str, text: str) -> None:
        path = self.faults_of(role)
        new = path.with_name(f"{path.name}-new")
        new.write_text(text)
        # Atomically: a process must not read half of it.
        new.rename(path)

    def was_struck(self, role: str, point: str) -> bool:
        return faults.marker_path(self.faults_of(role), point).exists()

    def disarm(self, role: str) -> None:
        """Disarm all fault points of a role, and let those that were armed once be armed again."""
        self.arm(role, "")
        for point in faults.POINTS:
            faults.marker_path(self.faults_of(role), point).unlink(missing_ok=True)

    def restart_ended(self) -> None:
        """Start the processes that have ended."""
        for program in self.programs.values():
            if not program.is_running:
                program.launch()

    def freeze(self, role: str) -> None:
        """Freeze all processes of a role until `thaw_all`."""
        for program in self.of(role):
            program.freeze()

    def thaw_all(self) -> None:
        for program in self.programs.values():
            if program.is_frozen:
                program.thaw()

    def run_script(self, code: str, *arguments: str) -> str:
        """Run a script in a new process of the app, and return what it printed."""
        command = [sys.executable, "-c", f"import django; django.setup()\n{code}", *arguments]
        options: dict[str, Any] = {"cwd": self.code, "env": self.environment, "timeout": 120}
        done = subprocess.run(command, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Requests of users

    def client(self, user: int) -> httpx.Client:
        return httpx.Client(**self.client_options(user))

    def client_options(self, user: int) -> dict[str, Any]:
        """Return arguments for a client of httpx in which this user is signed in."""
        return {
            "base_url": f"http://{self.address}:{self.ports[user % len(self.ports)]}",
            "cookies": {"sessionid": self.sessions[user], "csrftoken": TOKEN},
            "headers": {"Accept": "application/json", "X-CSRFToken": TOKEN},
            "timeout": 10,
            "trust_env": False,
            "verify": False,  # loading certificates takes longer than a response
        }

    def request(
        self, user: int = 0, *, format: str = "csv", first: int = 1, rows: int = 1000, type: str = "parcels"
    ) -> Requested:
        """Request an export, again until the site accepts it: the same criteria return the same export."""
        path, form = f"/exports/new/{type}/", {"format": format, "first": str(first), "rows": str(rows)}
        responses: list[httpx.Response] = []

        def is_accepted() -> bool:
            self.restart_ended()
            with suppress(httpx.TransportError), self.client(user) as client:
                responses.append(client.post(path, data=form))
                # 200: a repeated request gets the export of the first, which is ready by now.
                return responses[-1].status_code in (200, 202)
            return False

        self.wait_until(is_accepted, f"POST {path} was not accepted", pause=0.1)
        requested = Requested(responses[-1].json()["id"], user, format, first, rows)
        if type in ("parcels", "newer") and requested not in self.requested:
            self.requested.append(requested)
        return requested

    def request_many(self, count: int, *, rows: int) -> None:
        """Request `count` different exports for all users in turn, in one process, without HTTP."""
        ids = json.loads(self.run_script(REQUEST_MANY, str(count), str(rows), str(USERS)))
        self.requested += [Requested(each, n % USERS, "csv", n + 1, rows) for n, each in enumerate(ids)]

    def post(self, user: int, export_id: str, verb: str) -> httpx.Response:
        with self.client(user) as client:
            return client.post(f"/exports/{export_id}/{verb}/")

    # State

    def sql(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Connect again if PostgreSQL was restarted."""
        while True:
            try:
                if self._database is None or self._database.closed:
                    self._database = psycopg.connect(self.postgres.url("storm"), autocommit=True)
                cursor = self._database.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if self._database is not None:
                    self._database.close()
                self._database = None
                assert self.postgres.is_running, "PostgreSQL is not running"
                time.sleep(0.05)

    def work_files(self) -> list[Path]:
        """Return the files and folders that workers have in WORK_DIR."""
        return list(self.work.rglob("*"))

    def statuses(self) -> dict[str, int]:
        return dict(self.sql("SELECT status, count(*) FROM exports_filerequest GROUP BY status"))

    def status(self, export_id: str) -> str:
        [(status,)] = self.sql("SELECT status FROM exports_filerequest WHERE id = %s", [UUID(export_id)])
        return status

    def wait_until(
        self, condition: Callable[[], object], message: str, *, seconds: float = 90, pause: float = 0
    ) -> None:
        def is_true() -> bool:
            if condition():
                return True
            time.sleep(pause)
            return False

        wait_until(is_true, seconds=seconds, describe=lambda: f"{message}\n{self.log_tails()}")

    def wait_until_settled(self) -> None:
        """Wait until all exports have ended, are mailed and cleaned up."""
        self.wait_until_ended()
        self.wait_until_mailed()
        self.wait_until_clean()

    def wait_until_ended(self, *, seconds: float = 90) -> None:
        """Wait until no export waits or runs."""
        self._wait_and_restart(lambda: set(self.statuses()) <= set(ENDED), "not all exports have ended", seconds)

    def wait_until_clean(self, *, seconds: float = 60) -> None:
        """Wait until housekeeping has deleted all bytes but the files of READY exports."""
        garbage = "SELECT 1 FROM exports_artifact WHERE state <> 'published' LIMIT 1"
        self._wait_and_restart(
            lambda: not self.sql(garbage) and not self.work_files(), "not all garbage is deleted", seconds
        )

    def wait_until_mailed(self, *, seconds: float = 60) -> None:
        """Wait until every notification is sent or suppressed."""
        waiting = "SELECT 1 FROM exports_notification WHERE state IN ('pending', 'sending') LIMIT 1"
        self._wait_and_restart(lambda: not self.sql(waiting), "not all mails are sent", seconds)

    def _wait_and_restart(self, condition: Callable[[], bool], message: str, seconds: float) -> None:
        """Wait, and restart the processes that end meanwhile."""

        def is_true() -> bool:
            self.restart_ended()
            return condition()

        self.wait_until(is_true, message, seconds=seconds, pause=0.1)

    def keep_logs(self) -> None:
        """Write the logs of all processes and the transition log into the site's folder."""
        for name, program in self.programs.items():
            (self.folder / f"{name}.log").write_text(program.logged())
        for table in ("storm_transitions", "storm_mails", "exports_artifact"):
            lines = (" ".join(map(str, row)) for row in self.sql(f"SELECT * FROM {table} ORDER BY id"))
            (self.folder / f"{table}.txt").write_text("\n".join(lines))

    def log_tails(self) -> str:
        tails = {name: program.logged()[-700:] for name, program in self.programs.items()}
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails.items()) + f"\n{self.statuses()}"
