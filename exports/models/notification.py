"""The outbox: one e-mail to one person about the end of one export."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models.expressions import Combinable
from django.utils.translation import gettext_lazy as _

from exports.models.request import FileRequest


class NotificationQuerySet(models.QuerySet["Notification"]):
    def due(self, now: datetime | Combinable) -> Self:
        return self.filter(state__in=(Notification.State.PENDING, Notification.State.SENDING), due_at__lte=now)


class Notification(models.Model):
    """One mail to one person about the end of one request: the outbox.

    `due_at` is when the next attempt may begin. A claim moves it ahead, so another mailer follows one that dies.
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
        constraints = (models.UniqueConstraint(fields=["request", "kind"], name="exports_one_mail_of_a_kind"),)
        indexes = (models.Index(fields=["state", "due_at"], name="exports_outbox"),)

    def __str__(self) -> str:
        return f"{self.kind} mail, {self.state}"
