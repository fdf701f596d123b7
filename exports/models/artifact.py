"""The records beside a request: the bytes made for it, the mail about it, the downloads of it."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import Combinable
from django.utils.translation import gettext_lazy as _

from exports.models.request import FileRequest, Status


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def deletable(self, leeway_ends: datetime | Combinable) -> Self:
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
