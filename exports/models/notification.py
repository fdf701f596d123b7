"""Notification: the outbox of e-mails."""

from typing import Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from exports.models.request import DatabaseTime, FileRequest


class NotificationQuerySet(models.QuerySet["Notification"]):
    """Queries for the mailer."""

    def due(self, now: DatabaseTime) -> Self:
        return self.filter(state__in=(Notification.State.PENDING, Notification.State.SENDING), due_at__lte=now)


class Notification(models.Model):
    """One e-mail to the owner of an export, about its end.

    `due_at` is the time of the next attempt. A mailer that claims the row sets it to a later time, so that another
    one takes over if the mailer dies.
    """

    class Kind(models.TextChoices):
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Sent")
        SUPPRESSED = "suppressed", _("Suppressed")

    request = models.ForeignKey(FileRequest, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    message_id = models.CharField(max_length=255)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    settled_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=100, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["request", "kind"], name="exports_one_mail_per_kind"),)
        indexes = (models.Index(fields=["state", "due_at"], name="exports_outbox"),)

    def __str__(self) -> str:
        return f"{self.kind} mail, {self.state}"
