"""Workers, web servers and scripts as processes with the settings and the database of the test."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from tests.servers import Server, free_port

ROOT = Path(__file__).resolve().parents[2]
SCRIPT_SECONDS = 60
START = """
import atexit, django
from django.db import connections
django.setup()
atexit.register(connections.close_all)
"""


def environment(folder: Path, **changes: Any) -> dict[str, str]:
    """Return the environment of a process with the present settings and these changes; `folder` is for its files."""
    shared = {name: getattr(settings, name) for name in ("EXPORTS", "CHANNEL_LAYERS", "STORAGES", "ALLOWED_HOSTS")}
    given = {**shared, "DATABASES": {"default": database()}, "MEDIA_ROOT": str(settings.MEDIA_ROOT), **changes}
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.office.settings",
        "OFFICE_SETTINGS": json.dumps(given),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
    }


def database() -> dict[str, Any]:
    names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    given = {name: connection.settings_dict[name] for name in names}
    return given | {"NAME": str(given["NAME"])}


def run(code: str, folder: Path, *, before: str = "", **changes: Any) -> str:
    """Run a script in a new process, with the code `before` first, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{START}{code}"],
        cwd=ROOT, env=environment(folder, **changes), capture_output=True, text=True, timeout=SCRIPT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class Process(Server):
    """A process of the app, ready when `ready` is in its log."""

    ready = ""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    def options(self) -> dict[str, object]:
        return {"cwd": ROOT, "env": environment(self.folder, **self.changes)}

    def answers(self) -> bool:
        return self.ready in self.words()

    def words(self) -> str:
        """All that it has logged."""
        return self.log.read_text() if self.log.exists() else ""


class Worker(Process):
    """`manage.py exports work LANE`"""

    def __init__(self, queue_name: str = "small", **changes: Any) -> None:
        super().__init__(**changes)
        self.queue_name = queue_name
        self.ready = f"worker {queue_name}: ready"

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "exports", "work", self.queue_name]


class Daphne(Process):
    """The web process, on a free port, below the path `root`."""

    root = ""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.port = free_port()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        address = ["-b", "127.0.0.1", "-p", str(self.port), "--root-path", self.root]
        return [sys.executable, "-m", "exports.asgi.daphne", *address, "project.asgi:application"]

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class Uvicorn(Daphne):
    """The web process under another ASGI server."""

    def command(self) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--root-path", self.root]
        return [sys.executable, "-m", "uvicorn", *address, "project.asgi:application"]


class GunicornWithGevent(Daphne):
    """A WSGI server whose threads are greenlets."""

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", self.host,
            "django.core.wsgi:get_wsgi_application()",
        ]  # fmt: skip
