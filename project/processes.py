"""A child process of the launcher: start it, wait until it is ready, restart it, stop it."""

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
POLL_SECONDS = 0.05
FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 10.0
STEADY_SECONDS = 10.0
LAST_OUTPUT_SECONDS = 1.0
READY = re.compile(r"\bready\b")

Report = Callable[[str], None]


class NotStarted(Exception):
    """A process ended, or was silent for too long, before it was ready. The message contains its last lines."""


def say(line: str) -> None:
    """Print a line at once."""
    # A terminal or pipe that is gone must not end the thread that reads a process: the process would block.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command wrapped so that it gets SIGTERM when the calling thread ends (on Linux): see tether.py."""
    return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command]


class Process:
    """A named process. It is ready when `is_ready` returns True, or else once it prints the word "ready".

    It leads a process group, so that Ctrl-C reaches only the launcher, which stops its processes in order.
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
        stop_seconds: float = 30.0,
    ) -> None:
        self.name, self.command, self.environment = name, command, environment
        self.report, self.shows_output, self.stop_seconds = report, shows_output, stop_seconds
        self._printed_ready = threading.Event()
        self._is_ready = is_ready or self._printed_ready.is_set
        self._last_lines: deque[str] = deque(maxlen=20)
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._failures = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def is_ready(self) -> bool:
        return self.is_running and self._is_ready()

    def start(self) -> None:
        """Start the process; do not wait for it."""
        self._printed_ready.clear()
        self._started_at, self._restart_at = time.monotonic(), None
        self._child = subprocess.Popen(
            tethered(self.command),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, args=[self._child], daemon=True)
        self._reader.start()

    def wait_until_ready(self, *, timeout: float = 60.0) -> None:
        """Raise NotStarted if the process ends first, or is not ready after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.is_ready:
            if self.is_running and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            happened = "was not ready in time"
            if not self.is_running and self._reader:
                self._reader.join(LAST_OUTPUT_SECONDS)
                happened = f"ended during startup ({self._ending()})"
            printed = "\n".join(self._last_lines) or "It printed nothing."
            raise NotStarted(f"{self.name} {happened}. Its last lines:\n{printed}")

    def restart_if_ended(self) -> None:
        """Restart the process if it has ended, after a delay that doubles with each failure. Call this repeatedly."""
        if self.is_running:
            if time.monotonic() - self._started_at > STEADY_SECONDS:
                self._failures = 0
        elif self._restart_at is None:
            delay = min(FIRST_DELAY_SECONDS * 2**self._failures, MAX_DELAY_SECONDS)
            self._restart_at = time.monotonic() + delay
            self._failures += 1
            self.kill()
            self.report(f"{self.name} ended ({self._ending()}). Restarting it in {delay:g} s.")
        elif time.monotonic() >= self._restart_at:
            self.start()

    def kill(self) -> None:
        """Send SIGKILL to the process and to its children."""
        if self._child:
            # The group may be empty; macOS reports EPERM if only a zombie is left in it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after `stop_seconds`; return once the process and its children have ended."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.report(f"{self.name} did not stop within {self.stop_seconds:g} s and is killed.")
        finally:
            self.kill()
            self._child.wait()
            # Report its last lines before the next process is stopped.
            if self._reader:
                self._reader.join(LAST_OUTPUT_SECONDS)

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout as output:
            for line in map(str.rstrip, output):
                self._last_lines.append(line)
                if self.shows_output:
                    self.report(f"{self.name:<11} | {line}")
                # After the report, so that the line is visible to those who wait for it.
                if READY.search(line):
                    self._printed_ready.set()

    def _ending(self) -> str:
        code = self._child.returncode if self._child else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
