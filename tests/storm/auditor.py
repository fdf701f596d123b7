"""The auditor: after a storm, compares every row, file, object, part, work file and mail with what must be.

It reads the database by SQL, the storage by its own client and the mails as they arrived. It asks the app nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs

from tests.storm import journal
from tests.storm.contents import fault_of, sha256_of
from tests.storm.mailbox import Mail
from tests.storm.site import Site

READY = "ready"
REQUESTS = "SELECT id, status, format, file_type, criteria, filehandle, sha256, size, seen_at FROM exports_filerequest"
MAILS = (
    "SELECT n.id, n.request_id, n.message_id, n.state, u.email, n.kind FROM exports_notification n "
    "JOIN exports_filerequest r ON r.id = n.request_id JOIN auth_user u ON u.id = r.requester_id"
)
SENDINGS = "SELECT mail_id, at, old_state, state FROM storm_mails ORDER BY id"
PARCELS = "SELECT number, name, price, day FROM storm_parcel WHERE number >= %s AND number < %s ORDER BY number"


@dataclass(frozen=True)
class Row:
    id: str
    status: str
    format: str
    file_type: str
    criteria: str
    key: str
    sha256: str
    size: int | None
    seen_at: datetime | None


@dataclass
class Audit:
    """What the auditor found wrong, a line each, and what there was."""

    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        said = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"audited: {said}; findings {len(self.findings)}", *self.findings])


def audit(site: Site, *, ends: Mapping[str, str] | None = None, mails: bool = True) -> Audit:
    """Look at a site where nothing waits or runs any more. `ends` names the requests that must not be READY, and how
    they must have ended; `mails` says whether their mails are to be counted too."""
    rows = [Row(str(pk), *rest) for pk, *rest in site.sql(REQUESTS)]
    done = Audit()
    done.counts.update({row.status: 0 for row in rows})
    done.counts.update(row.status for row in rows)
    done.findings += _lost(site, rows, ends or {})
    done.findings += _wrong_files(site, rows)
    done.findings += _orphans(site, rows)
    done.findings += journal.stale_writes(journal.steps_of(site.sql))
    if mails:
        done.findings += _wrong_mails(site, rows, done.counts)
    return done


def _lost(site: Site, rows: list[Row], ends: Mapping[str, str]) -> Iterator[str]:
    """Whoever was promised a file has it, and so does whoever was not told."""
    there = {row.id for row in rows}
    yield from (f"lost: request {asked.id} is not there" for asked in site.asked if asked.id not in there)
    for row in rows:
        must_be = ends.get(row.id, READY)
        if row.status != must_be:
            yield f"lost: request {row.id} is {row.status}, not {must_be}"


def _wrong_files(site: Site, rows: list[Row]) -> Iterator[str]:
    stored = set(stored_keys(site))
    for row in rows:
        if row.status != READY:
            continue
        if row.key not in stored:
            yield f"missing: request {row.id} has no file at {row.key}"
        elif fault := _fault(site, row, content_of(site, row.key)):
            yield f"wrong bytes: request {row.id}: {fault}"


def _fault(site: Site, row: Row, content: bytes) -> str:
    sha256 = sha256_of(content)
    if (len(content), sha256) != (row.size, row.sha256):
        return f"{len(content)} bytes, {sha256[:12]}; the row says {row.size}, {row.sha256[:12]}"
    criteria = parse_qs(row.criteria)
    first, rows = int(criteria["first"][0]), int(criteria["rows"][0])
    return fault_of(content, row.format, site.sql(PARCELS, [first, first + rows]))


def _orphans(site: Site, rows: list[Row]) -> Iterator[str]:
    """Bytes that no READY request refers to, wherever they lie."""
    wanted = {row.key for row in rows if row.status == READY}
    yield from (f"orphan: object {key}" for key in stored_keys(site) if key not in wanted)
    yield from (f"orphan: unfinished upload of {key}" for key in (site.moto.unfinished() if site.moto else ()))
    yield from (f"orphan: work file {path}" for path in site.work.rglob("*"))
    for program in site.programs.values():
        yield from (f"orphan: temporary file {path}" for path in (program.folder / "tmp").rglob("*") if path.is_file())


def stored_keys(site: Site) -> list[str]:
    if site.moto is not None:
        return site.moto.stored()
    return [str(path.relative_to(site.files)) for path in site.files.rglob("*") if path.is_file()]


def content_of(site: Site, key: str) -> bytes:
    if site.moto is not None:
        return site.moto.client().get_object(Bucket=site.moto.BUCKET, Key=key)["Body"].read()
    return Path(site.files, key).read_bytes()


# Mails

MailStep = tuple[datetime, str | None, str]


@dataclass(frozen=True)
class Letter:
    """A row of the outbox."""

    id: int
    request_id: str
    message_id: str
    state: str
    address: str
    kind: str


def _wrong_mails(site: Site, rows: list[Row], counts: Counter[str]) -> Iterator[str]:
    """Exactly one to whoever has not seen the end, none to whoever has; one more only where a mailer ended between the
    server's 250 and its own commit, and then with the same Message-ID."""
    letters = [Letter(pk, str(request), *rest) for pk, request, *rest in site.sql(MAILS)]
    arrived: dict[str, list[Mail]] = defaultdict(list)
    for mail in site.mailbox.mails():
        arrived[mail.message_id].append(mail)
    steps: dict[int, list[MailStep]] = defaultdict(list)
    for mail_id, at, old_state, state in site.sql(SENDINGS):
        steps[mail_id].append((at, old_state, state))
    unseen = {(row.id, row.status) for row in rows if row.seen_at is None}
    yield from _unannounced(rows, letters)
    for message_id in arrived.keys() - {letter.message_id for letter in letters}:
        yield f"mail: nobody wrote {message_id}"
    for letter in letters:
        copies = arrived[letter.message_id]
        counts["mails"] += len(copies)
        counts["mails again, in the gap"] += max(len(copies) - 1, 0)
        is_unseen = (letter.request_id, letter.kind) in unseen
        if fault := _fault_of_mail(letter, is_unseen, copies, steps[letter.id]):
            yield f"mail: {letter.kind} mail of request {letter.request_id}: {fault}"


def _unannounced(rows: list[Row], letters: list[Letter]) -> Iterator[str]:
    written = {(letter.request_id, letter.kind) for letter in letters}
    for row in rows:
        if row.status in (READY, "failed") and (row.id, row.status) not in written:
            yield f"mail: request {row.id} is {row.status}, and no mail says so"


def _fault_of_mail(letter: Letter, unseen: bool, copies: list[Mail], steps: list[MailStep]) -> str:
    if any(letter.address not in mail.to for mail in copies):
        return "it went to somebody else"
    if letter.state != "sent":
        is_right = letter.state == "suppressed" and not unseen and not copies
        return "" if is_right else f"it is {letter.state}, and {len(copies)} arrived"
    if not copies:
        return "it was never sent"
    attempts = _attempts(steps)
    by_attempt = Counter(sum(at <= mail.at for at, _ in attempts) for mail in copies)
    if 0 in by_attempt or max(by_attempt.values()) > 1:
        return f"{len(copies)} arrived, more than one of one attempt"
    if any(attempts[number - 1][1] == "pending" for number in by_attempt):
        return "it was put back although the server had taken it"
    return ""


def _attempts(steps: list[MailStep]) -> list[tuple[float, str]]:
    """When each attempt to send it began, and what its mailer said of its end: nothing, where it ended in the gap."""
    attempts: list[tuple[float, str]] = []
    for at, old_state, state in steps:
        if state == "sending":
            attempts.append((at.timestamp(), ""))
        elif old_state == "sending":
            attempts[-1] = (attempts[-1][0], state)
    return attempts
