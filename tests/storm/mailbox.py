"""An SMTP server in a separate process. It stores every mail in a file before it answers 250.

python -m tests.storm.mailbox ADDRESS PORT FOLDER
"""

import asyncio
import re
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

PAGE = re.compile("/exports/([0-9a-f-]{36})/page/")
REFUSES, REFUSES_FOR_GOOD, IS_SILENT = "refuses", "refuses for good", "is silent"
"""How the server may behave: "try again later", "no such user", or no answer while it lasts."""


@dataclass(frozen=True)
class Mail:
    """A mail that was accepted at this time (epoch seconds), and the exports whose pages it links to."""

    at: float
    to: str
    message_id: str
    told: frozenset[str]


class Mailbox(Server):
    """The server as a child process. `behave` changes what it answers to every mail."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.address, self.port = address, free_port(address)
        self.accepted = self.folder / "accepted"
        self.accepted.mkdir()
        self.refused = self.folder / "refused"
        self.refused.mkdir()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.storm.mailbox", self.address, str(self.port), str(self.folder)]

    def answers(self) -> bool:
        return "mailbox ready" in self.log.read_text(errors="replace")

    def start(self) -> None:
        if not self.is_running and self.log.exists():
            self.log.unlink()
        super().start()

    def refuse(self, is_refusing: bool) -> None:
        self.behave(REFUSES if is_refusing else "")

    def behave(self, way: str) -> None:
        """Behave in this way from now on; "" accepts mails."""
        for each in (REFUSES, REFUSES_FOR_GOOD, IS_SILENT):
            (self.folder / each).unlink(missing_ok=True)
        if way:
            (self.folder / way).touch()

    def mails(self) -> Iterator[Mail]:
        """Yield the mails that were accepted."""
        yield from _mails_in(self.accepted)

    def refused_for_good(self) -> set[str]:
        """Return the Message-IDs of the mails that were refused for good."""
        return {mail.message_id for mail in _mails_in(self.refused)}


def _mails_in(folder: Path) -> Iterator[Mail]:
    for path in sorted(folder.glob("*.eml")):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        text = mail.get_body(("plain",))
        told = frozenset(PAGE.findall(text.get_content() if text else ""))
        yield Mail(float(path.name.split("-")[0]), str(mail["To"]), str(mail["Message-ID"]).strip(), told)


class Handler:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # aiosmtpd finds the handler by this name.
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        was_silent = False
        while (self._folder / IS_SILENT).exists():
            was_silent = True
            await asyncio.sleep(0.1)
        if was_silent or (self._folder / REFUSES).exists():
            return "451 Try again later"
        is_refused = (self._folder / REFUSES_FOR_GOOD).exists()
        name = f"{time.time():.6f}-{uuid.uuid4().hex}"
        written = self._folder / ("refused" if is_refused else "accepted") / name
        written.write_bytes(envelope.content)
        written.rename(written.with_name(f"{name}.eml"))
        return "550 No such user" if is_refused else "250 OK"


def serve(address: str, port: int, folder: Path) -> None:
    Controller(Handler(folder), hostname=address, port=port).start()
    print("mailbox ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
