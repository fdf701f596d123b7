"""FileRequest: the row that is the job."""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exports import storage
from exports.conf import config
from exports.exceptions import TransitionNotAllowed
from exports.models.progress import QUEUED as QUEUED_PHASE
from exports.models.progress import Snapshot
from exports.storage.field import ConfigurableFileField

AnyUser = AbstractBaseUser | AnonymousUser


class Status(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    EXPIRED = "expired", _("Expired")


ACTIVE = (Status.QUEUED, Status.RUNNING)
TERMINAL = (Status.READY, Status.FAILED, Status.CANCELLED, Status.EXPIRED)


class FileRequestQuerySet(models.QuerySet["FileRequest"]):
    def visible_to(self, user: AnyUser) -> Self:
        """What this user may know of: one's own, or all with the permission to view file requests."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        return self if user.has_perm("exports.view_filerequest") else self.filter(requester=user)

    def active(self) -> Self:
        return self.filter(status__in=ACTIVE)

    def due(self, now: datetime | Combinable) -> Self:
        """Waiting rows that a worker may claim now."""
        return self.filter(Q(not_before=None) | Q(not_before__lte=now), status=Status.QUEUED, finished_at=None)

    def in_fair_order(self) -> Self:
        """The order of a queue: whoever has the fewest running in it first; among those whoever has waited longest
        since they asked, or since something of theirs was last begun: so people take turns where there is one worker,
        too."""
        since = Greatest(F("requested_at"), Coalesce(_last_served(), F("requested_at")))
        return self.annotate(busy=_running_of_owner(), since=since).order_by("busy", "since", "requested_at", "pk")

    def within_running_quota(self) -> Self:
        """Without what the running limit passes over: whose owner has as many running in this queue as they may."""
        limit = config.MAX_RUNNING_PER_USER
        if limit is None:
            return self
        return self.alias(counted=_running_of_owner(counts_toward_quota=True)).filter(
            Q(counts_toward_quota=False) | Q(counted__lt=limit)
        )

    def next_due(self, queue_name: str | None, file_types: Collection[str]) -> "FileRequest | None":
        """The request whose turn it is in this queue, or in any of them."""
        waiting = self.due(Now()).filter(file_type__in=file_types).within_running_quota()
        return (waiting if queue_name is None else waiting.filter(queue_name=queue_name)).in_fair_order().first()

    def to_handle(self) -> Self:
        """Unfinished requests, oldest first."""
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
        """Delete the requests that expired before `threshold` (now), earliest first, one by one through `delete()`.

        Sleeps `sleep` seconds before each but the first, calls `on_deleted(done, total)` after each. Stops after
        `max_items`, or after the row at which the epoch second `timeout` has passed.

        Returns ("processed" | "max_items" | "timeout", how many were deleted, how many there were).
        """
        expired = self.filter(expires_at__lte=treshold or threshold or timezone.now()).order_by("expires_at", "pk")
        keys = list(expired.values_list("pk", flat=True))
        for deleted, key in enumerate(keys, start=1):
            if sleep and deleted > 1:
                time.sleep(sleep)
            for request in self.filter(pk=key):
                request.delete()
            if on_deleted is not None:
                on_deleted(deleted, len(keys))
            if deleted == max_items:
                return "max_items", deleted, len(keys)
            if timeout and time.time() > timeout:
                return "timeout", deleted, len(keys)
        return "processed", len(keys), len(keys)

    def abandoned(self, now: datetime | Combinable) -> Self:
        """Running rows whose worker has not been heard of for a whole lease."""
        return self.filter(status=Status.RUNNING, lease_expires_at__lt=now)


class FileRequest(models.Model):
    """One file that somebody asked for, from the request to the removal of its bytes.

    `save()` writes what the caller changed and never a column in ENGINE_COLUMNS: those belong to `moves`.
    """

    ENGINE_COLUMNS = frozenset(
        {
            "status", "epoch", "seq", "attempts", "crashes", "lease_owner", "lease_expires_at", "not_before",
            "woken_at", "deadline_at", "phase", "phase_started_at", "progressed_at", "rows_done", "rows_total",
            "rows_estimated", "bytes_done", "bytes_total", "started_at", "error_code", "error_detail", "sha256",
            "receipt", "dedupe_key", "seen_at", "public_until", "erased_at",
        }
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    criteria = models.TextField(blank=True)
    filehandle = ConfigurableFileField(null=True, blank=True)
    filename = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    file_type = models.CharField(max_length=100, blank=True, db_index=True)
    content_type = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(null=True, blank=True)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="requested_downloads"
    )
    requester_language = models.CharField(max_length=10, blank=True)
    requester_timezone = models.CharField(max_length=200, blank=True)
    requested_at = models.DateTimeField(default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True, db_index=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED, editable=False)
    format = models.CharField(max_length=20, blank=True)
    options = models.JSONField(default=dict, blank=True)
    queue_name = models.CharField(max_length=20, default="large")
    epoch = models.PositiveIntegerField(default=0, editable=False)
    seq = models.PositiveIntegerField(default=0, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    crashes = models.PositiveSmallIntegerField(default=0, editable=False)
    lease_owner = models.CharField(max_length=200, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    not_before = models.DateTimeField(null=True, editable=False)
    woken_at = models.DateTimeField(null=True, editable=False)
    deadline_at = models.DateTimeField(null=True, editable=False)
    phase = models.CharField(max_length=10, default=QUEUED_PHASE, editable=False)
    phase_started_at = models.DateTimeField(null=True, editable=False)
    progressed_at = models.DateTimeField(null=True, editable=False)
    rows_done = models.BigIntegerField(default=0, editable=False)
    rows_total = models.BigIntegerField(null=True, editable=False)
    rows_estimated = models.BooleanField(default=False, editable=False)
    bytes_done = models.BigIntegerField(default=0, editable=False)
    bytes_total = models.BigIntegerField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    error_code = models.CharField(max_length=50, blank=True, editable=False)
    error_detail = models.TextField(blank=True, editable=False)
    sha256 = models.CharField(max_length=64, blank=True, editable=False)
    receipt = models.JSONField(default=dict, blank=True, editable=False)
    dedupe_key = models.CharField(max_length=64, blank=True, editable=False)
    counts_toward_quota = models.BooleanField(default=False, editable=False)
    seen_at = models.DateTimeField(null=True, editable=False)
    public_until = models.DateTimeField(null=True, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False)

    objects = FileRequestQuerySet.as_manager()

    # The columns as they were loaded or last saved. What is not in here was set by the caller.
    _loaded: Mapping[str, Any] = MappingProxyType({})

    class Meta:
        ordering = ("-requested_at",)
        permissions = (
            ("download_any_filerequest", "Can download the file of any request"),
            ("exceed_limits", "Is not held by the limits per person"),
        )
        indexes = (
            models.Index(fields=["status", "queue_name", "requested_at"], name="exports_queue"),
            models.Index(fields=["status", "lease_expires_at"], name="exports_leases"),
            models.Index(fields=["requester", "-requested_at"], name="exports_mine"),
            models.Index(fields=["queue_name", "requester", "started_at"], name="exports_turns"),
            models.Index(
                fields=["queue_name", "requester"], name="exports_running", condition=Q(status=Status.RUNNING)
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["dedupe_key"],
                condition=Q(status__in=[Status.QUEUED, Status.RUNNING]) & ~Q(dedupe_key=""),
                name="exports_one_active_twin",
            ),
        )

    def __str__(self) -> str:
        return f"{self.file_type} requested at {self.requested_at} by {self.requester}"

    def save(
        self, *args: Any, force_insert: Any = False, update_fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        """Insert the whole row, or update what was changed on this instance; never the engine's columns."""
        if not (self._state.adding or force_insert):
            chosen = self._changed() if update_fields is None else set(update_fields)
            update_fields = chosen - self.ENGINE_COLUMNS
        super().save(*args, force_insert=force_insert, update_fields=update_fields, **kwargs)
        self._remember(update_fields)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row, and its file once that is committed. What a cascade or a queryset deletes, and what the
        storage does not let go, housekeeping collects by its Artifact."""
        key = self.filehandle.name
        deleted = super().delete(*args, **kwargs)
        if key:
            # Not a partial: Django asks a callback that raises for its __qualname__.
            transaction.on_commit(lambda: storage.delete(key), using=self._state.db, robust=True)
        return deleted

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        request = super().from_db(db, field_names, values)
        request._remember()
        return request

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        names = None if fields is None else list(fields)
        super().refresh_from_db(using=using, fields=names, from_queryset=from_queryset)
        self._remember(names)

    def attach_file(
        self,
        contents: Any,
        filename: str | None = None,
        content_type: str | None = None,
        size: int | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Store `contents` and be READY since `timestamp` (now). Falsy arguments keep the old values.

        `contents` is a File, anything that can be read, or bytes or text. The file and the end are stored at once;
        name, type and size wait for the caller's `save()`. Raises TransitionNotAllowed when the request has moved on since it was
        loaded: the bytes are then collected.
        """
        from exports.models import transitions

        if self._state.adding:
            self.save()
        file = contents if hasattr(contents, "read") else ContentFile(contents)
        if not transitions.attach(self, file, filename=filename or self.filename, now=timestamp):
            raise TransitionNotAllowed("The request has moved on, so this file was not attached.")
        self.filename = filename or self.filename
        self.content_type = content_type or self.content_type
        self.size = size or self.size
        self.refresh_from_db(fields=[*self.ENGINE_COLUMNS, "filehandle", "finished_at"])

    def expire_in(self, delta: timedelta, timestamp: datetime | None = None) -> None:
        """Let the file expire `delta` after `timestamp` (now). Does not save."""
        self.expires_at = (timestamp or timezone.now()) + delta

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def progress(self) -> Snapshot:
        rows = {"rows_done": self.rows_done, "rows_total": self.rows_total, "rows_estimated": self.rows_estimated}
        return Snapshot(self.phase, bytes_done=self.bytes_done, bytes_total=self.bytes_total, **rows)

    def is_changeable_by(self, user: AnyUser) -> bool:
        """May cancel it, expire it, revoke its links."""
        return self._is_owned_by(user) or self._is_granted(user, "exports.change_filerequest")

    def is_downloadable_by(self, user: AnyUser) -> bool:
        return self._is_owned_by(user) or self._is_granted(user, "exports.download_any_filerequest")

    def _is_owned_by(self, user: AnyUser) -> bool:
        return user.is_authenticated and user.is_active and self.requester_id == user.pk

    def _is_granted(self, user: AnyUser, permission: str) -> bool:
        return user.is_active and user.has_perm("exports.view_filerequest") and user.has_perm(permission)

    def _changed(self) -> set[str]:
        now = self._values(self._saved_names())
        return {name for name, value in now.items() if name not in self._loaded or self._loaded[name] != value}

    def _remember(self, names: Iterable[str] | None = None) -> None:
        """Take these columns, or all of them, for unchanged from here on."""
        self._loaded = {**self._loaded, **self._values(self._saved_names(names))}

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        """The columns as they stand on this instance, without loading a deferred one."""
        return {name: self._value(name) for name in names if name in self.__dict__}

    def _value(self, name: str) -> Any:
        if name == "filehandle":
            return str(self.filehandle or "")
        value = self.__dict__[name]
        return deepcopy(value) if isinstance(value, dict | list) else value

    @classmethod
    def _saved_names(cls, names: Iterable[str] | None = None) -> Sequence[str]:
        fields = [field for field in cls._meta.concrete_fields if not field.primary_key]
        chosen = None if names is None else set(names)
        return [field.attname for field in fields if chosen is None or {field.name, field.attname} & chosen]


def _running_of_owner(**which: Any) -> Combinable:
    """How many the owner of an outer row has running in its queue; what runs for nobody holds nobody back."""
    running = _of_owner().filter(status=Status.RUNNING, **which)
    counted = running.order_by().values("requester").annotate(n=models.Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


def _last_served() -> Subquery:
    """When a worker last began something of the owner of an outer row in its queue; what was given back does not count.
    Null for nobody's, each of which is somebody else's."""
    begun = _of_owner().filter(started_at__isnull=False).exclude(status=Status.QUEUED)
    return Subquery(begun.order_by("-started_at").values("started_at")[:1])


def _of_owner() -> FileRequestQuerySet:
    return FileRequest.objects.filter(queue_name=OuterRef("queue_name"), requester=OuterRef("requester"))
