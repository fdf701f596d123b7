"""An SMTP server in a separate process. It stores every mail in a file before it answers 250.

python -m tests.storm.mailbox PORT FOLDER
"""

import signal
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.servers import Server, free_port

REFUSES = "refuses"


@dataclass(frozen=True)
class Mail:
    """A mail that was accepted at this time (epoch seconds)."""

    at: float
    to: str
    message_id: str


class Mailbox(Server):
    """The server as a child process. After `refuse(True)` it answers every mail with "try again later"."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.accepted = self.folder / "accepted"
        self.accepted.mkdir()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.storm.mailbox", str(self.port), str(self.folder)]

    def answers(self) -> bool:
        return "mailbox ready" in self.log.read_text(errors="replace")

    def start(self) -> None:
        if not self.is_running and self.log.exists():
            self.log.unlink()
        super().start()

    def refuse(self, is_refusing: bool) -> None:
        refuses = self.folder / REFUSES
        if is_refusing:
            refuses.touch()
        else:
            refuses.unlink(missing_ok=True)

    def mails(self) -> Iterator[Mail]:
        for path in sorted(self.accepted.glob("*.eml")):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            yield Mail(float(path.name.split("-")[0]), str(mail["To"]), str(mail["Message-ID"]).strip())


class Handler:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # aiosmtpd finds the handler by this name.
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (self._folder / REFUSES).exists():
            return "451 Try again later"
        name = f"{time.time():.6f}-{uuid.uuid4().hex}"
        written = self._folder / "accepted" / name
        written.write_bytes(envelope.content)
        written.rename(written.with_name(f"{name}.eml"))
        return "250 OK"


def serve(port: int, folder: Path) -> None:
    Controller(Handler(folder), hostname="127.0.0.1", port=port).start()
    print("mailbox ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
