"""One program that runs beside us: started, heard, known to be ready, started again, stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")
POLL = 0.05
FIRST_DELAY = 0.25
LONGEST_DELAY = 10.0
LAST_WORDS_SECONDS = 1.0
READY = re.compile(r"\bready\b")
STEADY = 10.0

Report = Callable[[str], None]


class NotStarted(Exception):
    """A program ended, or said nothing for too long, before it was ready. The message holds its last lines."""


def say(line: str) -> None:
    # A terminal or a pipe that is gone must not end the thread that hears a program: its output would fill up.
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Process:
    """A program with a name. It is ready when `is_ready` says so, else when it prints a line with the word "ready".

    It leads a process group of its own, so that Ctrl-C reaches only us and we stop it in our order, and is tethered:
    it gets SIGTERM when the thread that started it is gone, however that ended (on Linux).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        is_ready: Callable[[], bool] | None = None,
        report: Report = say,
        shows_output: bool = True,
        stop_limit: float = 30.0,
    ) -> None:
        self.name, self.command, self.environment = name, command, environment
        self.report, self.shows_output, self.stop_limit = report, shows_output, stop_limit
        self.last_lines: deque[str] = deque(maxlen=20)
        self._asks_ready = is_ready
        self._said_ready = threading.Event()
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._started_at = 0.0
        self._died_at: float | None = None
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def is_ready(self) -> bool:
        return self.is_running and (self._asks_ready() if self._asks_ready else self._said_ready.is_set())

    def start(self) -> None:
        self._said_ready.clear()
        self._started_at, self._died_at = time.monotonic(), None
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        self._child = subprocess.Popen(
            [*tether, *self.command],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._listener = threading.Thread(target=self._listen, args=[self._child], daemon=True)
        self._listener.start()

    def wait_until_ready(self, *, timeout: float = 60.0) -> None:
        """Raises NotStarted when the program ends first, or is not ready after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.is_ready:
            if not self.is_running or time.monotonic() > deadline:
                raise NotStarted(self._account())
            time.sleep(POLL)

    def tend(self) -> None:
        """To be called again and again: starts the program anew when it has died, the later the oftener it dies."""
        now = time.monotonic()
        if self.is_running:
            if now - self._started_at > STEADY:
                self._deaths = 0
        elif self._died_at is None:
            self._note_death(now)
        elif now - self._died_at >= self._delay():
            self.start()

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started."""
        if self._child:
            # Nobody may be left in the group; macOS says "not permitted" of one that has only a zombie.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after `stop_limit` seconds. Returns when it has ended, with all that it started."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(self.stop_limit)
        except subprocess.TimeoutExpired:
            self.report(f"{self.name} did not stop within {self.stop_limit:g} s and is killed.")
        finally:
            self.kill()
            self._child.wait()
            # What it said last is heard before the next one is told to stop.
            self._listener.join(LAST_WORDS_SECONDS)

    def _listen(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                self._hear(line.rstrip())

    def _hear(self, line: str) -> None:
        self.last_lines.append(line)
        if self.shows_output:
            self.report(f"{self.name:<11} | {line}")
        # Last, so that whoever waits for it finds the line reported.
        if READY.search(line):
            self._said_ready.set()

    def _note_death(self, now: float) -> None:
        self._died_at = now
        self._deaths += 1
        self.kill()
        self.report(f"{self.name} ended ({self._ending()}). Starting it again in {self._delay():g} s.")

    def _delay(self) -> float:
        return min(FIRST_DELAY * 2 ** (self._deaths - 1), LONGEST_DELAY)

    def _ending(self) -> str:
        code = self._child.returncode if self._child else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def _account(self) -> str:
        if self._listener and not self.is_running:
            self._listener.join(LAST_WORDS_SECONDS)
        happened = "was not ready in time" if self.is_running else f"ended at its start ({self._ending()})"
        said = "\n".join(self.last_lines) or "It printed nothing."
        return f"{self.name} {happened}. Its last lines:\n{said}"
