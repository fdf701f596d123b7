"""AuditEntry: the audit log. Who did what to which export, when, from where, and how it ended.

A change of an export and its entry are written in one transaction, so there is none without the other. The entry of a
download or a direct answer is written before the first byte is sent. If an entry cannot be written, the change or the
download fails. Each entry is also a line of the log `exports.audit`.
"""

import hmac
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from exports import failures
from exports.exceptions import ReadOnlyToken
from exports.filenames import visible_name
from exports.models.request import AnyUser, FileRequest
from exports.models.token import token_of_user

log = logging.getLogger("exports.audit")
errors = logging.getLogger("exports.audit_errors")

JOINED_SECONDS = 600
"""For how long ranges of one download, and refusals of one user, are counted in one entry."""

MAX_REFUSALS = 100
"""How many entries of refusals one user gets within JOINED_SECONDS; further ones are counted in the newest."""


class ActorKind(models.TextChoices):
    """What may act."""

    USER = "user", _("User")
    TOKEN = "token", _("API token")
    SCHEDULE = "schedule", _("Schedule")
    PUBLIC_LINK = "public_link", _("Public link")
    FEED = "feed", _("Address")
    ANONYMOUS = "anonymous", _("Anonymous")
    SYSTEM = "system", _("System")


@dataclass(frozen=True)
class Actor:
    """Who does something, and the network of the client. `user_id` is also that of a token, a schedule or a feed.

    A token that only reads is `is_reader`: the services let it change nothing.
    """

    kind: str
    user_id: Any = None
    name: str = ""
    address: str = ""
    is_reader: bool = False

    @classmethod
    def of(cls, user: AnyUser | None, address: str = "") -> Self:
        if user is None or not user.is_authenticated:
            return cls(ActorKind.ANONYMOUS, address=address)
        if (token := token_of_user(user)) is not None:
            return cls(ActorKind.TOKEN, user.pk, str(token), address, is_reader=not token.can_create)
        return cls(ActorKind.USER, user.pk, address=address)


# Named, so that a column that is added later breaks no seal.
SEALED_COLUMNS = (
    "id", "actor_kind", "user_id", "actor_name", "address", "verb", "outcome", "reason", "export_id", "file_type",
    "filename", "count", "byte_count", "bytes_sent", "position", "previous",
)  # fmt: skip

SYSTEM = Actor(ActorKind.SYSTEM)
WORKER = Actor(ActorKind.SYSTEM, name="worker")
HOUSEKEEPING = Actor(ActorKind.SYSTEM, name="housekeeping")


class AuditEntry(models.Model):
    """One change, download or refusal. `user` and `export` keep their ids when the user or the export is deleted.

    `count` is the number of requests in this entry: the ranges of a download, or refusals of the same kind.
    `byte_count` is the length of their responses, without the ranges that another server sends; `bytes_sent` how much
    of it the web server took, NULL if another server sends the file. With EXPORTS["AUDIT_KEYS"] housekeeping seals the
    entries (see `exports.audit`): `position`, `previous` and `seal` are then set, and the entry does not change any
    more.
    """

    class Verb(models.TextChoices):
        REQUEST = "request", _("Requested")
        START = "start", _("Started")
        REQUEUE = "requeue", _("Put back into the queue")
        PUBLISH = "publish", _("File finished")
        FAIL = "fail", _("Failed")
        CANCEL = "cancel", _("Cancelled")
        EXPIRE = "expire", _("Expired")
        DELETE = "delete", _("File deleted")
        SHARE = "share", _("Public link created")
        REVOKE = "revoke", _("Links revoked")
        DOWNLOAD = "download", _("Downloaded")
        ANSWER = "answer", _("Sent at once")
        RESEND = "resend", _("Mail sent again")
        PRESET = "preset", _("Preset changed")
        REMOVE = "remove", _("Deleted from the list")
        WEBHOOK = "webhook", _("Webhook changed")
        TOKEN = "token", _("API token changed")
        FEED = "feed", _("Address made or ended")

    class Outcome(models.TextChoices):
        DONE = "done", _("Done")
        DENIED = "denied", _("Denied")
        FAILED = "failed", _("Failed")
        # Also the outcome of a download whose process died.
        BEGUN = "begun", _("Begun")
        SENT = "sent", _("Sent to the server")
        ABORTED = "aborted", _("Aborted")
        REDIRECTED = "redirected", _("Redirected to the storage")
        HANDED_OVER = "handed_over", _("Handed over to the web server")

    at = models.DateTimeField(_("at"), default=timezone.now)
    actor_kind = models.CharField(_("actor kind"), max_length=12, choices=ActorKind)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    actor_name = models.CharField(_("actor name"), max_length=100, blank=True)
    address = models.CharField(_("address"), max_length=45, blank=True)
    verb = models.CharField(_("verb"), max_length=10, choices=Verb)
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome, default=Outcome.DONE)
    reason = models.CharField(_("reason"), max_length=100, blank=True)
    export = models.ForeignKey(
        FileRequest,
        verbose_name=_("export"),
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="audit_entries",
    )
    file_type = models.CharField(_("file type"), max_length=100, blank=True)
    filename = models.CharField(_("filename"), max_length=200, blank=True)
    count = models.PositiveIntegerField(_("count"), default=1)
    byte_count = models.BigIntegerField(_("byte count"), null=True)
    bytes_sent = models.BigIntegerField(_("bytes sent"), null=True)
    position = models.BigIntegerField(_("position"), null=True)
    previous = models.CharField(_("previous"), max_length=64, blank=True)
    seal = models.CharField(_("seal"), max_length=64, blank=True)

    class Meta:
        ordering = ("-at", "-pk")
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = (
            models.Index(fields=["at"], name="exports_audit_at"),
            models.Index(fields=["at"], name="exports_audit_open", condition=Q(position=None)),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["position"], condition=Q(position__isnull=False), name="exports_audit_position"
            ),
        )

    def __str__(self) -> str:
        return f"{self.verb} of {self.file_type} at {self.at}: {self.outcome}"

    @property
    def actor(self) -> str:
        """The actor in one text for lists and logs, without the name of a user."""
        return " ".join(
            str(part) for part in (self.actor_kind, self.user_id, self.actor_name) if part not in (None, "")
        )

    def end(self, sent: int, *, of: int, is_failed: bool = False) -> None:
        """Record that a response of `of` bytes ended after `sent`. The response is over, so an error is only logged.

        With `is_failed` the site refused the bytes itself, or could not write them.
        """
        ended = self.Outcome.SENT if sent == of else self.Outcome.ABORTED
        self.outcome = self.Outcome.FAILED if is_failed else ended
        unsealed = AuditEntry.objects.filter(pk=self.pk, position=None)
        try:
            total = Coalesce(F("bytes_sent"), 0) + sent
            if not unsealed.update(outcome=self.outcome, bytes_sent=total):
                self.reason, self.byte_count, self.bytes_sent = f"end of entry {self.pk}", of, sent
                self.pk, self.at, self.count = None, timezone.now(), 1
                self.save(force_insert=True)
        except DatabaseError as error:
            message = "request %s: the end of a download is not recorded: %s"
            failures.report(errors, message, self.export_id, error=error, level=logging.ERROR)

    def digest(self, key: str) -> str:
        """Return the HMAC-SHA256 of this entry and the seal of the one before, as the seal has it."""
        sealed = {name: getattr(self, name) for name in SEALED_COLUMNS}
        # In UTC whatever the zone of the database connection is.
        sealed["at"] = (self.at.astimezone(UTC) if timezone.is_aware(self.at) else self.at).isoformat()
        sealed |= {"user_id": str(self.user_id), "export_id": str(self.export_id)}
        return hmac.digest(key.encode(), json.dumps(sealed, sort_keys=True).encode(), "sha256").hex()


def refuse_reader(actor: Actor, verb: str | None, export_id: UUID | None = None, *, file_type: str = "") -> None:
    """Raise ReadOnlyToken for an actor that came by a token that only reads. Each verb asks first.

    It is recorded, except for what is no `verb` of the log.
    """
    if actor.is_reader:
        if verb is not None:
            denied = AuditEntry.Outcome.DENIED
            record(verb, export_id, actor, file_type=file_type, outcome=denied, reason="read_only_token")
        raise ReadOnlyToken(gettext("This API token only reads: it can request nothing and change nothing."))


def record(
    verb: str,
    export_id: UUID | None,
    actor: Actor,
    *,
    is_part: bool = False,
    # Any: columns are of any type.
    **columns: Any,
) -> AuditEntry:
    """Add an entry. A part of a download, and a refusal, is counted in a recent entry of the same if there is one."""
    entry = new_entry(verb, export_id, actor, **columns)
    if is_part or entry.outcome == AuditEntry.Outcome.DENIED:
        for same in _to_join(entry):
            unsealed = AuditEntry.objects.filter(pk=same.pk, position=None)
            more = entry.byte_count
            total = F("byte_count") if more is None else Coalesce(F("byte_count"), 0) + more
            if unsealed.update(count=F("count") + 1, outcome=entry.outcome, byte_count=total):
                return same
    entry.save(force_insert=True)
    log_entry(entry)
    return entry


def new_entry(
    verb: str,
    export_id: UUID | None,
    actor: Actor,
    *,
    file_type: str = "",
    outcome: str = AuditEntry.Outcome.DONE,
    reason: str = "",
    filename: str = "",
    byte_count: int | None = None,
) -> AuditEntry:
    """Return an entry that is not saved yet."""
    return AuditEntry(
        actor_kind=actor.kind,
        user_id=actor.user_id,
        actor_name=actor.name,
        address=actor.address,
        verb=verb,
        outcome=outcome,
        reason=visible_name(reason),
        export_id=export_id,
        file_type=file_type,
        filename=visible_name(filename)[:200],
        byte_count=byte_count,
    )


def log_entry(entry: AuditEntry) -> None:
    """Write a new entry to the log, when its transaction is committed."""
    if entry.outcome == AuditEntry.Outcome.DENIED:
        # Under ATOMIC_REQUESTS a response of 404 rolls back the entry: the line remains.
        _log(entry)
    else:
        transaction.on_commit(lambda: _log(entry), robust=True)


def _to_join(entry: AuditEntry) -> Iterator[AuditEntry]:
    """Yield the recent entry in which this one may be counted."""
    is_denied = Q(outcome=AuditEntry.Outcome.DENIED)
    recent = AuditEntry.objects.filter(
        is_denied if entry.outcome == AuditEntry.Outcome.DENIED else ~is_denied,
        user=entry.user_id,
        actor_kind=entry.actor_kind,
        address=entry.address,
        at__gte=timezone.now() - timedelta(seconds=JOINED_SECONDS),
        position=None,
    )
    about = ("actor_name", "verb", "reason", "export_id", "file_type", "filename")
    yield from recent.filter(**{name: getattr(entry, name) for name in about})[:1]
    if entry.outcome == AuditEntry.Outcome.DENIED and recent.count() >= MAX_REFUSALS:
        yield from recent[:1]


def _log(entry: AuditEntry) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    try:
        export = FileRequest.objects.filter(pk=entry.export_id).first() if entry.export_id else None
        fields: dict[str, object] = {
            "event": f"export.{entry.verb}",
            "actor": entry.actor,
            "address": entry.address,
            "outcome": entry.outcome,
            "code": entry.reason,
            "request": str(entry.export_id or ""),
            "file_type": entry.file_type,
            "bytes": entry.byte_count,
        }
        after = ""
        if export is not None:
            fields |= figures_of(export, entry.verb)
            after = f" after {fields['seconds']:.1f} s"
        reason = f" ({entry.reason})" if entry.reason else ""
        log.info(
            "request %s: %s by %s: %s%s%s",
            entry.export_id, entry.verb, entry.actor, entry.outcome, reason, after,
            extra={"fields": fields},
        )  # fmt: skip
    except Exception as error:
        # A filter or a record factory of the project may raise; the run or the request must go on.
        message = "request %s: the audit log was not written: %s"
        failures.report(errors, message, entry.export_id, error=error, level=logging.ERROR)


def figures_of(export: FileRequest, verb: str) -> dict[str, object]:
    """Return numbers about the export; `seconds` is the time in the queue for START, else since the run started."""
    if verb == AuditEntry.Verb.START:
        began, ended = export.requested_at, export.started_at
    else:
        began, ended = export.started_at or export.requested_at, export.finished_at
    seconds = max((ended - began).total_seconds(), 0.0) if began and ended else 0.0
    return {
        "epoch": export.epoch,
        "queue_name": export.queue_name,
        "seconds": round(seconds, 3),
        "format": export.format,
        "attempt": export.attempts,
        "crashes": export.crashes,
        "rows": export.rows_done,
        "bytes": export.size,
    }
