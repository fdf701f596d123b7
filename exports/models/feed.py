"""Feeds: lasting addresses under which Excel and other programs get a file that is made again when it is too old."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from exports.access import tenants
from exports.conf import DAY, HOUR, config
from exports.models.audit import Actor, AuditEntry, record
from exports.models.request import AnyUser, FileRequest, Status
from exports.models.token import within_token
from exports.storage.field import FileNameField

PREFIX = "feed_"
MAX_AGES = (300, 900, HOUR, 6 * HOUR, DAY)
"""The ages in seconds, among which a user chooses, up to which a file is served without a new run."""

RETRY_SECONDS = 60
"""A run that failed or was cancelled is not repeated sooner."""


class FeedQuerySet(models.QuerySet["Feed"]):
    """Queries of the form and of the address."""

    def live(self) -> Self:
        """Keep the feeds that are not revoked, and of these those of the current tenant."""
        found = self.filter(revoked_at=None)
        return found if config.TENANT_OF is None else found.filter(tenant=tenants.current())

    def owned_by(self, user: AnyUser) -> Self:
        """Keep the user's own live feeds, or of these those of the types that the user's token opens."""
        own: Self = within_token(self.live().filter(owner=user.pk), user)
        return own

    @sensitive_variables("token")
    def with_token(self, token: str) -> Self:
        """Keep the live feed with this token."""
        return self.live().filter(token_hash=hash_of(token)).select_related("owner", "export", "last_good")


class Feed(models.Model):
    """An export as its owner chose it, and the hash of the token in its address.

    The choices are copied: a preset that is changed or deleted later changes no file under the address. `export` is
    the newest request, and `last_good` the one whose file is served until that has a file.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=gettext_lazy("owner"),
        on_delete=models.CASCADE,
        related_name="export_feeds",
    )
    name = FileNameField(max_length=100, verbose_name=gettext_lazy("name"))
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    file_type = models.CharField(gettext_lazy("file type"), max_length=100)
    criteria = models.TextField(blank=True)
    format = models.CharField(gettext_lazy("format"), max_length=20)
    options = models.JSONField(default=dict, blank=True)
    columns = models.JSONField(default=list, blank=True)
    language = models.CharField(max_length=10, blank=True)
    time_zone = models.CharField(max_length=200, blank=True)
    max_age_seconds = models.PositiveIntegerField(gettext_lazy("maximum age in seconds"), default=900)
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current)
    export = models.ForeignKey(FileRequest, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")
    last_good = models.ForeignKey(FileRequest, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(gettext_lazy("created at"), default=timezone.now)
    last_used_at = models.DateTimeField(gettext_lazy("last used at"), null=True, editable=False)
    revoked_at = models.DateTimeField(gettext_lazy("revoked at"), null=True, editable=False)

    objects = FeedQuerySet.as_manager()

    class Meta:
        verbose_name = gettext_lazy("address")
        verbose_name_plural = gettext_lazy("addresses")
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """The label of the exports that this feed requests."""
        return _("{name} (address)").format(name=self.name)

    def is_due(self, now: datetime) -> bool:
        """Return True if a new run is needed: there is none yet, or it has ended and is too old, failed or expired."""
        newest = self.export
        if newest is None:
            return True
        if newest.is_active:
            return False
        if newest.status == Status.EXPIRED or newest.finished_at is None:
            return True
        seconds = self.max_age_seconds if newest.status == Status.READY else RETRY_SECONDS
        return newest.finished_at <= now - timedelta(seconds=seconds)


# Any: the values of columns.
@sensitive_variables("token")
def create_feed(owner: Any, actor: Actor, **chosen: Any) -> tuple[Feed, str]:
    """Create a feed, with an entry in the audit log. Return it and its token, which is not stored."""
    token = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        feed = Feed.objects.create(owner=owner, token_hash=hash_of(token), **chosen)
        _record(feed, "made", actor)
    return feed, token


def revoke_feed(feed: Feed, actor: Actor) -> bool:
    """End the address for ever and erase its choices, with an entry in the audit log. Return False if it has ended."""
    with transaction.atomic():
        ended = {"revoked_at": timezone.now(), "criteria": "", "options": {}, "columns": []}
        won = Feed.objects.filter(pk=feed.pk, revoked_at=None).update(**ended) == 1
        if won:
            _record(feed, "revoked", actor)
    return won


@sensitive_variables("token")
def hash_of(token: str) -> str:
    """Return the SHA-256 of a token. It needs no salt: the token has 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _record(feed: Feed, what: str, actor: Actor) -> None:
    record(AuditEntry.Verb.FEED, None, actor, file_type=feed.file_type, reason=f"{what}: {feed.name}"[:100])
