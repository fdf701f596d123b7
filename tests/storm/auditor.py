"""The auditor compares every row, file, unfinished upload, work file and mail with what must be there after a storm.

It reads the database with SQL, S3 with a separate client, and the mails as they arrived. It uses no code of the app.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs

from tests.storm import transition_log
from tests.storm.contents import difference, sha256_of
from tests.storm.mailbox import Mail
from tests.storm.site import Site

READY = "ready"
REQUESTS = "SELECT id, status, format, criteria, filehandle, sha256, size, seen_at FROM exports_filerequest"
MAILS = (
    "SELECT n.id, n.request_id, n.message_id, n.state, u.email, n.kind FROM exports_notification n "
    "JOIN exports_filerequest r ON r.id = n.request_id JOIN auth_user u ON u.id = r.requester_id"
)
SENDINGS = "SELECT mail_id, at, old_state, state, split_part(writer, ':', 1) FROM storm_mails ORDER BY id"
PARCELS = "SELECT number, name, price, day FROM storm_parcel WHERE number >= %s AND number < %s ORDER BY number"


@dataclass(frozen=True)
class Row:
    id: str
    status: str
    format: str
    criteria: str
    key: str
    sha256: str
    size: int | None
    seen_at: datetime | None


@dataclass
class Audit:
    """One line for each finding, and the number of exports by status and of mails."""

    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"audited: {counts}; findings {len(self.findings)}", *self.findings])


def audit(site: Site, *, ends: Mapping[str, str] | None = None) -> Audit:
    """Audit a site where no export waits or runs any more.

    `ends` has the expected status of each export (by id) that must not be READY.
    """
    rows = [Row(str(pk), *rest) for pk, *rest in site.sql(REQUESTS)]
    audited = Audit()
    audited.counts.update({row.status: 0 for row in rows})
    audited.counts.update(row.status for row in rows)
    audited.findings += _lost(site, rows, ends or {})
    audited.findings += _wrong_files(site, rows)
    audited.findings += _orphans(site, rows)
    audited.findings += transition_log.forbidden_steps(transition_log.logged_steps(site.sql))
    audited.findings += _wrong_mails(site, rows, audited.counts)
    return audited


def assert_no_findings(site: Site, *, ends: Mapping[str, str] | None = None) -> Audit:
    audited = audit(site, ends=ends)
    assert audited.findings == [], str(audited)
    return audited


def _lost(site: Site, rows: list[Row], ends: Mapping[str, str]) -> Iterator[str]:
    """Yield the accepted requests without a row, and the rows in another status than expected."""
    known = {row.id for row in rows}
    yield from (f"lost: request {each.id} has no row" for each in site.requested if each.id not in known)
    for row in rows:
        expected = ends.get(row.id, READY)
        if row.status != expected:
            yield f"lost: request {row.id} is {row.status}, not {expected}"


def _wrong_files(site: Site, rows: list[Row]) -> Iterator[str]:
    stored = set(stored_keys(site))
    for row in rows:
        if row.status != READY:
            continue
        if row.key not in stored:
            yield f"missing: request {row.id} has no file at {row.key}"
        elif fault := _fault_of_file(site, row, content_of(site, row.key)):
            yield f"wrong bytes: request {row.id}: {fault}"


def _fault_of_file(site: Site, row: Row, content: bytes) -> str:
    sha256 = sha256_of(content)
    if (len(content), sha256) != (row.size, row.sha256):
        return f"{len(content)} bytes, {sha256[:12]}; the row says {row.size}, {row.sha256[:12]}"
    criteria = parse_qs(row.criteria)
    first, rows = int(criteria["first"][0]), int(criteria["rows"][0])
    return difference(content, row.format, site.sql(PARCELS, [first, first + rows]))


def _orphans(site: Site, rows: list[Row]) -> Iterator[str]:
    """Yield the bytes that belong to no READY export: objects, uploads, work files and temporary files."""
    wanted = {row.key for row in rows if row.status == READY}
    yield from (f"orphan: object {key}" for key in stored_keys(site) if key not in wanted)
    yield from (f"orphan: unfinished upload of {key}" for key in (site.moto.unfinished() if site.moto else ()))
    yield from (f"orphan: work file {path}" for path in site.work_files())
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

# When, the state before and after, and the role of the process that wrote it.
MailStep = tuple[datetime, str | None, str, str]


@dataclass(frozen=True)
class Notification:
    """A row of the outbox."""

    id: int
    request_id: str
    message_id: str
    state: str
    address: str
    kind: str


@dataclass
class Attempt:
    """An attempt to send: when it began, who sent, the state written afterwards (or ""), and a freeze during it."""

    began: float
    role: str
    state: str = ""
    was_frozen: bool = False


def _wrong_mails(site: Site, rows: list[Row], counts: Counter[str]) -> Iterator[str]:
    """Yield the mails that are missing, superfluous or wrong.

    Each export whose owner has not seen the end is told in exactly one mail, any other in none. A second copy, with the
    same Message-ID, is allowed only if the sender died between the server's 250 and its commit, or was frozen while it
    had the mail and sent it afterwards. A mail that the server has refused for good is given up.
    """
    notifications = [Notification(pk, str(request), *rest) for pk, request, *rest in site.sql(MAILS)]
    arrived: dict[str, list[Mail]] = defaultdict(list)
    identities: dict[str, set[str]] = defaultdict(set)
    for each in notifications:
        identities[each.request_id].add(each.message_id)
    for mail in site.mailbox.mails():
        arrived[mail.message_id].append(mail)
        for request_id in mail.told:
            if mail.message_id not in identities[request_id]:
                yield f"mail: {mail.message_id} tells of request {request_id}, which has another mail"
    refused = site.mailbox.refused_for_good()
    steps: dict[int, list[MailStep]] = defaultdict(list)
    for mail_id, *step in site.sql(SENDINGS):
        steps[mail_id].append(tuple(step))
    unseen = {(row.id, row.status) for row in rows if row.seen_at is None}
    notified = {(each.request_id, each.kind) for each in notifications}
    for row in rows:
        if row.status in (READY, "failed") and (row.id, row.status) not in notified:
            yield f"mail: request {row.id} is {row.status}, but has no notification"
    for message_id in arrived.keys() - {each.message_id for each in notifications}:
        yield f"mail: no notification has the Message-ID {message_id}"
    for each in notifications:
        copies = [mail for mail in arrived[each.message_id] if each.request_id in mail.told]
        counts["mails"] += len(copies)
        counts["duplicate mails"] += max(len(copies) - 1, 0)
        if each.state == "suppressed" and each.message_id in refused:
            counts["refused mails"] += 1
            continue
        attempts = _attempts(site, steps[each.id])
        if fault := _fault_of_mail(each, (each.request_id, each.kind) in unseen, copies, attempts):
            yield f"mail: {each.kind} mail of request {each.request_id}: {fault}"


def _fault_of_mail(notification: Notification, unseen: bool, copies: list[Mail], attempts: list[Attempt]) -> str:
    if any(notification.address not in mail.to for mail in copies):
        return "it went to another address"
    if notification.state != "sent":
        is_right = notification.state == "suppressed" and not unseen and not copies
        return "" if is_right else f"it is {notification.state}, and {len(copies)} arrived"
    if not copies:
        return "it was never sent"
    by_attempt = Counter(sum(attempt.began <= mail.at for attempt in attempts) for mail in copies)
    late = sum(attempt.was_frozen for attempt in attempts)
    if 0 in by_attempt or sum(by_attempt.values()) - len(by_attempt) > late:
        return f"{len(copies)} arrived, more than one of one attempt"
    if any(attempts[number - 1].state == "pending" for number in by_attempt):
        return "it was queued again although the server had accepted it"
    return ""


def _attempts(site: Site, steps: list[MailStep]) -> list[Attempt]:
    attempts: list[Attempt] = []
    for at, old_state, state, role in steps:
        if state == "sending":
            attempts.append(Attempt(at.timestamp(), role))
        elif old_state == "sending":
            attempts[-1].state = state
    for attempt, following in pairwise(attempts):
        freezes = site.programs[attempt.role].freezes if not attempt.state and attempt.role in site.programs else []
        attempt.was_frozen = any(attempt.began <= at < following.began for at, _ in freezes)
    return attempts
