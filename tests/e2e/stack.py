"""The demo site as its launcher runs it: daphne, two workers, the housekeeper and Valkey."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
import psycopg

from exports import faults
from project.launcher import Demo, running
from project.processes import Process
from tests.servers import Postgres, Smtp, free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent

# Recovery, housekeeping and mails take seconds instead of minutes, and a repeated request makes a new file.
SHORT_TIMES = {
    "EXPORTS_REUSE_WITHIN_SECONDS": "0",
    "EXPORTS_LEASE_SECONDS": "2",
    "EXPORTS_HEARTBEAT_SECONDS": "0.5",
    "EXPORTS_HOUSEKEEPING_INTERVAL_SECONDS": "0.5",
    "EXPORTS_MAIL_DELAY_SECONDS": "2",
}
FINISH_SECONDS = 240.0
BATCH_SECONDS = 0.0075

State = dict[str, Any]


class Stack:
    """A demo in `folder`, with SQLite in that folder unless a `database` is given. Mails go to `smtp`."""

    def __init__(self, folder: Path, smtp: Smtp, *, database: Postgres | None = None) -> None:
        self.folder = folder
        self.smtp = smtp
        self.database = database
        self.database_url = database_url = database.create_database("flights") if database else ""
        own = {"VAR_DIR": str(folder), "PORT": str(free_port()), "EMAIL_URL": smtp.url, "DATABASE_URL": database_url}
        # A test slows exports down by a rule in this file.
        self._faults = folder / "faults"
        own[faults.VARIABLE] = f"@{self._faults}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        # pytest shows the output of the processes with a test that fails.
        self.demo = Demo(inherited | own | SHORT_TIMES, report=logging.getLogger("site").warning)
        self.processes: dict[str, Process] = {}
        self._open = ExitStack()
        self._sessions: dict[str, list[Cookie]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.demo.lock)
            self.demo.prepare()
            self.processes = opened.enter_context(running(self.demo.launcher())).processes
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        return self.demo.url.rstrip("/")

    @contextmanager
    def slowly(self) -> Iterator[None]:
        """Let workers pause after each batch of rows while the block runs, so that a test can interrupt them."""
        self._faults.write_text(f"mid_rows=sleep:{BATCH_SECONDS}")
        yield
        self.hurry()

    def hurry(self) -> None:
        """Let workers go on at full speed: the test has interrupted what it wanted to interrupt."""
        self._faults.write_text("")

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let every export fail at its first row while the block runs."""
        self._faults.write_text("first_row=raise")
        yield
        self._faults.write_text("")

    @contextmanager
    def without_sessions(self) -> Iterator[None]:
        """Let the web process answer signed-in users with 500 while the block runs: their table has another name."""
        rename = "ALTER TABLE {} RENAME TO {}"
        list(self.rows(rename.format("django_session", "hidden_session")))
        try:
            yield
        finally:
            list(self.rows(rename.format("hidden_session", "django_session")))

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process; the launcher starts it again."""
        self.processes[name].kill()

    def end(self, name: str, signum: int) -> None:
        """Send a signal to a process; the launcher starts it again once it has ended."""
        os.kill(self.processes[name].pid, signum)

    def housekeep(self) -> None:
        """Run housekeeping once, in addition to the housekeeper."""
        command = [sys.executable, "manage.py", "exports", "housekeep", "--once"]
        subprocess.run(command, cwd=ROOT, env=self.demo.environment, check=True, capture_output=True)

    def client(self, username: str | None) -> "Client":
        """Return an HTTP client that is signed in as this user, or anonymous for None."""
        client = self._open.enter_context(Client(self.url))
        if username:
            # Hashing a password takes most of a second on a busy machine. A test may have ended the session.
            for cookie in self._sessions.get(username, ()):
                client.cookies.jar.set_cookie(cookie)
            if client.get("/login/").status_code != 302:
                client.sign_in(username, self.demo.passwords[username])
                self._sessions[username] = list(client.cookies.jar)
        return client

    def cancel_all(self) -> None:
        """Cancel the exports that a test has left active, so that the workers are free for the next test."""
        staff = self.client("staff")
        for (export_id,) in self.rows("SELECT id FROM exports_filerequest WHERE status IN ('queued', 'running')"):
            staff.send_form(f"/exports/{UUID(str(export_id))}/cancel/", json=True)

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows of the database. Parameters are written as %s."""
        if self.database_url:
            yield from self._rows_of_postgres(query, parameters)
            return
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as connection:
            yield from connection.execute(query.replace("%s", "?"), parameters)

    def _rows_of_postgres(self, query: str, parameters: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection, connection.cursor("rows") as cursor:
            cursor.execute(query, parameters)
            yield from cursor

    def id_in_database(self, export_id: str) -> object:
        """Return a UUID as the database stores it: SQLite has only its digits."""
        return UUID(export_id) if self.database_url else UUID(export_id).hex

    def column(self, name: str, table: str, export_id: str, *, key: str = "request_id") -> list[Any]:
        """Return the values of one column in the rows of one export."""
        query = f"SELECT {name} FROM exports_{table} WHERE {key} = %s"
        return [value for (value,) in self.rows(query, [self.id_in_database(export_id)])]


class Client(httpx.Client):
    """An HTTP client with cookies and CSRF token, as in a browser. Redirects are not followed."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=30, headers={"Referer": f"{url}/"}, trust_env=False)

    def sign_in(self, username: str, password: str) -> None:
        answer = self.send_form("/login/", username=username, password=password)
        assert answer.status_code == 302, answer.text

    def send_form(self, path: str, *, json: bool = False, **fields: str) -> httpx.Response:
        token = self.cookies.get("csrftoken", "")
        headers = {"Accept": "application/json"} if json else {"Accept": "text/html"}
        return self.post(path, data={"csrfmiddlewaretoken": token, **fields}, headers=headers)

    def request_export(self, file_type: str = "flights", *, format: str = "csv", **criteria: str) -> State:
        answer = self.send_form(f"/exports/new/{file_type}/", json=True, format=format, **criteria)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def state(self, state: State) -> State:
        return self.get(state["urls"]["self"]).json()

    def wait_for(self, state: State, *statuses: str) -> State:
        """Return the state once it has one of these statuses."""
        wait_until(
            lambda: self.state(state)["status"] in statuses,
            seconds=FINISH_SECONDS,
            describe=lambda: f"Not {statuses}: {self.state(state)}",
        )
        return self.state(state)

    def make(self, file_type: str = "flights", **chosen: str) -> State:
        """Request an export, wait until it is READY, and return its state."""
        return self.wait_for(self.request_export(file_type, **chosen), "ready")
