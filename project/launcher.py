"""Runs the demo: the queue's server, the web process, the workers and the housekeeper, from first start to Ctrl-C.

`python -m project.launcher`, which bin/demo calls, is the whole of it. A test builds a Demo with an environment of its
own and runs its launcher in a thread.
"""

import contextlib
import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from project import queue_server
from project.demo import credentials
from project.processes import POLL, TETHER, NotStarted, Process, Report, say

REPOSITORY = Path(__file__).resolve().parent.parent
QUEUES = ("large", "small")
TEND_EVERY = 0.1
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Unable(Exception):
    """The demo cannot run here; the message is the sentence that says why and what to do."""


class Stopped(BaseException):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


class Launcher:
    """Processes that belong together: started in order, tended while they run, stopped in reverse order.

    `stages` are groups of processes; all of one are ready before the next one starts. The thread that calls `run` must
    outlive the processes: they are tethered to it.
    """

    def __init__(self, stages: Sequence[Sequence[Process]]) -> None:
        self.stages = stages
        self.processes = {process.name: process for stage in stages for process in stage}

    def run(self, stopping: threading.Event, *, on_ready: Callable[[], None]) -> None:
        """Everything, until `stopping` is set. Raises NotStarted, with all stopped, when one does not come up."""
        try:
            self.start()
            on_ready()
            while not stopping.wait(TEND_EVERY):
                self.tend()
        finally:
            self.stop()

    def start(self) -> None:
        for stage in self.stages:
            for process in stage:
                process.start()
            for process in stage:
                process.wait_until_ready()

    def tend(self) -> None:
        for process in self.processes.values():
            process.tend()

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.stop()


@contextlib.contextmanager
def running(launcher: Launcher) -> Iterator[Launcher]:
    """The launcher runs in a thread of its own inside the block, and is ready when the block begins."""
    stopping, is_ready, failures = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=run_in_thread, args=[launcher, stopping, is_ready.set, failures])
    thread.start()
    try:
        while thread.is_alive() and not is_ready.wait(POLL):
            pass
        if failures:
            raise failures[0]
        yield launcher
    finally:
        stopping.set()
        thread.join()


def run_in_thread(
    launcher: Launcher, stopping: threading.Event, on_ready: Callable[[], None], failures: list[Exception]
) -> None:
    try:
        launcher.run(stopping, on_ready=on_ready)
    except Exception as error:
        failures.append(error)


class Demo:
    """The demo site in one folder and on one port, as VAR_DIR and PORT of `environment` say. Raises Unable."""

    def __init__(self, environment: Mapping[str, str], *, report: Report = say) -> None:
        self.report = report
        self.var_dir = Path(environment.get("VAR_DIR") or REPOSITORY / "var").absolute()
        self.var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = port_of(environment)
        self.url = f"http://127.0.0.1:{self.port}/"
        self.passwords: dict[str, str] = {}
        self.lock = lock(self.var_dir)
        self.environment = self._complete(environment)

    def _complete(self, given: Mapping[str, str]) -> dict[str, str]:
        """What the processes get: what is given, and what the demo needs where nothing is."""
        secrets = credentials.ensure(self.var_dir / "demo.json")
        self.passwords = secrets["passwords"]
        defaults = {"SECRET_KEY": secrets["secret_key"], "BASE_URL": self.url, "LOG_LEVEL": "WARNING"}
        fixed = {
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "VAR_DIR": str(self.var_dir),
        }
        return defaults | {name: value for name, value in given.items() if value} | fixed

    def prepare(self) -> None:
        """The database, its flights and its users; does only what is missing. The progress is shown on our terminal."""
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        command = [*tether, sys.executable, str(REPOSITORY / "manage.py"), "prepare_demo"]
        if subprocess.run(command, env=self.environment, process_group=0).returncode:
            raise Unable("The database could not be prepared; the lines above say why.")

    def close(self) -> None:
        self.lock.close()

    def launcher(self) -> Launcher:
        server = queue_server.find(self.environment, var_dir=self.var_dir, report=self.report)
        environment = self.environment | {"REDIS_URL": server.url}
        ours = [self._process(name, command, environment) for name, command in self._commands().items()]
        return Launcher([[server.process], ours] if server.process else [ours])

    def _commands(self) -> dict[str, list[str]]:
        """The processes of the Procfile. Later ones need earlier ones, so they are stopped in reverse order."""
        manage = [sys.executable, str(REPOSITORY / "manage.py"), "exports"]
        web = [sys.executable, "-m", "daphne", "-v", "0", "--no-server-name", "-b", "127.0.0.1", "-p", str(self.port)]
        workers = {queue_name: [*manage, "work", queue_name] for queue_name in QUEUES}
        return {"web": [*web, "project.asgi:application"], **workers, "housekeeper": [*manage, "housekeep"]}

    def _process(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        is_ready = self._web_answers if name == "web" else None
        return Process(name, command, environment=environment, is_ready=is_ready, report=self.report)

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/login/")
            connection.getresponse()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def port_of(environment: Mapping[str, str]) -> int:
    """PORT, 8000 by default. Raises Unable when it is no port or somebody has it."""
    text = environment.get("PORT") or "8000"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Unable(f"PORT must be a number from 1 to 65535, not {text!r}.")
    with socket.socket() as candidate:
        # As daphne will do it: a port whose last connections are still closing is free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise Unable(f"Port {text} cannot be used ({error.strerror}). Choose another: PORT=8001 bin/demo") from None
    return int(text)


def lock(var_dir: Path) -> IO[str]:
    """Held as long as the returned file is open. Two demos in one folder would stop each other's queue."""
    file = (var_dir / "demo.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Unable(f"A demo is running in {var_dir} already. Give this one a folder: VAR_DIR=... bin/demo") from None
    return file


def main() -> int:
    for signal_number in STOPPING_SIGNALS:
        signal.signal(signal_number, stop)
    # The processes may say what this terminal has no letters for.
    sys.stdout.reconfigure(errors="replace")
    try:
        run_demo()
    except Stopped:
        say("Stopped.")
        return 0
    except (Unable, NotStarted, queue_server.NoQueueServer) as error:
        print(f"bin/demo: {error}", file=sys.stderr)
        return 1
    return 0


def stop(signal_number: int, frame: FrameType | None) -> None:
    # Once is enough: what stops the processes must not be stopped itself. Their own limits bound it. Not SIG_IGN:
    # Python complains where a signal that is on its way meets it.
    for each in STOPPING_SIGNALS:
        signal.signal(each, lambda *_: None)
    say("\nStopping ...")
    raise Stopped


def run_demo() -> None:
    started_at = time.monotonic()
    with contextlib.closing(Demo(os.environ)) as demo:
        say("Preparing the database ...")
        demo.prepare()
        launcher = demo.launcher()
        say(f"Starting {', '.join(launcher.processes)} ...")
        launcher.run(threading.Event(), on_ready=lambda: welcome(demo, seconds=time.monotonic() - started_at))


def welcome(demo: Demo, *, seconds: float) -> None:
    users = "\n".join(f"    {username:<6} {password}" for username, password in demo.passwords.items())
    mails = "go where EMAIL_URL says" if demo.environment.get("EMAIL_URL") else f"are files in {demo.var_dir / 'mails'}"
    say(f"\n  Users and their passwords (staff is of the staff):\n{users}")
    say(f"  Mails {mails}\n  Started in {seconds:.1f} s. Ctrl-C stops everything.\n")
    say(f"Ready: {demo.url}")


if __name__ == "__main__":
    sys.exit(main())
