"""The records beside a request: the bytes made for it, the mail about it, the downloads of it."""

from datetime import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import Combinable
from django.utils.translation import gettext_lazy as _

from exports.models.file_request import FileRequest, Status


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def garbage(self, leeway_ends: datetime | Combinable) -> Self:
        """Bytes that nobody needs: neither the file of a READY request, nor of one that expired within the leeway,
        nor what a running worker is writing."""
        mine = FileRequest.objects.filter(pk=OuterRef("request"))
        readable = mine.filter(
            Q(status=Status.READY) | Q(status=Status.EXPIRED, expires_at__gte=leeway_ends), filehandle=OuterRef("key")
        )
        running = Q(status=Status.RUNNING, epoch=OuterRef("epoch"))
        # What is attached by hand is stored under the next epoch, while the request waits or has a file already.
        by_hand = Q(status__in=(Status.QUEUED, Status.READY), epoch__lt=OuterRef("epoch"))
        in_the_making = mine.filter(running | by_hand)
        # The rows a request was made with serve its attempts, and another request that tries it again.
        needed = mine.filter(
            Q(status__in=(Status.QUEUED, Status.RUNNING))
            | Q(status__in=(Status.FAILED, Status.CANCELLED), finished_at__gte=leeway_ends)
        )
        just_stored = Q(request=None, created_at__gte=leeway_ends)
        kept = (
            Q(Q(Exists(needed)) | just_stored, state=Artifact.State.INPUT)
            | Q(Exists(readable), state=Artifact.State.PUBLISHED)
            | Q(Exists(in_the_making), state=Artifact.State.STAGED)
        )
        return self.exclude(state=Artifact.State.DELETED).exclude(kept)


class Artifact(models.Model):
    """Bytes that a claim may write, recorded before the first one, so that garbage is found without listing storage.

    It outlives its request: whatever deletes the row, the key stays known until the bytes are gone.
    """

    class State(models.TextChoices):
        INPUT = "input", _("Input")
        STAGED = "staged", _("Staged")
        PUBLISHED = "published", _("Published")
        DELETED = "deleted", _("Deleted")

    request = models.ForeignKey(FileRequest, null=True, on_delete=models.SET_NULL, related_name="artifacts")
    epoch = models.PositiveIntegerField()
    key = models.CharField(max_length=255, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.STAGED)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)

    objects = ArtifactQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=["state", "deleted_at"], name="exports_artifact_state"),)

    def __str__(self) -> str:
        return f"{self.key} ({self.state})"


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


class Download(models.Model):
    """Who was handed which file, when, how much of it, and how that ended. By a link for anyone (`is_public`) it is
    nobody known. A row is added as the download begins, and told once how it ended.

    `byte_count` is what the answer promised; `bytes_sent` what the web server took of it, null where another server
    sends the bytes, and only knows itself.
    """

    class Outcome(models.TextChoices):
        # Also what is left where the process ended in the middle.
        BEGUN = "begun", _("Begun")
        COMPLETED = "completed", _("Completed")
        ABORTED = "aborted", _("Aborted")
        REDIRECTED = "redirected", _("Led to the storage")
        HANDED_OVER = "handed_over", _("Left to the web server")

    request = models.ForeignKey(FileRequest, null=True, on_delete=models.SET_NULL, related_name="downloads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    file_type = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)
    address = models.CharField(max_length=45, blank=True)
    first_byte = models.BigIntegerField(default=0)
    byte_count = models.BigIntegerField()
    bytes_sent = models.BigIntegerField(null=True)
    outcome = models.CharField(max_length=20, choices=Outcome, default=Outcome.BEGUN)
    is_public = models.BooleanField(default=False)

    class Meta:
        ordering = ("-at",)
        indexes = (models.Index(fields=["at"], name="exports_download_at"),)

    def __str__(self) -> str:
        return f"{self.byte_count} bytes of {self.file_type} at {self.at}"

    def end(self, sent: int) -> None:
        """The answer ended after so many bytes, whole or not."""
        outcome = self.Outcome.COMPLETED if sent == self.byte_count else self.Outcome.ABORTED
        begun = Download.objects.filter(pk=self.pk, outcome=self.Outcome.BEGUN)
        begun.update(outcome=outcome, bytes_sent=sent)
