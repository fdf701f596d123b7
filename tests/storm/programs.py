"""The processes of the app (web, workers, housekeepers), which tests kill, freeze and start again."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from project.processes import TETHER
from tests.bucket.server import Moto
from tests.servers import Server, wait_until

ROOT = Path(__file__).resolve().parents[2]


class SmallPartMoto(Moto):
    """An S3 server that accepts parts of any size."""

    def options(self) -> dict[str, object]:
        return {"env": {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1"}}


class Program(Server):
    """One process of the app, with a separate folder for its log and its temporary files."""

    def __init__(self, role: str, command: Sequence[str], ready: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.role, self._command, self._ready = role, command, ready
        (self.folder / "tmp").mkdir()
        self._environment = {**environment, "STORM_ROLE": role, "TMPDIR": str(self.folder / "tmp")}
        self._log_offset = 0
        self.is_frozen = False
        # When it was frozen and went on, in seconds since 1970.
        self.freezes: list[tuple[float, float]] = []
        self._frozen_at = 0.0

    def command(self) -> list[str]:
        # The tether ends the process when the thread that started it ends, even by SIGKILL.
        return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self._command]

    def options(self) -> dict[str, object]:
        return {"cwd": ROOT, "env": self._environment}

    def launch(self) -> None:
        """Start without waiting until it is ready."""
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self.options(),
            )  # fmt: skip

    def start(self) -> None:
        if not self.is_running:
            self.launch()
        wait_until(self._answers, describe=self._end_of_log)

    def answers(self) -> bool:
        return re.search(self._ready, self.logged()[self._log_offset :]) is not None

    def logged(self) -> str:
        """Return everything it has logged, over all restarts."""
        return self.log.read_bytes().decode("latin1") if self.log.exists() else ""

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._send(signal.SIGKILL)
        self.is_frozen = False
        if self.process is not None:
            self.process.wait()

    def freeze(self) -> None:
        self._frozen_at = time.time()
        self._send(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        self._send(signal.SIGCONT)
        if self.is_frozen:
            self.freezes.append((self._frozen_at, time.time()))
        self.is_frozen = False

    def tell_to_stop(self) -> None:
        """Send SIGTERM without waiting."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.thaw()
        super().stop(signum)

    def _send(self, signum: int) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)
