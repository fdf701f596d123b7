"""pgbouncer in transaction mode in front of a PostgreSQL server."""

import shutil
from contextlib import suppress

import psycopg

from tests.servers import NotInstalled, Server, as_unprivileged_user, free_port

CONFIGURATION = """
[databases]
* = host={host} user={user}
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 30
max_client_conn = 1000
server_login_retry = 1
"""


class PgBouncer(Server):
    """The pooler as a child process. A connection of a client has a connection to PostgreSQL during a transaction.

    `host` is the folder of the server's socket.
    """

    def __init__(self, host: str, user: str, address: str = "127.0.0.1") -> None:
        super().__init__()
        self._host, self._user = host, user
        self.address, self.port = address, free_port(address)

    def url(self, database: str) -> str:
        return f"postgres://{self._user}@{self.address}:{self.port}/{database}"

    def command(self) -> list[str]:
        found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if found is None:
            raise NotInstalled("pgbouncer was not found. Install the package pgbouncer.")
        text = CONFIGURATION.format(host=self._host, user=self._user, address=self.address, port=self.port)
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
