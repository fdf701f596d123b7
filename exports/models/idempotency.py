"""Idempotency keys: a client that repeats a request with the same key gets the export of the first one."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, cast

from django.conf import settings
from django.db import models
from django.utils import timezone

from exports.access import tenants
from exports.conf import DAY
from exports.exceptions import KeyReused
from exports.models.request import AnyUser, FileRequest

if TYPE_CHECKING:
    from django.contrib.auth.models import User

KEPT_SECONDS: Final = DAY


@dataclass(frozen=True)
class Repeatable:
    """The key that a client gave to a request, and a text that is the same for the same request only."""

    key: str
    content: str

    @property
    def key_hash(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    """Queries of requests and of housekeeping."""

    def of(self, user: AnyUser, repeatable: Repeatable) -> Self:
        """Keep the key that the user has given to a request in this tenant."""
        return self.filter(owner=user.pk, tenant=tenants.current(), key_hash=repeatable.key_hash)

    def outdated(self) -> Self:
        """Keep the keys that are older than KEPT_SECONDS."""
        return self.filter(used_at__lt=timezone.now() - timedelta(seconds=KEPT_SECONDS))


class IdempotencyKey(models.Model):
    """A key, by its hash, and the export that was requested with it."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current)
    key_hash = models.CharField(max_length=64)
    content_hash = models.CharField(max_length=64)
    export = models.ForeignKey(FileRequest, on_delete=models.CASCADE, related_name="+")
    used_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["owner", "tenant", "key_hash"], name="exports_one_export_per_key"),
        )

    def __str__(self) -> str:
        return str(self.export_id)


def find_earlier(user: AnyUser, repeatable: Repeatable) -> FileRequest | None:
    """Return the export that the user requested with this key, None if there is none or it is gone.

    Raise KeyReused if it was another request.
    """
    found = IdempotencyKey.objects.of(user, repeatable).select_related("export__requester").first()
    if found is not None and found.content_hash != repeatable.content_hash:
        raise KeyReused("This idempotency key was used for another request. Use another one.")
    return None if found is None else found.export


def keep_key(user: AnyUser, repeatable: Repeatable, export: FileRequest) -> None:
    """Store which export the signed-in user requested with the key. Raise IntegrityError if it was used just now."""
    hashes = {"key_hash": repeatable.key_hash, "content_hash": repeatable.content_hash}
    IdempotencyKey.objects.create(owner=cast("User", user), export=export, **hashes)
