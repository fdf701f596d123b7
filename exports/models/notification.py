"""Notification: the outbox of e-mails."""

from email.utils import make_msgid
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from exports.access import tenants
from exports.models.outbox import GAVE_UP, OutboxEntry, OutboxQuerySet
from exports.models.request import FileRequest


class NotificationQuerySet(OutboxQuerySet["Notification"]):
    """Queries for the mailer."""

    def untried_beside(self, first: "Notification") -> Self:
        """Return mails never tried, about unseen ends, to the same user in the same tenant, language and time zone."""
        export = first.request
        if export.requester_id is None:
            return self.none()
        return self.filter(
            state=Notification.State.PENDING,
            attempts=0,
            request__requester=export.requester_id,
            request__tenant=export.tenant,
            request__requester_language=export.requester_language,
            request__requester_timezone=export.requester_timezone,
            request__seen_at=None,
        ).exclude(pk=first.pk)

    def resendable(self) -> Self:
        """Return mails that were sent or given up, about exports that are still as the mail says."""
        given_up = Q(state=Notification.State.SUPPRESSED, reason__startswith=GAVE_UP)
        return self.filter(Q(state=Notification.State.SENT) | given_up, request__status=F("kind"))


class Notification(OutboxEntry):
    """One e-mail to the owner of an export, about its end."""

    class Kind(models.TextChoices):
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    request = models.ForeignKey(
        FileRequest, verbose_name=_("request"), on_delete=models.CASCADE, related_name="notifications"
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        constraints = (models.UniqueConstraint(fields=["request", "kind"], name="exports_one_mail_per_kind"),)
        indexes = (models.Index(fields=["state", "due_at"], name="exports_outbox"),)

    def __str__(self) -> str:
        return f"{self.kind} mail, {self.state}"

    @property
    def summary(self) -> str:
        """The kind, the state and its reason, for staff."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.get_kind_display()}: {self.get_state_display()}{reason}"


def new_message_id(request_id: UUID, kind: str) -> str:
    """Return a Message-ID; with the same one, mail servers may take a second mail for a copy and drop it."""
    domain = urlsplit(tenants.base_url(tenants.current())).hostname
    return make_msgid(idstring=f"{kind}-{request_id.hex}", domain=domain or "localhost")
