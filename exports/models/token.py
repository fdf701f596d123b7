"""AccessToken: a secret by which a program acts for a user, with the rights of that user or fewer.

A user who comes by a token carries it in an attribute. The querysets, the permission policy and the actor of each verb
ask here what the token leaves of the user's rights.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exports.access import tenants
from exports.conf import DAY, config
from exports.storage.field import FileNameField

if TYPE_CHECKING:
    from django.contrib.auth.models import User

USED_AGAIN_SECONDS = 60
"""The last use of a token is written at most this often."""

USER_ATTRIBUTE = "_exports_access_token"
"""Where a user carries the token; no field of a project's user model has such a name."""

ENDED_KEPT_SECONDS = 30 * DAY
"""For how long a token that was revoked or has expired is still listed."""


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    """Queries of the page, of the command and of each request with a token."""

    def of_tenant(self) -> Self:
        """Keep the tokens of the current tenant, or all of a site without tenants."""
        return self if config.TENANT_OF is None else self.filter(tenant=tenants.current())

    def valid(self) -> Self:
        """Keep the tokens that are not revoked, have not expired, and whose owner is active."""
        if not config.ACCESS_TOKENS:
            return self.none()
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.select_related("owner").filter(unexpired, revoked_at=None, owner__is_active=True)

    def outdated(self) -> Self:
        """Keep the tokens that were revoked or expired more than ENDED_KEPT_SECONDS ago."""
        before = timezone.now() - timedelta(seconds=ENDED_KEPT_SECONDS)
        return self.filter(Q(revoked_at__lt=before) | Q(expires_at__lt=before))


class AccessToken(models.Model):
    """The secret itself is not stored: `digest` is its SHA-256, `prefix` its first letters, to recognise it by.

    `exporters` lists the file types that it opens; an empty list means all. Without `can_create` it only reads. Nothing
    of it changes but `last_used_at` and `revoked_at`.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("owner"), on_delete=models.CASCADE, related_name="export_tokens"
    )
    name = FileNameField(max_length=60, verbose_name=_("name"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    can_create = models.BooleanField(_("can create exports"), default=False)
    exporters = models.JSONField(_("types"), default=list, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{self.name} {self.prefix}"

    @property
    def is_valid(self) -> bool:
        """True unless it is revoked or has expired. Whether its owner is active is another question."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())

    def user(self) -> "User":
        """Return the owner as the user of a request by this token."""
        user: User = self.owner
        setattr(user, USER_ATTRIBUTE, self)
        return user

    def mark_used(self, now: datetime) -> None:
        """Write the last use, unless it was written within USED_AGAIN_SECONDS."""
        before = now - timedelta(seconds=USED_AGAIN_SECONDS)
        if self.last_used_at is None or self.last_used_at < before:
            stale = Q(last_used_at=None) | Q(last_used_at__lt=before)
            AccessToken.objects.filter(stale, pk=self.pk).update(last_used_at=now)
            self.last_used_at = now


def token_of_user(user: AbstractUser | AnonymousUser) -> AccessToken | None:
    """Return the token by which this user has come; None for a session, and for a token that is not of this app."""
    return getattr(user, USER_ATTRIBUTE, None)


def token_id_of(user: AbstractUser | AnonymousUser) -> int | None:
    """Return the key of `token_of_user`, or None."""
    token = token_of_user(user)
    return None if token is None else token.pk


def is_open_to(user: AbstractUser | AnonymousUser, file_type: str) -> bool:
    """Return False if the user has come by a token that does not open exports of this type."""
    token = token_of_user(user)
    return token is None or not token.exporters or file_type in token.exporters


def present_user(user_id: Any, token_id: int | None) -> "User | None":
    """Return an active user as the database has them now, by this token if there is one; None if either has ended."""
    if token_id is None:
        return get_user_model()._default_manager.filter(pk=user_id, is_active=True).first()
    token = AccessToken.objects.valid().filter(pk=token_id, owner=user_id).first()
    return None if token is None else token.user()


# Any: a queryset of any model with a column `file_type`.
def within_token(found: Any, user: AbstractUser | AnonymousUser) -> Any:
    """Keep the rows whose file type the user's token opens; all of them without a token."""
    token = token_of_user(user)
    return found if token is None or not token.exporters else found.filter(file_type__in=token.exporters)
