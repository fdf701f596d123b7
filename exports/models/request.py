"""FileRequest: the row that is the job."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.db.models import Q
from django.db.models.expressions import Combinable
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exports import storage
from exports.access import tenants
from exports.access.system import SYSTEM_USER
from exports.conf import config
from exports.exceptions import TransitionNotAllowed
from exports.models.clock import Now
from exports.models.progress import QUEUED as QUEUED_PHASE
from exports.models.progress import Snapshot
from exports.models.token import is_open_to, within_token
from exports.storage.field import ConfigurableFileField, FileNameField

AnyUser = AbstractUser | AnonymousUser
DatabaseTime = datetime | Combinable
"""`Now()`, the time of the database's clock; in tests a datetime."""


LAST_STARTED = 20
"""How many requests that began last tell which turn is served now."""


class Status(models.TextChoices):
    """The states of an export. docs/architecture.md has the table of transitions between them."""

    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    EXPIRED = "expired", _("Expired")


ACTIVE = (Status.QUEUED, Status.RUNNING)
TERMINAL = (Status.READY, Status.FAILED, Status.CANCELLED, Status.EXPIRED)
WITHOUT_FILE = Q(status__in=[Status.FAILED, Status.CANCELLED])


class FileRequestQuerySet(models.QuerySet["FileRequest"]):
    """Queries of views, workers and housekeeping."""

    def visible_to(self, user: AnyUser) -> Self:
        """Keep the user's own requests, or all if the user has the permission to view file requests.

        Requests that their owner has deleted, or whose type the user's token does not open, are left out.
        """
        if not user.is_authenticated or not user.is_active:
            return self.none()
        kept: Self = within_token(self.of_tenant().filter(removed_at=None), user)
        return kept if user.has_perm("exports.view_filerequest") else kept.filter(requester=user)

    def owned_by(self, user: AnyUser) -> Self:
        """Keep the user's own requests, except those that the user has deleted. An anonymous user has none."""
        own: Self = within_token(self.of_tenant().filter(requester=user.pk, removed_at=None), user)
        return own if user.is_authenticated else self.none()

    def of_tenant(self) -> Self:
        """Keep the requests of the current tenant, or all of a site without tenants."""
        return self if config.TENANT_OF is None else self.filter(tenant=tenants.current())

    def without_details(self) -> Self:
        """Leave out the long columns that STATE does not need; reading one of them costs a query."""
        return self.defer("criteria", "options", "columns", "error_detail")

    def timed(self) -> Self:
        """Give each row `read_at`, the time of the database's clock."""
        return self.annotate(read_at=Now())

    def active(self) -> Self:
        return self.filter(status__in=ACTIVE)

    def due(self, now: DatabaseTime) -> Self:
        """Keep waiting requests that a worker may claim now."""
        return self.filter(Q(not_before=None) | Q(not_before__lte=now), status=Status.QUEUED, finished_at=None)

    def abandoned(self, now: DatabaseTime) -> Self:
        """Keep running requests whose lease has expired."""
        return self.filter(status=Status.RUNNING, lease_expires_at__lt=now)

    def in_turn(self) -> Self:
        """Order waiting requests as workers claim them: by turn, those of one turn by age (`scheduling.next_turn`)."""
        return self.order_by("turn", "requested_at", "pk")

    def to_handle(self) -> Self:
        """Keep unfinished requests, oldest first. A name of dj-bgfiles."""
        return self.filter(finished_at=None).order_by("requested_at", "pk")

    def remove_expired(
        self,
        treshold: datetime | None = None,
        timeout: float | None = None,
        sleep: float | None = None,
        max_items: int | None = None,
        *,
        threshold: datetime | None = None,
        on_deleted: Callable[[int, int], None] | None = None,
    ) -> tuple[str, int, int]:
        """Delete the requests that expired before `threshold` (default: now), earliest first, through `delete()`.

        Sleep `sleep` seconds before each but the first, and call `on_deleted(deleted, total)` after each. Stop after
        `max_items`, or after the row during which the epoch second `timeout` passed. A name of dj-bgfiles, whose
        spelling `treshold` works too.

        Returns ("processed" | "max_items" | "timeout", number of deleted rows, number of expired rows).
        """
        expired = self.filter(expires_at__lte=treshold or threshold or timezone.now()).order_by("expires_at", "pk")
        keys = list(expired.values_list("pk", flat=True))
        for deleted, key in enumerate(keys, start=1):
            if sleep and deleted > 1:
                time.sleep(sleep)
            for export in self.filter(pk=key):
                export.delete()
            if on_deleted is not None:
                on_deleted(deleted, len(keys))
            if deleted == max_items:
                return "max_items", deleted, len(keys)
            if timeout and time.time() > timeout:
                return "timeout", deleted, len(keys)
        return "processed", len(keys), len(keys)


class FileRequest(models.Model):
    """A requested file, from the request until its bytes are deleted. The row is also the job of a worker.

    `save()` writes the columns that the caller changed, but never TRANSITION_COLUMNS: only `transitions` does.
    """

    TRANSITION_COLUMNS = frozenset(
        {
            "status", "epoch", "seq", "turn", "is_held_back", "attempts", "crashes", "lease_owner", "lease_expires_at",
            "not_before", "woken_at", "deadline_at", "phase", "phase_started_at", "progressed_at", "rows_done",
            "rows_total", "rows_estimated", "bytes_done", "bytes_total", "started_at", "error_code", "error_detail",
            "error_numbers", "sha256", "receipt", "dedupe_key", "seen_at", "public_until", "erased_at", "permission",
            "tenant", "removed_at", "by_system",
        }
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    criteria = models.TextField(blank=True)
    filehandle = ConfigurableFileField(null=True, blank=True)
    filename = FileNameField(_("filename"), max_length=200, blank=True)
    description = models.TextField(_("description"), blank=True)
    label = models.CharField(_("label"), max_length=200, blank=True, default="", db_default="")
    file_type = models.CharField(_("file type"), max_length=100, blank=True)
    content_type = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(_("size"), null=True, blank=True)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("requester"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        # The indexes of its history and of its turns begin with it.
        db_index=False,
        related_name="requested_downloads",
    )
    requester_language = models.CharField(max_length=10, blank=True)
    requester_timezone = models.CharField(max_length=200, blank=True)
    requested_at = models.DateTimeField(_("requested at"), default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True, db_index=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.QUEUED, editable=False)
    format = models.CharField(_("format"), max_length=20, blank=True)
    options = models.JSONField(default=dict, blank=True)
    columns = models.JSONField(default=list, db_default=[], blank=True)
    queue_name = models.CharField(_("queue name"), max_length=20, default="large")
    epoch = models.PositiveIntegerField(default=0, editable=False)
    seq = models.PositiveIntegerField(default=0, editable=False)
    turn = models.BigIntegerField(default=0, db_default=0, editable=False)
    is_held_back = models.BooleanField(default=False, db_default=False, editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, editable=False)
    crashes = models.PositiveSmallIntegerField(_("crashes"), default=0, editable=False)
    lease_owner = models.CharField(_("lease owner"), max_length=200, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    not_before = models.DateTimeField(null=True, editable=False)
    woken_at = models.DateTimeField(null=True, editable=False)
    deadline_at = models.DateTimeField(null=True, editable=False)
    phase = models.CharField(_("phase"), max_length=10, default=QUEUED_PHASE, editable=False)
    phase_started_at = models.DateTimeField(null=True, editable=False)
    progressed_at = models.DateTimeField(null=True, editable=False)
    rows_done = models.BigIntegerField(_("rows done"), default=0, editable=False)
    rows_total = models.BigIntegerField(_("rows total"), null=True, editable=False)
    rows_estimated = models.BooleanField(default=False, editable=False)
    bytes_done = models.BigIntegerField(default=0, editable=False)
    bytes_total = models.BigIntegerField(null=True, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=50, blank=True, editable=False)
    error_detail = models.TextField(_("error detail"), blank=True, editable=False)
    error_numbers = models.JSONField(default=dict, db_default={}, blank=True, editable=False)
    sha256 = models.CharField(max_length=64, blank=True, editable=False)
    receipt = models.JSONField(_("receipt"), default=dict, blank=True, editable=False)
    dedupe_key = models.CharField(max_length=64, blank=True, editable=False)
    permission = models.CharField(
        _("permission"), max_length=200, blank=True, default="", db_default="", editable=False
    )
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current, db_default="")
    counts_toward_quota = models.BooleanField(default=False, editable=False)
    by_system = models.BooleanField(default=False, db_default=False, editable=False)
    sends_mail = models.BooleanField(default=True, db_default=True, editable=False)
    feed = models.ForeignKey(
        "exports.Feed", null=True, editable=False, on_delete=models.SET_NULL, related_name="runs", db_index=False
    )
    seen_at = models.DateTimeField(_("seen at"), null=True, editable=False)
    public_until = models.DateTimeField(_("public until"), null=True, editable=False)
    erased_at = models.DateTimeField(_("erased at"), null=True, editable=False)
    removed_at = models.DateTimeField(null=True, editable=False)

    objects = FileRequestQuerySet.as_manager()

    # The time of the database's clock when the row was read by `timed()`.
    read_at: datetime | None = None

    # The columns as they were loaded or last saved. Any other column was set by the caller. Any: values of columns.
    _loaded: Mapping[str, Any] = MappingProxyType({})

    # `transitions.attach`, set there: that module imports this one.
    _attach: ClassVar[Callable[..., bool]]

    class Meta:
        verbose_name = _("file request")
        verbose_name_plural = _("file requests")
        ordering = ("-requested_at",)
        permissions = (
            ("download_any_filerequest", "Can download the file of any request"),
            ("exceed_limits", "Is exempt from the limits per user"),
        )
        indexes = (
            # Pages, newest first
            models.Index(fields=["requester", "-requested_at"], name="exports_owner_history"),
            models.Index(fields=["status", "-requested_at"], name="exports_by_status"),
            models.Index(fields=["file_type", "-requested_at"], name="exports_by_type"),
            models.Index(fields=["format", "-requested_at"], name="exports_by_format"),
            # Sweeps
            models.Index(
                fields=["lease_expires_at"], name="exports_running_leases", condition=Q(status=Status.RUNNING)
            ),
            models.Index(fields=["expires_at"], name="exports_to_expire", condition=Q(status=Status.READY)),
            models.Index(fields=["expires_at"], name="exports_expired", condition=Q(status=Status.EXPIRED)),
            models.Index(
                fields=["expires_at"],
                name="exports_erase_expired",
                condition=Q(status=Status.EXPIRED, erased_at=None),
            ),
            models.Index(fields=["finished_at"], name="exports_without_file", condition=WITHOUT_FILE),
            models.Index(
                fields=["finished_at"],
                name="exports_erase_failed",
                condition=WITHOUT_FILE & Q(erased_at=None),
            ),
            # The order of a queue
            models.Index(
                fields=["queue_name", "is_held_back", "turn", "requested_at", "id"],
                name="exports_in_turn",
                condition=Q(status=Status.QUEUED),
            ),
            models.Index(
                fields=["queue_name", "requester", "turn", "requested_at"],
                name="exports_held_back",
                condition=Q(status=Status.QUEUED, is_held_back=True),
            ),
            models.Index(fields=["queue_name", "requester", "turn"], name="exports_owner_turns"),
            models.Index(
                fields=["queue_name", "started_at"], name="exports_started", condition=Q(started_at__isnull=False)
            ),
            models.Index(fields=["feed"], name="exports_of_feed", condition=Q(feed__isnull=False)),
            models.Index(
                fields=["queue_name", "requester"], name="exports_running", condition=Q(status=Status.RUNNING)
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["dedupe_key"],
                condition=Q(status__in=[Status.QUEUED, Status.RUNNING]) & ~Q(dedupe_key=""),
                name="exports_one_active_per_dedupe_key",
            ),
        )

    def __str__(self) -> str:
        return f"{self.file_type} requested at {self.requested_at} by {self.requester}"

    # Any: arguments that only Django reads.
    def save(
        self, *args: Any, force_insert: Any = False, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        """Insert the whole row, or update the columns changed on this instance, except TRANSITION_COLUMNS.

        A row that is inserted waiting gets its turn.
        """
        if (self._state.adding or force_insert) and self.status == Status.QUEUED and not self.turn:
            self.turn = _next_turn(self)
        if not (self._state.adding or force_insert):
            if update_fields is None:
                loaded = self._loaded
                values = self._column_values()
                changed = {name for name, value in values.items() if name not in loaded or loaded[name] != value}
            else:
                changed = set(update_fields)
            update_fields = changed - self.TRANSITION_COLUMNS
        super().save(*args, force_insert=force_insert, update_fields=update_fields, **kwargs)
        self._remember(update_fields)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row, and its file once the transaction is committed.

        Housekeeping deletes the files of rows that were deleted by a cascade or a queryset, and files that the storage
        could not delete: it finds them by their Artifact.
        """
        key = self.filehandle.name
        deleted = super().delete(*args, **kwargs)
        if key:
            # Not a partial: when a robust callback raises, Django 5.2 logs its __qualname__.
            transaction.on_commit(lambda: storage.delete(key), using=self._state.db, robust=True)
        return deleted

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        export = super().from_db(*args, **kwargs)
        export._remember()
        return export

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        names = None if fields is None else list(fields)
        super().refresh_from_db(using=using, fields=names, from_queryset=from_queryset)
        self.read_at = None
        self._remember(names)

    # Any: dj-bgfiles takes a File, any object with `read`, or bytes or text.
    def attach_file(
        self,
        contents: Any,
        filename: str | None = None,
        content_type: str | None = None,
        size: int | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Store `contents` and make the request READY since `timestamp` (default: now). A name of dj-bgfiles.

        `contents` is a File, an object with `read`, bytes or text. The file and the status are saved at once; the name,
        the type and the size wait for the caller's `save()`, and falsy ones keep their old values. Raise
        TransitionNotAllowed if the request has changed state since it was loaded; housekeeping deletes the bytes then.
        """
        if self._state.adding:
            self.save()
        file = contents if hasattr(contents, "read") else ContentFile(contents)
        if not self._attach(file, filename=filename or self.filename, now=timestamp):
            raise TransitionNotAllowed("The request has changed, so this file was not attached.")
        self.filename = filename or self.filename
        self.content_type = content_type or self.content_type
        self.size = size or self.size
        self.refresh_from_db(fields=[*self.TRANSITION_COLUMNS, "filehandle", "finished_at"])

    def expire_in(self, delta: timedelta, timestamp: datetime | None = None) -> None:
        """Let the file expire `delta` after `timestamp` (default: now), without saving. A name of dj-bgfiles."""
        self.expires_at = (timestamp or timezone.now()) + delta

    @property
    def owner(self) -> AnyUser:
        """The user about whom the permission policy is asked: the requester, or the system."""
        return self.requester or (SYSTEM_USER if self.by_system else AnonymousUser())

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def progress(self) -> Snapshot:
        return Snapshot(
            phase=self.phase,
            rows_done=self.rows_done,
            rows_total=self.rows_total,
            bytes_done=self.bytes_done,
            bytes_total=self.bytes_total,
            rows_estimated=self.rows_estimated,
        )

    def is_changeable_by(self, user: AnyUser) -> bool:
        """Return True if the user may cancel the export, expire it and revoke its links."""
        return self._is_open_to(user, "exports.change_filerequest")

    def is_downloadable_by(self, user: AnyUser) -> bool:
        return self._is_open_to(user, "exports.download_any_filerequest")

    def _is_open_to(self, user: AnyUser, permission: str) -> bool:
        if not user.is_active or not is_open_to(user, self.file_type):
            return False
        is_owner = user.is_authenticated and self.requester_id == user.pk
        return is_owner or (user.has_perm("exports.view_filerequest") and user.has_perm(permission))

    def _remember(self, names: Iterable[str] | None = None) -> None:
        """Take these columns, or all of them, as unchanged from now on."""
        self._loaded = {**self._loaded, **self._column_values(names)}

    def _column_values(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the values of these columns, or of all. Deferred columns are left out, not loaded."""
        chosen = None if names is None else set(names)
        loaded = self.__dict__
        values: dict[str, Any] = {}
        for field in self._meta.concrete_fields:
            name = field.attname
            if name not in loaded or field.primary_key or not (chosen is None or {field.name, name} & chosen):
                continue
            value = loaded[name]
            if name == "filehandle":
                value = str(self.filehandle or "")
            values[name] = deepcopy(value) if isinstance(value, dict | list) else value
        return values


def _next_turn(export: FileRequest) -> int:
    """Return the turn of a new request: owners are served alternately, however many requests each of them has.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996): the turn after the last of the owner's requests, but
    not before the one that is served now, so that an owner who made no requests has no advance over the others.
    Requests that were cancelled before they began do not count. Each anonymous request has an owner to itself.
    """
    rows = FileRequest.objects.filter(queue_name=export.queue_name)
    turns = rows.filter(started_at__isnull=False).order_by("-started_at").values_list("turn", flat=True)
    # The last that began may have an old turn, since it was held back or retried.
    served = max(turns[:LAST_STARTED], default=1)
    if export.requester_id is None:
        return served
    counting = rows.filter(Q(status=Status.QUEUED) | Q(started_at__isnull=False), requester=export.requester_id)
    last = next(iter(counting.order_by("-turn").values_list("turn", flat=True)[:1]), 0)
    return max(last + 1, served)
