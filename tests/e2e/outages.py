"""What happens while a part of the site is away: the rows of a table in docs/operations.md.

test_outages.py causes each of them and looks for what the row says. `python -m tests.e2e.outages` prints the table.
"""

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.e2e.stack import Stack
from tests.e2e.visits import Visit
from tests.servers import wait_until

HEADER = ("What is away", "The page of a running export", "The doctor", "When it heals")
GOES_ON = "goes on"
NOTHING = "nothing"


@dataclass(frozen=True)
class Outage:
    """A row. In quotes are texts of the page, and the level and the text of the doctor's line, whose name is code.

    `strike` takes the part away inside its block, in which the page and the doctor are looked at.
    """

    away: str
    page: str
    doctor: str
    heals: str
    strike: Callable[[Stack, Visit], AbstractContextManager[object]]

    @property
    def shown(self) -> list[str]:
        return re.findall(r'"(.+?)"', self.page)

    @property
    def found(self) -> tuple[str, str, str] | None:
        """The name, the level and a part of the text of the doctor's line, or None if it says nothing."""
        match = re.fullmatch(r'`(.+?)` (error|warning): "(.+)"', self.doctor)
        return (match[1], match[2], match[3]) if match else None


@contextmanager
def frozen(stack: Stack, *names: str) -> Iterator[None]:
    groups = [os.getpgid(stack.processes[name].pid) for name in names]

    def send(signum: int) -> None:
        for group in groups:
            os.killpg(group, signum)

    def has_frozen() -> bool:
        send(signal.SIGSTOP)
        if stack.database is None and is_locked(stack.folder / "db.sqlite3"):
            # Frozen while it writes to SQLite, a process keeps all others from writing.
            send(signal.SIGCONT)
            return False
        return True

    wait_until(has_frozen)
    try:
        yield
    finally:
        send(signal.SIGCONT)


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


@contextmanager
def worker_killed(stack: Stack, visit: Visit) -> Iterator[None]:
    stack.kill("large")
    yield


@contextmanager
def worker_frozen(stack: Stack, visit: Visit) -> Iterator[None]:
    with frozen(stack, "large"):
        age_signs(stack)
        yield


@contextmanager
def housekeeper_frozen(stack: Stack, visit: Visit) -> Iterator[None]:
    """The worker is frozen, too: otherwise nothing needs the housekeeper."""
    with frozen(stack, "large", "housekeeper"):
        age_signs(stack)
        yield


@contextmanager
def web_frozen(stack: Stack, visit: Visit) -> Iterator[None]:
    with frozen(stack, "web"):
        yield


@contextmanager
def offline(stack: Stack, visit: Visit) -> Iterator[None]:
    visit.page.context.set_offline(True)
    try:
        yield
    finally:
        visit.page.context.set_offline(False)


@contextmanager
def database_down(stack: Stack, visit: Visit) -> Iterator[None]:
    assert stack.database is not None
    stack.database.stop()
    try:
        yield
    finally:
        stack.database.start()


@contextmanager
def queue_frozen(stack: Stack, visit: Visit) -> Iterator[None]:
    with frozen(stack, "queue"):
        yield


@contextmanager
def queue_full(stack: Stack, visit: Visit) -> Iterator[None]:
    with client_of_queue(stack) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def queue_read_only(stack: Stack, visit: Visit) -> Iterator[None]:
    with client_of_queue(stack) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def mail_server_down(stack: Stack, visit: Visit) -> Iterator[None]:
    stack.smtp.stop()
    try:
        yield
    finally:
        stack.smtp.start()


@contextmanager
def mail_refused(stack: Stack, visit: Visit) -> Iterator[None]:
    """Inside the block the mail about an export of another user has been given up."""
    with stack.smtp.refusing("550 No such user"):
        export = stack.client("grace").make(month_from="1", month_to="1")
        wait_until(lambda: stack.column("state", "notification", export["id"]) == ["suppressed"])
    yield


@contextmanager
def client_of_queue(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.processes["web"].environment["REDIS_URL"]) as client:
        yield client


def age_signs(stack: Stack) -> None:
    """Make all signs of life ten minutes older, as if the processes had been away for so long."""
    with client_of_queue(stack) as client:
        for key in client.keys("*.present"):
            for sign in client.zrange(key, 0, -1):
                client.zincrby(key, -600, sign)


OUTAGES = (
    Outage(
        "a worker is killed",
        '"Starting over, attempt 2"',
        NOTHING,
        "after the lease (60 s): another worker starts over",
        worker_killed,
    ),
    Outage(
        "all workers of the queue are frozen or gone",
        '"No worker is running"',
        '`worker large` error: "None is running"',
        "as soon as a worker runs",
        worker_frozen,
    ),
    Outage(
        "the housekeeper, and with it the rescue of a frozen worker's export",
        '"No news from the worker for"',
        '`housekeeper` error: "Ran 10 min ago"',
        "as soon as a housekeeper runs",
        housekeeper_frozen,
    ),
    Outage(
        "the web process is frozen or gone",
        '"Connection lost, still trying"',
        NOTHING,
        "within 15 s after it is back; the worker has gone on",
        web_frozen,
    ),
    Outage(
        "the browser is offline",
        '"Connection lost, still trying"',
        NOTHING,
        "at once when it is online; the worker has gone on",
        offline,
    ),
    Outage(
        "the queue's server does not answer",
        f"{GOES_ON}, by polling",
        '`queue` error: "TimeoutError"',
        "at once; requests made meanwhile begin within `WAKE_AGAIN_SECONDS`",
        queue_frozen,
    ),
    Outage(
        "the queue's server is full",
        GOES_ON,
        '`queue` error: "refuses to store a message: command not allowed when used memory"',
        "at once; requests made meanwhile begin within `WAKE_AGAIN_SECONDS`",
        queue_full,
    ),
    Outage(
        "the queue's server is a replica",
        f"{GOES_ON}, by polling",
        '`queue` error: "refuses to store a message: You can\'t write against a read only replica"',
        "at once; requests made meanwhile begin within `WAKE_AGAIN_SECONDS`",
        queue_read_only,
    ),
    Outage(
        "the mail server",
        GOES_ON,
        '`mail server` error: "ConnectionRefusedError"',
        "mails are retried after 30 s, then at growing intervals of up to an hour, for `MAIL_RETRY_SECONDS`",
        mail_server_down,
    ),
    Outage(
        "the mail server refuses a recipient for good (550)",
        GOES_ON,
        '`mails` error: "were given up"',
        "when staff [send the mails again](#send-mails-again)",
        mail_refused,
    ),
    Outage(
        "the database (PostgreSQL)",
        '"No news from the worker for"',
        '`database` error: "OperationalError"',
        "within 15 s after it is back; the export starts over, after the lease if its worker was lost",
        database_down,
    ),
)


def table() -> str:
    """Return the table in Markdown."""
    rows = [HEADER, ("---",) * len(HEADER), *((each.away, each.page, each.doctor, each.heals) for each in OUTAGES)]
    return "\n".join(f"| {' | '.join(row)} |" if row[0] != "---" else f"|{'|'.join(row)}|" for row in rows)


if __name__ == "__main__":
    print(table())
