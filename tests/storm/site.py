"""A whole site of real processes: PostgreSQL, Valkey, SMTP, S3 where asked for, daphne, workers, housekeepers.

Programs are started without waiting, killed, frozen and started again by the name of their role.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
import psycopg

from exports import faults
from tests.servers import Postgres, Server, Valkey, free_port, wait_until
from tests.storm.mailbox import Mailbox
from tests.storm.programs import ROOT, Program, SmallPartMoto

ROWS, PEOPLE = 20_000, 8
TOKEN = "s" * 32
ENDED = ("ready", "failed", "cancelled", "expired")

# The profile of the tests: everything that keeps the promises happens within seconds.
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
    # A few people ask for everything.
    "MAX_QUEUED_PER_USER": 100_000,
    "MAX_RUNNING_PER_USER": 100_000,
    "MAX_PER_USER_PER_DAY": 100_000,
    "MAX_SOCKETS_PER_USER": None,
    "MIN_FREE_DISK_BYTES": 0,
}
# Somebody who is killed on purpose again and again is no poison.
PATIENT: Mapping[str, Any] = {"MAX_CRASHES": 1000, "MAX_ATTEMPTS": 1000, "MAIL_MAX_ATTEMPTS": 1000}

ASK_MANY = """
import json, sys
from django.contrib.auth.models import User
from exports import services

count, rows, people = map(int, sys.argv[1:])
users = [User.objects.get(username=f"user{number}") for number in range(people)]
wishes = ({"first": n + 1, "rows": rows} for n in range(count))
asked = [services.request_export(users[n % people], "parcels", wish, format="csv") for n, wish in enumerate(wishes)]
print(json.dumps([str(request.pk) for request, _ in asked]))
"""


@dataclass(frozen=True)
class Asked:
    """What somebody was promised: a file with these parcels."""

    id: str
    person: int
    format: str
    first: int
    rows: int


class Site:
    """The servers and the programs. `bucket` stores in S3, else in a folder. `exports` changes EXPORTS.

    `endpoint` stands between the programs and S3: given the address of the server, it returns another one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bucket: bool = False,
        workers: Sequence[str] = ("large", "large", "small"),
        housekeepers: int = 1,
        exports: Mapping[str, Any] | None = None,
        rows: int = ROWS,
        endpoint: Callable[[str], str] = lambda url: url,
    ) -> None:
        self.folder = folder
        self.files, self.work = folder / "files", folder / "work"
        self.rows = rows
        self.port = free_port()
        self.postgres, self.valkey, self.mailbox = Postgres(), Valkey(), Mailbox()
        self.moto = SmallPartMoto() if bucket else None
        self.programs: dict[str, Program] = {}
        self.sessions: list[str] = []
        self.asked: list[Asked] = []
        self._endpoint = endpoint
        self._exports = {**PROFILE, "WORK_DIR": str(self.work), **(exports or {})}
        queue_names = {f"worker{number}": ["work", queue_name] for number, queue_name in enumerate(workers, start=1)}
        self._verbs = queue_names | {f"housekeeper{number + 1}": ["housekeep"] for number in range(housekeepers)}
        self._open = ExitStack()
        self._database: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for server in self.servers:
                opened.enter_context(server)
            self._prepare()
            for program in self._made():
                opened.callback(program.close)
                self.programs[program.role] = program
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
    def servers(self) -> list[Server]:
        return [self.postgres, self.valkey, self.mailbox, *([self.moto] if self.moto else [])]

    def of(self, role: str) -> list[Program]:
        """The programs whose role begins so: "worker", "housekeeper", "web"."""
        return [program for name, program in self.programs.items() if name.startswith(role)]

    def _prepare(self) -> None:
        self.postgres.create_database("storm")
        command = [sys.executable, "-m", "tests.storm.prepare", str(self.rows), str(PEOPLE)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.sessions = json.loads(done.stdout)

    def _made(self) -> Iterator[Program]:
        manage = [sys.executable, "manage.py", "exports"]
        web = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), "project.asgi:application"]
        for role, command, ready in [
            ("web", web, "Listening on TCP"),
            *((role, [*manage, *verb], "ready") for role, verb in self._verbs.items()),
        ]:
            own = {faults.VARIABLE: f"@{self.faults_of(role)}"}
            yield Program(role, command, ready, self.environment | own)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        given = {
            "database": self.postgres.url("storm"),
            "smtp_port": self.mailbox.port,
            "redis": self.valkey.url,
            "files": str(self.files),
            "bucket": self._storage(),
            "exports": {**self._exports, "REDIS_URL": self.valkey.url, "BASE_URL": f"http://127.0.0.1:{self.port}"},
        }
        own = {"DJANGO_SETTINGS_MODULE": "tests.storm.settings", "STORM_SETTINGS": json.dumps(given)}
        return inherited | own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "AWS_MAX_ATTEMPTS": "3"}

    def _storage(self) -> dict[str, object] | None:
        if self.moto is None:
            return None
        return self.moto.storage(endpoint_url=self._endpoint(self.moto.url))

    # What may happen

    def faults_of(self, role: str) -> Path:
        """The file by which the fault points of a role are armed: "web", or one for all workers, one for all
        housekeepers."""
        return self.folder / f"faults-{role.rstrip('0123456789')}"

    def arm(self, role: str, text: str) -> None:
        path = self.faults_of(role)
        new = path.with_name(f"{path.name}-new")
        new.write_text(text)
        # At once, so that nobody reads half of it.
        new.rename(path)

    def has_struck(self, role: str, point: str) -> bool:
        return faults.marker_path(self.faults_of(role), point).exists()

    def disarm(self, role: str) -> None:
        """Nothing strikes any more, and what was armed once may be armed again."""
        self.arm(role, "")
        for point in faults.POINTS:
            faults.marker_path(self.faults_of(role), point).unlink(missing_ok=True)

    def tend(self) -> None:
        """Start what has ended."""
        for program in self.programs.values():
            if not program.is_running:
                program.launch()

    def freeze(self, role: str) -> None:
        """Whoever has this role does nothing more until `thaw_all`."""
        for program in self.of(role):
            program.freeze()

    def thaw_all(self) -> None:
        for program in self.programs.values():
            if program.is_frozen:
                program.thaw()

    def housekeep(self) -> None:
        """One more sweep, from beginning to end, besides those of the housekeepers."""
        command = [sys.executable, "manage.py", "exports", "housekeep", "--once"]
        subprocess.run(
            command, cwd=ROOT, env=self.environment | {"STORM_ROLE": "once"}, check=True, capture_output=True
        )

    def run(self, code: str, *arguments: str) -> str:
        """What a script prints that runs in a process of its own, with the app set up."""
        command = [sys.executable, "-c", f"import django; django.setup()\n{code}", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # What people do

    def client(self, person: int) -> httpx.Client:
        cookies = {"sessionid": self.sessions[person], "csrftoken": TOKEN}
        headers = {"Accept": "application/json", "X-CSRFToken": TOKEN}
        # Without certificates, since reading them takes longer than an answer.
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            cookies=cookies,
            headers=headers,
            timeout=10,
            trust_env=False,
            verify=False,
        )

    def ask(
        self, person: int = 0, *, format: str = "csv", first: int = 1, rows: int = 1000, type: str = "parcels"
    ) -> Asked:
        """Ask for an export, and again while the site does not answer: the same wish gets the same request."""
        wish = {"format": format, "first": str(first), "rows": str(rows)}
        state = self._posted(person, f"/exports/new/{type}/", wish)
        asked = Asked(state["id"], person, format, first, rows)
        if type == "parcels" and asked not in self.asked:
            self.asked.append(asked)
        return asked

    def ask_many(self, count: int, *, rows: int) -> None:
        """What `ask` does, once for each of so many different wishes of all people, in one process beside the web."""
        ids = json.loads(self.run(ASK_MANY, str(count), str(rows), str(PEOPLE)))
        self.asked += [Asked(each, n % PEOPLE, "csv", n + 1, rows) for n, each in enumerate(ids)]

    def _posted(self, person: int, path: str, wish: Mapping[str, str]) -> dict[str, Any]:
        answers: list[httpx.Response] = []

        def is_accepted() -> bool:
            self.tend()
            with suppress(httpx.TransportError), self.client(person) as client:
                answers.append(client.post(path, data=wish))
                return answers[-1].status_code == 202
            return False

        self.until(is_accepted, f"POST {path} was not accepted", pause=0.1)
        return answers[-1].json()

    def post(self, person: int, export_id: str, verb: str) -> httpx.Response:
        with self.client(person) as client:
            return client.post(f"/exports/{export_id}/{verb}/")

    # What there is

    def sql(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows by a connection of the harness's own, a new one when PostgreSQL has been away."""
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
                assert self.postgres.is_running, "PostgreSQL is not there"
                time.sleep(0.05)

    def statuses(self) -> dict[str, int]:
        return dict(self.sql("SELECT status, count(*) FROM exports_filerequest GROUP BY status"))

    def status(self, export_id: str) -> str:
        [(status,)] = self.sql("SELECT status FROM exports_filerequest WHERE id = %s", [UUID(export_id)])
        return status

    def until(self, condition: Callable[[], object], complaint: str, *, seconds: float = 90, pause: float = 0) -> None:
        def is_so() -> bool:
            if condition():
                return True
            time.sleep(pause)
            return False

        wait_until(is_so, seconds=seconds, describe=lambda: f"{complaint}\n{self.last_words()}")

    def until_ended(self, *, seconds: float = 90) -> None:
        """Nothing waits or runs any more. What has died is started again meanwhile."""

        def is_over() -> bool:
            self.tend()
            return set(self.statuses()) <= set(ENDED)

        self.until(is_over, f"not all exports have ended: {self.statuses()}", seconds=seconds, pause=0.1)

    def until_clean(self, *, seconds: float = 60) -> None:
        """Housekeeping has looked twice at all bytes that nobody needs: only the files of ready exports are known."""
        garbage = "SELECT 1 FROM exports_artifact WHERE state <> 'published' LIMIT 1"

        def is_over() -> bool:
            self.tend()
            return not self.sql(garbage) and not any(self.work.glob("*"))

        self.until(is_over, "not all garbage is collected", seconds=seconds, pause=0.1)

    def until_mailed(self, *, seconds: float = 60) -> None:
        """The outbox is empty."""

        def is_over() -> bool:
            self.tend()
            return not self.sql("SELECT 1 FROM exports_notification WHERE state IN ('pending', 'sending') LIMIT 1")

        self.until(is_over, "not all mails are settled", seconds=seconds, pause=0.1)

    def keep_logs(self) -> None:
        """What all programs said, and the journal, beside the files: for whoever looks for the reason."""
        for name, program in self.programs.items():
            (self.folder / f"{name}.log").write_text(program.words())
        for table in ("storm_journal", "storm_mails", "exports_artifact"):
            lines = (" ".join(map(str, row)) for row in self.sql(f"SELECT * FROM {table} ORDER BY id"))
            (self.folder / f"{table}.txt").write_text("\n".join(lines))

    def last_words(self) -> str:
        tails = {name: program.words()[-700:] for name, program in self.programs.items()}
        return "\n".join(f"--- {name}\n{tail}" for name, tail in tails.items()) + f"\n{self.statuses()}"
