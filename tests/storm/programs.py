"""The programs of a storm's site: processes of the app, each in a folder of its own, that are killed and frozen."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from project.processes import TETHER
from tests.bucket.server import Moto
from tests.servers import Server, wait_until

ROOT = Path(__file__).resolve().parents[2]


class SmallPartMoto(Moto):
    """S3 that takes parts of any size."""

    def options(self) -> dict[str, object]:
        return {"env": {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1"}}


class Program(Server):
    """One process of the app, in a folder of its own, where its temporary files are too."""

    def __init__(self, role: str, command: Sequence[str], ready: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.role, self._command, self._ready = role, command, ready
        (self.folder / "tmp").mkdir()
        self._environment = {**environment, "STORM_ROLE": role, "TMPDIR": str(self.folder / "tmp")}
        self._heard_before = 0
        self.is_frozen = False

    def command(self) -> list[str]:
        # It ends with the thread that has started it, however that ends.
        return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self._command]

    def options(self) -> dict[str, object]:
        return {"cwd": ROOT, "env": self._environment}

    def launch(self) -> None:
        """Start without waiting."""
        self._heard_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self.options(),
            )  # fmt: skip

    def start(self) -> None:
        if not self.is_running:
            self.launch()
        wait_until(self._answers_or_raises, describe=self._last_words)

    def answers(self) -> bool:
        return re.search(self._ready, self.words()[self._heard_before :]) is not None

    def words(self) -> str:
        """All that it has logged, of all its lives."""
        return self.log.read_bytes().decode("latin1") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, and its body is taken away."""
        self._send(signal.SIGKILL)
        self.is_frozen = False
        if self.process is not None:
            self.process.wait()

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        self._send(signal.SIGCONT)
        self.is_frozen = False

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.thaw()
        super().stop(signum)

    def _send(self, signum: int) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)
