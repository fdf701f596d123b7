"""pgbouncer in front of a PostgreSQL server, in transaction mode unless a test wants another."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from django.db import connection

from tests.servers import NotInstalled, Server, as_unprivileged_user, free_port

CONFIGURATION = """
[databases]
* = host={host} user={user}
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 30
max_client_conn = 1000
server_login_retry = 1
"""


class PgBouncer(Server):
    """The pooler as a child process. A connection of a client has a connection to PostgreSQL during a transaction.

    `host` is the folder of the server's socket.
    """

    def __init__(self, host: str, user: str, address: str = "127.0.0.1", *, mode: str = "transaction") -> None:
        super().__init__()
        self._host, self._user, self._mode = host, user, mode
        self.address, self.port = address, free_port(address)

    def url(self, database: str) -> str:
        return f"postgres://{self._user}@{self.address}:{self.port}/{database}"

    def command(self) -> list[str]:
        found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if found is None:
            raise NotInstalled("pgbouncer was not found. Install the package pgbouncer.")
        text = CONFIGURATION.format(
            host=self._host, user=self._user, address=self.address, port=self.port, mode=self._mode
        )
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(text)
        if as_unprivileged_user():
            shutil.chown(self.folder, "postgres")
        return [found, str(configuration)]

    def options(self) -> dict[str, object]:
        return as_unprivileged_user()

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            return True
        return False


@contextmanager
def behind_pooler(mode: str = "transaction") -> Iterator[None]:
    """Let the connection of the tests to PostgreSQL go through pgbouncer."""
    connection.ensure_connection()
    info = connection.connection.info
    with PgBouncer(info.host, info.user, mode=mode) as pool, pytest.MonkeyPatch.context() as patched:
        connection.close()
        for name, value in {"HOST": pool.address, "PORT": str(pool.port), "OPTIONS": {}}.items():
            patched.setitem(connection.settings_dict, name, value)
        try:
            yield
        finally:
            connection.close()
