"""Run the demo from the first start to Ctrl-C: the queue's server, the web process, the workers, the housekeeper.

bin/demo runs `python -m project.launcher`. Tests build a Demo with another environment and run its launcher in a
thread.
"""

import contextlib
import fcntl
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import IO

from project import queue_server
from project.demo import credentials
from project.processes import POLL_SECONDS, NotStarted, Process, Report, say, tethered

REPOSITORY = Path(__file__).resolve().parent.parent
RESTART_CHECK_SECONDS = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotRun(Exception):
    """The demo cannot run here; the message says why and what to do."""


class Stopped(BaseException):
    """The user pressed Ctrl-C, or the launcher got SIGTERM."""


class Launcher:
    """Start processes in order, restart those that end, and stop all in reverse order.

    `stages` are groups of processes; those of one stage are ready before the next stage starts. The thread that calls
    `run` must outlive the processes: they get SIGTERM when it ends.
    """

    def __init__(self, stages: Sequence[Sequence[Process]]) -> None:
        self.stages = stages
        self.processes = {process.name: process for stage in stages for process in stage}

    def run(self, stopping: threading.Event, *, on_ready: Callable[[], None]) -> None:
        """Run everything until `stopping` is set. If a process does not start, stop all and raise NotStarted."""
        try:
            for stage in self.stages:
                for process in stage:
                    process.start()
                for process in stage:
                    process.wait_until_ready()
            on_ready()
            while not stopping.wait(RESTART_CHECK_SECONDS):
                for process in self.processes.values():
                    process.restart_if_ended()
        finally:
            for process in reversed(self.processes.values()):
                process.stop()


@contextlib.contextmanager
def running(launcher: Launcher) -> Iterator[Launcher]:
    """Run the launcher in a thread; enter the block once all processes are ready."""
    stopping, is_ready = threading.Event(), threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        run = pool.submit(launcher.run, stopping, on_ready=is_ready.set)
        try:
            while not run.done() and not is_ready.wait(POLL_SECONDS):
                pass
            if run.done():
                run.result()
            yield launcher
        finally:
            stopping.set()


class Demo:
    """The demo site in the folder VAR_DIR and on the port PORT of `environment`. Raises CannotRun."""

    def __init__(self, environment: Mapping[str, str], *, report: Report = say) -> None:
        self.report = report
        self.var_dir = Path(environment.get("VAR_DIR") or REPOSITORY / "var").absolute()
        self.var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = free_port(environment.get("PORT") or "8000")
        self.url = f"http://127.0.0.1:{self.port}/"
        self.lock = lock(self.var_dir)
        secrets = credentials.ensure(self.var_dir / "demo.json")
        self.passwords = secrets["passwords"]
        defaults = {"SECRET_KEY": secrets["secret_key"], "BASE_URL": self.url, "LOG_LEVEL": "WARNING"}
        given = {name: value for name, value in environment.items() if value}
        fixed = {
            "BIND": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "project.settings",
            # The Procfile runs `python`: the interpreter of this environment.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
            "PORT": str(self.port),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "VAR_DIR": str(self.var_dir),
        }
        self.environment = defaults | given | fixed

    def prepare(self) -> None:
        """Create the tables, the flights and the users that are missing. Shows its progress on the terminal."""
        command = tethered([sys.executable, str(REPOSITORY / "manage.py"), "prepare_demo"])
        if subprocess.run(command, env=self.environment, process_group=0).returncode:
            raise CannotRun("The database could not be prepared; the lines above say why.")

    def close(self) -> None:
        self.lock.close()

    def launcher(self) -> Launcher:
        """Return a launcher of the queue's server, if it is ours to start, and of the processes of the Procfile."""
        server = queue_server.find(self.environment, var_dir=self.var_dir, report=self.report)
        environment = self.environment | {"REDIS_URL": server.url}
        site = []
        for line in (REPOSITORY / "Procfile").read_text().splitlines():
            name, _, command = line.partition(": ")
            is_ready = self._web_answers if name == "web" else None
            shell = ["/bin/sh", "-c", f"cd {shlex.quote(str(REPOSITORY))} && {command}"]
            site.append(Process(name, shell, environment=environment, is_ready=is_ready, report=self.report))
        return Launcher([[server.process], site] if server.process else [site])

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/login/")
            connection.getresponse()
            return True
        return False


def free_port(text: str) -> int:
    """Return the port as a number. Raises CannotRun if it is not a port or is in use."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise CannotRun(f"PORT must be a number from 1 to 65535, not {text!r}.")
    with socket.socket() as candidate:
        # As daphne does: a port whose last connections are still closing is free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", int(text)))
        except OSError as error:
            message = f"Port {text} cannot be used ({error.strerror}). Choose another: PORT=8001 bin/demo"
            raise CannotRun(message) from None
    return int(text)


def lock(var_dir: Path) -> IO[str]:
    """Lock the folder until the returned file is closed: two demos in one folder would stop each other's queue."""
    file = (var_dir / "demo.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CannotRun(f"A demo is already running in {var_dir}. Choose another: VAR_DIR=... bin/demo") from None
    return file


def main() -> int:
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, stop)
    # A process may print characters that this terminal cannot show.
    sys.stdout.reconfigure(errors="replace")
    started_at = time.monotonic()
    try:
        with contextlib.closing(Demo(os.environ)) as demo:
            say("Preparing the database ...")
            demo.prepare()
            launcher = demo.launcher()
            say(f"Starting {', '.join(launcher.processes)} ...")
            launcher.run(threading.Event(), on_ready=lambda: welcome(demo, seconds=time.monotonic() - started_at))
    except Stopped:
        say("Stopped.")
    except (CannotRun, NotStarted, queue_server.NoQueueServer) as error:
        print(f"bin/demo: {error}", file=sys.stderr)
        return 1
    return 0


def stop(signal_number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the stopping, which has its own time limits. Not SIG_IGN: Python reports an
    # error if a signal that is already pending meets it.
    for each in STOP_SIGNALS:
        signal.signal(each, lambda *_: None)
    say("\nStopping ...")
    raise Stopped


def welcome(demo: Demo, *, seconds: float) -> None:
    users = "\n".join(f"    {username:<6} {password}" for username, password in demo.passwords.items())
    mails = "go where EMAIL_URL says" if demo.environment.get("EMAIL_URL") else f"are shown at {demo.url}mails/"
    say(f"\n  Users and their passwords (staff may use the admin):\n{users}")
    say(f"  Mails {mails}\n  Started in {seconds:.1f} s. Ctrl-C stops everything.\n")
    say(f"Ready: {demo.url}")


if __name__ == "__main__":
    sys.exit(main())
